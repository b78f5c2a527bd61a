"""What is tried where nothing else is asked for."""

from __future__ import annotations

from ragknn.voting._arithmetic import Weights

DEFAULT_KS = (1, 3, 5, 7, 10, 15, 20, 30)
DEFAULT_WEIGHTS: tuple[Weights, ...] = ("uniform", "distance")

# Passages asked for between two reports of progress.
PASSAGES_PER_ROUND = 1_000
