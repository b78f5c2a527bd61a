"""The vector store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from numpy.typing import ArrayLike

from ragknn import AsyncIndex, Embedder, Index, IngestReport, Passage, Where
from ragknn.integrations.langchain._documents import (
    as_documents,
    by_document,
    document_of,
    passages_of,
)
from ragknn.integrations.langchain._filters import checked, take_where, within
from ragknn.integrations.langchain._indexes import Indexes
from ragknn.integrations.langchain._searching import Searching
from ragknn.integrations.langchain.embeddings import _as_embedder, _as_embeddings

_DEFAULT_NAME = "langchain"
_RETRIEVER_OPTIONS = ("on_incomplete", "long_queries", "bulk")


class RagKNNVectorStore(Searching):
    """An index of ragknn as LangChain's vector store.

    It may be used from sync code, and under any number of event loops; async methods await Redis themselves.

    All searches take the options of `Retriever.retrieve` as keyword arguments, such as `mode="hybrid"`, `rerank` or
    `per_document`, and a filter as `filter` or `where`, which mean the same: a mapping that `ragknn.filters` explains.
    An empty query, and k = 0, find nothing.

    A document is found under the `id` that it was added with. Each is a document of ragknn too, of one passage; unless
    `document_key` names an entry of the metadata by which several belong together: those with the same value are the
    passages of one document, so that `per_document`, votes and the context around a passage count it as one.

    Args:
        index: name of an index that this store makes, or has made before, in which every entry of the metadata can be
            filtered on; or an `Index` or `AsyncIndex`, which whoever made it closes. `from_index` opens any index.
        embedding: LangChain's `Embeddings`, or an embedder of ragknn; None: the one that the index was built with, and
            for a new one sentence-transformers' all-MiniLM-L6-v2.
        document_key: entry of the metadata that says which document a text is a piece of, such as "source", which
            LangChain's loaders set. None: each is a document of its own, since that entry often names less, such as
            "web".
        label_key: entry of the metadata that is the document's label too, for a `LabelVoter`.
        where: a filter that everything found, read and deleted must match, such as `{"tenant": "acme"}`.
        on_incomplete: as for `Retriever`.
        long_queries: as for `Retriever`.
        bulk: as for `Retriever`.
        **options: those of `Index`, such as `url`, `fields` or `algorithm`, where `index` is a name.

    Raises:
        TypeError: something else than an index, embeddings or a filter.
        ValueError: an invalid option, or an embedding beside an index that has one.
    """

    def __init__(
        self,
        index: str | Index | AsyncIndex = _DEFAULT_NAME,
        embedding: Embeddings | Embedder | None = None,
        *,
        document_key: str | None = None,
        label_key: str | None = None,
        where: Where | None = None,
        **options: Any,
    ) -> None:
        of_retriever = {name: options.pop(name) for name in _RETRIEVER_OPTIONS if name in options}
        owned = isinstance(index, str)
        if isinstance(index, str):
            index = Index(index, embedder=_as_embedder(embedding), **{"any_field": True, **options})
        elif embedding is not None or options:
            beside = "embedding" if embedding is not None else ", ".join(options)
            raise ValueError(f"expected {beside} with the name of an index, got it with one that has its own")
        self._indexes = Indexes(index, owned=owned, **of_retriever)
        self._embedding = embedding if isinstance(embedding, Embeddings) else None
        self._document_key, self._label_key, self._scope = document_key, label_key, checked(where)

    def __repr__(self) -> str:
        return f"RagKNNVectorStore({self._indexes.given.name!r})"

    @classmethod
    def from_index(cls, index: str | Index | AsyncIndex, **options: Any) -> Self:
        """Return the store of an index that exists, whoever made it.

        Args:
            index: its name, an `Index` or an `AsyncIndex`.
            **options: as for the class; where `index` is a name, also `embedding` and those of `Index`.

        Raises:
            IndexNotFound: when the store is first used: there is none of this name.
        """
        if not isinstance(index, str):
            return cls(index, **options)
        return cls(index, **{"any_field": None, "create": False, **options})

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | Embedder | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """Return a store with the texts added to it; `index`, "langchain" by default, and other options as for it."""
        store = cls(embedding=embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | Embedder | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **options: Any,
    ) -> Self:
        """Async twin of `from_texts`."""
        store = cls(embedding=embedding, **options)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store

    @property
    def index(self) -> Index:
        """The index, for sync code."""
        return self._indexes.index

    @property
    def async_index(self) -> AsyncIndex:
        """The index, for async code."""
        return self._indexes.async_index

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings; those of an index that brings its own are looked for when they are first asked."""
        if self._embedding is None:
            self._embedding = _as_embeddings(self._indexes.index)
        return self._embedding

    def close(self) -> None:
        """Close the connections of sync code; those of an index that was handed in stay open."""
        self._indexes.close()

    async def aclose(self) -> None:
        """Close all connections; those of an index that was handed in stay open."""
        await self._indexes.aclose()

    # ---- writing ---------------------------------------------------------------------------------------------------

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Add texts, or replace those that have the same ids, and return the ids; as `add_documents` does.

        Raises:
            ValueError: as for `add_documents`, or another number of metadatas than of texts.
        """
        return self.add_documents(as_documents(texts, metadatas), ids=ids, **options)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[str]:
        """Async twin of `add_texts`."""
        return await self.aadd_documents(as_documents(texts, metadatas), ids=ids, **options)

    def add_documents(
        self,
        documents: list[Document],
        *,
        ids: Sequence[str | None] | None = None,
        vectors: Sequence[ArrayLike] | None = None,
        **options: Any,
    ) -> list[str]:
        """Add documents, or replace those that have the same ids, and return the ids.

        Each document of ragknn is written in one step: it is stored whole, or stays as it was. What has not changed is
        neither embedded nor written again, if its id is given.

        Args:
            documents: LangChain's.
            ids: in place of the ids that documents have; one without gets one that is made by chance.
            vectors: ready vectors of the documents, each of shape (dim,); None: they are embedded. Of a text that has
                more tokens than the model reads, the vector is the mean of those of its pieces.
            **options: those of `Indexer.add_passages`, such as `batch_size`, `on_bad_field` or `long_texts`.

        Raises:
            ValueError: an id twice, a document without text, or another number of ids or vectors; nothing is stored.
            InvalidVectors: vectors of another size than the index has.
            IngestFailed: some documents could not be stored, such as those with metadata that are no JSON; the error
                carries the report. All others are.
            SchemaMismatch: the index was built with another model or other settings.
            ServerError: the server cannot be reached or refuses a command.
        """
        passages, given = self._passages(documents, ids, vectors)
        options = {"long_texts": "mean", **options}
        scope = self._scope
        before = {} if not given else _elsewhere(passages, self.index.passages(sorted(given), where=scope))
        indexer = self._indexes.indexer
        _check([indexer.add_passages(part, keep_others=keep, **options) for keep, part in _parts(passages, given)])
        for document_id, moved in before.items():
            indexer.delete_passages(moved, where=within(scope, {"document_id": document_id}))
        return [passage.id for passage in passages]

    async def aadd_documents(
        self,
        documents: list[Document],
        *,
        ids: Sequence[str | None] | None = None,
        vectors: Sequence[ArrayLike] | None = None,
        **options: Any,
    ) -> list[str]:
        """Async twin of `add_documents`."""
        passages, given = self._passages(documents, ids, vectors)
        options = {"long_texts": "mean", **options}
        scope = self._scope
        before = {}
        if given:
            there = [one async for one in self.async_index.passages(sorted(given), where=scope)]
            before = _elsewhere(passages, there)
        indexer = self._indexes.async_indexer
        parts = _parts(passages, given)
        _check([await indexer.add_passages(part, keep_others=keep, **options) for keep, part in parts])
        for document_id, moved in before.items():
            await indexer.delete_passages(moved, where=within(scope, {"document_id": document_id}))
        return [passage.id for passage in passages]

    def _passages(
        self, documents: Sequence[Document], ids: Sequence[str | None] | None, vectors: Sequence[ArrayLike] | None
    ) -> tuple[list[Passage], set[str]]:
        return passages_of(documents, ids, vectors, self._document_key, self._label_key)

    def delete(self, ids: Sequence[str] | None = None, **options: Any) -> bool:
        """Delete documents, and return True; ids that are not there are no error.

        Args:
            ids: which; None: all, or all that match.
            **options: `filter` or `where`: only those that match.

        Raises:
            TypeError: a str in place of several ids, or another kind of filter.
            ValueError: an invalid filter.
            ServerError: the server cannot be reached or refuses a command.
        """
        where = self._where_of(options)
        if ids is not None:
            self._indexes.indexer.delete_passages(ids, where=where)
        elif where is not None:
            self._indexes.indexer.delete_passages([one.id for one in self.index.passages(where=where)], where=where)
        else:
            self._indexes.indexer.clear()
        return True

    async def adelete(self, ids: Sequence[str] | None = None, **options: Any) -> bool:
        """Async twin of `delete`."""
        where = self._where_of(options)
        if ids is not None:
            await self._indexes.async_indexer.delete_passages(ids, where=where)
        elif where is not None:
            found = [one.id async for one in self.async_index.passages(where=where)]
            await self._indexes.async_indexer.delete_passages(found, where=where)
        else:
            await self._indexes.async_indexer.clear()
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in their order; those that are not there are left out.

        Raises:
            TypeError: a str in place of several ids.
            ServerError: the server cannot be reached or refuses a command.
        """
        return [document_of(one) for one in self.index.passages(_once(ids), where=self._scope)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Async twin of `get_by_ids`."""
        return [document_of(one) async for one in self.async_index.passages(_once(ids), where=self._scope)]

    def _where_of(self, options: dict[str, Any]) -> Where | None:
        where = take_where(options, self._scope)
        if options:
            raise TypeError(f"expected filter or where, got {', '.join(sorted(options))}")
        return where


def _elsewhere(passages: Iterable[Passage], there: Iterable[Passage]) -> dict[str, list[str]]:
    """Return the ids of passages that are in the index as part of another document, by that document."""
    new = {passage.id: passage.document_id for passage in passages}
    moved: dict[str, list[str]] = {}
    for old in there:
        if old.document_id != new[old.id]:
            moved.setdefault(old.document_id, []).append(old.id)
    return moved


def _parts(passages: Sequence[Passage], given: set[str]) -> list[tuple[bool, list[Passage]]]:
    """Return what is new for certain, as each has an id of its own; and what joins, or replaces, what may be there."""
    new = [one for one in passages if one.id not in given and one.document_id == one.id]
    others = [one for one in passages if one.id in given or one.document_id != one.id]
    return [(keep, by_document(part)) for keep, part in ((False, new), (True, others)) if part]


def _check(reports: Iterable[IngestReport]) -> None:
    for report in reports:
        report.raise_for_failures()


def _once(ids: Sequence[str]) -> Sequence[str]:
    return ids if isinstance(ids, str) else list(dict.fromkeys(ids))
