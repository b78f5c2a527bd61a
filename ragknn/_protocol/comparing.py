"""Whether a new version of a search index answers as the one that serves does, or as it should."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Command, Flow, Pause
from ragknn._protocol.keys import Keys
from ragknn._protocol.query import NOWHERE, params
from ragknn._protocol.replies import SearchReply, as_text, checked, parse_complete
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import distances_to, from_bytes, to_bytes, true_distance
from ragknn.errors import RebuildFailed

SAMPLED = 32  # vectors whose neighbors are compared
NEIGHBORS = 10  # of each
EF_RUNTIME = 100  # candidates of the approximate searches
COUNT_TIMEOUT = 60_000  # milliseconds

# Counts are taken in one step, so that writers cannot come between; only what the server has queued may be missing.
ATTEMPTS = 20
POLL = 0.05  # seconds

_EXACT = "HYBRID_POLICY ADHOC_BF"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a new version compares with the one before it.

    Attributes:
        passages: in both.
        sampled: vectors whose neighbors were compared.
        exact: share of the neighbors by an exact search that are those of the version before, or as near.
        approximate: share of the exact neighbors that a search as usual finds.
    """

    passages: int
    sampled: int
    exact: float
    approximate: float


def compare(
    before: Keys, after: Keys, old: Schema, new: Schema, unchanged: Callable[[set[str]], Flow[set[str]]] | None = None
) -> Flow[Agreement]:
    """Compare two versions: how many passages they have, and the neighbors of some stored vectors.

    With another metric the neighbors are others; then the distances are compared with those of the vectors.

    Args:
        before: the version that serves.
        after: the new one.
        old: the schema of the one.
        new: the schema of the other.
        unchanged: tells which of some documents are in both versions as they are; None: all are, and the versions must
            have the same number of passages.

    Raises:
        RebuildFailed: they do not.
    """
    if unchanged is None:
        passages = yield from _counted(before, after)
    else:
        passages = (yield from index_info(after, after.searched)).passages
    exact: list[float] = []
    approximate: list[float] = []
    for vector in (yield from _sample(before, old)):
        asks = [_nearest(before, old, vector, exact=True), _nearest(after, new, vector, exact=True)]
        if new.algorithm == "hnsw":
            asks.append(_nearest(after, new, vector, exact=False))
        found = [answer.rows for answer in (yield from _at_once(asks))]
        if unchanged is not None:
            documents = {key: before.split_passage(as_text(key))[0] for key, _, _ in found[0]}
            same = yield from unchanged(set(documents.values()))
            found[0] = [row for row in found[0] if documents[row[0]] in same]
        then, now = (_distances(rows, one.metric) for rows, one in zip(found, (old, new), strict=False))
        if old.metric != new.metric:
            then = _true_distances(found[1], vector, new)
        exact.append(_shared(then, now, _margin(old, new)))
        if new.algorithm == "hnsw":
            approximate.append(_shared(now, _distances(found[2], new.metric), _margin(new, new)))
    return Agreement(passages, len(exact), _mean(exact), _mean(approximate))


def compare_with_itself(keys: Keys, schema: Schema) -> Flow[Agreement]:
    """Compare the neighbors that a version finds as usual with those that it finds by an exact search."""
    info = yield from index_info(keys, keys.searched)
    if schema.algorithm == "flat":
        return Agreement(info.passages, 0, 1.0, 1.0)
    found: list[float] = []
    for vector in (yield from _sample(keys, schema)):
        asks = [_nearest(keys, schema, vector, exact=exact) for exact in (True, False)]
        exact, usual = [_distances(answer.rows, schema.metric) for answer in (yield from _at_once(asks))]
        found.append(_shared(exact, usual, _margin(schema, schema)))
    return Agreement(info.passages, len(found), 1.0, _mean(found))


def _counted(before: Keys, after: Keys) -> Flow[int]:
    counts: list[Command] = [
        ("FT.SEARCH", keys.searched, "*", "LIMIT", "0", "0", "TIMEOUT", str(COUNT_TIMEOUT)) for keys in (before, after)
    ]
    there, came = 0, 0
    for _ in range(ATTEMPTS):
        there, came = [answer.total for answer in (yield from _at_once(counts))]
        if there == came:
            return there
        yield Pause(POLL)
    raise RebuildFailed(
        f"expected the {there} passages of index {before.name!r} in its new version, got {came}: the version before "
        "goes on serving; look at the server's log, and call rebuild again"
    )


def _at_once(searches: Sequence[Command]) -> Flow[list[SearchReply]]:
    """Return the answers to searches between which no write can come."""
    # The first error says what was wrong; EXEC itself then only says that it did nothing.
    *_, answers = map(checked, (yield [("MULTI",), *searches, ("EXEC",)]))
    return [parse_complete(answer) for answer in answers]


def _sample(keys: Keys, schema: Schema) -> Flow[list[NDArray[Any]]]:
    """Return some stored vectors, by the order of the server's table of keys, which is as good as chance."""
    vectors: list[NDArray[Any]] = []
    cursor = 0
    while len(vectors) < SAMPLED:
        cursor, found = yield from scan(keys.passage_prefix, cursor)
        blobs = map(checked, (yield [("HGET", key, "vector") for key in found[:SAMPLED]]))
        vectors += [from_bytes(blob, schema.dtype) for blob in blobs if blob is not None]
        if not cursor:
            break
    return vectors[:SAMPLED]


def _nearest(keys: Keys, schema: Schema, vector: NDArray[Any], *, exact: bool) -> Command:
    [blob] = to_bytes(vector[np.newaxis], schema.dtype)
    among, how = "*", ""
    if schema.algorithm == "hnsw":
        among, how = (f"(-{NOWHERE})", f" {_EXACT}") if exact else ("*", f" EF_RUNTIME {EF_RUNTIME}")
    query = f"{among}=>[KNN {NEIGHBORS} @vector $vector{how} AS distance]"
    return (
        *("FT.SEARCH", keys.searched, query, *params({"vector": blob}), "SORTBY", "distance"),
        *("RETURN", "2", "distance", "vector", "LIMIT", "0", str(NEIGHBORS)),
        *("TIMEOUT", str(COUNT_TIMEOUT), "DIALECT", "2"),
    )


_Rows = Sequence[tuple[bytes, Mapping[bytes, bytes] | None, float | None]]


def _distances(rows: _Rows, metric: Any) -> list[float]:
    return [true_distance(float((fields or {})[b"distance"]), metric) for _, fields, _ in rows]


def _true_distances(rows: _Rows, vector: NDArray[Any], schema: Schema) -> list[float]:
    vectors = [from_bytes((fields or {})[b"vector"], schema.dtype) for _, fields, _ in rows]
    return sorted(map(float, distances_to(vector, np.stack(vectors), schema.metric))) if vectors else []


def _margin(old: Schema, new: Schema) -> float:
    """Return how far two distances of the same vectors may be apart, for a distance of 1."""
    return 1e-4 if old.dtype == new.dtype and old.dtype in ("float32", "float64") else 0.02


def _shared(expected: Sequence[float], got: Sequence[float], margin: float) -> float:
    """Return the share of the expected distances, sorted, than which those that came are no larger."""
    pairs = zip(expected, got, strict=False)
    alike = sum(not two > one + margin * max(1.0, abs(one)) for one, two in pairs)
    return alike / len(expected) if expected else 1.0


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares) if shares else 1.0
