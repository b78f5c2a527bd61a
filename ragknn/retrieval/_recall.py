"""A wanted recall: the share of the true neighbors that searches of the live index find, measured and kept.

The queries are 50 to 200 vectors of the index, each moved towards another one, since questions are not where passages
are. The true neighbors come from exact searches. It takes as long as 10 million distances, or 50 exact searches where
that is more: a second with 20,000 passages of 384 values, 3 with 100,000. This is once for each k, until the index has
become another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ragknn._protocol.counting import count_passages
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Flow, Pause
from ragknn._protocol.measured import Measured, asking_for_measured, keep_measured, read_measured
from ragknn._protocol.place import Place
from ragknn._protocol.query import WITH_VECTOR
from ragknn._protocol.replies import SearchIndexInfo, checked, parse_info
from ragknn._protocol.vectors import find_faults, from_bytes, to_bytes
from ragknn.errors import IncompleteRetrieval
from ragknn.records import Retrieval
from ragknn.retrieval._commands import IDS, Ask, Knn
from ragknn.retrieval._effort import is_exact_quicker
from ragknn.retrieval._plan import Plan
from ragknn.retrieval._sending import search

DISTANCES = 10_000_000  # computed for the true neighbors, about
FEWEST_QUERIES, MOST_QUERIES = 50, 200
DISTANCES_PER_ROUND = 2_000_000  # computed in one round trip: half a second

SMALLEST_EF, NEXT_EF = 10, 1.5  # the first ef_runtime that is tried, and the factor from one to the next

# Share of another stored vector in each query. With ef_runtime 35 and k 10 these found .985 of their neighbors in SQuAD
# and Cranfield, and the questions there .990 and .987; unmoved vectors, which find themselves in the graph, .9995.
MOVED = 0.375

# A passage as near as the last true neighbor counts as found; distances are float32.
TIE = 1e-6

WAITING = 0.01  # seconds, between two looks whether another thread or task has measured


def with_recall(place: Place, plan: Plan) -> Flow[Plan]:
    """Return the plan with the ef_runtime that its recall takes, or as an exact one where that is quicker.

    Raises:
        IncompleteRetrieval: the server ran out of time while the true neighbors were looked for.
    """
    if plan.recall is None or place.schema.algorithm != "hnsw" or plan.mode == "text":
        return plan
    if plan.recall == 1:
        return replace(plan, exact=True)
    try:
        measured = yield from _measured(place, plan.breadth, plan.recall)
    except IncompleteRetrieval:
        if place.on_incomplete == "raise":
            raise
        return plan
    if measured is None:
        return plan
    ef_runtime = measured.ef_runtime(plan.recall)
    return replace(plan, exact=True) if ef_runtime is None else replace(plan, ef_runtime=ef_runtime)


def _measured(place: Place, k: int, recall: float) -> Flow[Measured | None]:
    """Return what is known for k, measured where it must be; None while the server is still building the index."""
    watch = place.watch
    while k in watch.measuring:  # once, however many threads or tasks begin with it
        yield Pause(WAITING)
    known = watch.measured.get(k)
    if known is not None and watch.info is not None and _will_do(known, watch.info, recall):
        return known
    watch.measuring.add(k)
    try:
        described, kept = yield [("FT.INFO", place.keys.searched), asking_for_measured(place.keys, k)]
        info = parse_info(described)
        watch.take(info)
        if info.percent_indexed < 1:
            return None
        known = read_measured(k, kept)
        if known is None or not _will_do(known, info, recall):
            known = yield from measure_recall(place, info, k, recall)
            yield from keep_measured(place.keys, known)
        watch.measured[k] = known
        return known
    finally:
        watch.measuring.discard(k)


def _will_do(known: Measured, info: SearchIndexInfo, recall: float) -> bool:
    tried = known.points[-1][0] if known.points else 0
    all_tried = is_exact_quicker(known.passages, _next_ef(known.k, tried))
    return known.holds_for(info) and (all_tried or known.ef_runtime(recall) is not None)


def _next_ef(k: int, tried: int) -> int:
    return math.ceil(NEXT_EF * tried) if tried else max(SMALLEST_EF, k)


def measure_recall(place: Place, info: SearchIndexInfo, k: int, recall: float) -> Flow[Measured]:
    """Measure the recall of searches for k, with a growing ef_runtime until it is as large as wanted.

    It ends where an exact search would be quicker, which is at once for a small index.
    """
    points: list[tuple[int, float, float]] = []
    blobs: list[bytes] = []
    ef_runtime = _next_ef(k, 0)
    if not is_exact_quicker(info.passages, ef_runtime):
        blobs = yield from _new_vectors(place, min(MOST_QUERIES, max(FEWEST_QUERIES, DISTANCES // info.passages)))
    if blobs:
        count = min(k, (yield from count_passages(place, WITH_VECTOR)))
        furthest = yield from furthest_neighbors(place, blobs, count)
        while not is_exact_quicker(info.passages, ef_runtime):
            found = yield from search(place, [Knn(blob) for blob in blobs], Ask(count, ef_runtime, IDS))
            distances = [[neighbor.distance for neighbor in one.neighbors] for one in found]
            shares = np.array([found_within(*pair) for pair in zip(distances, furthest, strict=True)]) / count
            error = float(shares.std()) / math.sqrt(len(shares))
            points.append((ef_runtime, float(shares.mean()), error))
            if points[-1][1] - error >= recall:
                break
            ef_runtime = _next_ef(k, ef_runtime)
    return Measured(k, info.passages, info.last_number, len(blobs), tuple(points))


def _new_vectors(place: Place, most: int) -> Flow[list[bytes]]:
    """Return vectors between those of the index, as the bytes that the server stores."""
    blobs = yield from _some_vectors(place, most)
    if not blobs:
        return []
    schema = place.schema
    vectors = np.stack([from_bytes(blob, schema.dtype) for blob in blobs]).astype(np.float64)
    moved = (1 - MOVED) * vectors + MOVED * np.roll(vectors, 1, axis=0)
    return to_bytes(np.delete(moved, list(find_faults(moved, schema.metric, schema.dtype)), axis=0), schema.dtype)


def _some_vectors(place: Place, most: int) -> Flow[list[bytes]]:
    """Return some stored vectors as their bytes, by chance: in the order in which the server scatters its keys."""
    vectors: list[bytes] = []
    cursor = 0
    while True:
        cursor, keys = yield from scan(place.keys.passage_prefix, cursor)
        if keys:
            replies = yield [("HGET", key, "vector") for key in keys[:most]]
            vectors += [vector for reply in replies if (vector := checked(reply)) is not None]
        if len(vectors) >= most or not cursor:
            return vectors[:most]


def furthest_neighbors(place: Place, blobs: Sequence[bytes], count: int) -> Flow[list[float]]:
    """Return the distance of the `count`-th true neighbor of each vector, given as the bytes that the server stores.

    Raises:
        IncompleteRetrieval: the server stopped early.
    """
    furthest: list[float] = []
    size = max(1, DISTANCES_PER_ROUND // max(place.watch.passages or 1, 1))
    for start in range(0, len(blobs), size):
        searches = [Knn(blob) for blob in blobs[start : start + size]]
        for found in (yield from search(place, searches, Ask(count, returned=IDS, exact=True))):
            if found.warnings or len(found.neighbors) < count:
                reasons = [*found.warnings, f"{len(found.neighbors)} of {count} true neighbors were found"]
                raise IncompleteRetrieval(Retrieval((), complete=False, warnings=reasons))
            furthest.append(found.neighbors[-1].distance)
    return furthest


def found_within(distances: Sequence[float], furthest: float) -> int:
    """Return how many of the neighbors found are as near as the furthest true one: equally near ones are equally good.

    As in M. Aumüller, E. Bernhardsson, A. Faithfull: ANN-Benchmarks. Information Systems 87, 2020.
    """
    limit = furthest + TIE * max(1.0, abs(furthest))
    return sum(distance <= limit for distance in distances)
