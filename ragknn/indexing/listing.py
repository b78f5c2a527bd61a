"""Which indexes a server has."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from typing import TypeVar

from ragknn._protocol.opening import listing
from ragknn.indexing._own_settings import load_own_settings, resolve_url
from ragknn.server._connection import aconnect, arun, check_url, connect, run

_T = TypeVar("_T")


def list_indexes(url: str | None = None) -> list[str]:
    """Return the names of all indexes on the server, sorted.

    Args:
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.

    Raises:
        ServerError: the server cannot be reached, started or used.
    """
    check_url(url)
    settings = load_own_settings()
    url = resolve_url(url, settings)
    with closing(connect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
        return run(client, listing())


async def alist_indexes(url: str | None = None) -> list[str]:
    """Async twin of `list_indexes`."""
    check_url(url)
    settings = load_own_settings()
    url = await asyncio.to_thread(resolve_url, url, settings)
    async with aclosing(aconnect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
        return await arun(client, listing())
