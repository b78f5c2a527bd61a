"""The options of a retrieval, checked: what is left out is chosen, and what does not go together is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil
from typing import Any, NamedTuple, get_args

from ragknn._checks import check_choice, check_flag, check_number, check_whole, described, shown
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.schema import Algorithm, Schema
from ragknn.records import Metric, Neighbor
from ragknn.retrieval._commands import TO_CHOOSE_FROM, WHOLE
from ragknn.retrieval._diversity import at_most_per_document, check_diversity, without_duplicates
from ragknn.retrieval.fusion import Fusion, WeightedScores
from ragknn.retrieval.options import Mode, Options
from ragknn.retrieval.reranking import Reranker

# Passages that are fused, reranked or made diverse where the caller does not say how many.
CANDIDATES = 50
CANDIDATES_PER_K = 4
# To read so many passages, with 800 characters each, takes as long as one more round trip.
WORTH_A_ROUND_TRIP = 25


@dataclass(frozen=True, slots=True)
class Plan:
    """A retrieval with nothing left to choose.

    Attributes:
        k: passages wanted; None for all within `max_distance`.
        among: what `where` became.
        breadth: candidates that are asked for first.
        returned: fields that are brought back of each passage; `retrieval._commands` has the choices.
        measured: whether distances are needed, though the mode finds passages without them.
        exact: whether an hnsw index computes every distance, as a flat one does.
        keeps_all: whether the plan has too many of no neighbors.
        takes_all: whether the candidates that were asked for are the result, as nothing chooses among them.
        reads_later: whether candidates come without what is read of passages, which follows for those alone that are
            returned.

    The others are explained at `Retriever.retrieve`.
    """

    k: int | None
    among: Fragment
    mode: Mode
    max_distance: float | None
    rerank: Reranker | None
    diversity: float
    per_document: int | None
    breadth: int
    fusion: Fusion
    ef_runtime: int | None
    with_vectors: bool
    returned: tuple[str, ...] = WHOLE
    measured: bool = False
    recall: float | None = None
    exact: bool = False
    keeps_all: bool = field(init=False)
    takes_all: bool = field(init=False)
    reads_later: bool = field(init=False)

    def __post_init__(self) -> None:
        keeps_all = not self.diversity and self.per_document is None
        as_found = keeps_all and self.rerank is None and self.recall is None and not self.with_vectors
        candidates = self.breadth * (2 if self.mode == "hybrid" else 1)
        may_come_back = self.k is not None and self.rerank is None and self.returned == WHOLE
        object.__setattr__(self, "keeps_all", keeps_all)
        object.__setattr__(self, "takes_all", as_found and candidates == (1 if self.k is None else self.k))
        object.__setattr__(self, "reads_later", may_come_back and candidates - (self.k or 0) >= WORTH_A_ROUND_TRIP)

    def ef_for(self, breadth: int) -> int | None:
        """Return the ef_runtime of a search for so many candidates, which may be more than at first."""
        if self.recall is None or self.ef_runtime is None:
            return self.ef_runtime
        return ceil(self.ef_runtime * breadth / self.breadth)

    @property
    def needs_vectors(self) -> bool:
        """Whether the questions must be embedded."""
        return self.mode != "text" or self.max_distance is not None or self.measured

    @property
    def is_read_later(self) -> bool:
        """Whether it is the part of a retrieval in which candidates come without what is read of passages."""
        return self.returned in TO_CHOOSE_FROM

    def thinned(self, neighbors: Sequence[Neighbor]) -> Sequence[Neighbor]:
        """Return the neighbors without those that the plan has too many of."""
        if self.diversity:
            neighbors = without_duplicates(neighbors)
        if self.per_document is not None:
            neighbors = at_most_per_document(neighbors, self.per_document)
        return neighbors


class Traits(NamedTuple):
    """What the choice of options depends on in an index."""

    metric: Metric
    algorithm: Algorithm
    text_search: bool
    has_terms: bool


def make_plan(schema: Schema, among: Fragment, k: int | None, options: Options) -> Plan:
    """Check the options of a retrieval; `among` is what became of its `where`.

    Raises:
        TypeError: an option that does not exist, or a value of another type.
        ValueError: an invalid value, or one that does not go with another or with the index.
    """
    traits = Traits(schema.metric, schema.algorithm, schema.text_search, schema.has_terms)
    chosen: dict[str, Any] = dict(options)
    chosen.pop("where", None)
    # Only plain values are remembered: a reranker may be large, and must not be kept.
    is_plain = type(k) in _PLAIN and _PLAIN.issuperset(map(type, chosen.values()))
    plan = (_remembered if is_plain else _planned)(traits, k, **chosen)
    return plan if among.is_everything else replace(plan, among=among)


def _planned(traits: Traits, k: int | None, /, **options: Any) -> Plan:
    if unknown := set(options) - set(Options.__annotations__):
        expected = ", ".join(Options.__annotations__)
        raise TypeError(f"expected options among {expected}, got {', '.join(sorted(unknown))}")
    max_distance = options.get("max_distance")
    if max_distance is not None:
        max_distance = check_number("max_distance", max_distance)
    plan = Plan(
        k=None if k is None else check_whole("k", k),
        among=EVERYTHING,
        mode=_checked_mode(traits, options.get("mode", "vector")),
        max_distance=max_distance,
        rerank=_checked_reranker(options.get("rerank")),
        diversity=check_number("diversity", options.get("diversity", 0.0)),
        per_document=_checked_most(options.get("per_document")),
        breadth=1,
        fusion=options.get("fusion", WeightedScores()),
        ef_runtime=_checked_effort(traits, options.get("ef_runtime")),
        recall=_checked_recall(options.get("recall")),
        with_vectors=check_flag("with_vectors", options.get("with_vectors", False)),
    )
    if max_distance is not None and not max_distance >= 0 and traits.metric != "ip":
        raise ValueError(f"expected max_distance >= 0, got {max_distance}")
    if k is None and (max_distance is None or plan.mode != "vector"):
        raise ValueError(
            "expected k >= 1, got None, which means all passages within max_distance and needs max_distance and "
            f"mode='vector': got max_distance={max_distance}, mode={plan.mode!r}"
        )
    if plan.recall is not None and plan.ef_runtime is not None:
        raise ValueError(f"expected either recall or ef_runtime, got both: {plan.recall} and {plan.ef_runtime}")
    if plan.recall is not None and k is None and traits.algorithm == "hnsw":
        raise ValueError(
            f"expected k with recall={plan.recall}, got None: an hnsw index can miss passages within max_distance, and "
            "nobody knows how many; name a k, or leave recall out"
        )
    check_diversity(plan.diversity)
    return replace(plan, breadth=_breadth(plan, options.get("candidates")))


_PLAIN = frozenset({int, float, str, bool, type(None)})
_remembered = lru_cache(maxsize=256, typed=True)(_planned)


def _checked_mode(traits: Traits, mode: Mode) -> Mode:
    check_choice("mode", mode, get_args(Mode))
    if mode != "vector" and not traits.text_search:
        raise ValueError(
            f"expected an index with text_search for mode={mode!r}, got one without: build it again with "
            "text_search=True, or search by mode='vector'"
        )
    if mode != "vector" and not traits.has_terms:
        raise ValueError(
            f"expected an index of this release for mode={mode!r}, got one whose words an earlier release stored: call "
            "Indexer.sync or add, or run `ragknn index`, which moves them and embeds nothing again"
        )
    return mode


def _checked_effort(traits: Traits, ef_runtime: int | None) -> int | None:
    if ef_runtime is None:
        return None
    if traits.algorithm != "hnsw":
        raise ValueError(f"expected ef_runtime with an hnsw index only, got it with {traits.algorithm}, which is exact")
    return check_whole("ef_runtime", ef_runtime)


def _checked_recall(recall: float | None) -> float | None:
    if recall is not None and not 0 < (recall := check_number("recall", recall)) <= 1:
        raise ValueError(f"expected a recall above 0 and at most 1, such as 0.99, got {recall}")
    return recall


def _checked_most(per_document: int | None) -> int | None:
    return None if per_document is None else check_whole("per_document", per_document)


def _checked_reranker(rerank: Reranker | None) -> Reranker | None:
    if rerank is not None and not callable(rerank):
        example = f"CrossEncoderReranker({shown(rerank) if isinstance(rerank, str) else ''})"
        raise TypeError(
            f"expected rerank to be a callable such as {example}, got {shown(rerank)} of type {type(rerank).__name__}"
        )
    if isinstance(rerank, type):
        raise TypeError(f"expected rerank to be a callable, got {described(rerank)}: pass an object of it")
    return rerank


def _breadth(plan: Plan, candidates: int | None) -> int:
    if plan.k is None:
        return 1
    if candidates is not None:
        if (breadth := check_whole("candidates", candidates)) < plan.k:
            raise ValueError(f"expected candidates >= k = {plan.k}, got {candidates}")
        return breadth
    if plan.mode == "hybrid" or plan.rerank or plan.diversity:
        return max(CANDIDATES, CANDIDATES_PER_K * plan.k)
    return plan.k if plan.per_document is None else 2 * plan.k
