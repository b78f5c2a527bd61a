"""From texts or vectors to votes: the flows behind both voters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ragknn._checks import check_several, check_type, described
from ragknn._protocol.counting import LabelCensus, count_labels
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.query import WITH_VECTOR, intersection
from ragknn.records import Vote
from ragknn.retrieval._asking import check_wordless, checked_queries, near, posed, same_place
from ragknn.retrieval._spans import Asked
from ragknn.retrieval._tracing import traced
from ragknn.retrieval.options import SearchOptions
from ragknn.voting._polling import Excluded, check_enough, most_votes, only_labelled, plan_vote, poll, votable

if TYPE_CHECKING:
    from ragknn.voting.voter import _VoterBase


@repeatable
def counting(voter: _VoterBase) -> Flow[tuple[LabelCensus, LabelCensus]]:
    """Count the labels of all documents, and of those that have a vector."""
    index = voter.retriever.index
    among = yield from index._filtering(voter.where)
    place = index._place()
    census = yield from count_labels(place, among)
    with_vector = yield from count_labels(place, intersection(among, WITH_VECTOR))
    voter.census, voter._with_vector, voter._counted_in = census, with_vector, place.keys
    return census, with_vector


@repeatable
@traced(
    lambda voter, texts, vectors, exclude, options, *, explained: Asked(
        "vote", voter.retriever, voter.rules.k, options, texts
    )
)
def voting(
    voter: _VoterBase,
    texts: Sequence[Any] | ArrayLike | None,
    vectors: ArrayLike | None,
    exclude: Collection[str],
    options: SearchOptions,
    *,
    explained: bool,
) -> Flow[list[Vote]]:
    """The flow behind all votes of a voter.

    Args:
        voter: of an open index.
        texts: n texts, or vectors in their place, or None.
        vectors: ready vectors of the texts, shape (n, dim), or None.
        exclude: ids of documents that may not vote.
        options: of these votes.
        explained: whether to return the texts of the neighbors too.

    Raises:
        TypeError: neither texts nor vectors, or something of another type.
        ValueError: too few documents have a label, or an invalid option.
    """
    if vectors is None and _are_vectors(texts):
        texts, vectors = None, texts
    if texts is None and vectors is None:
        raise TypeError("expected a sequence of texts, or of vectors in their place, got None")
    asked = None if texts is None else checked_queries(texts)  # type: ignore[arg-type]  # other things are refused
    excluded = Excluded(checked_ids(exclude))
    index, rules, keys = voter.retriever.index, voter.rules, voter.retriever.index._keys
    if vectors is not None:
        index._check_ready()
    plan = yield from plan_vote(index, rules, voter.where, options, explained=explained)
    if asked is not None:
        questions = yield from posed(voter.retriever, asked, plan, vectors)
    else:
        check_wordless(options)
        questions = near(index.schema, vectors)  # type: ignore[arg-type]  # one of the two is given
    known = (voter.census, voter._with_vector) if voter.census and voter._with_vector else None
    counts = known if known and voter._counted_in == keys else (yield from counting(voter))
    by_vector = plan.mode == "vector"
    if most_votes(counts[by_vector], rules) < rules.k:
        counts = yield from counting(voter)  # there may be more by now
    narrowed = (yield from count_labels(index._place(), votable(plan))) if options.get("where") else counts[by_vector]
    check_enough(index.name, narrowed, rules)
    plan = replace(plan, among=only_labelled(plan.among, narrowed))
    place = same_place(voter.retriever, keys)
    polled = yield from poll(place, questions, plan, rules, [excluded] * len(questions))
    if any(neighbor.passage.label not in counts[0].documents for voters in polled for neighbor in voters):
        counts = yield from counting(voter)
    return voter._hold(polled, {**counts[0].documents, **counts[by_vector].documents})


def _are_vectors(texts: object) -> bool:
    """Tell whether numbers are in the place of texts."""
    if hasattr(texts, "to_numpy"):  # a table of pandas or the like
        texts = texts.to_numpy()
    if isinstance(texts, np.ndarray):
        return texts.dtype.kind in "fiu" and texts.ndim > 0
    first = texts[0] if isinstance(texts, list | tuple) and texts else None
    return isinstance(first, np.ndarray) or (
        isinstance(first, list | tuple) and bool(first) and isinstance(first[0], Real)
    )


def checked_ids(exclude: Collection[str]) -> frozenset[str]:
    """Return the ids of documents to exclude.

    Raises:
        TypeError: something else than several strings.
    """
    if isinstance(exclude, str):
        raise TypeError(f"expected a collection of document ids to exclude, got {described(exclude)}")
    ids = check_several("exclude", exclude, '["id"]')
    for one in ids:
        check_type("each id in exclude", one, str)
    return frozenset(ids)
