"""Which commands looking at a server sends, and what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragknn._protocol.flows import Flow
from ragknn._protocol.opening import check_server
from ragknn._protocol.replies import ServerInfo, as_mapping, as_text, parse_configuration


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How long the server lets a search run, and what it does then.

    Attributes:
        timeout: milliseconds; 0 for no limit.
        policy: "return" returns what was found so far, "fail" answers with an error.
    """

    timeout: int
    policy: str


@dataclass(frozen=True, slots=True)
class Examination:
    """A server as it says that it is; None for what it does not show.

    Attributes:
        server: versions of the server.
        limits: how long a search may run.
        database: number of the database that the connection is in.
        is_replica: whether it only follows another server.
        eviction: what it does when its memory is full, such as "noeviction" or "allkeys-lru".
        memory: bytes that it uses.
        memory_limit: bytes that it may use; 0 for no limit.
        appends: whether it writes each change to a file.
        saves: whether it writes all that it has to a file from time to time.
    """

    server: ServerInfo
    limits: SearchLimits | None = None
    database: int | None = None
    is_replica: bool = False
    eviction: str | None = None
    memory: int | None = None
    memory_limit: int | None = None
    appends: bool | None = None
    saves: bool | None = None


def examine_server() -> Flow[Examination]:
    """Return what the server says of itself.

    Raises:
        UnsupportedServer: it is too old, a node of a cluster, or has no search.
    """
    hello, listed, client, memory, persistence, *answers = yield [
        ("HELLO",),
        ("FT._LIST",),
        ("CLIENT", "INFO"),
        ("INFO", "memory"),
        ("INFO", "persistence"),
        ("CONFIG", "GET", "save"),
        ("CONFIG", "GET", "search-timeout", "search-on-timeout"),  # from Redis 8 on
        ("FT.CONFIG", "GET", "TIMEOUT"),
        ("FT.CONFIG", "GET", "ON_TIMEOUT"),
    ]
    server = check_server(hello, listed)
    values = {key: value for answer in answers for key, value in parse_configuration(answer).items()}
    timeout = values.get("search-timeout", values.get("timeout"))
    policy = values.get("search-on-timeout", values.get("on_timeout"))
    about_memory, about_files = _information(memory), _information(persistence)
    database = None if isinstance(client, Exception) else re.search(r"\bdb=(\d+)", as_text(client))
    return Examination(
        server,
        SearchLimits(int(timeout), policy.lower()) if timeout and policy else None,
        database=int(database[1]) if database else None,
        is_replica=as_text(as_mapping(hello).get("role", "")) in ("replica", "slave"),
        eviction=about_memory.get("maxmemory_policy"),
        memory=_number(about_memory.get("used_memory")),
        memory_limit=_number(about_memory.get("maxmemory")),
        appends={"0": False, "1": True}.get(about_files.get("aof_enabled", "")),
        saves=values["save"] != "" if "save" in values else None,
    )


def memory_of(reply: Any) -> tuple[int, int]:
    """Return the bytes that the server uses and may use, as it answers to INFO memory; 0 for no limit, or not shown."""
    told = _information(reply)
    return _number(told.get("used_memory")) or 0, _number(told.get("maxmemory")) or 0


def _information(reply: Any) -> dict[str, str]:
    """Read the answer to INFO, as lines or as redis-py's mapping; what was refused shows as nothing."""
    if isinstance(reply, Exception):
        return {}
    if isinstance(reply, Mapping):
        return {as_text(key): str(value) for key, value in reply.items()}
    return {key: value for key, colon, value in (line.partition(":") for line in as_text(reply).splitlines()) if colon}


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() else None
