"""Reading the replies to searches: rows become neighbors, with reasons why some may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.layout import found_passage
from ragknn._protocol.place import OnIncomplete, Place
from ragknn._protocol.query import SMALLEST_SCORE
from ragknn._protocol.replies import Row, SearchReply
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import distances_to, from_bytes, true_distance
from ragknn.errors import IncompleteRetrieval
from ragknn.records import Neighbor, Passage, Retrieval
from ragknn.retrieval._commands import Ask, Knn, Range, Search, Words


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        neighbors: the best first.
        vectors: the stored vectors by passage id, shape (dim,) each, where they were asked for and are there.
        warnings: reasons why the answer may be incomplete.
        is_all: whether nothing more can be found.
    """

    neighbors: tuple[Neighbor, ...]
    vectors: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...]
    is_all: bool


NOTHING = Found((), {}, (), is_all=True)


def read_answer(place: Place, one: Search, answer: SearchReply, ask: Ask, expected: int) -> Found:
    """Return what one search found.

    Args:
        place: where it was made.
        one: the search.
        answer: the reply to it.
        ask: how it was made.
        expected: for a `Knn`, the number of neighbors to expect; 0 if the reply itself reports a timeout.
    """
    rows = [row for row in answer.rows if _is_there(row, one)]
    warnings = list(answer.warnings)
    if place.watch.percent_indexed < 1:
        warnings.append(f"the server is still building the index, {place.watch.percent_indexed:.0%} of it can be found")
    if vanished := len(answer.rows) - len(rows):
        warnings.append(f"{vanished} passages were removed while they were read")
    match one:
        case Knn():
            if not answer.reports_timeouts and (came := len(answer.rows)) < expected:
                warnings.append(f"{came} of {expected} neighbors came; the server may have run out of time")
            is_all = len(answer.rows) < ask.k
        case Range():
            if (missing := answer.total - len(answer.rows)) and not warnings:
                reason = f"the server left out {missing} of {answer.total} passages; see its MAXSEARCHRESULTS"
                warnings.append(reason)
            is_all = True
        case Words():
            rows = [row for row in rows if row.score is not None and row.score > SMALLEST_SCORE]
            is_all = len(rows) < ask.k
    keys, metric = place.keys, place.schema.metric
    passages = [found_passage(keys, key, fields or {}) for key, fields, _ in rows]
    vectors = (
        stored_vectors(place.schema, passages, rows) if "vector" in ask.returned or not isinstance(one, Knn) else {}
    )
    distances = _distances(place.schema, one, passages, rows, vectors)
    neighbors = [
        Neighbor(passage, distance, row.score, metric=metric)
        for passage, distance, row in zip(passages, distances, rows, strict=True)
        if not isinstance(one, Range) or distance <= one.radius
    ]
    if isinstance(one, Range):
        neighbors.sort(key=lambda neighbor: neighbor.distance)
    return Found(tuple(neighbors), vectors, tuple(warnings), is_all)


def stored_vectors(schema: Schema, passages: Sequence[Passage], rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Return the vectors, shape (dim,) each, that came with the rows of passages, by passage id."""
    return {
        passage.id: from_bytes(fields[b"vector"], schema.dtype)
        for passage, (_, fields, _) in zip(passages, rows, strict=True)
        if fields and b"vector" in fields
    }


def _is_there(row: Row, one: Search) -> bool:
    # A passage that was removed during the search comes without fields.
    if row.fields is None:
        return False
    match one:
        case Knn():
            return b"distance" in row.fields
        case Range():
            return b"distance" in row.fields or b"vector" in row.fields
        case Words():
            return bool(row.fields)


def _distances(
    schema: Schema, one: Search, passages: Sequence[Passage], rows: Sequence[Row], vectors: Mapping[str, NDArray[Any]]
) -> list[float]:
    told = [(fields or {}).get(b"distance") for _, fields, _ in rows]
    computed: dict[str, float] = {}
    if vectors and None in told:
        query = one.vector if isinstance(one, Words) else from_bytes(one.vector, schema.dtype)
        if query is not None:
            stored = np.stack(list(vectors.values()))
            computed = dict(zip(vectors, map(float, distances_to(query, stored, schema.metric)), strict=True))
    return [
        computed.get(passage.id, math.nan) if answered is None else true_distance(float(answered), schema.metric)
        for passage, answered in zip(passages, told, strict=True)  # a passage that words found may have no vector
    ]


def settled(
    neighbors: Sequence[Neighbor],
    query: str | None,
    warnings: Sequence[str],
    on_incomplete: OnIncomplete,
    notes: Sequence[str] = (),
) -> Retrieval:
    """Return the neighbors as a retrieval. Warnings mean that it is not complete; notes are about other things.

    Raises:
        IncompleteRetrieval: it is not complete, and `on_incomplete` is "raise".
    """
    retrieval = Retrieval(neighbors, query=query, complete=not warnings, warnings=(*warnings, *notes))
    if warnings and on_incomplete == "raise":
        raise IncompleteRetrieval(retrieval)
    return retrieval
