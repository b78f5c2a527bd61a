"""Latency of single calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ragknn._plain import Plain


@dataclass(frozen=True, slots=True)
class Latency(Plain):
    """Times of single calls, one after the other.

    Attributes:
        p50: median time, in seconds.
        p90: 90th percentile, in seconds.
        p99: 99th percentile, in seconds; not reliable for fewer than 100 calls.
        calls: number of timed calls.
    """

    p50: float
    p90: float
    p99: float
    calls: int

    @classmethod
    def of(cls, seconds: ArrayLike) -> Latency:
        """Return the percentiles of the times of calls, in seconds."""
        p50, p90, p99 = np.percentile(np.asarray(seconds, dtype=float), [50, 90, 99])
        return cls(float(p50), float(p90), float(p99), np.size(seconds))


def in_even_steps(texts: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the texts, evenly spaced."""
    if len(texts) <= most:
        return list(texts)
    return [texts[position * len(texts) // most] for position in range(most)]
