"""Many searches at once, made in memory: in all vectors of an exact index, which are pulled out of the server once.

The server looks at every vector anew for each search. Products of many queries with many vectors take a tenth of that
time; to pull the vectors takes as long as some hundred searches, and they are kept while the index does not change.
`seconds_on_server` and `seconds_in_memory` say when which is quicker.

The neighbors are those that the server finds. Distances are computed in float64 from the vectors as they are stored,
where the server rounds each step to the dtype of the index; of equally near passages the one that was written first
comes first. What is read of the passages is read afterwards, each once for all searches, and only counts if the index
is still as it was: else the server is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.search import nearest
from ragknn._protocol.counting import count_passages
from ragknn._protocol.finding import KEYS_PER_ROUND, matching_passages
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.kept import Pulled, bytes_of
from ragknn._protocol.layout import found_passages
from ragknn._protocol.place import Place
from ragknn._protocol.pulling import pull
from ragknn._protocol.query import EVERYTHING, WITH_VECTOR, Fragment, intersection
from ragknn._protocol.vectors import from_bytes, rows_from_bytes
from ragknn._protocol.version import read_version
from ragknn.errors import CommandRefused
from ragknn.records import Neighbor, Passage
from ragknn.retrieval._answers import Found
from ragknn.retrieval._commands import Ask, Knn, Search

# Fewer searches are never quicker in memory, so that the version of the index need not be asked for.
FEWEST = 8
# How much quicker memory must promise to be, as the times are estimates.
ADVANTAGE = 1.5

# Seconds, measured with float32 vectors of 384 on two cores: for each search, for each value that it looks at, for each
# passage that is pulled, and for each of its values.
ON_SERVER, ON_SERVER_PER_VALUE = 1.5e-4, 2e-10
IN_MEMORY, IN_MEMORY_PER_VALUE = 4e-5, 1.6e-11
PULL_PER_PASSAGE, PULL_PER_VALUE = 3e-6, 8e-9
# For each passage that a filter finds, its key and the copy of its vector.
FILTER_PER_PASSAGE, FILTER_PER_VALUE = 4e-6, 1e-9
# Each value must come from memory once, however few searches there are.
ONCE_PER_VALUE = 3e-10
# Round trips for the version of the index and for what is read of the passages.
BEGINNING = 2e-3


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The nearest passages of each query.

    Attributes:
        pulled: where they were found.
        distances: shape (n_queries, k), float64, nearest first.
        rows: their numbers in what was pulled, the same shape.
    """

    pulled: Pulled
    distances: NDArray[np.float64]
    rows: NDArray[np.intp]


def seconds_on_server(searches: int, passages: int, dim: int) -> float:
    """Return how long the server takes for the searches, about."""
    return searches * (ON_SERVER + passages * dim * ON_SERVER_PER_VALUE)


def seconds_in_memory(searches: int, passages: int, dim: int, *, pulled: int, filtered: bool) -> float:
    """Return how long the searches take in memory, about.

    Args:
        searches: how many.
        passages: among how many.
        dim: values of a vector.
        pulled: passages that must be pulled first.
        filtered: whether a filter says which passages count.
    """
    values = passages * dim
    found = searches * (IN_MEMORY + values * IN_MEMORY_PER_VALUE) + values * ONCE_PER_VALUE
    narrowed = passages * FILTER_PER_PASSAGE + values * FILTER_PER_VALUE if filtered else 0.0
    return BEGINNING + found + narrowed + pulled * (PULL_PER_PASSAGE + dim * PULL_PER_VALUE)


def search_in_memory(place: Place, searches: Sequence[Search], ask: Ask) -> Flow[list[Found] | None]:
    """Return what the searches find; None where the server is to be asked."""
    if place.bulk == "never" or place.schema.algorithm != "flat":
        return None
    vectors = [one.vector for one in searches if isinstance(one, Knn)]
    if not searches or len(vectors) < len(searches):
        return None
    queries = rows_from_bytes(vectors, place.schema.dtype, place.schema.dim)
    those = None if queries is None else (yield from find_in_memory(place, queries, ask.k, ask.among))
    return None if those is None else (yield from _with_passages(place, those, ask))


def find_in_memory(
    place: Place, queries: NDArray[Any], k: int, among: Fragment = EVERYTHING, known: Sequence[bytes] = ()
) -> Flow[Nearest | None]:
    """Return the k nearest passages of each query, shape (n_queries, dim); None where the server is to be asked.

    There are fewer than k where no more have a vector. `known` is explained at `pull`.
    """
    schema, kept = place.schema, place.kept.pulled
    if place.bulk == "never" or schema.algorithm != "flat" or not place.most_bytes:
        return None
    if len(queries) < FEWEST and place.bulk == "auto":
        return None
    version = yield from read_version(place.keys)
    if kept is not None and kept.version != version:
        place.kept.drop()
        kept = None
    if version.building or bytes_of(schema, version.passages) > place.most_bytes:
        return None
    filtered = among != EVERYTHING
    if place.bulk == "auto":
        to_search = version.passages
        if filtered:
            to_search = yield from count_passages(place, intersection(among, WITH_VECTOR))
        to_pull = version.passages if kept is None else 0
        here = seconds_in_memory(len(queries), to_search, schema.dim, pulled=to_pull, filtered=filtered)
        if here * ADVANTAGE > seconds_on_server(len(queries), to_search, schema.dim):
            return None
    pulled = kept or (yield from pull(place, version, known))
    if pulled is None or pulled.matrix is None:
        return None
    matrix, rows = pulled.matrix, None
    if filtered:
        try:
            names = yield from matching_passages(place, among)
        except CommandRefused:  # a search may be allowed, or be quick enough, where this is not
            return None
        if (yield from read_version(place.keys)) != pulled.version:
            return None
        rows = pulled.rows_of(names)
        matrix = matrix.only(rows)
    if not len(matrix):
        return Nearest(pulled, np.empty((len(queries), 0)), np.empty((len(queries), 0), dtype=np.intp))
    found = yield Work(lambda: nearest(matrix, queries, min(k, len(matrix))))
    if found is None:
        return None
    distances, near = found
    return Nearest(pulled, distances, near if rows is None else rows[near])


def _with_passages(place: Place, those: Nearest, ask: Ask) -> Flow[list[Found] | None]:
    """Return them as neighbors; None where the index has changed since they were found."""
    rows = np.unique(those.rows)
    keys = [those.pulled.keys[row] for row in rows]
    fields = [name.encode() for name in ask.returned]
    replies: list[Any] = [()] * len(keys)
    if ask.returned:
        replies = []
        for start in range(0, len(keys), KEYS_PER_ROUND):
            part = keys[start : start + KEYS_PER_ROUND]
            replies += yield [("HMGET", key, *ask.returned) for key in part]
        if any(isinstance(reply, Exception) for reply in replies):  # a user who may search may not read
            return None
        if (yield from read_version(place.keys)) != those.pulled.version:
            return None
    passages: dict[int, Passage] = {}
    vectors: dict[int, NDArray[Any]] = {}
    for row, key, reply in zip(rows.tolist(), keys, replies, strict=True):
        values = {name: value for name, value in zip(fields, reply, strict=True) if value is not None}
        if ask.returned and not values:  # gone, and the version does not tell: renamed, or about to expire
            place.kept.drop()
            return None
        if (blob := values.get(b"vector")) is not None:
            vectors[row] = from_bytes(blob, place.schema.dtype)
        [passages[row]] = found_passages(place.keys, [(key, values)])
    metric = place.schema.metric
    found = []
    for distances, near in zip(those.distances.tolist(), those.rows.tolist(), strict=True):
        neighbors = [
            Neighbor(passages[row], distance, None, metric=metric)
            for distance, row in zip(distances, near, strict=True)
        ]
        own = {passages[row].id: vectors[row] for row in near if row in vectors}
        own_keys = [those.pulled.keys[row] for row in near]
        found.append(Found(neighbors, own, (), len(near) < ask.k, None, own_keys, distances))
    return found
