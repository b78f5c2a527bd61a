"""A list of commands is sent, and its replies are read, over a connection of the client's pool.

Of many commands a portion is sent while the server works on the one before, and each reply is read as it comes: so
neither waits for the other. Replies are left undecoded, as decoding would fail on vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import redis
import redis.asyncio

from ragknn._protocol.flows import Command
from ragknn.server._packing import packed

# Commands sent before the replies to those before them are read: enough to keep the server at work.
PORTION = 50

Read: TypeAlias = Callable[[int, Any], Any]


def exchange(client: Any, commands: list[Command], read: Read | None = None) -> list[Any]:
    """Return the replies, errors among them as values, or what `read` makes of each.

    A connection that breaks is tried again as the client is set up to, with all commands. One whose replies were not
    all read is closed.
    """
    if not commands:
        return []
    if not is_plain(client):
        return all_read(pipeline_of(client, commands).execute(raise_on_error=False), read)
    pool, callbacks = client.connection_pool, client.response_callbacks
    connection = pool.get_connection()

    def attempt() -> list[Any]:
        replies: list[Any] = []
        portions = _portions(commands)
        connection.send_packed_command(packed(connection, portions[0]))
        for portion, following in zip(portions, [*portions[1:], None], strict=True):
            if following:
                # A look at the connection's health would take a reply of the others for its own.
                connection.send_packed_command(packed(connection, following), check_health=False)
            for command in portion:
                reply = read_reply(connection, callbacks, command)
                replies.append(read(len(replies), reply) if read else reply)
        return replies

    try:
        return connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())  # type: ignore[no-any-return]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


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


async def aexchange(client: Any, commands: list[Command], read: Read | None = None) -> list[Any]:
    """Async twin of `exchange`."""
    if not commands:
        return []
    if not _is_plain(client, redis.asyncio.Redis, redis.asyncio.client.Pipeline):
        return all_read(await pipeline_of(client, commands).execute(raise_on_error=False), read)
    pool, callbacks = client.connection_pool, client.response_callbacks
    connection = await pool.get_connection()

    async def attempt() -> list[Any]:
        replies: list[Any] = []
        portions = _portions(commands)
        await connection.send_packed_command(packed(connection, portions[0]))
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

    try:
        return await connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())  # type: ignore[no-any-return]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def pipeline_of(client: Any, commands: list[Command]) -> Any:
    """Return a pipeline of the client, sync or async, with the commands."""
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command, NEVER_DECODE=True)  # only buffers the command
    return pipeline


def is_plain(client: Any) -> bool:
    """Whether commands may go round the methods of a sync client.

    What others derive from it, or put around its methods to watch them, is to see every command.
    """
    return _is_plain(client, redis.Redis, redis.client.Pipeline)


def _is_plain(client: Any, kind: type, pipelines: type[Any]) -> bool:
    return type(client) is kind and "pipeline" not in vars(client) and not hasattr(pipelines.execute, "__wrapped__")


def all_read(replies: list[Any], read: Read | None) -> list[Any]:
    """Return the replies, or what `read` makes of each."""
    return [read(number, reply) for number, reply in enumerate(replies)] if read else replies


def _portions(commands: list[Command]) -> list[list[Command]]:
    if len(commands) <= PORTION:
        return [commands]
    return [commands[start : start + PORTION] for start in range(0, len(commands), PORTION)]
