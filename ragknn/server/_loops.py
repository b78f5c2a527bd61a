"""Clients of `redis.asyncio`, one for each event loop: a connection works only under the loop that made it."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from ragknn.server._connection import AsyncClient, aclose


@dataclass(slots=True)
class _OfLoop:
    """What one loop has.

    Attributes:
        lock: held by the task that opens the index.
        client: whose connections belong to the loop.
        keeper: closes the client when it is closed itself, which asyncio does for us at the end of a loop, or when
            nobody has it any more (`AbstractEventLoop.shutdown_asyncgens`, `sys.set_asyncgen_hooks`).
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    client: AsyncClient | None = None
    keeper: AsyncGenerator[None, None] | None = None


class LoopClients:
    """The clients of one index."""

    def __init__(self) -> None:
        self._loops: dict[AbstractEventLoop, _OfLoop] = {}

    @property
    def lock(self) -> asyncio.Lock:
        """The lock of the running loop."""
        return self._here.lock

    @property
    def client(self) -> AsyncClient | None:
        """The client of the running loop, or the newest where none runs; None where there is none."""
        try:
            return self._here.client
        except RuntimeError:  # no running loop
            clients = [one.client for one in list(self._loops.values()) if one.client is not None]
            return clients[-1] if clients else None

    @property
    def _here(self) -> _OfLoop:
        return self._loops.setdefault(asyncio.get_running_loop(), _OfLoop())

    async def keep(self, client: AsyncClient) -> AsyncClient:
        """Take a new client for the running loop, and return it; or the one that another task was quicker to make."""
        here = self._here
        if here.client is None:
            here.client = client
            here.keeper = _keeping(client)
            await anext(here.keeper)
        for loop in list(self._loops):
            if loop.is_closed():
                await _close(self._loops.pop(loop, None))
        return here.client

    async def close_here(self) -> None:
        """Close the client of the running loop."""
        here = self._here
        keeper, here.client, here.keeper = here.keeper, None, None
        if keeper is not None:
            await keeper.aclose()

    async def close(self) -> None:
        """Close the clients of all loops."""
        await self.close_here()
        for loop in list(self._loops):
            if loop is asyncio.get_running_loop():
                continue
            left = self._loops.pop(loop, None)
            if loop.is_closed():
                await _close(left)
            # Otherwise its keeper is let go of here, and closed by its own loop.


async def _keeping(client: AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await aclose(client)


async def _close(left: _OfLoop | None) -> None:
    # Of a loop that was closed by hand, and whose keeper therefore was not.
    if left is not None and left.client is not None:
        await aclose(left.client)
