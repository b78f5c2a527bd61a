"""The rules of a vote."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index as as_integer
from typing import Literal, TypeAlias

from ragknn.voting._arithmetic import (
    Weights,
    check_weights,
)

Priors: TypeAlias = Literal["balanced"] | None


@dataclass(frozen=True, slots=True)
class Rules:
    """How a vote is held; explained at `LabelVoter`."""

    k: int = 5
    weights: Weights = "uniform"
    one_vote_per_document: bool = True
    count_duplicates: bool = False
    max_distance: float | None = None
    min_share: float = 0.0
    min_votes: int = 1
    priors: Priors = None

    def __post_init__(self) -> None:
        check_weights(self.weights)
        object.__setattr__(self, "k", as_integer(self.k))  # Redis takes no integer of NumPy
        if self.k < 1:
            raise ValueError(f"expected k >= 1, got {self.k}")
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"expected min_share between 0 and 1, got {self.min_share}")
        if as_integer(self.min_votes) < 1:
            raise ValueError(f"expected min_votes >= 1, got {self.min_votes}")
        if self.min_votes > self.k:
            raise ValueError(f"expected min_votes <= k = {self.k}, got {self.min_votes}: no vote could ever count")
        if self.priors not in (None, "balanced"):
            raise ValueError(f"expected priors to be None or 'balanced', got {self.priors!r}")
