"""The index: a name, a manifest and a client; `Index` in sync code, `AsyncIndex` in async code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing, closing
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ragknn._checks import check_embedder
from ragknn._protocol.counting import (
    count_documents,
    count_passages,
    count_values,
    find_range,
    index_info,
    wait_until_searchable,
)
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import Opened, drop_index, listing, open_index
from ragknn._protocol.place import OnIncomplete, Place
from ragknn._protocol.query import Fragment
from ragknn._protocol.replies import ServerInfo, dotted
from ragknn._protocol.schema import Algorithm, FieldType, Schema
from ragknn._protocol.vectors import DType, Metric
from ragknn._protocol.watch import Watch
from ragknn._protocol.where import check_required, compile_filter
from ragknn.embedding._names import READY_VECTORS
from ragknn.embedding._naming import default_embedder, embedder_named
from ragknn.embedding.protocols import Embedder, Identified
from ragknn.errors import IndexNotOpen
from ragknn.filters import Where
from ragknn.indexing._changing import add_fields
from ragknn.indexing._reading import (
    DOCUMENTS_PER_PART,
    PASSAGES_PER_PART,
    checked_ids,
    finding,
    in_parts,
    reading_at,
    reading_documents,
    reading_ids,
    reading_passages,
    reading_spots,
)
from ragknn.records import Document, IndexInfo, IngestReport, Passage
from ragknn.server._connection import aconnect, arun, check_client, check_url, close, connect, run
from ragknn.server._loops import LoopClients

if TYPE_CHECKING:
    from ragknn.settings import Settings

_T = TypeVar("_T")

# What an open index has and a copy has not: the copy connects and opens again when it is first used.
_LIVE = ("_client", "_clients", "_opened", "_closed", "_watch", "_lock", "_settings")


class _IndexBase:
    """What both faces share: everything but the waiting. The arguments are explained at `Index`."""

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        client: Any = None,
        embedder: Embedder | None = None,
        dim: int | None = None,
        metric: Metric | None = None,
        algorithm: Algorithm | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        dtype: DType | None = None,
        fields: Mapping[str, FieldType] | None = None,
        any_field: bool | None = None,
        text_search: bool | None = None,
        language: str | None = None,
        stop_words: Collection[str] | None = None,
        required_filter: str | None = None,
        create: bool = True,
        timeout: float | None = None,
    ) -> None:
        if url is not None and client is not None:
            raise ValueError("expected either url or client, got both")
        check_url(url)
        if client is not None:
            check_client(client, asynchronous=isinstance(self, AsyncIndex))
        if embedder is not None:
            check_embedder(embedder)
        if timeout is not None and not timeout > 0:
            raise ValueError(f"expected timeout > 0 seconds, got {timeout!r}")
        if embedder is not None and dim is not None:
            raise ValueError("expected either embedder or dim, got both: the embedder knows its dimension")
        named: dict[str, Any] = {
            "metric": metric,
            "algorithm": algorithm,
            "m": m,
            "ef_construction": ef_construction,
            "dtype": dtype,
            "fields": None if fields is None else dict(fields),
            "any_field": any_field,
            "text_search": text_search,
            "language": language,
            "stop_words": stop_words,
            "required_filter": required_filter,
        }
        self.name = name
        self._keys = Keys(name)
        self._url = url
        self._given = client
        self._embedder = embedder
        self._embedder_is_ours = embedder is None
        self._dim = dim
        named = {key: value for key, value in named.items() if value is not None}
        schema = Schema(embedder=READY_VECTORS, dim=1 if dim is None else dim, **named)  # refuses bad choices here
        self._named = {key: getattr(schema, key) for key in named}  # as the manifest has them
        self._create = create
        self._timeout = timeout
        self._renew()

    def _renew(self) -> None:
        """Be not open, as every index is at first."""
        self._opened: Opened | None = None
        self._closed = False
        self._watch = Watch()
        self._lock = threading.RLock()  # held by the thread that opens the index, or makes the embedder

    def _lasting(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in _LIVE}
        if self._embedder_is_ours:  # made from the manifest or the settings, and so it is again
            state["_embedder"] = None
        return state

    def __getstate__(self) -> dict[str, Any]:
        if self._given is not None:
            raise TypeError(
                f"expected an index that connects by itself to pickle, got {self.name!r} with a client that was handed "
                "in, and connections cannot be pickled: pass url= in place of client="
            )
        return self._lasting()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._renew()

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__setstate__(self._lasting())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self._given)] = self._given  # a client that was handed in is shared
        memo[id(self)] = twin = type(self).__new__(type(self))
        twin.__setstate__(deepcopy(self._lasting(), memo))
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}{'' if self._opened else ', not open'})"

    @property
    def schema(self) -> Schema:
        """What the index is made of, as its manifest says."""
        return self._state.schema

    def _place(self, on_incomplete: OnIncomplete = "raise") -> Place:
        return Place(self._keys, self.schema, self._watch, self.timeout, on_incomplete)

    def _filter(self, where: Where | None = None) -> Fragment:
        """Return what `where` means in this index, as the server takes it.

        Raises:
            TypeError: a value of a type that does not fit.
            ValueError: it means nothing here (`ragknn.filters` explains), or leaves out the filter that the index
                requires.
        """
        if (field := self.schema.required_filter) is not None:
            check_required(where, field)
        return compile_filter(where, self.schema)

    @property
    def server(self) -> ServerInfo:
        """Versions of the server."""
        return self._state.server

    @property
    def timeout(self) -> float:
        """Seconds that one search may take."""
        return self._settings.timeout if self._timeout is None else self._timeout

    @property
    def embedder(self) -> Embedder:
        """What turns texts into vectors.

        Raises:
            ValueError: this is an index of ready vectors, opened without an embedder.
            EmbeddingError: its embedder cannot be made from the manifest, and it was opened without.
        """
        with self._lock:
            if self._embedder is None:
                schema = self.schema
                if schema.embedder == READY_VECTORS:
                    raise ValueError(
                        f"index {self.name!r} holds ready vectors: open it with the embedder that they come from, "
                        "or hand in vectors (add_vectors, kneighbors)"
                    )
                self._embedder = embedder_named(schema.embedder, schema.identity, self._settings.device)
            return self._embedder

    @property
    def _state(self) -> Opened:
        if self._opened is None:
            raise IndexNotOpen(self.name, self._closed)
        return self._opened

    def _refuse_closed(self) -> None:
        if self._closed:
            raise IndexNotOpen(self.name, closed=True)

    @cached_property  # every search asks for its timeout, and reading the environment takes half as long as a search
    def _settings(self) -> Settings:
        return _load_settings()

    def _opening(self) -> Flow[Opened]:
        return open_index(self._keys, self._wanted, self._new_schema if self._create else None, self.timeout)

    def _wanted(self) -> Mapping[str, Any]:
        wanted = dict(self._named)
        if self._dim is not None:
            wanted["dim"] = self._dim
        if self._embedder is not None:
            wanted.update(_embedder_properties(self._embedder))
        return wanted

    def _new_schema(self) -> Schema:
        if self._dim is not None:
            return Schema(embedder=READY_VECTORS, dim=self._dim, **self._named)
        with self._lock:
            if self._embedder is None:
                self._embedder = default_embedder(self._settings.model, self._settings.device)
        return Schema(**_embedder_properties(self._embedder), **self._named)

    def _counting(self, where: Where | None) -> Flow[int]:
        return (yield from count_passages(self._keys, self._filter(where)))

    def _counting_documents(self, where: Where | None) -> Flow[int]:
        return (yield from count_documents(self._keys, self._filter(where)))

    def _counting_values(self, field: str, where: Where | None) -> Flow[dict[Any, int]]:
        return (yield from count_values(self._place(), field, self._filter(where)))

    def _finding_range(self, field: str, where: Where | None) -> Flow[tuple[float, float] | None]:
        return (yield from find_range(self._place(), field, self._filter(where)))

    def _adding_fields(self, fields: Mapping[str, FieldType]) -> Flow[IngestReport]:
        schema, report = yield from add_fields(self._place(), fields, self.timeout)
        self._opened = replace(self._state, schema=schema)
        return report

    def _describing(self) -> Flow[IndexInfo]:
        schema, server = self.schema, self.server
        info = yield from index_info(self._keys)
        return IndexInfo(
            name=self.name,
            documents=(yield from count_documents(self._keys)),
            passages=info.passages,
            embedder=schema.embedder,
            dim=schema.dim,
            metric=schema.metric,
            algorithm=schema.algorithm,
            dtype=schema.dtype,
            fields=schema.fields,
            memory_bytes=info.memory_bytes,
            percent_indexed=info.percent_indexed,
            indexing_failures=info.failures,
            redis_version=dotted(server.version),
            search_version=dotted(server.search or ()),
        )


def _load_settings() -> Settings:
    # Late, because pydantic-settings takes longer to import than all the rest of ragknn.
    from ragknn.settings import load_settings

    return load_settings()


def _resolve_url(url: str | None, settings: Settings) -> str:
    """Return the URL to use; starts the embedded server where none is named."""
    url = url or settings.url
    if url is None:
        # Late, because those who run their own Redis need nothing of it.
        from ragknn.server.embedded import shared_server

        url = shared_server(settings).url
    return url


def list_indexes(url: str | None = None) -> list[str]:
    """Return the names of all indexes on the server, sorted.

    Args:
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.

    Raises:
        ServerError: the server cannot be reached, started or used.
    """
    check_url(url)
    settings = _load_settings()
    url = _resolve_url(url, settings)
    with closing(connect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
        return run(client, listing())


async def alist_indexes(url: str | None = None) -> list[str]:
    """Async twin of `list_indexes`."""
    check_url(url)
    settings = _load_settings()
    url = await asyncio.to_thread(_resolve_url, url, settings)
    async with aclosing(aconnect(url, timeout=settings.timeout, protocol=settings.protocol)) as client:
        return await arun(client, listing())


def _embedder_properties(embedder: Embedder) -> dict[str, Any]:
    identity = dict(embedder.identity) if isinstance(embedder, Identified) else {}
    return {"embedder": embedder.name, "dim": embedder.dim, "identity": identity}


class Index(_IndexBase):
    """An index of passages in Redis: used in a `with` block, or opened on first use and closed with `close()`.

    Threads may share it, and so may event loops an `AsyncIndex`, which has a client for each of them. A copy, by `copy`
    or by pickle, is not open and connects by itself when it is used; a password in `url` is in the pickle.

    Args:
        name: letters, digits, `_`, `.` and `-`.
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.
        client: a client of redis-py to use instead of a URL (`redis.asyncio` for the async face); it stays
            yours to close. Such an index cannot be pickled, and one of `redis.asyncio` works under one event loop.
        embedder: what turns texts into vectors; None: the one that the index was built with, and for a new
            index sentence-transformers' all-MiniLM-L6-v2.
        dim: for a new index of ready vectors without an embedder: values in a vector.
        metric: "cosine", "ip" or "l2"; None: as the index was built, and cosine for a new one. The same
            holds for each of the following.
        algorithm: "flat" (exact; the default) or "hnsw" (approximate, quicker from about 100,000 passages on).
        m: hnsw only: edges of a node; 16.
        ef_construction: hnsw only: candidates looked at while a node is added; 200.
        dtype: "float32", "float16", "bfloat16" or "float64" for the stored vectors.
        fields: entries of the metadata to filter on, each "tag", "numeric" or "text"; none. A dotted name such as
            "author.name" is an entry within another.
        any_field: whether all other entries can be filtered on too, by equality, at the price of a tag for each; False.
        text_search: whether the words of the passages are indexed too; True. Without it, storing is several
            times quicker on the server, which matters for ready vectors.
        language: by whose rules the server finds the stems of words, such as "german"; "english".
        stop_words: words that are not indexed; the server's English ones for "english", none for other languages.
        required_filter: a declared tag field, such as "tenant", that every retrieval, vote, count and deletion must
            filter on and every document must have; whoever opens the index is held to it. None.
        create: whether to create the index where there is none.
        timeout: seconds that one search may take; None: `RAGKNN_TIMEOUT`, or 10.

    Raises:
        TypeError: a URL, a client or an embedder of another type.
        ValueError: a name, a choice or a field name that cannot be.
    """

    def _renew(self) -> None:
        super()._renew()
        self._client: Any = self._given

    @property
    def client(self) -> Any:
        """The client that the index talks through; None where it is not open and was handed none."""
        return self._client

    def open(self) -> Self:
        """Connect, check the server and the manifest, and create the index where there is none.

        Raises:
            ServerError: the server cannot be reached, started or used.
            IndexNotFound: there is none, and it was opened with `create=False`.
            SchemaMismatch: it was built otherwise than it is opened.
        """
        with self._lock:
            if self._client is None:
                url = _resolve_url(self._url, self._settings)
                self._client = connect(url, timeout=self.timeout, protocol=self._settings.protocol)
            try:
                self._opened = run(self._client, self._opening())
            except BaseException:
                self.close()
                self._closed = False
                raise
            self._closed = False
            return self

    def _run(self, flow: Flow[_T]) -> _T:
        """Drive a flow on this index, which is opened first where it never was; of several threads one does so."""
        opened, client = self._opened, self._client
        if opened is None or client is None:
            with self._lock:
                if self._opened is None:
                    self._refuse_closed()
                    self.open()
                client = self._client
        return run(client, flow)

    def close(self) -> None:
        """Close the connections; a client passed in stays open."""
        with self._lock:
            self._opened, self._closed = None, True
            client, self._client = self._client, self._given
            if client is not None and client is not self._given:
                close(client)

    def __enter__(self) -> Self:
        return self if self._opened else self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def count(self, where: Where | None = None) -> int:
        """Return the number of passages in the index, or of those that match; `ragknn.filters` explains `where`."""
        return self._run(self._counting(where))

    def documents(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> Iterator[Document]:
        """Read documents back: text to the character, label and metadata.

        They are read a part at a time while you iterate, so that any number of them needs little memory.

        Args:
            ids: which documents, in this order; ids that are not there are left out. None: all, sorted by id.
            where: only those that match; `ragknn.filters` explains it.
            vectors: whether to read the stored vectors of the passages too, as `Document.vectors`.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached, or refuses.
        """
        wanted = checked_ids(ids)
        return self._documents(wanted, where, vectors)

    def _documents(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> Iterator[Document]:
        among = self._run(reading_ids(self, where)) if ids is None else ids
        for part in in_parts(among, DOCUMENTS_PER_PART):
            yield from self._run(reading_documents(self, part, where, vectors, matched=ids is None))

    def passages(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> Iterator[Passage]:
        """Read passages back.

        They are read a part at a time while you iterate, so that any number of them needs little memory.

        Args:
            ids: which passages, in this order; ids that are not there are left out. None: all, sorted by document and
                place in it.
            where: only those that match; `ragknn.filters` explains it.
            vectors: whether to read the stored vectors too, as `Passage.vector`.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached, or refuses.
        """
        wanted = checked_ids(ids)
        return self._passages(wanted, where, vectors)

    def _passages(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> Iterator[Passage]:
        if ids is None:
            for spots in in_parts(self._run(reading_spots(self, where)), PASSAGES_PER_PART):
                yield from self._run(reading_at(self, spots, vectors))
        else:
            for part in in_parts(ids, PASSAGES_PER_PART):
                yield from self._run(reading_passages(self, part, where, vectors))

    def exists(self, ids: Iterable[str], *, where: Where | None = None) -> list[bool]:
        """Return for each document id whether the index has it, and whether it matches.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached, or refuses.
        """
        return self._run(finding(self, ids, where))

    def count_documents(self, where: Where | None = None) -> int:
        """Return the number of documents in the index, or of those that match.

        Raises:
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached, or refuses.
        """
        return self._run(self._counting_documents(where))

    def values(self, field: str, where: Where | None = None) -> dict[Any, int]:
        """Return the values of a field with the number of documents that have each, most frequent first.

        Args:
            field: "label", "document_id", a field declared as tag or numeric, or any field of an index built with
                `any_field`. Numbers come back as floats; of a list each element counts.
            where: only documents that match; `ragknn.filters` explains it.

        Raises:
            ValueError: a field that cannot be filtered on or holds text; an invalid filter.
            ServerError: the server cannot be reached, or refuses.
        """
        return self._run(self._counting_values(field, where))

    def value_range(self, field: str, where: Where | None = None) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a numeric field; None where no document has one.

        Args:
            field: declared as numeric; dates are seconds since 1970 UTC.
            where: only documents that match; `ragknn.filters` explains it.

        Raises:
            ValueError: a field that is not numeric; an invalid filter.
            ServerError: the server cannot be reached, or refuses.
        """
        return self._run(self._finding_range(field, where))

    def add_fields(self, fields: Mapping[str, FieldType]) -> IngestReport:
        """Declare more fields to filter on, and fill them from the stored metadata; nothing is embedded.

        Other processes that have the index open must open it again before they write or filter on the new fields.

        Args:
            fields: as for `Index`; those that are declared already are left as they are.

        Returns:
            A report whose `updated` counts the documents that were filled. A value that does not fit its field is left
            out, and listed in `left_out`.

        Raises:
            SchemaMismatch: a field is declared already as another type.
            ValueError: an invalid name or type.
            ServerError: the server cannot be reached, or refuses.
        """
        return self._run(self._adding_fields(fields))

    def describe(self) -> IndexInfo:
        """Return what the index is made of, how much it holds, and how it fares."""
        return self._run(self._describing())

    def wait_until_searchable(self, timeout: float = 60.0) -> None:
        """Wait until everything stored can be found; the server may index in the background.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: it took longer.
        """
        self._run(wait_until_searchable(self._keys, timeout))

    def drop(self) -> int:
        """Remove the index with all its documents, close it, and return how many documents there were."""
        removed = self._run(drop_index(self._keys))
        self.close()
        return removed


class AsyncIndex(_IndexBase):
    """Async twin of `Index`, with the same arguments; `client` is one of `redis.asyncio`."""

    def _renew(self) -> None:
        super()._renew()
        self._clients = LoopClients()

    @property
    def client(self) -> Any:
        """The client of the running event loop, or the newest where none runs; None where there is none."""
        return self._clients.client if self._given is None else self._given

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
            raise
        finally:
            self._closed = False
        return self

    async def _connected(self) -> Any:
        """Return the client of the running event loop, which is made first where there is none."""
        client = self.client
        if client is None:
            url = await asyncio.to_thread(_resolve_url, self._url, self._settings)
            client = aconnect(url, timeout=self.timeout, protocol=self._settings.protocol)
            client = await self._clients.keep(client)
        return client

    async def _run(self, flow: Flow[_T]) -> _T:
        """Async twin of `Index._run`; of several tasks of one event loop, one opens the index."""
        if self._opened is None:
            async with self._clients.lock:
                if self._opened is None:
                    self._refuse_closed()
                    await self._open()
        return await arun(await self._connected(), flow)

    async def close(self) -> None:
        """Async twin of `Index.close`."""
        self._opened, self._closed = None, True
        await self._clients.close()

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
        wanted = checked_ids(ids)
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
        wanted = checked_ids(ids)
        return self._passages(wanted, where, vectors)

    async def _passages(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> AsyncIterator[Passage]:
        if ids is None:
            for spots in in_parts(await self._run(reading_spots(self, where)), PASSAGES_PER_PART):
                for passage in await self._run(reading_at(self, spots, vectors)):
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

    async def describe(self) -> IndexInfo:
        """Async twin of `Index.describe`."""
        return await self._run(self._describing())

    async def wait_until_searchable(self, timeout: float = 60.0) -> None:
        """Async twin of `Index.wait_until_searchable`."""
        await self._run(wait_until_searchable(self._keys, timeout))

    async def drop(self) -> int:
        """Async twin of `Index.drop`."""
        removed = await self._run(drop_index(self._keys))
        await self.close()
        return removed
