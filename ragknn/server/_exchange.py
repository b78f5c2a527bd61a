"""A list of commands is sent, and its replies are read, over a connection of the client's pool.

Of many commands a portion is sent while the server works on the one before, and each reply is read as it comes: so
neither waits for the other. Replies are left undecoded, as decoding would fail on vectors.

A connection goes back to the pool only when all replies were read from it. After anything else, be it an interrupt in
whatever line, it is closed first, or lost: a reply that is still to come would be taken for that to the next command.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster

from ragknn._logs import SERVER
from ragknn._protocol.flows import Command, SentAgain
from ragknn.server._packing import packed
from ragknn.server._retries import ASYNC_NEVER, NEVER, may_pass, pause_after

# Commands sent before the replies to those before them are read: enough to keep the server at work.
PORTION = 50
# Bytes that go out over a connection with nothing under way before an event loop makes who sends them wait, which is
# from 64 KiB on.
AT_ONCE = 32_768

Read: TypeAlias = Callable[[int, Any], Any]


def exchange(client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False) -> list[Any]:
    """Return the replies, errors among them as values, or what `read` makes of each.

    When a connection breaks, all commands are sent again over another, as often as the client is set up to, and the
    replies are `SentAgain`; unless they are to be sent `once`.
    """
    if not commands:
        return []
    talk = _talk if is_plain(client) else _talk_by_pipeline
    failures = 0
    while True:
        connection = take(client)
        try:
            replies = talk(client, connection, commands, read)
        except redis.ConnectionError as error:
            discard(client, connection)
            failures += 1
            if once or not may_pass(error) or failures > connection.retry.get_retries():
                raise
            tell_broken(error, len(commands))
        except BaseException:
            discard(client, connection)
            raise
        else:
            client.connection_pool.release(connection)
            return SentAgain(replies) if failures else replies
        time.sleep(pause_after(failures))


def take(client: Any) -> Any:
    """Return a connection of the client's pool, for the caller alone."""
    pool = client.connection_pool
    try:
        return pool.get_connection()
    except redis.RedisError:
        raise
    except BaseException:
        pool.disconnect(inuse_connections=False)  # the pools of redis-py keep one that was half connected
        raise


def discard(client: Any, connection: Any) -> None:
    """Close a connection and give it back, to be connected anew."""
    connection.disconnect()
    client.connection_pool.release(connection)


def tell_broken(error: redis.ConnectionError, commands: int) -> None:
    """Write to the log that a connection broke, and that what was under way over it is sent again."""
    SERVER.info("a connection broke (%s), and %d commands are sent again over another", error, commands)


def _talk(client: Any, connection: Any, commands: list[Command], read: Read | None) -> list[Any]:
    callbacks = client.response_callbacks
    replies: list[Any] = []
    portions = portions_of(commands)
    connection.send_packed_command(packed(connection, portions[0]))
    for portion, following in zip(portions, [*portions[1:], None], strict=True):
        if following:
            # A look at the connection's health would take a reply of the others for its own.
            connection.send_packed_command(packed(connection, following), check_health=False)
        for command in portion:
            reply = read_reply(connection, callbacks, command)
            replies.append(read(len(replies), reply) if read else reply)
    return replies


def read_reply(connection: Any, callbacks: Mapping[Any, Callable[[Any], Any]], command: Command) -> Any:
    """Return the next reply, which is that to the command, as the client's callbacks make it; an error as a value.

    The value has no traceback: with one, the replies, the client and the index would be held in a ring until the
    garbage collector comes by.
    """
    try:
        reply = connection.read_response(disable_decoding=True)
    except redis.ResponseError as error:
        return error.with_traceback(None)
    return callbacks[command[0]](reply) if command[0] in callbacks else reply


def _talk_by_pipeline(client: Any, connection: Any, commands: list[Command], read: Read | None) -> list[Any]:
    pipeline = _pipeline_of(client, commands)
    pipeline.connection_pool = _Lent(pipeline.connection_pool, connection)
    retry, connection.retry = connection.retry, NEVER
    try:
        return all_read(pipeline.execute(raise_on_error=False), read)
    finally:
        connection.retry = retry


class _Lent:
    """A pool that has one connection for a pipeline, and does not take it back."""

    def __init__(self, pool: Any, connection: Any) -> None:
        self._pool, self._connection = pool, connection

    def get_connection(self, *_: Any, **__: Any) -> Any:
        return self._connection

    def release(self, connection: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


async def aexchange(client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False) -> list[Any]:
    """Async twin of `exchange`."""
    if not commands:
        return []
    talk = _atalk if is_plain(client) else _atalk_by_pipeline
    pool = client.connection_pool
    failures = 0
    while True:
        connection = await pool.get_connection()
        try:
            replies = await talk(client, connection, commands, read)
        except redis.ConnectionError as error:
            await _adiscard(pool, connection)
            failures += 1
            if once or not may_pass(error) or failures > connection.retry.get_retries():
                raise
            tell_broken(error, len(commands))
        except BaseException:
            await _adiscard(pool, connection)
            raise
        else:
            await pool.release(connection)
            return SentAgain(replies) if failures else replies
        await asyncio.sleep(pause_after(failures))


async def _adiscard(pool: Any, connection: Any) -> None:
    await connection.disconnect(nowait=True)
    await pool.release(connection)


async def _atalk(client: Any, connection: Any, commands: list[Command], read: Read | None) -> list[Any]:
    callbacks = client.response_callbacks
    replies: list[Any] = []
    portions = portions_of(commands)
    await _asend(connection, packed(connection, portions[0]))
    for portion, following in zip(portions, [*portions[1:], None], strict=True):
        if following:
            await connection.send_packed_command(packed(connection, following), check_health=False)
        for command in portion:
            try:
                reply = await connection.read_response(disable_decoding=True)
            except redis.ResponseError as error:
                reply = error.with_traceback(None)
            else:
                if command[0] in callbacks:
                    reply = callbacks[command[0]](reply)
            replies.append(read(len(replies), reply) if read else reply)
    return replies


async def _asend(connection: Any, pieces: list[bytes]) -> None:
    """Send the first commands over a connection on which nothing is under way.

    So few bytes find room at once: nothing is waited for, and so there is no need to watch the time, for which redis-py
    makes a task, which takes as long as all else in a small search.
    """
    if not connection.is_connected or connection.health_check_interval or sum(map(len, pieces)) > AT_ONCE:
        await connection.send_packed_command(pieces)
        return
    limit, connection.socket_timeout = connection.socket_timeout, None
    try:
        await connection.send_packed_command(pieces, check_health=False)
    finally:
        connection.socket_timeout = limit


async def _atalk_by_pipeline(client: Any, connection: Any, commands: list[Command], read: Read | None) -> list[Any]:
    pipeline = _pipeline_of(client, commands)
    pipeline.connection_pool = _AsyncLent(pipeline.connection_pool, connection)
    retry, connection.retry = connection.retry, ASYNC_NEVER
    try:
        return all_read(await pipeline.execute(raise_on_error=False), read)
    finally:
        connection.retry = retry


class _AsyncLent(_Lent):
    async def get_connection(self, *_: Any, **__: Any) -> Any:
        return self._connection

    async def release(self, connection: Any) -> None:  # type: ignore[override]
        pass


def _pipeline_of(client: Any, commands: list[Command]) -> Any:
    """Return a pipeline of the client, sync or async, with the commands."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, NEVER_DECODE=True)  # only buffers the command
    return pipeline


# The kinds of clients whose methods need not be called, and what makes their pipelines.
_PIPELINES: Mapping[type, Any] = {
    redis.Redis: redis.client.Pipeline,
    redis.asyncio.Redis: redis.asyncio.client.Pipeline,
}


def is_plain(client: Any) -> bool:
    """Whether commands may go round the methods of a client, sync or async.

    What others derive from it, or put around its methods to watch them, is to see every command.
    """
    pipelines = _PIPELINES.get(type(client))
    return pipelines is not None and "pipeline" not in vars(client) and not hasattr(pipelines.execute, "__wrapped__")


def is_cluster(client: Any) -> bool:
    """Tell whether a client is one of redis-py's for a cluster."""
    return _is_of_cluster(type(client))  # type: ignore[arg-type]  # mypy: a class of anything has no hash


@cache  # Python takes long to find out that something is of neither
def _is_of_cluster(kind: type) -> bool:
    return issubclass(kind, redis.cluster.RedisCluster | redis.asyncio.cluster.RedisCluster)


def all_read(replies: list[Any], read: Read | None) -> list[Any]:
    """Return the replies, or what `read` makes of each."""
    return [read(number, reply) for number, reply in enumerate(replies)] if read else replies


def portions_of(commands: list[Command]) -> list[list[Command]]:
    """Return the commands in parts, of which one is sent while the replies to that before it are read."""
    if len(commands) <= PORTION:
        return [commands]
    return [commands[start : start + PORTION] for start in range(0, len(commands), PORTION)]
