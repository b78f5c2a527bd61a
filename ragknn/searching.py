"""Which searches are sent, and how the replies become neighbors."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn.commands import count_passages
from ragknn.errors import IncompleteRetrieval
from ragknn.flows import Command, Flow
from ragknn.records import Neighbor, Passage, Retrieval
from ragknn.replies import Row, SearchIndexInfo, SearchReply, parse_info, parse_search
from ragknn.schema import Keys, Schema, decode_tag
from ragknn.vectors import to_bytes, true_distance

OnIncomplete: TypeAlias = Literal["raise", "return"]

# Searches sent in one round trip. More would only fill buffers: 1,000 queries of 384 float32 are 1.5 MB.
QUERIES_PER_ROUND = 1_000

# How far an HNSW search looks when the caller does not say. The server's own 10 loses every sixth neighbor at
# 100,000 vectors; 100 loses none there, for 0.4 ms more. It must not be smaller than k.
SMALLEST_EF_RUNTIME = 100
EF_RUNTIME_PER_K = 2

# Seconds after which a search asks again whether the index is complete. A server that restarts under a connected
# client answers from a half-built index; asking costs a tenth of a small search, so not every one does.
WATCH_INTERVAL = 1.0

# How much more than the radius, relative and absolute, is asked for; what lies beyond it is left out afterwards.
RADIUS_MARGIN = 1e-5
LARGEST_RADIUS = 1e300  # stands for infinity

# What a search brings back of a passage: all of it; what a vote needs; or nothing but which it is. The ids stand
# in the key.
WHOLE = ("text", "start", "end", "label", "metadata", "digest")
LABELS = ("label", "digest")
IDS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """How a search is to be made.

    Attributes:
        k: neighbors a query; fewer come where the index holds fewer passages.
        ef_runtime: candidates that an HNSW search keeps; None chooses a number that fits k.
        timeout: seconds that one search may take on the server.
        on_incomplete: "raise", or "return" what came.
        returned: `WHOLE`, `LABELS` or `IDS`; what is not brought back stays empty.
        labelled_only: whether to look among the passages with a label only.
    """

    k: int
    ef_runtime: int | None
    timeout: float
    on_incomplete: OnIncomplete
    returned: tuple[str, ...] = WHOLE
    labelled_only: bool = False


class BuildWatch:
    """Remembers whether the server is still building the index, and when that was last looked at."""

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self.percent_indexed = 1.0

    @property
    def is_due(self) -> bool:
        """Whether the next search is to ask again."""
        return self.percent_indexed < 1 or time.monotonic() - self._asked_at > WATCH_INTERVAL

    def take(self, info: SearchIndexInfo) -> None:
        """Remember what the server said."""
        self._asked_at = time.monotonic()
        self.percent_indexed = info.percent_indexed


def nearest(
    keys: Keys,
    schema: Schema,
    vectors: NDArray[np.floating[Any]],
    ask: Ask,
    watch: BuildWatch,
    queries: Sequence[str] | None = None,
) -> Flow[list[Retrieval]]:
    """Return the k nearest passages of each row of `vectors`, nearest first.

    Args:
        keys: of the index.
        schema: of the index.
        vectors: shape (n, dim), checked already.
        ask: how to search.
        watch: of the index.
        queries: the n texts behind the vectors, if there are any.

    Raises:
        IncompleteRetrieval: a search was cut short, and `ask` says to raise.
    """
    blobs = to_bytes(vectors, schema.dtype)
    texts: Sequence[str | None] = [None] * len(blobs) if queries is None else queries
    retrievals: list[Retrieval] = []
    for start in range(0, len(blobs), QUERIES_PER_ROUND):
        end = start + QUERIES_PER_ROUND
        commands = [_knn_command(keys, schema, blob, ask) for blob in blobs[start:end]]
        if watch.is_due:
            info, *replies = yield [("FT.INFO", keys.alias), *commands]
            watch.take(parse_info(info))
        else:
            replies = yield commands
        answers = [parse_search(reply) for reply in replies]
        stored = yield from _passages_where_untold(keys, answers, ask)
        for query, answer in zip(texts[start:end], answers, strict=True):
            retrieval = _retrieval(keys, schema, query, answer, min(ask.k, stored), watch.percent_indexed)
            if not retrieval.complete and ask.on_incomplete == "raise":
                raise IncompleteRetrieval(retrieval)
            retrievals.append(retrieval)
    return retrievals


def within(
    keys: Keys, schema: Schema, vectors: NDArray[np.floating[Any]], radius: float, ask: Ask, watch: BuildWatch
) -> Flow[list[Retrieval]]:
    """Return all passages within the radius of each row of `vectors`, nearest first.

    The passages are asked for in portions of `ask.k`: a query that has more is asked a second time, for all of them.
    In RESP2 the server cannot say that it ran out of time, and how many there are is not known beforehand, so that
    only a RESP3 connection notices an incomplete answer.

    Args:
        keys: of the index.
        schema: of the index.
        vectors: shape (n, dim), checked already.
        radius: largest distance, inclusive, as `true_distance` has it.
        ask: how to search; `ef_runtime` does not matter.
        watch: of the index.

    Raises:
        IncompleteRetrieval: a search was cut short, and `ask` says to raise.
    """
    blobs = to_bytes(vectors, schema.dtype)
    retrievals: list[Retrieval] = []
    for start in range(0, len(blobs), QUERIES_PER_ROUND):
        asked = blobs[start : start + QUERIES_PER_ROUND]
        commands = [_range_command(keys, schema, blob, radius, ask, ask.k) for blob in asked]
        info, *replies = yield [("FT.INFO", keys.alias), *commands]
        watch.take(parse_info(info))
        answers = [parse_search(reply) for reply in replies]
        more = [row for row, answer in enumerate(answers) if answer.total > len(answer.rows) >= ask.k]
        if more:
            replies = yield [_range_command(keys, schema, asked[row], radius, ask, answers[row].total) for row in more]
            for row, reply in zip(more, replies, strict=True):
                answers[row] = parse_search(reply)
        for answer in answers:
            retrieval = _retrieval(keys, schema, None, answer, answer.total, watch.percent_indexed)
            missing = answer.total - len(answer.rows)
            if missing and retrieval.complete:
                reason = f"the server kept back {missing} of {answer.total} passages; see its MAXSEARCHRESULTS"
                retrieval = Retrieval(retrieval.neighbors, complete=False, warnings=[reason])
            near = [neighbor for neighbor in retrieval if neighbor.distance <= radius]
            retrieval = Retrieval(near, complete=retrieval.complete, warnings=retrieval.warnings)
            if not retrieval.complete and ask.on_incomplete == "raise":
                raise IncompleteRetrieval(retrieval)
            retrievals.append(retrieval)
    return retrievals


def _range_command(keys: Keys, schema: Schema, blob: bytes, radius: float, ask: Ask, limit: int) -> Command:
    among = "(-ismissing(@label)) " if ask.labelled_only else ""
    # The server compares what it computes in the dtype of the index, where L2 is squared: ask for a little more.
    reach = (radius * radius if schema.metric == "l2" else radius) * (1 + RADIUS_MARGIN) + RADIUS_MARGIN
    returned: Command = (*ask.returned, "distance")
    return (
        *("FT.SEARCH", keys.alias, f"{among}@vector:[VECTOR_RANGE $radius $vector]=>{{$YIELD_DISTANCE_AS: distance}}"),
        *("PARAMS", 4, "radius", min(reach, LARGEST_RADIUS), "vector", blob),
        "RETURN",
        len(returned),
        *returned,
        *("SORTBY", "distance", "LIMIT", 0, limit, "TIMEOUT", max(1, round(ask.timeout * 1000)), "DIALECT", 2),
    )


def _knn_command(keys: Keys, schema: Schema, blob: bytes, ask: Ask) -> Command:
    among = "(-ismissing(@label))" if ask.labelled_only else "*"
    effort = ""
    if schema.algorithm == "hnsw":
        effort = f" EF_RUNTIME {ask.ef_runtime or max(SMALLEST_EF_RUNTIME, EF_RUNTIME_PER_K * ask.k)}"
    returned: Command = (*ask.returned, "distance")
    return (
        *("FT.SEARCH", keys.alias, f"{among}=>[KNN $k @vector $vector{effort} AS distance]"),
        *("PARAMS", 4, "k", ask.k, "vector", blob),
        "RETURN",
        len(returned),
        *returned,
        *("SORTBY", "distance", "LIMIT", 0, ask.k, "TIMEOUT", max(1, round(ask.timeout * 1000)), "DIALECT", 2),
    )


def _passages_where_untold(keys: Keys, answers: Sequence[SearchReply], ask: Ask) -> Flow[int]:
    # A RESP2 reply cannot say that the time ran out, so a short one is compared with what there is.
    if any(not answer.tells and len(answer.rows) < ask.k for answer in answers):
        return (yield from count_passages(keys, ask.labelled_only))
    return 0


def _retrieval(
    keys: Keys, schema: Schema, query: str | None, answer: SearchReply, expected: int, share: float
) -> Retrieval:
    neighbors = [_neighbor(keys, schema, row) for row in answer.rows if row.fields and "distance" in row.fields]
    warnings = list(answer.warnings)
    if share < 1:
        warnings.append(f"the server is still building the index, {share:.0%} of it can be found")
    if vanished := len(answer.rows) - len(neighbors):
        warnings.append(f"{vanished} passages were removed while they were read")
    if not answer.tells and len(answer.rows) < expected:
        warnings.append(f"{len(answer.rows)} of {expected} neighbors came; the server may have run out of time")
    return Retrieval(neighbors, query=query, complete=not warnings, warnings=warnings)


def _neighbor(keys: Keys, schema: Schema, row: Row) -> Neighbor:
    fields = row.fields or {}
    passage_id = keys.passage_id(row.key)
    passage = Passage(
        id=passage_id,
        document_id=passage_id.rpartition("#")[0],
        text=fields.get("text", ""),
        start=int(fields.get("start", 0)),
        end=int(fields.get("end", 0)),
        label=decode_tag(fields["label"]) if "label" in fields else None,
        metadata=json.loads(fields.get("metadata", "{}")),
        digest=fields.get("digest", ""),
    )
    return Neighbor(passage, true_distance(float(fields["distance"]), schema.metric))
