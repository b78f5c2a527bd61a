"""From a question to its neighbors: which searches are made, and what becomes of what they find.

    searches ─▶ one ranking (fusion) ─▶ cut (max_distance) ─▶ rerank ─▶ thin out (per_document, diversity) ─▶ first k

Each option works on the outcome of the one before it, so that all of them can be combined. Where too few passages are
left, the search is made again for more: for a retrieval, a vote and an estimator alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from logging import DEBUG
from operator import neg
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._logs import SEARCHING
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.place import Place
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import to_bytes
from ragknn.records import Metric, Neighbor, Retrieval
from ragknn.retrieval._answers import NOTHING, Found, settled
from ragknn.retrieval._commands import CANDIDATE, NAMED_CANDIDATE, RADIUS_PORTION, Ask, Knn, Range, Search, Words
from ragknn.retrieval._diversity import maximal_marginal_relevance
from ragknn.retrieval._fusing import fuse_by_any_key, takes_any_key
from ragknn.retrieval._later import read_whole
from ragknn.retrieval._plan import Plan
from ragknn.retrieval._recall import with_recall
from ragknn.retrieval._scores import checked_scores, rerank, scaled
from ragknn.retrieval._sending import search
from ragknn.retrieval.fusion import Fusion, ReciprocalRank
from ragknn.retrieval.options import Mode

# A question with too few neighbors left is asked again for this many times as many.
WIDER = 4


@dataclass(slots=True, eq=False)  # not frozen: every search makes some, in a third of the time
class Phrasing:
    """One way to put a question.

    Attributes:
        text: its words; None where there are none.
        vector: shape (dim,); None where nothing asks for distances.
    """

    text: str | None
    vector: NDArray[Any] | None


@dataclass(slots=True)
class Question:
    """What is asked.

    Attributes:
        text: as it is shown and reranked against; None for a ready vector.
        phrasings: at least one; the neighbors of several are fused by their ranks.
        notes: what to know of how it was embedded, one sentence each.
    """

    text: str | None
    phrasings: tuple[Phrasing, ...]
    notes: tuple[str, ...] = ()


Kept: TypeAlias = Callable[[int, Sequence[Neighbor]], Sequence[Neighbor]]
"""Of the neighbors of a question, given by its number, those that count; they keep their order."""


def select(place: Place, questions: Sequence[Question], plan: Plan, kept: Kept | None = None) -> Flow[list[Retrieval]]:
    """Return the neighbors of each question, as the plan says.

    Args:
        place: where to look.
        questions: what is asked.
        plan: how.
        kept: which neighbors count; None: all but those that the plan has too many of. Where fewer than k are left, the
            search is made again for more.

    Raises:
        IncompleteRetrieval: a search was cut short, and `on_incomplete` is "raise".
        ValueError: a reranker returns other than one finite number a passage.
    """
    if plan.takes_all and kept is None:
        found, chosen = yield from _gather(place, questions, plan, None)
    elif plan.reads_later and kept is None and all(len(question.phrasings) == 1 for question in questions):
        found, chosen = yield from _read_later(place, questions, plan)
    else:
        found, chosen = yield from _chosen(place, questions, plan, kept)
    for one in found:
        if one.warnings:
            SEARCHING.warning("a search in index %r is not complete: %s", place.keys.name, "; ".join(one.warnings))
    if SEARCHING.isEnabledFor(DEBUG):
        many = sum(map(len, chosen))
        SEARCHING.debug("%d questions to index %r, %s: %d neighbors", len(found), place.keys.name, plan.mode, many)
    return [
        settled(neighbors[: plan.k], question.text, one.warnings, place.on_incomplete, question.notes)
        for question, one, neighbors in zip(questions, found, chosen, strict=True)
    ]


def _read_later(
    place: Place, questions: Sequence[Question], plan: Plan
) -> Flow[tuple[list[Found], list[Sequence[Neighbor]]]]:
    """Return the same as `_chosen`: candidates come without what is read of passages, which follows for the chosen."""
    fields = CANDIDATE if plan.mode == "vector" or takes_any_key(plan.fusion) else NAMED_CANDIDATE
    found, candidates = yield from _chosen(place, questions, replace(plan, returned=fields), None)
    vectors = [question.phrasings[0].vector for question in questions]
    chosen = yield from read_whole(place, candidates, vectors, plan)
    # What was changed meanwhile is asked for anew, all in one.
    rows = [row for row, neighbors in enumerate(chosen) if neighbors is None]
    if rows:
        own = yield from _chosen(place, [questions[row] for row in rows], plan, None)
        for row, one, neighbors in zip(rows, *own, strict=True):
            found[row], chosen[row] = one, neighbors
    return found, [neighbors or () for neighbors in chosen]


def _chosen(
    place: Place, questions: Sequence[Question], plan: Plan, kept: Kept | None
) -> Flow[tuple[list[Found], list[Sequence[Neighbor]]]]:
    """Return what was found for each question, and the neighbors that are its result."""
    if plan.recall is not None:
        plan = yield from with_recall(place, plan)
    found, left = yield from _gather(place, questions, plan, kept)
    if plan.rerank:
        found = yield Work(
            lambda: [_reranked(plan, *pair) for pair in zip(questions, found, strict=True)], stage="rerank"
        )
        left = _left(plan, kept, range(len(questions)), found)
    if plan.diversity:
        left = [_diverse(place.schema, one, neighbors, plan) for one, neighbors in zip(found, left, strict=True)]
    left = [neighbors[: plan.k] for neighbors in left]
    if plan.with_vectors and not plan.is_read_later:
        left = [_with_vectors(one, neighbors) for one, neighbors in zip(found, left, strict=True)]
    return found, left


def _gather(
    place: Place, questions: Sequence[Question], plan: Plan, kept: Kept | None
) -> Flow[tuple[list[Found], list[Sequence[Neighbor]]]]:
    """Find candidates for each question, and return with them those that count.

    Questions for which fewer than k count are asked again for more candidates, together, until there are enough.
    """
    wanted, breadth = 0 if plan.k is None else plan.k, plan.breadth
    found = yield from _candidates(place, questions, plan, breadth)
    left = _left(plan, kept, range(len(questions)), found)
    while pending := [row for row, one in enumerate(found) if len(left[row]) < wanted and not one.is_all]:
        breadth *= WIDER
        candidates = yield from _candidates(place, [questions[row] for row in pending], plan, breadth)
        counting = _left(plan, kept, pending, candidates)
        for row, candidate, neighbors in zip(pending, candidates, counting, strict=True):
            found[row], left[row] = candidate, neighbors
    return found, left


def _left(plan: Plan, kept: Kept | None, rows: Iterable[int], found: Sequence[Found]) -> list[Sequence[Neighbor]]:
    """Return the neighbors that count, of those that were found for the questions of these numbers."""
    if kept is not None:
        return [kept(row, one.neighbors) for row, one in zip(rows, found, strict=True)]
    if plan.keeps_all:
        return [one.neighbors for one in found]
    return [plan.thinned(one.neighbors) for one in found]


def _candidates(place: Place, questions: Sequence[Question], plan: Plan, breadth: int) -> Flow[list[Found]]:
    with_vectors = plan.diversity or (plan.with_vectors and not plan.is_read_later)
    returned = (*plan.returned, "vector") if with_vectors else plan.returned
    ask = Ask(breadth, plan.ef_for(breadth), returned, plan.among, plan.recall is not None, plan.exact)
    phrasings = [phrasing for question in questions for phrasing in question.phrasings]
    if plan.mode == "vector":  # one search of each
        found = yield from search(place, _by_vector(place.schema, phrasings, plan), ask)
    else:
        legs = [_searches(place.schema, phrasing, plan) for phrasing in phrasings]
        found = yield from search(place, list(chain.from_iterable(legs)), ask)
        rest = iter(found)
        found = [_of_phrasing([next(rest) for _ in each], plan, place.schema.metric) for each in legs]
    if plan.max_distance is not None:
        found = [_cut(one, plan.max_distance, plan.mode) for one in found]
    if len(phrasings) > len(questions):
        rest = iter(found)
        found = [_of_question([next(rest) for _ in question.phrasings], plan) for question in questions]
    return found


def _by_vector(schema: Schema, phrasings: Sequence[Phrasing], plan: Plan) -> list[Search]:
    """Return the search of each phrasing for what is near to its vector."""
    vectors = [phrasing.vector for phrasing in phrasings if phrasing.vector is not None]
    blobs = [blob for vector in vectors for blob in to_bytes(vector[np.newaxis], schema.dtype)]
    if plan.k is None and plan.max_distance is not None:
        return [Range(blob, plan.max_distance, RADIUS_PORTION) for blob in blobs]
    return list(map(Knn, blobs))


def _searches(schema: Schema, phrasing: Phrasing, plan: Plan) -> list[Search]:
    """Return the searches of a phrasing in a mode that looks for words."""
    searches = [] if plan.mode == "text" else _by_vector(schema, [phrasing], plan)
    if phrasing.text is not None and (terms := schema.analyzer.terms(phrasing.text)):
        # Without the vectors of all candidates, the distances of those that are returned are computed later.
        later = plan.is_read_later and plan.max_distance is None and not plan.diversity
        searches.append(Words(tuple(terms), None if later else phrasing.vector, plan.max_distance))
    return searches


def _of_phrasing(legs: Sequence[Found], plan: Plan, metric: Metric) -> Found:
    if plan.mode == "text":
        return legs[0] if legs else NOTHING
    by_vector, by_words = legs if len(legs) == 2 else (legs[0], NOTHING)
    names = [_names(one, plan.fusion) for one in (by_vector, by_words)]
    rankings = [
        list(zip(names[0], map(neg, by_vector.distances), strict=True)),
        list(zip(names[1], by_words.scores, strict=True)),
    ]
    rows = [dict(zip(own, range(len(own)), strict=True)) for own in names]
    most = plan.k if plan.is_read_later and plan.keeps_all and plan.max_distance is None else None
    scores = list(fuse_by_any_key(plan.fusion, rankings))[:most]
    return _together(_of_both(by_vector, by_words, scores, rows, metric), (by_vector, by_words))


def _names(found: Found, fusion: Fusion) -> Sequence[Any]:
    """Return what tells the passages apart in a ranking: their ids, or their keys where these will do."""
    return found.keys if takes_any_key(fusion) else [neighbor.passage.id for neighbor in found.neighbors]


def _of_both(
    by_vector: Found,
    by_words: Found,
    scores: Sequence[tuple[Any, float]],
    rows: Sequence[Mapping[Any, int]],
    metric: Metric,
) -> list[Neighbor]:
    """Return what a search by vector and one for words have found, each once.

    Args:
        by_vector: what the first has found.
        by_words: what the second has found.
        scores: the names of those that are wanted, and their fused scores.
        rows: the place of each name in the first and in the second.
        metric: metric of the distances.
    """
    first, second = rows
    names = [name for name, _ in scores]
    # Of those that both have found, the distance is the one that the server tells.
    in_first, in_second = [name for name in names if name in first], [name for name in names if name not in first]
    passages = dict(zip(in_first, by_vector.passages([first[name] for name in in_first]), strict=True))
    passages |= zip(in_second, by_words.passages([second[name] for name in in_second]), strict=True)
    distances = {name: by_vector.distances[first[name]] for name in in_first}
    distances |= {name: by_words.distances[second[name]] for name in in_second}
    return Neighbor._many(
        [passages[name] for name in names],
        [distances[name] for name in names],
        [score for _, score in scores],
        [first[name] + 1 if name in first else None for name in names],
        [second[name] + 1 if name in second else None for name in names],
        metric,
    )


def _of_question(phrasings: Sequence[Found], plan: Plan) -> Found:
    if len(phrasings) == 1:
        return phrasings[0]
    rankings = [[(neighbor.passage.id, 0.0) for neighbor in one.neighbors] for one in phrasings]
    fusion = ReciprocalRank(plan.fusion.constant if isinstance(plan.fusion, ReciprocalRank) else 60.0)
    nearest: dict[str, Neighbor] = {}
    for ranking, one in zip(rankings, phrasings, strict=True):
        for (key, _), neighbor in zip(ranking, one.neighbors, strict=True):
            known = nearest.get(key)
            if known is None or neighbor.distance < known.distance:
                nearest[key] = neighbor
    scores = fuse_by_any_key(fusion, rankings)
    fused = [replace(nearest[key], score=score) for key, score in scores]
    return _together(fused, phrasings)


def _together(neighbors: Sequence[Neighbor], found: Sequence[Found]) -> Found:
    vectors: dict[str, NDArray[Any]] = {}
    for one in found:
        vectors.update(one.vectors)
    warnings = dict.fromkeys(warning for one in found for warning in one.warnings)
    return Found(tuple(neighbors), vectors, tuple(warnings), all(one.is_all for one in found))


def _cut(found: Found, max_distance: float, mode: Mode) -> Found:
    near = tuple(neighbor for neighbor in found.neighbors if neighbor.distance <= max_distance)
    # Nearest first: if one is too far away, all that follow are.
    all_seen = mode == "vector" and len(near) < len(found.neighbors)
    return replace(found, neighbors=near, is_all=found.is_all or all_seen, keys=())


def _reranked(plan: Plan, question: Question, found: Found) -> Found:
    if plan.rerank is None or question.text is None or not found.neighbors:
        return found
    passages = [neighbor.passage for neighbor in found.neighbors]
    scores = checked_scores(plan.rerank(question.text, passages), len(passages), plan.rerank)
    return replace(found, neighbors=tuple(rerank(found.neighbors, scores)))


def _diverse(schema: Schema, found: Found, neighbors: Sequence[Neighbor], plan: Plan) -> Sequence[Neighbor]:
    if not neighbors:
        return neighbors
    unlike_any = np.zeros(schema.dim)  # for passages without a vector
    vectors = np.stack([found.vectors.get(neighbor.passage.id, unlike_any) for neighbor in neighbors])
    order = maximal_marginal_relevance(_relevance(schema, neighbors), vectors, plan.diversity, plan.k)
    return [neighbors[row] for row in order]


def _with_vectors(found: Found, neighbors: Sequence[Neighbor]) -> list[Neighbor]:
    return [
        replace(neighbor, passage=replace(neighbor.passage, vector=found.vectors.get(neighbor.passage.id)))
        for neighbor in neighbors
    ]


def _relevance(schema: Schema, neighbors: Sequence[Neighbor]) -> NDArray[np.float64]:
    # On the scale of a cosine, as that is what it is weighed against.
    if neighbors[0].score is None and schema.metric == "cosine":
        return 1 - np.array([neighbor.distance for neighbor in neighbors])
    return np.array(scaled([n.score if n.score is not None else -n.distance for n in neighbors]))
