"""Finding voters: a retrieval in which only the neighbors that may vote count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ragknn._protocol.counting import LabelCensus
from ragknn._protocol.flows import Flow
from ragknn._protocol.place import Place
from ragknn._protocol.query import LABELLED, WITH_VECTOR, Fragment, intersection
from ragknn.filters import Where
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Neighbor, Retrieval
from ragknn.retrieval._asking import planned
from ragknn.retrieval._commands import LABELS, WHOLE
from ragknn.retrieval._pipeline import Question, select
from ragknn.retrieval._plan import Plan
from ragknn.retrieval.options import Options, SearchOptions
from ragknn.voting._ballots import electorate
from ragknn.voting.rules import Rules


@dataclass(frozen=True, slots=True)
class Excluded:
    """Who may not vote on a query.

    Attributes:
        documents: ids of documents.
        duplicate_of: digest of a text whose exact duplicates may not vote either; empty for none.
    """

    documents: frozenset[str] = frozenset()
    duplicate_of: str = ""


def plan_vote(
    index: Index | AsyncIndex, rules: Rules, where: Where | None, options: SearchOptions, *, explained: bool
) -> Flow[Plan]:
    """Return the plan of the retrieval behind a vote.

    Args:
        index: open.
        rules: voting rules.
        where: the voter's filter.
        options: options of this vote; its filter is combined with the voter's.
        explained: whether to return the texts of the neighbors too.

    Raises:
        TypeError: an option that a vote does not have.
        ValueError: an invalid value.
    """
    if unknown := set(options) - set(SearchOptions.__annotations__):
        expected = ", ".join(SearchOptions.__annotations__)
        raise TypeError(
            f"expected options of a vote among {expected}, got {', '.join(sorted(unknown))}: max_distance and the like "
            "are rules of the voter"
        )
    filters = [
        each for each in (where, options.get("where")) if not (each is None or (isinstance(each, Mapping) and not each))
    ]
    both: Where | None = {"$and": filters} if len(filters) > 1 else filters[0] if filters else None
    asked: Options = {**options, "where": both}  # type: ignore[typeddict-item]  # a subset of the options
    plan = yield from planned(index, rules.k, asked)
    return replace(
        plan,
        max_distance=rules.max_distance,
        returned=WHOLE if explained or plan.rerank else LABELS,
        measured=rules.weights != "uniform",
    )


def poll(
    place: Place, questions: Sequence[Question], plan: Plan, rules: Rules, excluded: Sequence[Excluded]
) -> Flow[list[Retrieval]]:
    """Return for each question a retrieval of its voters, the best first.

    Neighbors that may not vote take up places among the candidates, so that some more are asked for at once.
    """
    spare = rules.k if rules.one_vote_per_document else 0
    breadth = rules.k + spare + max((len(each.documents) for each in excluded), default=0)
    return (
        yield from select(
            place,
            questions,
            replace(plan, breadth=max(plan.breadth, breadth)),
            lambda row, neighbors: _voters(neighbors, rules, excluded[row]),
        )
    )


def _voters(neighbors: Sequence[Neighbor], rules: Rules, excluded: Excluded) -> list[Neighbor]:
    return electorate(neighbors, rules, excluded.documents, excluded.duplicate_of)


def votable(plan: Plan) -> Fragment:
    """Return the filter for passages that can be found: by vector, those that have one."""
    return intersection(plan.among, WITH_VECTOR) if plan.mode == "vector" else plan.among


def most_votes(census: LabelCensus, rules: Rules) -> int:
    """Return how many may vote at most: all labelled documents, or passages where each of these votes."""
    return sum(census.documents.values()) if rules.one_vote_per_document else census.labelled


def only_labelled(among: Fragment, census: LabelCensus) -> Fragment:
    """Return the filter for passages that may vote; if all have a label, it needs no condition on labels."""
    return intersection(among, LABELLED) if census.labelled < census.passages else among


def check_enough(name: str, census: LabelCensus, rules: Rules) -> None:
    """Refuse a vote for which there are not enough labelled documents, or passages where each of these votes.

    Raises:
        ValueError: none has a label, or fewer than k.
    """
    most = most_votes(census, rules)
    if not most:
        raise ValueError(
            f"expected documents with labels in index {name!r}, got none among {census.passages} passages: "
            "add documents with a label (Document(label=...), a field `label` in files)"
        )
    if most < rules.k:
        what = "documents" if rules.one_vote_per_document else "passages"
        raise ValueError(f"expected k <= {most}, the number of labelled {what} in index {name!r}, got k = {rules.k}")
