"""How long single calls take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ragknn._plain import Plain


@dataclass(frozen=True, slots=True)
class Latency(Plain):
    """How long single calls took, one after the other.

    Attributes:
        p50: seconds that half of the calls stayed below.
        p90: seconds that nine in ten stayed below.
        p99: seconds that 99 in a hundred stayed below; of fewer than 100 calls it says little.
        calls: how many were timed.
    """

    p50: float
    p90: float
    p99: float
    calls: int

    @classmethod
    def of(cls, seconds: ArrayLike) -> Latency:
        """Return the percentiles of the seconds that each call took."""
        p50, p90, p99 = np.percentile(np.asarray(seconds, dtype=float), [50, 90, 99])
        return cls(float(p50), float(p90), float(p99), np.size(seconds))


def in_even_steps(texts: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the texts, evenly spread over all."""
    if len(texts) <= most:
        return list(texts)
    return [texts[position * len(texts) // most] for position in range(most)]
