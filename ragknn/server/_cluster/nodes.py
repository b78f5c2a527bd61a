"""Conversations with the nodes of a cluster, sync and async, by the connections and the map of redis-py's clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import AskError, RedisClusterException, SlotNotCoveredError

from ragknn._protocol.flows import Command, Pause
from ragknn.server._cluster.conversations import Answer, Known, NodeFailed, Renew, Say
from ragknn.server._cluster.talking import Talk
from ragknn.server._exchange import Read, all_read, discard, portions_of, read_reply, take
from ragknn.server._packing import packed
from ragknn.server._translation import explain

T = TypeVar("T")

PATIENCE = 10.0  # seconds, where a client has no time limit

_ERRORS = (redis.RedisError, RedisClusterException, OSError)  # of one node: the others may go on

_known: WeakKeyDictionary[Any, Known] = WeakKeyDictionary()


class _Map:
    """Where the slots are, as the client knows it."""

    def __init__(self, client: Any) -> None:
        self._manager = client.nodes_manager
        self.patience: float = client.get_connection_kwargs().get("socket_timeout") or PATIENCE

    def owner(self, slot: int) -> str:
        """Return the node that has a slot."""
        try:
            return str(self._manager.get_node_from_slot(slot).name)
        except (KeyError, IndexError, TypeError) as error:
            raise SlotNotCoveredError(f"slot {slot} is on no node") from error

    def primaries(self) -> Sequence[str]:
        """Return all primaries."""
        return [node.name for node in self._manager.get_nodes_by_server_type("primary")]

    def named(self, host: str, port: int) -> str:
        """Return the node that the cluster means by a host and a port."""
        return "{}:{}".format(*self._manager.remap_host_port(host, port))


def _talk(client: Any, once: bool) -> Talk:
    return Talk(_Map(client), _known.setdefault(client, Known()), once=once)


def cluster_exchange(
    client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False
) -> list[Any]:
    """Do on a cluster what `exchange` does on one server."""
    if not commands:
        return []
    conversation = _talk(client, once).replies(commands)
    answer: Any = None
    try:
        while True:
            match conversation.send(answer):
                case Say(parcels, behind):
                    answer = _said(client, parcels, behind)
                case Renew(moved):
                    _renew(client, moved)
                    answer = None
                case Pause(seconds):
                    time.sleep(seconds)
                    answer = None
    except StopIteration as stop:
        return all_read(stop.value, read)
    except NodeFailed as failed:
        raise explain(failed.error, client, failed.name) from failed.error
    finally:
        conversation.close()


# ---- sync ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """Commands for a node, over a connection to it."""

    client: Any
    portions: list[list[Command]]
    connection: Any = None
    replies: list[Any] = field(default_factory=list)
    error: Exception | None = None

    @property
    def answer(self) -> Answer:
        return self.replies if self.error is None else self.error

    def connect(self) -> None:
        try:
            self.connection = take(self.client)
        except _ERRORS as error:
            self._fail(error)

    def send(self, number: int) -> None:
        if self.error is not None or number >= len(self.portions):
            return
        try:
            self.connection.send_packed_command(packed(self.connection, self.portions[number]), check_health=False)
        except _ERRORS as error:
            self._fail(error)

    def read(self, number: int) -> None:
        if self.error is not None or not 0 <= number < len(self.portions):
            return
        callbacks = self.client.response_callbacks
        try:
            self.replies += [read_reply(self.connection, callbacks, command) for command in self.portions[number]]
        except _ERRORS as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = error.with_traceback(None)
        self.leave(is_whole=False)

    def leave(self, *, is_whole: bool) -> None:
        """Give the connection back; closed, unless all replies were read from it."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if is_whole:
            self.client.connection_pool.release(connection)
        else:
            discard(self.client, connection)


def _said(
    client: Any, parcels: Sequence[tuple[str, list[Command]]], behind: Sequence[tuple[str, list[Command]]]
) -> tuple[list[Answer], list[Answer]]:
    lines = [_line(client, name, commands) for name, commands in parcels]
    later = [_line(client, name, commands) for name, commands in behind]
    try:
        for line in (*lines, *later):
            line.connect()
        for those in (lines, later):
            for number in range(max((len(line.portions) for line in those), default=0) + 1):
                for line in those:
                    line.send(number)
                for line in those:
                    line.read(number - 1)
    except BaseException:
        for line in (*lines, *later):
            line.leave(is_whole=False)
        raise
    for line in (*lines, *later):
        line.leave(is_whole=True)
    return [line.answer for line in lines], [line.answer for line in later]


def _line(client: Any, name: str, commands: list[Command]) -> _Line:
    manager = client.nodes_manager
    node = manager.get_node(node_name=name)
    if node is None:
        node = redis.cluster.ClusterNode(*_split(name), "primary")  # type: ignore[no-untyped-call]
        manager.create_redis_connections([node])
    return _Line(client.get_redis_connection(node), portions_of(commands))


def _split(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host, int(port)


def _renew(client: Any, moved: Sequence[AskError]) -> None:
    # While a cluster fails over it may not be known anew; what is sent then will tell.
    with suppress(*_ERRORS):
        client.nodes_manager.initialize(disconnect_startup_nodes_pools=False)
    for error in _left(client, moved):
        client.nodes_manager.move_slot(error)


def _left(client: Any, moved: Sequence[AskError]) -> list[AskError]:
    """Return those redirections that the map does not show: the node that it was read from did not know them yet."""
    slots, left = _Map(client), []
    for error in moved:
        if not error.host:
            continue
        error.host, error.port = client.nodes_manager.remap_host_port(error.host, int(error.port))
        with suppress(SlotNotCoveredError):
            if slots.owner(error.slot_id) == f"{error.host}:{error.port}":
                continue
        if error.slot_id in client.nodes_manager.slots_cache:
            left.append(error)
    return left


# ---- async ---------------------------------------------------------------------------------------------------------


async def acluster_exchange(
    client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False
) -> list[Any]:
    """Async twin of `cluster_exchange`."""
    if not commands:
        return []
    await client.initialize()
    conversation = _talk(client, once).replies(commands)
    answer: Any = None
    try:
        while True:
            match conversation.send(answer):
                case Say(parcels, behind):
                    answer = await _asaid(client, parcels, behind)
                case Renew(moved):
                    await _arenew(client, moved)
                    answer = None
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    answer = None
    except StopIteration as stop:
        return all_read(stop.value, read)
    except NodeFailed as failed:
        raise explain(failed.error, client, failed.name) from failed.error
    finally:
        conversation.close()


async def _asaid(
    client: Any, parcels: Sequence[tuple[str, list[Command]]], behind: Sequence[tuple[str, list[Command]]]
) -> tuple[list[Answer], list[Answer]]:
    async with _AsyncLines(client, [*parcels, *behind]) as lines:
        first = await asyncio.gather(*(lines.talk(number) for number in range(len(parcels))))
        rest = await asyncio.gather(*(lines.talk(number) for number in range(len(parcels), len(parcels) + len(behind))))
    return first, rest


class _AsyncLines:
    """Connections to nodes, each with the commands for it."""

    def __init__(self, client: Any, parcels: Sequence[tuple[str, list[Command]]]) -> None:
        self._parcels = parcels
        self._nodes = [_anode(client, name) for name, _ in parcels]
        self._connections: list[Any] = [None] * len(parcels)
        self._errors: list[Exception | None] = [None] * len(parcels)
        self._whole: set[int] = set()

    async def __aenter__(self) -> _AsyncLines:
        try:
            for number, node in enumerate(self._nodes):
                try:
                    connection = self._connections[number] = node.acquire_connection()
                    if connection.is_connected and await _has_something(connection):
                        await connection.disconnect()
                    await connection.connect()
                except _ERRORS as error:
                    self._errors[number] = error.with_traceback(None)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for number, (node, connection) in enumerate(zip(self._nodes, self._connections, strict=True)):
            if connection is not None:
                if number not in self._whole:
                    await connection.disconnect(nowait=True)
                node.release(connection)

    async def talk(self, number: int) -> Answer:
        """Send the commands to a node, and return its replies."""
        if (failed := self._errors[number]) is not None:
            return failed
        connection, callbacks = self._connections[number], self._nodes[number].response_callbacks
        replies: list[Any] = []
        portions = portions_of(self._parcels[number][1])
        try:
            await connection.send_packed_command(packed(connection, portions[0]), check_health=False)
            for portion, following in zip(portions, [*portions[1:], None], strict=True):
                if following:
                    await connection.send_packed_command(packed(connection, following), check_health=False)
                for command in portion:
                    replies.append(await _aread(connection, callbacks, command))
        except _ERRORS as error:
            return error.with_traceback(None)
        self._whole.add(number)
        return replies


async def _has_something(connection: Any) -> bool:
    """Whether there is something to read, which nobody asked for; or the server has closed the connection."""
    looks = getattr(connection, "can_read", None) or connection.can_read_destructive  # before redis-py 8
    try:
        return bool(await looks())
    except _ERRORS:
        return True


async def _aread(connection: Any, callbacks: Any, command: Command) -> Any:
    try:
        reply = await connection.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        return error.with_traceback(None)
    return callbacks[command[0]](reply) if command[0] in callbacks else reply


def _anode(client: Any, name: str) -> Any:
    manager = client.nodes_manager
    node = manager.get_node(node_name=name)
    if node is None:
        node = redis.asyncio.cluster.ClusterNode(*_split(name), "primary", **manager.connection_kwargs)
        manager.set_nodes(manager.nodes_cache, {node.name: node})
    return node


async def _arenew(client: Any, moved: Sequence[AskError]) -> None:
    with suppress(*_ERRORS):
        await client.nodes_manager.initialize()
    for error in _left(client, moved):
        await client.nodes_manager.move_slot(error)
