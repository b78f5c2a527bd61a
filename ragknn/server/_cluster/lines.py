"""What is said to several nodes at a time, sync and async: over one connection to each, of the pools of redis-py.

A node that gives no answer within the time limit ends it all, since another attempt would only reach it as well. All
nodes have the same time: where several hang, they are waited for at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import RedisClusterException

from ragknn._protocol.flows import Command
from ragknn.server._cluster.conversations import Answer, NodeFailed, Say
from ragknn.server._exchange import discard, portions_of, read_reply, take
from ragknn.server._packing import packed
from ragknn.server._pool import ahas_something

ERRORS = (redis.RedisError, RedisClusterException, OSError)  # of one node: the others may go on


def said(client: Any, say: Say) -> tuple[list[Answer], list[Answer]]:
    """Send commands to nodes, then those behind them; return the answers to both.

    Raises:
        NodeFailed: a node gave no answer in time.
    """
    lines = [_line(client, name, commands) for name, commands in say.parcels]
    behind = [_line(client, name, commands) for name, commands in say.behind]
    try:
        for line in (*lines, *behind):
            line.connect()
            _refuse_late([line])
        _exchange(lines)
        if not any(line.error for line in lines):
            _exchange(behind)
    except BaseException:
        for line in (*lines, *behind):
            line.leave(is_whole=False)
        raise
    for line in (*lines, *behind):
        line.leave(is_whole=True)
    return [line.answer for line in lines], [line.answer for line in behind]


@dataclass(slots=True)
class _Line:
    """Commands for a node, over a connection to it."""

    name: str
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
        except ERRORS as error:
            self._fail(error)

    def send(self, number: int) -> None:
        if self.error is not None or number >= len(self.portions):
            return
        try:
            self.connection.send_packed_command(packed(self.connection, self.portions[number]), check_health=False)
        except ERRORS as error:
            self._fail(error)

    def read(self, number: int, *, waits: bool) -> None:
        if self.error is not None or not 0 <= number < len(self.portions):
            return
        callbacks = self.client.response_callbacks
        try:
            if not waits and not self.connection.can_read(0):
                raise redis.TimeoutError("Timeout reading from socket")
            self.replies += [read_reply(self.connection, callbacks, command) for command in self.portions[number]]
        except ERRORS as error:
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


def _line(client: Any, name: str, commands: list[Command]) -> _Line:
    manager = client.nodes_manager
    node = manager.get_node(node_name=name)
    if node is None:
        node = redis.cluster.ClusterNode(*_split(name), "primary")  # type: ignore[no-untyped-call]
        manager.create_redis_connections([node])
    return _Line(name, client.get_redis_connection(node), portions_of(commands))


def _split(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host, int(port)


def _exchange(lines: Sequence[_Line]) -> None:
    for number in range(max((len(line.portions) for line in lines), default=0) + 1):
        for line in lines:
            line.send(number)
        for line in lines:  # once one was waited for in vain, the others have had as long
            line.read(number - 1, waits=not any(_is_late(one.error) for one in lines))
        _refuse_late(lines)


def _refuse_late(lines: Sequence[_Line]) -> None:
    for line in lines:
        if line.error is not None and _is_late(line.error):
            raise NodeFailed(line.name, line.error)


def _is_late(error: Exception | None) -> bool:
    # The async client wraps the time limit of the first commands of a connection.
    return isinstance(error, redis.TimeoutError) or isinstance(getattr(error, "__cause__", None), redis.TimeoutError)


# ---- async ---------------------------------------------------------------------------------------------------------


async def asaid(client: Any, say: Say) -> tuple[list[Answer], list[Answer]]:
    """Async twin of `said`."""
    number = len(say.parcels)
    async with _AsyncLines(client, [*say.parcels, *say.behind]) as lines:
        answers = await lines.exchange(range(number))
        is_whole = not any(isinstance(answer, Exception) for answer in answers)
        return answers, await lines.exchange(range(number, number + len(say.behind))) if is_whole else []


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
            fresh = [number for number in range(len(self._nodes)) if not await self._is_connected(number)]
            await asyncio.gather(*map(self._connect, fresh))
            self._refuse_late()
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

    async def _is_connected(self, number: int) -> bool:
        try:
            connection = self._connections[number] = self._nodes[number].acquire_connection()
            if connection.is_connected and await ahas_something(connection):
                await connection.disconnect()
        except ERRORS as error:
            self._errors[number] = error.with_traceback(None)
            return True
        return bool(connection.is_connected)

    async def _connect(self, number: int) -> None:
        try:
            await self._connections[number].connect()
        except ERRORS as error:
            self._errors[number] = error.with_traceback(None)

    async def exchange(self, numbers: Sequence[int]) -> list[Answer]:
        """Send the commands to some of the nodes, and return their answers."""
        answers = await asyncio.gather(*map(self._talk, numbers))
        self._refuse_late()
        return answers

    async def _talk(self, number: int) -> Answer:
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
        except ERRORS as error:
            self._errors[number] = error.with_traceback(None)
            return error
        self._whole.add(number)
        return replies

    def _refuse_late(self) -> None:
        for (name, _), error in zip(self._parcels, self._errors, strict=True):
            if error is not None and _is_late(error):
                raise NodeFailed(name, error)


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
