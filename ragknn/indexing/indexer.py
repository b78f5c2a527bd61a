"""Writing to an index: `Indexer` in sync code, `AsyncIndexer` in async code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ragknn._protocol.fetching import matching_ids
from ragknn._protocol.flows import Flow
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.vectors import as_vectors
from ragknn._protocol.where import Where
from ragknn._protocol.writing import delete_documents
from ragknn.embedding.protocols import Tokenizing
from ragknn.errors import InvalidVectors
from ragknn.indexing._ingestion import Progress, Recipe, ingest
from ragknn.indexing.index import AsyncIndex, Index
from ragknn.records import Document, DocumentSource, Failure, IngestReport, Label, Passage, passage_id
from ragknn.text.splitting import Splitter


class Indexer:
    """Write documents to an index.

    Each document is replaced in one transaction: whoever searches meanwhile sees it as it was or as it is, and
    a crash leaves no half of it. A document that has not changed is neither embedded nor written again.

    Args:
        index: an open index.
        splitter: how texts are cut into passages; None: as long as the embedder reads, 256 tokens at most.
    """

    def __init__(self, index: Index, splitter: Splitter | None = None) -> None:
        self.index = index
        self.splitter = splitter or Splitter()

    def add(self, documents: Iterable[Document] | DocumentSource, *, progress: Progress | None = None) -> IngestReport:
        """Add documents; one whose id is in the index already is replaced.

        Args:
            documents: taken a batch at a time. What cannot be stored is told in the report and does not keep
                the others out.
            progress: called with the report so far after each batch.
        """
        return self.index._run(_ingesting(self.index, self.splitter, documents, None, progress))

    def sync(
        self,
        documents: Iterable[Document] | DocumentSource,
        *,
        where: Where | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Add documents, and remove those that the input does not have.

        Nothing is removed if part of the input could not be read: the missing documents may stand there. The
        report then counts them as `kept`.

        Args:
            documents: all that the index shall hold, or all that match `where`.
            where: documents that do not match stay, though the input does not have them; `ragknn.filters` explains it.
            progress: called with the report so far after each batch.
        """
        return self.index._run(_syncing(self.index, self.splitter, documents, where, progress))

    def add_vectors(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        *,
        texts: Sequence[str] | None = None,
        labels: Sequence[Label | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Add ready vectors, each a document of one passage.

        Args:
            ids: n ids.
            vectors: shape (n, dim).
            texts: n texts to give back with the neighbors; none: empty ones.
            labels: n labels, None where there is none.
            metadata: n mappings.
            progress: called with the report so far after each batch.

        Raises:
            InvalidVectors: the shape is another.
            ValueError: the lengths differ.
        """
        flow = _ingesting_vectors(self.index, ids, vectors, texts, labels, metadata, progress)
        return self.index._run(flow)

    def delete(self, document_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Remove documents with all their passages; return how many of them there were.

        Args:
            document_ids: ids that are not in the index are no error.
            where: those that do not match stay; `ragknn.filters` explains it.
        """
        return self.index._run(_deleting(self.index, document_ids, where))

    def delete_where(self, where: Where) -> int:
        """Remove all documents that match, with all their passages; return how many there were.

        Raises:
            ValueError: an empty filter, or one that cannot be; `Index.drop` removes everything.
        """
        return self.index._run(_deleting_where(self.index, where))


class AsyncIndexer:
    """Async twin of `Indexer`: reading, splitting and embedding run in a thread."""

    def __init__(self, index: AsyncIndex, splitter: Splitter | None = None) -> None:
        self.index = index
        self.splitter = splitter or Splitter()

    async def add(
        self, documents: Iterable[Document] | DocumentSource, *, progress: Progress | None = None
    ) -> IngestReport:
        """Async twin of `Indexer.add`."""
        return await self.index._run(_ingesting(self.index, self.splitter, documents, None, progress))

    async def sync(
        self,
        documents: Iterable[Document] | DocumentSource,
        *,
        where: Where | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Async twin of `Indexer.sync`."""
        return await self.index._run(_syncing(self.index, self.splitter, documents, where, progress))

    async def add_vectors(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        *,
        texts: Sequence[str] | None = None,
        labels: Sequence[Label | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Async twin of `Indexer.add_vectors`."""
        flow = _ingesting_vectors(self.index, ids, vectors, texts, labels, metadata, progress)
        return await self.index._run(flow)

    async def delete(self, document_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Async twin of `Indexer.delete`."""
        return await self.index._run(_deleting(self.index, document_ids, where))

    async def delete_where(self, where: Where) -> int:
        """Async twin of `Indexer.delete_where`."""
        return await self.index._run(_deleting_where(self.index, where))


def _ingesting(
    index: Index | AsyncIndex,
    splitter: Splitter,
    documents: Iterable[Document] | DocumentSource,
    prune: Fragment | None,
    progress: Progress | None,
) -> Flow[IngestReport]:
    embedder = index.embedder
    token_spans = embedder.token_spans if isinstance(embedder, Tokenizing) else None
    recipe = Recipe(
        fingerprint=splitter.fingerprint,
        cut=lambda document: splitter.split(document, token_spans, embedder.max_tokens),
        embed=lambda passages: embedder.embed_documents([passage.text for passage in passages]),
    )
    outcomes: Iterable[Document | Failure]
    outcomes = documents.outcomes() if isinstance(documents, DocumentSource) else documents
    return (yield from ingest(index._keys, index.schema, outcomes, recipe, prune=prune, progress=progress))


def _syncing(
    index: Index | AsyncIndex,
    splitter: Splitter,
    documents: Iterable[Document] | DocumentSource,
    where: Where | None,
    progress: Progress | None,
) -> Flow[IngestReport]:
    return (yield from _ingesting(index, splitter, documents, index._filter(where), progress))


def _ingesting_vectors(
    index: Index | AsyncIndex,
    ids: Sequence[str],
    vectors: ArrayLike,
    texts: Sequence[str] | None,
    labels: Sequence[Label | None] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
    progress: Progress | None,
) -> Flow[IngestReport]:
    rows = as_vectors(vectors, index.schema.dim)
    for what, values in (("ids", ids), ("texts", texts), ("labels", labels), ("metadata", metadata)):
        if values is not None and len(values) != len(rows):
            raise InvalidVectors(f"expected as many {what} as vectors, {len(rows)}, got {len(values)}")
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()  # its scalars are not Python's
    row_of = {document_id: row for row, document_id in reversed(list(enumerate(ids)))}
    recipe = Recipe(
        fingerprint="ready vector",
        cut=lambda document: [_whole(document)],
        embed=lambda passages: rows[[row_of[passage.document_id] for passage in passages]],
        vector_bytes=lambda document: np.ascontiguousarray(rows[row_of[document.id]]).tobytes(),
    )
    documents = (
        Document(
            document_id,
            "" if texts is None else texts[row],
            None if labels is None else labels[row],
            {} if metadata is None else metadata[row],
        )
        for row, document_id in enumerate(ids)
    )
    return (yield from ingest(index._keys, index.schema, documents, recipe, prune=None, progress=progress))


def _whole(document: Document) -> Passage:
    return Passage(
        id=passage_id(document.id, 0),
        document_id=document.id,
        text=document.text,
        start=0,
        end=len(document.text),
        label=document.label,
        metadata=document.metadata,
        number=0,
    )


def _deleting(index: Index | AsyncIndex, document_ids: Iterable[str], where: Where | None) -> Flow[int]:
    if isinstance(document_ids, str):
        raise TypeError(f"expected an iterable of document ids, got the str {document_ids!r}; put it into a list")
    ids = list(document_ids)
    among = index._filter(where)
    if among != EVERYTHING:
        matching = set((yield from matching_ids(index._keys, among)))
        ids = [document_id for document_id in ids if document_id in matching]
    return (yield from delete_documents(index._keys, ids))


def _deleting_where(index: Index | AsyncIndex, where: Where) -> Flow[int]:
    among = index._filter(where)
    if among == EVERYTHING:
        raise ValueError(f"expected a filter with at least one condition, got {where!r}; drop() removes everything")
    return (yield from delete_documents(index._keys, (yield from matching_ids(index._keys, among))))
