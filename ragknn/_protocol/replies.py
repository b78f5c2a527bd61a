"""Parsing the server's raw replies, in RESP2 and RESP3 shape, as bytes or text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragknn.errors import CommandRefused

Row: TypeAlias = tuple[bytes, Mapping[bytes, bytes] | None, float | None]
"""One result of a search: the key of the passage; the fields that were asked for, or None where the passage vanished
while it was read; and the score, of a search for words. A plain tuple, as a search has many and most are read once.
"""


@dataclass(slots=True)  # not frozen: every search makes one, in a third of the time
class SearchReply:
    """The answer to one FT.SEARCH or FT.AGGREGATE.

    Attributes:
        total: number of results that the server counted.
        rows: those that it sent.
        warnings: what the server says against the answer being complete.
        reports_timeouts: whether this reply can carry warnings (RESP3); a RESP2 reply cannot.
    """

    total: int
    rows: Sequence[Row]
    warnings: Sequence[str]
    reports_timeouts: bool


def as_text(value: Any) -> str:
    """Return a string of the wire as str; bytes that are no UTF-8 show as replacement characters."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def as_mapping(reply: Any) -> dict[str, Any]:
    """Return a map of the wire: a dict in RESP3, a flat list of keys and values in RESP2."""
    pairs: Iterable[tuple[Any, Any]]
    pairs = reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    return {as_text(key): value for key, value in pairs}


def checked(reply: Any) -> Any:
    """Return the reply, unless it is an error.

    Raises:
        CommandRefused: with the server's words, and for the common cases what to do.
    """
    if isinstance(reply, Exception):
        words = str(reply)
        raise CommandRefused(f"the server refused a command: {words}{_advice(reply)}") from reply
    return reply


def _advice(reply: Exception) -> str:
    words = str(reply)
    # By the words, because redis-py takes the code (NOPERM, OOM, READONLY) off.
    if "no permissions" in words.lower() or "required permissions" in words:  # the latter are those of the module
        return "; give the user the commands and keys that it names, as `ragknn acl` prints them"
    if "maxmemory" in words:
        return "; raise the server's maxmemory, or delete what is not needed"
    if "read only replica" in words:
        return "; connect to the primary, not to a replica"
    if ran_out_of_time(reply):
        return "; raise the timeout, or ask with a narrower filter"
    if "db != 0" in words:
        return "; use database 0, the only one that the server can search: end the URL in /0"
    return ""


def parse_search(reply: Any, *, scored: bool = False) -> SearchReply:
    """Read the answer to FT.SEARCH, either wire shape.

    Args:
        reply: the server's reply.
        scored: whether it was asked WITHSCORES, which a RESP2 reply does not tell.

    Raises:
        CommandRefused: the reply is an error.
    """
    if isinstance(reply, Exception):
        if ran_out_of_time(reply):
            return SearchReply(0, (), (as_text(reply),), reports_timeouts=True)
        checked(reply)
    if isinstance(reply, dict):
        parts = reply if b"results" in reply else _as_bytes(reply)
        rows: list[Row] = [
            (one[b"id"], one.get(b"extra_attributes"), _score(one) if scored else None)
            for one in parts.get(b"results", ())
            if b"id" in one  # a search that ran out of time before its first result sends one without key and fields
        ]
        warnings = _told_missing(parts.get(b"warning", ()))
        return SearchReply(int(parts.get(b"total_results", len(rows))), rows, warnings, reports_timeouts=True)
    total, *rest = reply if len(reply) < 2 or isinstance(reply[1], bytes) else _as_bytes(reply)
    width = 3 if scored else 2
    keys = rest[::width]
    scores = map(float, rest[1::width]) if scored else [None] * len(keys)
    rows = [
        (key, None if values is None else dict(zip(values[::2], values[1::2], strict=True)), score)
        for key, values, score in zip(keys, rest[width - 1 :: width], scores, strict=True)
    ]
    return SearchReply(int(total), rows, (), reports_timeouts=False)


# From 8.10 on, where the server allows less time than was asked for. It says for itself if that was not enough.
_LESS_TIME = "effective timeout was capped"


def _told_missing(warnings: Iterable[Any]) -> list[str]:
    """Return those warnings of the server by which something may be missing."""
    return [words for words in map(as_text, warnings) if _LESS_TIME not in words]


def _score(result: Mapping[bytes, Any]) -> float | None:
    return None if (score := result.get(b"score")) is None else float(score)


def _as_bytes(reply: Any) -> Any:
    """Return a reply whose texts a client has decoded as it came."""
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, Mapping):
        return {_as_bytes(key): _as_bytes(value) for key, value in reply.items()}
    return [_as_bytes(part) for part in reply] if isinstance(reply, list) else reply


def parse_complete(reply: Any) -> SearchReply:
    """Read the answer to FT.SEARCH, either wire shape, of which nothing may be missing.

    Raises:
        CommandRefused: the reply is an error, or the server says that something is missing.
    """
    answer = parse_search(reply)
    _refuse_incomplete(answer.warnings)
    return answer


def _refuse_incomplete(warnings: Sequence[str]) -> None:
    if warnings:
        raise CommandRefused(
            f"expected a complete answer, got one with the server's warning: {'; '.join(warnings)}. "
            "Try again when the server has less to do, raise the timeout, or ask with a narrower filter"
        )


def ran_out_of_time(reply: Any) -> bool:
    """Tell whether the reply is the server's error for a search that took too long.

    Policy "fail" answers so each time, and "return" where the time is up before the first result.
    """
    return isinstance(reply, Exception) and "timeout limit was reached" in str(reply).lower()


def parse_aggregate(reply: Any) -> list[dict[str, str]]:
    """Read the rows of FT.AGGREGATE without a cursor, either wire shape; nothing may be missing.

    Raises:
        CommandRefused: the reply is an error, or the server says that something is missing.
    """
    checked(reply)
    if isinstance(reply, Mapping):
        parts = as_mapping(reply)
        _refuse_incomplete(_told_missing(parts.get("warning", ())))
        return [_texts(as_mapping(row)["extra_attributes"]) for row in parts.get("results", ())]
    return [_texts(row) for row in reply[1:]]


def parse_total(reply: Any) -> int:
    """Read how many results FT.AGGREGATE has looked at, either wire shape.

    Raises:
        CommandRefused: the reply is an error.
    """
    checked(reply)
    return int(as_mapping(reply)["total_results"] if isinstance(reply, Mapping) else reply[0])


def _texts(values: Any) -> dict[str, str]:
    return {key: as_text(value) for key, value in as_mapping(values).items() if value is not None}


def dotted(version: Iterable[int]) -> str:
    """Return a version as people write it, such as 8.2.3."""
    return ".".join(map(str, version))


def module_version(number: int) -> tuple[int, int, int]:
    """Return the version of a module from the number that the server shows: 21005 is 2.10.5."""
    return number // 10_000, number // 100 % 100, number % 100


@dataclass(frozen=True, slots=True)
class SearchIndexInfo:
    """What FT.INFO says of a search index.

    Attributes:
        name: the search index's own name, not its alias.
        passages: number of passages indexed.
        building: whether the server is still reading what is stored; until then searches miss some of it.
        percent_indexed: share of what is stored that can be found, 0 to 1.
        failures: passages that the server could not index.
        last_failure: the server's words on the last of them, and its key.
        memory_bytes: what the index takes, without the hashes.
        attributes: for each field, by the name that queries call it, its type and the separator of its tags.
        last_number: number of the last change to a passage, each of which the server gives a new one.
        milliseconds: that it has taken to index all that was ever written.
    """

    name: str
    passages: int
    building: bool
    percent_indexed: float
    failures: int
    last_failure: tuple[str, str]
    memory_bytes: int
    attributes: Mapping[str, tuple[str, str]]
    last_number: int = 0
    milliseconds: float = 0.0


def parse_info(reply: Any) -> SearchIndexInfo:
    """Read the answer to FT.INFO, either wire shape.

    Raises:
        CommandRefused: the reply is an error.
    """
    parts = as_mapping(checked(reply))
    errors = as_mapping(parts.get("Index Errors", {}))
    building = _number(parts.get("indexing", 0)) > 0
    # From search 8 on: an index for which there was too little memory stays without what had no room.
    is_part = as_text(errors.get("background indexing status", "OK")) != "OK"
    # After a restart the server answers numbers far above 1 while it builds.
    share = _number(parts.get("percent_indexed", 1))
    total, vectors = (_number(parts.get(f"{size}_sz_mb", 0)) for size in ("total_index_memory", "vector_index"))
    return SearchIndexInfo(
        name=as_text(parts["index_name"]),
        passages=int(_number(parts["num_docs"])),
        last_number=int(_number(parts.get("max_doc_id", 0))),
        milliseconds=_number(parts.get("total_indexing_time", 0)),
        building=building,
        percent_indexed=min(share, 0.99) if building or is_part else 1.0,
        failures=int(_number(parts.get("hash_indexing_failures", 0))),
        last_failure=(
            as_text(errors.get("last indexing error", "")),
            as_text(errors.get("last indexing error key", "")),
        ),
        # Older modules leave the vectors out of the total.
        memory_bytes=round((total if total >= vectors else total + vectors) * 2**20),
        attributes=dict(map(_attribute, parts.get("attributes", ()))),
    )


def _attribute(description: Any) -> tuple[str, tuple[str, str]]:
    if not isinstance(description, Mapping):  # RESP2: names and values, with flags such as CASESENSITIVE behind them
        description = dict(zip(description[::2], description[1::2], strict=False))
    values = {as_text(key): as_text(value) for key, value in description.items()}
    return values["attribute"], (values["type"].lower(), values.get("SEPARATOR", ""))


def parse_configuration(reply: Any) -> dict[str, str]:
    """Read the answer to CONFIG GET or FT.CONFIG GET, either wire shape; what was refused shows as nothing."""
    if isinstance(reply, Exception):
        return {}
    if isinstance(reply, list) and reply and isinstance(reply[0], list):  # FT.CONFIG in RESP2: a list of pairs
        reply = [part for pair in reply for part in pair]
    return {key.lower(): as_text(value) for key, value in as_mapping(reply).items()}


def _number(value: Any) -> float:
    return float(as_text(value))


_UNKNOWN = ("no such index", "unknown index name", "index not found", "index was dropped while the cursor was idle")


def is_unknown_index(reply: Any) -> bool:
    """Tell whether the reply is the server's error for a search index that does not exist, or not any more."""
    words = str(reply).lower() if isinstance(reply, Exception) else ""
    return any(said in words for said in _UNKNOWN)


def fits_no_query(reply: Any) -> bool:
    """Tell whether the reply is the server's error for a query vector of another size than its search index has."""
    return isinstance(reply, Exception) and "query vector blob size" in str(reply).lower()


def already_exists(reply: Any) -> bool:
    """Tell whether the reply is the server's error for an index or alias that exists."""
    return isinstance(reply, Exception) and "already exists" in str(reply).lower()
