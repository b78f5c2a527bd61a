"""Lists of commands on their way over one connection while others are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis

from ragknn._protocol.flows import Command, SentAgain
from ragknn.server._exchange import discard, exchange, read_reply, take, tell_broken
from ragknn.server._packing import packed
from ragknn.server._retries import may_pass
from ragknn.server._translation import FOREIGN, reraise


class Letter:
    """A list of commands on its way, and the replies when they have been read."""

    __slots__ = ("commands", "once", "replies")

    def __init__(self, commands: list[Command], once: bool) -> None:
        self.commands = commands
        self.once = once
        self.replies: list[Any] | None = None


class Lane:
    """One connection that carries lists of commands: each is sent at once, the replies are read in the same order.

    The server does not wait for its replies to be read, so that sending never waits for more than the server's work.
    When the connection breaks, all lists that have no replies yet are sent again; unless one of them is to be sent
    once.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: Any = None
        self._under_way: deque[Letter] = deque()
        # False while something is written or read, and ever after where an interrupt broke that off: what would come
        # next over the connection is not known then.
        self._is_whole = True

    @property
    def is_busy(self) -> bool:
        """Whether replies are still to come."""
        return bool(self._under_way)

    def send(self, commands: list[Command], *, once: bool = False) -> Letter:
        """Send commands, and wait for nothing."""
        letter = Letter(commands, once)
        try:
            if self._connection is None:
                self._connection = take(self._client)
            with self._trying_again():
                self._under_way.append(letter)
                pieces = packed(self._connection, commands)
                # A look at the connection's health would take a reply of the others for its own.
                self._connection.send_packed_command(pieces, check_health=len(self._under_way) == 1)
        except FOREIGN as error:
            reraise(error, self._client)
        return letter

    def replies(self, letter: Letter) -> list[Any]:
        """Return the replies to a list of commands, errors among them as values."""
        try:
            while letter.replies is None:
                with self._trying_again():
                    self._read()
            self._release()
        except FOREIGN as error:
            reraise(error, self._client)
        return letter.replies

    def close(self) -> None:
        """Wait for the server to do what was sent; that the connection is broken is no error."""
        try:
            with suppress(redis.RedisError, OSError):
                while self._under_way and self._is_whole:
                    self._is_whole = False
                    self._read()
                    self._is_whole = True
        finally:
            if self._under_way or not self._is_whole:
                self._give_up()
            self._release()

    def _read(self) -> None:
        letter, callbacks = self._under_way[0], cast(Any, self._client).response_callbacks
        replies = [read_reply(self._connection, callbacks, command) for command in letter.commands]
        self._under_way.popleft()
        letter.replies = replies

    @contextmanager
    def _trying_again(self) -> Iterator[None]:
        self._is_whole = False
        try:
            yield
        except redis.ConnectionError as error:
            retries = self._connection.retry.get_retries()
            lost = self._give_up()
            if not retries or not may_pass(error) or any(letter.once for letter in lost):
                raise
            tell_broken(error, sum(len(letter.commands) for letter in lost))
            for letter in lost:
                letter.replies = SentAgain(exchange(self._client, letter.commands))
        except BaseException:
            self._give_up()
            raise
        self._is_whole = True

    def _give_up(self) -> list[Letter]:
        lost, self._under_way = list(self._under_way), deque()
        connection, self._connection = self._connection, None
        if connection is not None:
            discard(self._client, connection)
        return lost

    def _release(self) -> None:
        if self._connection is not None and not self._under_way and self._is_whole:
            connection, self._connection = self._connection, None
            self._client.connection_pool.release(connection)
