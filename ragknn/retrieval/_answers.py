"""Reading the replies to searches: rows become neighbors, with reasons why some may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.layout import found_passages
from ragknn._protocol.place import OnIncomplete, Place
from ragknn._protocol.query import SMALLEST_SCORE
from ragknn._protocol.replies import Row, SearchReply
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import distances_to, from_bytes, true_distance, true_distances
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
    rows = _there(answer.rows, one)
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
    if isinstance(one, Knn) and "vector" not in ask.returned:
        return Found(tuple(_told(place, rows)), {}, tuple(warnings), is_all)
    passages = found_passages(place.keys, [(key, fields or {}) for key, fields, _ in rows])
    vectors = stored_vectors(place.schema, passages, rows)
    distances = _distances(place.schema, one, passages, rows, vectors)
    metric, scores = place.schema.metric, [row.score for row in rows]
    neighbors = Neighbor._many(passages, distances, scores, repeat(None), repeat(None), metric)
    if isinstance(one, Range):
        near = [neighbor for neighbor in neighbors if neighbor.distance <= one.radius]
        neighbors = sorted(near, key=lambda neighbor: neighbor.distance)
    return Found(tuple(neighbors), vectors, tuple(warnings), is_all)


def _told(place: Place, rows: Sequence[Row]) -> list[Neighbor]:
    """Return the neighbors of which the server tells all that is asked: most, so that this one is quick."""
    stored = [(key, fields) for key, fields, _ in rows if fields is not None]
    passages = found_passages(place.keys, stored)
    distances = true_distances([fields[b"distance"] for _, fields in stored], place.schema.metric)
    return Neighbor._many(passages, distances, repeat(None), repeat(None), repeat(None), place.schema.metric)


def stored_vectors(schema: Schema, passages: Sequence[Passage], rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Return the vectors, shape (dim,) each, that came with the rows of passages, by passage id."""
    return {
        passage.id: from_bytes(fields[b"vector"], schema.dtype)
        for passage, (_, fields, _) in zip(passages, rows, strict=True)
        if fields and b"vector" in fields
    }


def _there(rows: Sequence[Row], one: Search) -> list[Row]:
    """Return the rows without those of passages that were removed during the search, which come without fields."""
    if isinstance(one, Words):
        return [row for row in rows if row.fields]
    if isinstance(one, Knn):
        return [row for row in rows if row.fields is not None and b"distance" in row.fields]
    return [row for row in rows if row.fields is not None and (b"distance" in row.fields or b"vector" in row.fields)]


def _distances(
    schema: Schema, one: Search, passages: Sequence[Passage], rows: Sequence[Row], vectors: Mapping[str, NDArray[Any]]
) -> list[float]:
    told = [(fields or {}).get(b"distance") for _, fields, _ in rows]
    if None not in told:
        return [true_distance(float(answered), schema.metric) for answered in told if answered is not None]
    computed: dict[str, float] = {}
    query = one.vector if isinstance(one, Words) else from_bytes(one.vector, schema.dtype)
    if query is not None and vectors:
        stored = np.stack(list(vectors.values()))
        computed = dict(zip(vectors, map(float, distances_to(query, stored, schema.metric)), strict=True))
    return [
        (computed.get(passage.id, math.nan) if computed else math.nan)  # what words found may have no vector
        if answered is None
        else true_distance(float(answered), schema.metric)
        for passage, answered in zip(passages, told, strict=True)
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
