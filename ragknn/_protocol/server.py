"""What a server says of itself, read in one place: every decision that depends on the server is made by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ragknn._protocol.flows import Flow
from ragknn._protocol.replies import as_mapping, as_text, checked, dotted, module_version, parse_configuration
from ragknn.errors import CommandRefused, UnsupportedServer

# RESP3 and 16-bit vectors need these. Redis 8 carries search 8, Redis Stack 7.4 carries 2.10.
OLDEST_REDIS = (7, 2)
OLDEST_SEARCH = (2, 10)
FIRST_WITH_SEARCH = (8,)  # which brings the module, though not every build loads it

# What newer modules have, by the version that brought it. None of it was run with ragknn, and so none of it is used.
NOT_USED = {"vectors of INT8": (8, 0), "SVS-VAMANA": (8, 2), "FT.HYBRID": (8, 4)}

_REPLICA = ("replica", "slave")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server as it says that it is.

    All up to `primaries` is known of each open index, at no price. The rest takes more commands, which users with few
    rights may not send, and on which nothing but advice depends: `ragknn doctor` asks for it. None there: it was not
    asked, or the server does not show it to this user.

    Attributes:
        version: of Redis, e.g. (8, 2, 3).
        search: version of the search module, e.g. (2, 10, 5); None where there is none.
        protocol: RESP version of the connection.
        mode: "standalone", "cluster" or "sentinel".
        is_replica: whether it only follows another server.
        coordinator: whether a search that reaches one node of a cluster finds what all of them have; None where there
            is no cluster, or the server does not tell.
        primaries: how many nodes of a cluster commands reach; 0 where they reach one server alone.
        timeout: milliseconds that a search may run where it does not say itself; 0 for no limit.
        policy: what comes of a search that ran out of time: "return" or "return-strict", what was found so far; "fail",
            an error.
        workers: threads that search beside the server's own; 0 where it searches by itself, one search after another.
        database: number of the database that the connection is in.
        primary: host and port of the server that a replica follows.
        is_linked: whether a replica is in touch with it.
        eviction: what the server does when its memory is full, such as "noeviction" or "allkeys-lru".
        memory: bytes that it uses.
        memory_limit: bytes that it may use; 0 for no limit.
        appends: whether it writes each change to a file.
        saves: whether it writes all that it has to a file from time to time.
    """

    version: tuple[int, ...]
    search: tuple[int, ...] | None
    protocol: int
    mode: str = "standalone"
    is_replica: bool = False
    coordinator: bool | None = None
    primaries: int = 0
    timeout: int | None = None
    policy: str | None = None
    workers: int | None = None
    database: int | None = None
    primary: str | None = None
    is_linked: bool | None = None
    eviction: str | None = None
    memory: int | None = None
    memory_limit: int | None = None
    appends: bool | None = None
    saves: bool | None = None

    @property
    def cluster(self) -> bool:
        """Whether it is a node of a Redis Cluster."""
        return self.mode == "cluster"

    @property
    def not_used(self) -> tuple[str, ...]:
        """What its search module has that ragknn does not use."""
        return tuple(name for name, since in NOT_USED.items() if self.search is not None and self.search >= since)

    @property
    def drops(self) -> bool:
        """Whether it makes room by removing keys without a time of expiry, as those of an index are."""
        return (self.eviction or "").startswith("allkeys")


def parse_hello(reply: Any) -> ServerInfo:
    """Read the answer to HELLO, either wire shape."""
    parts = as_mapping(checked(reply))
    version = tuple(int(part) for part in as_text(parts["version"]).split(".") if part.isdigit())
    modules = [as_mapping(module) for module in parts.get("modules", ())]
    numbers = [int(module["ver"]) for module in modules if as_text(module["name"]) in ("search", "searchlight")]
    return ServerInfo(
        version,
        module_version(numbers[0]) if numbers else None,
        int(parts["proto"]),
        mode=as_text(parts.get("mode", "standalone")),
        is_replica=as_text(parts.get("role", "")) in _REPLICA,
        primaries=int(parts.get("primaries", 0)),  # the driver of a cluster adds them
    )


def checked_server(hello: Any, listed: Any) -> Flow[ServerInfo]:
    """Return what HELLO and FT._LIST say of the server; a node of a cluster is asked for its coordinator.

    Raises:
        UnsupportedServer: it is too old, has no search, or is a node of a cluster whose searches it cannot answer.
    """
    server = parse_hello(hello)
    found = dotted(server.version)
    advice = "use Redis 8, for instance `docker run -p 6379:6379 redis:8`, or the embedded server (no URL)"
    if server.version < OLDEST_REDIS:
        raise UnsupportedServer(f"expected Redis {dotted(OLDEST_REDIS)} or later, got {found}: {advice}")
    if server.mode == "sentinel":
        raise UnsupportedServer(
            "expected a Redis, got a Sentinel, which knows of one: name it and the service that it watches over, "
            "redis+sentinel://host:26379/service"
        )
    if server.cluster:
        server = replace(server, coordinator=(yield from _has_coordinator(listed)))
        _check_cluster(server)
    if _is_unknown_command(listed):
        if server.version >= FIRST_WITH_SEARCH:
            advice = (
                "start it with `--loadmodule .../redisearch.so`, or use `docker run -p 6379:6379 redis:8`, which "
                "loads it, or the embedded server (no URL)"
            )
        raise UnsupportedServer(
            f"expected a Redis with search (FT.* commands), got Redis {found}, which runs without a search module: "
            f"{advice}"
        )
    checked(listed)
    if server.search is not None and server.search < OLDEST_SEARCH:
        raise UnsupportedServer(
            f"expected a search module {dotted(OLDEST_SEARCH)} or later, got {dotted(server.search)}: {advice}"
        )
    return server


def check_writable(server: ServerInfo | None) -> Flow[None]:
    """Refuse a replica, of which the server was one when the index was opened and is one still.

    It would refuse each document by itself, after all of them were embedded.

    Raises:
        CommandRefused: it is.
    """
    if server is None or not server.is_replica:
        return
    [hello] = yield [("HELLO",)]
    if parse_hello(hello).is_replica:
        raise CommandRefused(
            "expected a primary to write to, got a replica, which takes nothing but what its primary has: connect to "
            "the primary, not to a replica"
        )


def _check_cluster(server: ServerInfo) -> None:
    single = "or use a single server, for instance `docker run -p 6379:6379 redis:8`"
    if server.coordinator is None:
        raise UnsupportedServer(
            "expected a node of a Redis Cluster that tells whether its search has a coordinator, got one that does not "
            f"tell this user: give the user the right +command|info, {single}"
        )
    if not server.coordinator:
        raise UnsupportedServer(
            "expected a single Redis, or a Redis Cluster whose search has a coordinator, got a node of a Redis Cluster "
            "without, which finds only what it has itself: run Redis 8 with its own search module on each node, as the "
            f"image redis:8 has it, {single}"
        )
    if not server.primaries:
        raise UnsupportedServer(
            "expected a single Redis, got a node of a Redis Cluster: begin the URL with redis+cluster:// in place of "
            "redis://, or pass a RedisCluster as client="
        )
    if server.protocol < 3:
        raise UnsupportedServer(
            f"expected RESP3 on a Redis Cluster, got RESP{server.protocol}, in which a node that ran out of time does "
            "not show: leave RAGKNN_PROTOCOL and protocol= at 3"
        )


def _has_coordinator(listed: Any) -> Flow[bool | None]:
    """Return whether a node of a cluster searches all of them; None if it does not tell.

    A coordinator takes the names of indexes for no keys of the node's own.
    """
    if _is_unknown_command(listed):
        return False
    command, partitions = yield [("COMMAND", "INFO", "FT.SEARCH"), ("SEARCH.CLUSTERINFO",)]
    first_key = _first_key(command)
    if first_key is not None:
        return first_key == 0
    if _is_unknown_command(partitions):
        return False
    return None if isinstance(partitions, Exception) else True


def _first_key(reply: Any) -> int | None:
    """Read from the answer to COMMAND INFO which argument of the command is its first key; None if it does not tell."""
    if isinstance(reply, Exception):
        return None
    if isinstance(reply, Mapping):  # as redis-py reads it
        for about in reply.values():
            return int(as_mapping(about)["first_key_pos"])
        return None
    return int(reply[0][3]) if reply and reply[0] else None


def _is_unknown_command(reply: Any) -> bool:
    return isinstance(reply, Exception) and "unknown command" in str(reply).lower()


def describe_server() -> Flow[ServerInfo]:
    """Return all that the server says of itself; what it does not show stays None.

    Raises:
        UnsupportedServer: it cannot be used; `checked_server` explains.
    """
    hello, listed, *answers = yield [("HELLO",), ("FT._LIST",), *CONDITIONS]
    return with_conditions((yield from checked_server(hello, listed)), answers)


# Asked for what may change while the server runs, and what not every user may see.
CONDITIONS = [
    ("CLIENT", "INFO"),
    ("INFO", "memory"),
    ("INFO", "persistence"),
    ("INFO", "replication"),
    ("CONFIG", "GET", "save"),
    ("CONFIG", "GET", "search-timeout", "search-on-timeout", "search-workers"),  # from Redis 8 on
    ("FT.CONFIG", "GET", "TIMEOUT"),
    ("FT.CONFIG", "GET", "ON_TIMEOUT"),
    ("FT.CONFIG", "GET", "WORKERS"),
]


def with_conditions(server: ServerInfo, answers: list[Any]) -> ServerInfo:
    """Return what is known of a server, with what it answers to `CONDITIONS`."""
    client, memory, persistence, replication, *configuration = answers
    values = {key: value for answer in configuration for key, value in parse_configuration(answer).items()}

    def of_search(name: str) -> str | None:
        return values.get(f"search-{name.replace('_', '-')}", values.get(name))

    about_memory, about_files, about_role = map(_information, (memory, persistence, replication))
    database = None if isinstance(client, Exception) else re.search(r"\bdb=(\d+)", as_text(client))
    policy = of_search("on_timeout")
    host, port, link = (about_role.get(f"master_{name}") for name in ("host", "port", "link_status"))
    return replace(
        server,
        timeout=_number(of_search("timeout")),
        policy=policy.lower() if policy else None,
        workers=_number(of_search("workers")),
        database=int(database[1]) if database else None,
        primary=f"{host}:{port}" if host and port else None,
        is_linked=link == "up" if link else None,
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


def run_id(reply: Any) -> str:
    """Return the name of the server's process, as it answers to INFO server; empty if it does not show it."""
    return _information(reply).get("run_id", "")


def _information(reply: Any) -> dict[str, str]:
    """Read the answer to INFO, as lines or as redis-py's mapping; what was refused shows as nothing."""
    if isinstance(reply, Exception):
        return {}
    if isinstance(reply, Mapping):
        return {as_text(key): as_text(value) for key, value in reply.items()}
    return {key: value for key, colon, value in (line.partition(":") for line in as_text(reply).splitlines()) if colon}


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() else None
