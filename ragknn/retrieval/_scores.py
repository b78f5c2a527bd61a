"""Scores, of which larger is better: checked, brought to one scale, and sorted by. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn.records import Neighbor


def scaled(scores: Sequence[float]) -> list[float]:
    """Return the scores on a scale from 0, the lowest, to 1, the highest; all 1 where they are equal."""
    lowest, highest = min(scores, default=0.0), max(scores, default=0.0)
    span = highest - lowest
    return [(score - lowest) / span if span else 1.0 for score in scores]


def checked_scores(scores: ArrayLike, n: int, reranker: object) -> NDArray[np.float64]:
    """Return the scores of a reranker for n passages as an array of shape (n,).

    Raises:
        ValueError: another shape, or values that are not finite numbers.
    """
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected {n} numbers, larger is better, from {reranker!r}, got: {error}") from error
    if array.shape != (n,):
        raise ValueError(
            f"expected scores of shape ({n},), one for each passage, from {reranker!r}, got {array.shape}: "
            "it must give one number to a pair of query and passage"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"expected finite scores from {reranker!r}, got {array[row]} for passage {row} of {n}")
    return array


def rerank(neighbors: Sequence[Neighbor], scores: ArrayLike) -> list[Neighbor]:
    """Return the neighbors with their new scores, best first; those of equal scores keep their order.

    Args:
        neighbors: n neighbors.
        scores: larger is better, shape (n,).
    """
    array = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-array, kind="stable")
    return [replace(neighbors[row], score=float(array[row])) for row in order]
