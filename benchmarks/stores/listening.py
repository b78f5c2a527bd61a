"""The command with which ragknn searches, read from its connection: what it would cost without the library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import redis
from numpy.typing import NDArray
from redis.connection import ConnectionPool, UnixDomainSocketConnection

import ragknn
from benchmarks.stores.ours import RagKNN
from benchmarks.stores.shapes import EF_RUNTIME

Template: TypeAlias = tuple[bytes, ...]


class Listening(UnixDomainSocketConnection):
    """A connection that remembers what it sends."""

    sent: bytes = b""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send commands, and remember them."""
        packed = [command] if isinstance(command, str | bytes) else list(command)
        type(self).sent += b"".join(part.encode() if isinstance(part, str) else part for part in packed)
        super().send_packed_command(packed, check_health)


def command_of(url: str, store: RagKNN, k: int) -> Template:
    """Return the command that ragknn sends to search, with nothing in place of the vector."""
    vector = np.ones(store.shape.dim, dtype=np.float32)
    pool = ConnectionPool.from_url(url, protocol=3)
    pool.connection_class = Listening
    with redis.Redis(connection_pool=pool) as client, ragknn.Index(store.index.name, client=client) as index:
        Listening.sent = b""
        ragknn.Retriever(index).kneighbors(vector, k, ef_runtime=EF_RUNTIME)
        [command] = [command for command in _commands(Listening.sent) if command[0] == b"FT.SEARCH"]
    pool.disconnect()
    # The index may keep vectors of another type: the vector is what stands behind the name of the parameter.
    place = command.index(b"vector", command.index(b"PARAMS")) + 1
    return (*command[:place], b"", *command[place + 1 :])


def filled(template: Template, vector: NDArray[np.float32]) -> Template:
    """Return the command with a vector."""
    return tuple(part or vector.tobytes() for part in template)


@contextmanager
def bare_search(url: str, store: RagKNN, k: int) -> Iterator[Callable[[NDArray[np.float32]], Any]]:
    """Give a function that sends what ragknn sends, by redis-py, and returns the reply as it comes."""
    template = command_of(url, store, k)
    with redis.Redis.from_url(url, protocol=3) as client:
        yield lambda vector: client.execute_command(*filled(template, vector), NEVER_DECODE=True)


def _commands(sent: bytes) -> list[Template]:
    commands, place = [], 0

    def number() -> int:
        nonlocal place
        start, place = place + 1, sent.index(b"\r\n", place) + 2
        return int(sent[start : place - 2])

    while place < len(sent):
        parts = []
        for _ in range(number()):
            length = number()
            parts.append(sent[place : place + length])
            place += length + 2
        commands.append(tuple(parts))
    return commands
