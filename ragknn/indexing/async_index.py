"""The index in async code: what `ragknn.indexing.index` is in sync code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from ragknn._protocol.counting import wait_until_searchable
from ragknn._protocol.flows import Flow, Progress, Repeatable
from ragknn._protocol.presence import while_there
from ragknn._protocol.schema import FieldType
from ragknn.embedding.protocols import Embedder
from ragknn.errors import IndexNotFound
from ragknn.filters import Where
from ragknn.indexing._checking import checking
from ragknn.indexing._describing import describing
from ragknn.indexing._mapping import SAMPLE, mapping
from ragknn.indexing._plans import Changes
from ragknn.indexing._projection import Method
from ragknn.indexing._reading import (
    DOCUMENTS_PER_PART,
    PASSAGES_PER_PART,
    checked_ids,
    finding,
    in_parts,
    in_whole_documents,
    reading_at,
    reading_documents,
    reading_ids,
    reading_passages,
    reading_spots,
)
from ragknn.indexing._rebuilding import LEAST_RECALL, abandoning, rebuilding, reembedding
from ragknn.indexing._shared_index import SharedIndex
from ragknn.indexing.mapping import IndexMap
from ragknn.records import Document, Passage
from ragknn.reports import CheckReport, IndexInfo, IngestReport, RebuildReport
from ragknn.server._connection import aconnect, arun
from ragknn.server._loops import LoopClients
from ragknn.text.splitting import Splitter

_T = TypeVar("_T")


class AsyncIndex(SharedIndex):
    """Async twin of `Index`, with the same arguments; `client` is one of `redis.asyncio`."""

    _asynchronous = True

    def _renew(self) -> None:
        super()._renew()
        self._clients = LoopClients()
        self._readers: LoopClients | None = None  # those that ask replicas, where any do

    @property
    def client(self) -> Any:
        """The client of the running event loop, or the newest where none runs; None where there is none."""
        return self._clients.client if self._reach.client is None else self._reach.client

    async def open(self) -> Self:
        """Async twin of `Index.open`."""
        async with self._clients.lock:
            return await self._open()

    async def _open(self) -> Self:
        try:
            self._opened = await arun(await self._connected(), self._opening())
        except BaseException:
            self._opened = None
            await self._clients.close_here()
            if self._readers is not None:
                await self._readers.close_here()
            raise
        finally:
            self._closed = False
        return self

    async def _connected(self) -> Any:
        """Return the client of the running event loop, which is made first where there is none."""
        client = self.client
        if client is None:
            url = await asyncio.to_thread(self._reach.resolved_url, self._settings)
            if self._reach.asks_replicas(url):
                self._readers = self._readers or LoopClients()
                await self._readers.keep(aconnect(url, **self._connecting, from_replicas=True))
            client = await self._clients.keep(aconnect(url, **self._connecting))
        return client

    async def _run(self, flow: Flow[_T], *, asks: bool = False) -> _T:
        """Async twin of `Index._run`."""
        keys = self._keys
        try:
            return await self._drive(while_there(keys, flow), asks=asks)
        except IndexNotFound:
            if self._opened is None:
                raise
            self._watch.doubt()  # what is not there now may be there again when it is asked next, and not whole
            # Another thread or task may have kept up already.
            if not (self._keys != keys or await self._drive(self._mending())) or not isinstance(flow, Repeatable):
                raise
        again: Flow[_T] = flow.again()
        return await self._run(again, asks=asks)

    async def _drive(self, flow: Flow[_T], *, asks: bool = False) -> _T:
        """Async twin of `Index._drive`; of several tasks of one event loop, one opens the index."""
        if self._opened is None:
            async with self._clients.lock:
                if self._opened is None:
                    self._refuse_closed()
                    await self._open()
        client = await self._connected()
        if asks and self._readers is not None:
            client = self._readers.client or client
        return await arun(client, flow)

    async def close(self) -> None:
        """Async twin of `Index.close`."""
        self._opened, self._closed = None, True
        self._kept.drop()
        await self._clients.close()
        if self._readers is not None:
            await self._readers.close()

    async def __aenter__(self) -> Self:
        return self if self._opened else await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def count(self, where: Where | None = None) -> int:
        """Async twin of `Index.count`."""
        return await self._run(self._counting(where))

    def documents(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> AsyncIterator[Document]:
        """Async twin of `Index.documents`: iterate with `async for`."""
        wanted = None if ids is None else checked_ids(ids)
        return self._documents(wanted, where, vectors)

    async def _documents(
        self, ids: Iterable[str] | None, where: Where | None, vectors: bool
    ) -> AsyncIterator[Document]:
        among = await self._run(reading_ids(self, where)) if ids is None else ids
        for part in in_parts(among, DOCUMENTS_PER_PART):
            for document in await self._run(reading_documents(self, part, where, vectors, matched=ids is None)):
                yield document

    def passages(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> AsyncIterator[Passage]:
        """Async twin of `Index.passages`: iterate with `async for`."""
        wanted = None if ids is None else checked_ids(ids)
        return self._passages(wanted, where, vectors)

    async def _passages(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> AsyncIterator[Passage]:
        if ids is None:
            found, store = await self._run(reading_spots(self, where))
            for spots in in_whole_documents(found, PASSAGES_PER_PART):
                for passage in await self._run(reading_at(self, spots, store, where, vectors)):
                    yield passage
        else:
            for part in in_parts(ids, PASSAGES_PER_PART):
                for passage in await self._run(reading_passages(self, part, where, vectors)):
                    yield passage

    async def exists(self, ids: Iterable[str], *, where: Where | None = None) -> list[bool]:
        """Async twin of `Index.exists`."""
        return await self._run(finding(self, ids, where))

    async def count_documents(self, where: Where | None = None) -> int:
        """Async twin of `Index.count_documents`."""
        return await self._run(self._counting_documents(where))

    async def values(self, field: str, where: Where | None = None) -> dict[Any, int]:
        """Async twin of `Index.values`."""
        return await self._run(self._counting_values(field, where))

    async def value_range(self, field: str, where: Where | None = None) -> tuple[float, float] | None:
        """Async twin of `Index.value_range`."""
        return await self._run(self._finding_range(field, where))

    async def add_fields(self, fields: Mapping[str, FieldType]) -> IngestReport:
        """Async twin of `Index.add_fields`."""
        return await self._run(self._adding_fields(fields))

    async def rebuild(
        self,
        *,
        recall: float = LEAST_RECALL,
        progress: Progress | None = None,
        dry_run: bool = False,
        **changes: Unpack[Changes],
    ) -> RebuildReport:
        """Async twin of `Index.rebuild`."""
        return await self._drive(rebuilding(self, changes, recall, progress, dry_run))

    async def reembed(
        self,
        embedder: Embedder | None = None,
        splitter: Splitter | None = None,
        *,
        recall: float = LEAST_RECALL,
        progress: Progress | None = None,
        dry_run: bool = False,
        **changes: Unpack[Changes],
    ) -> RebuildReport:
        """Async twin of `Index.reembed`."""
        return await self._drive(reembedding(self, embedder, splitter, changes, recall, progress, dry_run))

    async def abandon_rebuild(self) -> bool:
        """Async twin of `Index.abandon_rebuild`."""
        return await self._drive(abandoning(self))

    async def check(self, *, repair: bool = False, progress: Progress | None = None) -> CheckReport:
        """Async twin of `Index.check`."""
        return await self._run(checking(self, repair, progress))

    async def describe(self, where: Where | None = None) -> IndexInfo:
        """Async twin of `Index.describe`."""
        return await self._run(describing(self, where))

    async def map(
        self,
        method: Method = "pca",
        *,
        where: Where | None = None,
        sample: int = SAMPLE,
        include: Iterable[str] = (),
        seed: int = 0,
    ) -> IndexMap:
        """Async twin of `Index.map`."""
        return await self._run(mapping(self, method, where, sample, include, seed))

    async def wait_until_searchable(self, timeout: float = 60.0) -> None:
        """Async twin of `Index.wait_until_searchable`."""
        await self._run(wait_until_searchable(self._keys, timeout))

    async def drop(self) -> int:
        """Async twin of `Index.drop`."""
        self._refuse_closed()
        removed = await arun(await self._connected(), self._dropping())
        await self.close()
        return removed
