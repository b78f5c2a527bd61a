"""Several rankings into one: of a vector and a text search, or of several phrasings of a question. No I/O.

A ranking is a sequence of (key, score), best first; a larger score is better. The score of a vector search is the
negated distance. A key occurs at most once in a ranking, and may be missing from some of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from operator import itemgetter
from typing import Protocol, TypeAlias, TypeVar

from ragknn._checks import check_number, check_several, shown
from ragknn.retrieval._scores import scaled

Ranking: TypeAlias = Sequence[tuple[str, float]]
_K = TypeVar("_K", bound=Hashable)


class Fusion(Protocol):
    """What makes one ranking of several. Any object with this method will do."""

    def fuse(self, rankings: Sequence[Ranking]) -> list[tuple[str, float]]:
        """Return each key of the rankings once with its fused score, best first."""
        ...


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Reciprocal rank fusion: keys that rank high in several rankings come first, whatever their scores.

    The score of a key is the sum of w / (constant + rank) over the rankings that hold it, with ranks from 1
    (Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods"; their constant is 60, and w is 1).

    Args:
        constant: the larger it is, the less the first places count.
        weights: how much each ranking counts, in their order (in hybrid retrieval the vector search comes first);
            None: all count alike.

    Raises:
        ValueError: a constant or a weight that is negative or not finite, or weights that are all 0.
    """

    constant: float = 60.0
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= check_number("constant", self.constant) < math.inf:
            raise ValueError(f"expected constant >= 0, got {shown(self.constant)}")
        if self.weights is None:
            return
        object.__setattr__(self, "weights", tuple(check_several("weights", self.weights, "[1.0, 2.0]")))
        for weight in self.weights:
            check_number("each weight", weight)
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights) or not any(self.weights):
            raise ValueError(f"expected weights >= 0 that are not all 0, got {self.weights!r}")

    def fuse(self, rankings: Sequence[Ranking]) -> list[tuple[str, float]]:
        """Return each key of the rankings once with its fused score, best first.

        Of equal scores the one with the better best rank comes first, then the one that has it in the earlier
        ranking.

        Raises:
            ValueError: there are not as many rankings as weights, or a key occurs twice in one of them.
        """
        return self._fuse(_checked(rankings))

    def _fuse(self, rankings: Sequence[Sequence[tuple[_K, float]]]) -> list[tuple[_K, float]]:
        if self.weights is not None and len(self.weights) != len(rankings):
            raise ValueError(f"expected {len(self.weights)} rankings, one for each weight, got {len(rankings)}")
        weights = self.weights or [1.0] * len(rankings)
        parts = [
            [(key, weight / (self.constant + rank)) for rank, (key, _) in enumerate(ranking, start=1)]
            for ranking, weight in zip(rankings, weights, strict=True)
        ]
        return _added_up(parts)


@dataclass(frozen=True, slots=True)
class WeightedScores:
    """The weighted sum of the scores of a vector and a text search, each scaled to 0..1.

    A score s becomes (s - lowest) / (highest - lowest) of its own ranking, and 1 where all in it are equal; what is
    absent from a ranking has 0 there (the convex combination of Bruch, Gai and Ingber 2023, "An analysis of fusion
    functions for hybrid retrieval", with min-max scaling). Unlike ranks, scores keep how far apart two passages are,
    and the last of a ranking counts no more than one that is absent.

    Args:
        vector: share of the vector search, 0 to 1; the text search has the rest. Equal shares had the best mean on four
            sets of questions of different kinds, whose own best lay between 0.4 and 0.8; `evaluate` shows yours.

    Raises:
        ValueError: the share is not between 0 and 1.
    """

    vector: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= check_number("vector", self.vector) <= 1:
            share = shown(self.vector)
            raise ValueError(f"expected vector, the share of the vector search, between 0 and 1, got {share}")

    def fuse(self, rankings: Sequence[Ranking]) -> list[tuple[str, float]]:
        """Return each key of the rankings once with its fused score, best first.

        Of equal scores the one with the better best rank comes first, then the one that has it in the vector
        search.

        Args:
            rankings: that of the vector search, then that of the text search.

        Raises:
            ValueError: there are not two rankings, a key occurs twice in one of them, or a score is not finite.
        """
        return self._fuse(_checked(rankings))

    def _fuse(self, rankings: Sequence[Sequence[tuple[_K, float]]]) -> list[tuple[_K, float]]:
        if len(rankings) != 2:
            raise ValueError(
                f"expected two rankings, of a vector and of a text search, got {len(rankings)}: "
                "fuse other rankings with ReciprocalRank"
            )
        return _added_up(
            [
                [(key, share * score) for key, score in _scaled(ranking)]
                for ranking, share in zip(rankings, (self.vector, 1 - self.vector), strict=True)
            ]
        )


def _checked(rankings: Sequence[Ranking]) -> list[Ranking]:
    example = '[("id", 0.5), ...]'
    checked: list[Ranking] = [
        check_several("each ranking", one, example) for one in check_several("rankings", rankings, f"[{example}]")
    ]
    for pair in chain.from_iterable(checked):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"expected rankings of pairs of an id and its score, got {shown(pair)}")
        if type(pair[1]) is not float:
            check_number("each score", pair[1])
    return checked


def _scaled(ranking: Sequence[tuple[_K, float]]) -> list[tuple[_K, float]]:
    for key, score in ranking:
        if not math.isfinite(score):
            raise ValueError(f"expected finite scores, got {score!r} of {key!r}")
    scores = scaled([score for _, score in ranking])
    return [(key, score) for (key, _), score in zip(ranking, scores, strict=True)]


def _added_up(rankings: Sequence[Sequence[tuple[_K, float]]]) -> list[tuple[_K, float]]:
    for number, ranking in enumerate(rankings):
        if len({key for key, _ in ranking}) < len(ranking):
            raise ValueError(f"expected each key once in a ranking, got one of them twice in ranking {number}")
    # All first places, then all second places, ...: so keys are met in the order that equal scores are to have.
    parts: dict[_K, list[float]] = {}
    for places in zip_longest(*rankings):
        for place in places:
            if place is not None:
                parts.setdefault(place[0], []).append(place[1])
    # Exact, so that two keys with the same ranks in another order of rankings are equal.
    scores = [(key, terms[0] if len(terms) == 1 else math.fsum(terms)) for key, terms in parts.items()]
    scores.sort(key=itemgetter(1), reverse=True)
    return scores
