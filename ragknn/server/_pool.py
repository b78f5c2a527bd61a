"""The connections of a client that ragknn makes: no more than it may have, and who finds none free waits for one.

Those who wait are served in their order. A connection that is lost to an interrupt, between the pool and who asked for
it, frees its place when Python lets go of it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any
from weakref import WeakSet

import redis
import redis.asyncio
from redis.exceptions import MaxConnectionsError

# Connections of a client, where its URL names no other number. A server works on few searches at a time, so that more
# would wait there as they do here; and each takes it a millisecond to make.
SIZE = 32
PATIENCE = 10.0  # seconds, where a pool is made without


class _InTurn:
    """What both kinds of pool share: everything but the waiting, in the attributes that the pools of redis-py have."""

    max_connections: int
    make_connection: Any
    _available_connections: Any  # a list
    _in_use_connections: Any  # a WeakSet
    _waiting: deque[Any]

    def _free(self) -> Any | None:
        """Return a connection that nobody uses, or one more; None where there are as many as there may be."""
        if self._available_connections:
            connection = self._available_connections.pop()
        elif len(self._in_use_connections) < self.max_connections:
            connection = self.make_connection()
        else:
            return None
        self._in_use_connections.add(connection)
        return connection

    def _give_back(self, connection: Any) -> None:
        """Hand a connection to who has waited longest for one, or keep it for the next."""
        if connection not in self._in_use_connections:  # of the process that this one was forked from
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._in_use_connections.discard(connection)
        self._available_connections.append(connection)

    def _leave(self, turn: Any) -> None:
        """Wait no longer; what was handed over meanwhile goes to the next."""
        if turn.done() and not turn.cancelled():
            self._give_back(turn.result())
        turn.cancel()

    def _none_free(self) -> MaxConnectionsError:
        return MaxConnectionsError(f"all {self.max_connections} are in use")


class Pool(_InTurn, redis.ConnectionPool):
    """A pool of connections for threads.

    Attributes:
        patience: seconds to wait for a connection.
    """

    def __init__(self, *, max_connections: int | None = None, patience: float = PATIENCE, **options: Any) -> None:
        self.patience = patience
        super().__init__(max_connections=max_connections or SIZE, **options)

    def reset(self) -> None:
        """Have no connections: at first, and in a process that was forked."""
        self._guard = threading.Lock()
        self._waiting = deque()
        self._created_connections = 0
        self._available_connections = []
        self._in_use_connections = WeakSet()
        self.pid = os.getpid()

    def make_connection(self) -> Any:
        """Return one more connection."""
        self._created_connections = 0  # how many there are, others count
        return super().make_connection()

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection that is connected and on which nothing is under way.

        Raises:
            MaxConnectionsError: none was free in time.
            RedisError: it could not be connected.
        """
        self._checkpid()
        connection = self._taken()
        try:
            if not connection.is_connected:
                connection.connect()
            if _has_something(connection):
                connection.disconnect()
                connection.connect()
        except BaseException:
            connection.disconnect()
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        self._checkpid()
        with self._guard:
            self._give_back(connection)

    def let_idle_go(self) -> None:
        """Close the connections that nobody uses: they are to a server that is not the right one any more."""
        with self._guard:
            idle, self._available_connections = self._available_connections, []
        for connection in idle:
            connection.disconnect()

    def _taken(self) -> Any:
        with self._guard:
            if not self._waiting and (connection := self._free()) is not None:
                return connection
            turn: Future[Any] = Future()
            self._waiting.append(turn)
        try:
            return turn.result(self.patience)
        except BaseException as error:
            with self._guard:
                self._leave(turn)
                if isinstance(error, TimeoutError):
                    if (connection := self._free()) is not None:  # one was lost meanwhile
                        return connection
                    raise self._none_free() from None
            raise


def _has_something(connection: Any) -> bool:
    """Whether there is something to read, which nobody asked for; or the server has closed the connection."""
    try:
        return bool(connection.can_read())
    except (redis.ConnectionError, redis.TimeoutError, OSError):
        return True


async def ahas_something(connection: Any) -> bool:
    """Async twin of `_has_something`."""
    looks = getattr(connection, "can_read", None) or connection.can_read_destructive  # before redis-py 8
    try:
        return bool(await looks())
    except (redis.RedisError, OSError):
        return True


class AsyncPool(_InTurn, redis.asyncio.ConnectionPool):
    """Async twin of `Pool`, for the tasks of one event loop."""

    def __init__(self, *, max_connections: int | None = None, patience: float = PATIENCE, **options: Any) -> None:
        self.patience = patience
        super().__init__(max_connections=max_connections or SIZE, **options)
        self.reset()

    def reset(self) -> None:
        """Have no connections, as at first."""
        self._waiting = deque()
        self._available_connections = []
        self._in_use_connections = WeakSet()

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Async twin of `Pool.get_connection`."""
        connection = await self._taken()
        try:
            if not connection.is_connected or await ahas_something(connection):
                await self.ensure_connection(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back; a task that is cancelled cannot break it off, as nothing is waited for."""
        self._give_back(connection)

    async def let_idle_go(self) -> None:
        """Async twin of `Pool.let_idle_go`."""
        idle, self._available_connections = self._available_connections, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def _taken(self) -> Any:
        if not self._waiting and (connection := self._free()) is not None:
            return connection
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.patience):
                return await turn
        except BaseException as error:
            self._leave(turn)
            if isinstance(error, TimeoutError):
                if (connection := self._free()) is not None:
                    return connection
                raise self._none_free() from None
            raise
