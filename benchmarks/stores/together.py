"""Many tasks that search at the same time, on one async client of each library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import numpy as np
import redis.asyncio
from numpy.typing import NDArray

import ragknn
from benchmarks.measuring.racing import Contender, Kind, Race, race
from benchmarks.stores.listening import command_of, filled
from benchmarks.stores.ours import RagKNN
from benchmarks.stores.shapes import EF_RUNTIME, Store
from benchmarks.stores.with_redisvl import RedisVL, found_in

AsyncSearch: TypeAlias = Callable[[NDArray[np.float32]], Awaitable[Any]]


K = 10
BARE = "its bare command"


def race_together(
    name: str, url: str, stores: Sequence[Store], queries: NDArray[np.float32], tasks: int, runs: int
) -> Race:
    """Time the stores that have an async client, and the command that ragknn sends."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        def contender(name: str, kind: Kind, search: AbstractAsyncContextManager[AsyncSearch]) -> Contender:
            ready = runner.run(stack.enter_async_context(search))
            return Contender(name, lambda _: runner.run(ask_together(ready, queries, tasks)), kind=kind)

        contenders = []
        try:
            for store in stores:
                match store:
                    case RagKNN():
                        contenders.append(contender(store.name, store.kind, async_ours(url, store, K)))
                        contenders.append(contender(BARE, "floor", async_bare(url, store, K)))
                    case RedisVL():
                        contenders.append(contender(store.name, store.kind, async_redisvl(url, store, K)))
            return race(name, contenders, runs=runs, work=len(queries), unit="questions")
        finally:
            runner.run(stack.aclose())


async def ask_together(search: AsyncSearch, queries: Sequence[NDArray[np.float32]], tasks: int) -> None:
    """Ask all queries, each task its share of them one after the other."""

    async def ask(task: int) -> None:
        for query in queries[task::tasks]:
            await search(query)

    await asyncio.gather(*map(ask, range(tasks)))


@asynccontextmanager
async def async_ours(url: str, store: RagKNN, k: int) -> AsyncIterator[AsyncSearch]:
    """Give the search of an `AsyncRetriever`."""
    async with ragknn.AsyncIndex(store.index.name, url=url, dim=store.shape.dim) as index:
        retriever = ragknn.AsyncRetriever(index)

        async def search(vector: NDArray[np.float32]) -> Any:
            [retrieval] = await retriever.kneighbors(vector, k, ef_runtime=EF_RUNTIME)
            return [(one.passage.text, dict(one.passage.metadata)) for one in retrieval]

        yield search


@asynccontextmanager
async def async_bare(url: str, store: RagKNN, k: int) -> AsyncIterator[AsyncSearch]:
    """Give the command that ragknn sends, sent by redis-py."""
    template = command_of(url, store, k)
    async with redis.asyncio.Redis.from_url(url, protocol=3) as client:
        yield lambda vector: client.execute_command(*filled(template, vector), NEVER_DECODE=True)


@asynccontextmanager
async def async_redisvl(url: str, store: RedisVL, k: int) -> AsyncIterator[AsyncSearch]:
    """Give the search of an `AsyncSearchIndex` of redisvl."""
    from redisvl.index import AsyncSearchIndex

    async with redis.asyncio.Redis.from_url(url) as client:
        index = AsyncSearchIndex(store.index.schema, redis_client=client)

        async def search(vector: NDArray[np.float32]) -> Any:
            return found_in(await index.query(store.query(vector, k)))

        yield search
