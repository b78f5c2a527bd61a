"""Reading the replies to searches: rows become neighbors, with reasons why some may be missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeAlias, overload

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
from ragknn.retrieval._commands import TO_CHOOSE_FROM, Ask, Knn, Range, Search, Words


@dataclass(slots=True)  # not frozen: every search makes one, in a third of the time
class Found:
    """What a search found.

    Attributes:
        neighbors: the best first.
        vectors: the stored vectors by passage id, shape (dim,) each, where they were asked for and are there.
        warnings: reasons why the answer may be incomplete.
        is_all: whether nothing more can be found.
        untold: where fewer came than were asked for, and the reply cannot tell whether there are more: how many came.
        keys, distances, scores: of each neighbor the key of its passage and these figures, where they are at hand; else
            empty.
    """

    neighbors: Sequence[Neighbor]
    vectors: Mapping[str, NDArray[Any]]
    warnings: tuple[str, ...]
    is_all: bool
    untold: int | None = None
    keys: Sequence[bytes] = ()
    distances: Sequence[float] = ()
    scores: Sequence[float] = ()

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """Return the passages of some of the neighbors, by their places."""
        if isinstance(self.neighbors, Candidates):
            return self.neighbors.passages(rows)
        return [self.neighbors[row].passage for row in rows]


class Candidates(Sequence[Neighbor]):
    """Neighbors of which few will be chosen: passages are made of those that are asked for, all where one is looked at.

    Args:
        place: where they were found.
        stored: what was brought back of each passage.
        distances: that of each.
        scores: that of each, or None for each.
    """

    __slots__ = ("_distances", "_made", "_place", "_scores", "_stored")

    def __init__(
        self, place: Place, stored: Sequence[Stored], distances: Sequence[float], scores: Iterable[float | None]
    ) -> None:
        self._place, self._stored, self._distances, self._scores = place, stored, distances, scores
        self._made: tuple[Neighbor, ...] | None = None

    def passages(self, rows: Sequence[int]) -> list[Passage]:
        """Return some of the passages, by their places."""
        return found_passages(self._place.keys, [self._stored[row] for row in rows])

    @property
    def _all(self) -> tuple[Neighbor, ...]:
        if self._made is None:
            passages = found_passages(self._place.keys, self._stored)
            self._made = _made(self._place, passages, self._distances, self._scores)
        return self._made

    @overload
    def __getitem__(self, index: int) -> Neighbor: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Neighbor, ...]: ...
    def __getitem__(self, index: int | slice) -> Neighbor | tuple[Neighbor, ...]:
        return self._all[index]

    def __iter__(self) -> Iterator[Neighbor]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._stored)


def _made(
    place: Place, passages: Sequence[Passage], distances: Iterable[float], scores: Iterable[float | None]
) -> tuple[Neighbor, ...]:
    metric = place.schema.metric
    return tuple(Neighbor._many(passages, distances, scores, repeat(None), repeat(None), metric))


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
    stored, keys, told = [], [], []
    for key, fields, _ in answer.rows:
        if fields is not None and b"distance" in fields:
            stored.append((key, fields))
            keys.append(key)
            told.append(fields[b"distance"])
    came, distances = len(answer.rows), true_distances(told, place.schema.metric)
    doubts, is_all = _doubts(place, answer, len(stored)), came < ask.k
    untold = came if is_all and not answer.reports_timeouts else None
    if ask.returned in TO_CHOOSE_FROM:
        candidates = Candidates(place, stored, distances, repeat(None))
        return Found(candidates, {}, doubts, is_all, untold, keys, distances)
    passages = found_passages(place.keys, stored)
    vectors = stored_vectors(place.schema, passages, stored) if "vector" in ask.returned else {}
    neighbors = _made(place, passages, distances, repeat(None))
    return Found(neighbors, vectors, doubts, is_all, untold, keys, distances)


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
    neighbors = _made(place, passages, _distances(place.schema, query, passages, stored, vectors), repeat(None))
    near = [neighbor for neighbor in neighbors if neighbor.distance <= one.radius]
    near.sort(key=lambda neighbor: neighbor.distance)
    return Found(tuple(near), vectors, warnings, is_all=True)


def _worded(place: Place, one: Words, answer: SearchReply, ask: Ask) -> Found:
    there = [(key, fields, score) for key, fields, score in answer.rows if fields]
    warnings = _doubts(place, answer, len(there))
    there = [row for row in there if row[2] is not None and row[2] > SMALLEST_SCORE]
    stored, is_all = [(key, fields) for key, fields, _ in there], len(there) < ask.k
    keys, scores = [key for key, _ in stored], [score or 0.0 for _, _, score in there]
    if ask.returned in TO_CHOOSE_FROM and one.vector is None:
        distances = [math.nan] * len(stored)
        candidates = Candidates(place, stored, distances, scores)
        return Found(candidates, {}, warnings, is_all, None, keys, distances, scores)
    passages = found_passages(place.keys, stored)
    vectors = stored_vectors(place.schema, passages, stored)
    distances = _distances(place.schema, one.vector, passages, stored, vectors)
    neighbors = _made(place, passages, distances, scores)
    return Found(neighbors, vectors, warnings, is_all, None, keys, distances, scores)


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
