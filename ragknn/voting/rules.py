"""The rules of a vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ragknn._checks import check_flag, check_number, check_whole, shown
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
        object.__setattr__(self, "k", check_whole("k", self.k))  # Redis takes no integer of NumPy
        for flag in ("one_vote_per_document", "count_duplicates"):
            check_flag(flag, getattr(self, flag))
        if self.max_distance is not None:
            check_number("max_distance", self.max_distance)
        if not 0 <= check_number("min_share", self.min_share) <= 1:
            raise ValueError(f"expected min_share between 0 and 1, got {self.min_share}")
        if check_whole("min_votes", self.min_votes) > self.k:
            raise ValueError(f"expected min_votes <= k = {self.k}, got {self.min_votes}: no vote could ever count")
        if self.priors is not None and not (isinstance(self.priors, str) and self.priors == "balanced"):
            raise ValueError(f"expected priors to be None or 'balanced', got {shown(self.priors)}")
