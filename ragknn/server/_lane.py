"""Lists of commands on their way over one connection while others are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis

from ragknn._protocol.flows import Command
from ragknn.server._exchange import exchange, read_reply
from ragknn.server._packing import packed
from ragknn.server._translation import translated


class Letter:
    """A list of commands on its way, and the replies when they have been read."""

    __slots__ = ("commands", "replies")

    def __init__(self, commands: list[Command]) -> None:
        self.commands = commands
        self.replies: list[Any] | None = None


class Lane:
    """One connection that carries lists of commands: each is sent at once, the replies are read in the same order.

    The server does not wait for its replies to be read, so that sending never waits for more than the server's work. A
    connection that breaks is tried again as redis-py does it: with all lists that have no replies yet.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: Any = None
        self._under_way: deque[Letter] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether replies are still to come."""
        return bool(self._under_way)

    def send(self, commands: list[Command]) -> Letter:
        """Send commands, and wait for nothing."""
        letter = Letter(commands)
        with translated(self._client):
            if self._connection is None:
                self._connection = self._client.connection_pool.get_connection()
            self._under_way.append(letter)
            with self._trying_again():
                pieces = packed(self._connection, commands)
                # A look at the connection's health would take a reply of the others for its own.
                self._connection.send_packed_command(pieces, check_health=len(self._under_way) == 1)
        return letter

    def replies(self, letter: Letter) -> list[Any]:
        """Return the replies to a list of commands, errors among them as values."""
        with translated(self._client), self._trying_again():
            while letter.replies is None:
                self._read()
        self._release()
        return letter.replies

    def close(self) -> None:
        """Wait for the server to do what was sent; that the connection is broken is no error."""
        try:
            with suppress(redis.RedisError, OSError):
                while self._under_way:
                    self._read()
        finally:
            if self._under_way:
                self._give_up()
            self._release()

    def _read(self) -> None:
        letter, callbacks = self._under_way[0], cast(Any, self._client).response_callbacks
        letter.replies = [read_reply(self._connection, callbacks, command) for command in letter.commands]
        self._under_way.popleft()

    @contextmanager
    def _trying_again(self) -> Iterator[None]:
        try:
            yield
        except redis.ConnectionError:
            again = bool(self._connection.retry.get_retries())
            lost = self._give_up()
            if not again:
                raise
            for letter in lost:
                letter.replies = exchange(self._client, letter.commands)
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> list[Letter]:
        lost, self._under_way = list(self._under_way), deque()
        if self._connection is not None:
            self._connection.disconnect()
        self._release()
        return lost

    def _release(self) -> None:
        if self._connection is not None and not self._under_way:
            connection, self._connection = self._connection, None
            self._client.connection_pool.release(connection)
