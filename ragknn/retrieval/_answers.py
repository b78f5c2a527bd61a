"""Reading the replies to searches: rows become neighbors, with reasons why some may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.layout import found_passages
from ragknn._protocol.place import OnIncomplete, Place
from ragknn._protocol.query import SMALLEST_SCORE
from ragknn._protocol.replies import SearchReply
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
        untold: where fewer came than were asked for, and the reply cannot tell whether there are more: how many came.
        keys: the key of each neighbor's passage, where it is at hand; else empty.
    """

    neighbors: tuple[Neighbor, ...]
    vectors: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...]
    is_all: bool
    untold: int | None = None
    keys: Sequence[bytes] = ()


NOTHING = Found((), {}, (), is_all=True)


Stored: TypeAlias = tuple[bytes, Mapping[bytes, bytes]]
"""The key of a passage, and the fields that were brought back of it."""


def read_answer(place: Place, one: Search, answer: SearchReply, ask: Ask) -> Found:
    """Return what one search found.

    Args:
        place: where it was made.
        one: the search.
        answer: the reply to it.
        ask: how it was made.
    """
    match one:
        case Knn():
            return _nearest(place, answer, ask)
        case Range():
            return _within(place, one, answer)
        case Words():
            return _worded(place, one, answer, ask)


def _nearest(place: Place, answer: SearchReply, ask: Ask) -> Found:
    rows, metric = answer.rows, place.schema.metric
    stored = [(key, fields) for key, fields, _ in rows if fields is not None and b"distance" in fields]
    passages = found_passages(place.keys, stored)
    vectors = stored_vectors(place.schema, passages, stored) if "vector" in ask.returned else {}
    distances = true_distances([fields[b"distance"] for _, fields in stored], metric)
    neighbors = Neighbor._many(passages, distances, repeat(None), repeat(None), repeat(None), metric)
    is_all = len(rows) < ask.k
    untold = len(rows) if is_all and not answer.reports_timeouts else None
    keys = [key for key, _ in stored]
    return Found(tuple(neighbors), vectors, _doubts(place, answer, len(stored)), is_all, untold, keys)


def _within(place: Place, one: Range, answer: SearchReply) -> Found:
    stored = [
        (key, fields)
        for key, fields, _ in answer.rows
        if fields is not None and (b"distance" in fields or b"vector" in fields)
    ]
    warnings = _doubts(place, answer, len(stored))
    if (missing := answer.total - len(answer.rows)) and not warnings:
        warnings = (f"the server left out {missing} of {answer.total} passages; see its MAXSEARCHRESULTS",)
    passages = found_passages(place.keys, stored)
    vectors = stored_vectors(place.schema, passages, stored)
    query = from_bytes(one.vector, place.schema.dtype)
    distances, metric = _distances(place.schema, query, passages, stored, vectors), place.schema.metric
    neighbors = Neighbor._many(passages, distances, repeat(None), repeat(None), repeat(None), metric)
    near = [neighbor for neighbor in neighbors if neighbor.distance <= one.radius]
    near.sort(key=lambda neighbor: neighbor.distance)
    return Found(tuple(near), vectors, warnings, is_all=True)


def _worded(place: Place, one: Words, answer: SearchReply, ask: Ask) -> Found:
    there = [(key, fields, score) for key, fields, score in answer.rows if fields]
    warnings = _doubts(place, answer, len(there))
    there = [row for row in there if row[2] is not None and row[2] > SMALLEST_SCORE]
    stored = [(key, fields) for key, fields, _ in there]
    passages = found_passages(place.keys, stored)
    vectors = stored_vectors(place.schema, passages, stored)
    distances = _distances(place.schema, one.vector, passages, stored, vectors)
    scores, metric = [score for _, _, score in there], place.schema.metric
    neighbors = Neighbor._many(passages, distances, scores, repeat(None), repeat(None), metric)
    keys = [key for key, _ in stored]
    return Found(tuple(neighbors), vectors, warnings, is_all=len(there) < ask.k, keys=keys)


def _doubts(place: Place, answer: SearchReply, there: int) -> tuple[str, ...]:
    """Return why the answer may not be complete, of which so many passages were there when they were read."""
    warnings, share = tuple(answer.warnings), place.watch.percent_indexed
    if share < 1:
        warnings += (f"the server is still building the index, {share:.0%} of it can be found",)
    if vanished := len(answer.rows) - there:
        warnings += (f"{vanished} passages were removed while they were read",)
    return warnings


def stored_vectors(schema: Schema, passages: Sequence[Passage], stored: Sequence[Stored]) -> dict[str, NDArray[Any]]:
    """Return the vectors, shape (dim,) each, that were brought back with passages, by passage id."""
    return {
        passage.id: from_bytes(fields[b"vector"], schema.dtype)
        for passage, (_, fields) in zip(passages, stored, strict=True)
        if b"vector" in fields
    }


def _distances(
    schema: Schema,
    query: NDArray[Any] | None,
    passages: Sequence[Passage],
    stored: Sequence[Stored],
    vectors: Mapping[str, NDArray[Any]],
) -> list[float]:
    """Return the distances that the server tells; those that it does not are computed, or NaN without a vector."""
    told = [fields.get(b"distance") for _, fields in stored]
    if None not in told:
        return true_distances([answered for answered in told if answered is not None], schema.metric)
    computed: dict[str, float] = {}
    if query is not None and vectors:
        rows = np.stack(list(vectors.values()))
        computed = dict(zip(vectors, map(float, distances_to(query, rows, schema.metric)), strict=True))
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
    retrieval = Retrieval._of(tuple(neighbors), query, not warnings, (*warnings, *notes))
    if warnings and on_incomplete == "raise":
        raise IncompleteRetrieval(retrieval)
    return retrieval
