"""Fusing what was found: a fusion of ours only tells keys apart, so that ids of candidates need not be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ragknn.retrieval.fusion import Fusion, ReciprocalRank, WeightedScores


def takes_any_key(fusion: Fusion) -> bool:
    """Tell whether the keys that a fusion gets need not be ids of passages: it only tells them apart."""
    return type(fusion) in (ReciprocalRank, WeightedScores)


def fuse_by_any_key(fusion: Fusion, rankings: Sequence[Sequence[tuple[Any, float]]]) -> list[tuple[Any, float]]:
    """Return what `fuse` does for rankings that are known to be right; keys are ids unless `takes_any_key`."""
    if isinstance(fusion, ReciprocalRank | WeightedScores) and takes_any_key(fusion):
        return fusion._fuse(rankings)
    return fusion.fuse(rankings)
