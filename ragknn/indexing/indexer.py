"""Writing to an index: `Indexer` in sync code, `AsyncIndexer` in async code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, Unpack

from numpy.typing import ArrayLike

from ragknn._checks import check_type
from ragknn._protocol.schema import OnBadField
from ragknn.embedding._long_texts import LongTexts
from ragknn.filters import Where
from ragknn.indexing._policy import IngestOptions, OnRepeated, Progress
from ragknn.indexing._removing import removing
from ragknn.indexing._writing import (
    adding,
    adding_passages,
    adding_vectors,
    clearing,
    deleting,
    deleting_where,
    syncing,
    updating,
)
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Document, Label, Passage
from ragknn.reports import DocumentSource, IngestReport
from ragknn.text.splitting import Splitter


class Indexer:
    """Write documents to an index.

    Each document is replaced in one step: a search meanwhile sees the old or the new version, and a crash leaves no
    half of it. A document that has not changed is neither embedded nor written again; one whose label or metadata
    alone have changed is written without being embedded.

    Args:
        index: the index to write to.
        splitter: how documents are cut into passages. It is kept with the index when documents are first added with it.
            None: that of the index; of a new one a `Splitter` without arguments. With another one, the index keeps this
            one from then on, documents that are added or synced are cut and embedded again, and the report says so.
    """

    def __init__(self, index: Index, splitter: Splitter | None = None) -> None:
        check_type("index", index, Index)
        self.index = index
        self.splitter = _checked(splitter)

    def add(self, documents: Iterable[Document] | DocumentSource, **options: Unpack[IngestOptions]) -> IngestReport:
        """Add documents; one whose id is in the index already is replaced by default.

        What cannot be stored is listed in the report; the rest is still indexed. A file that holds no text any more
        is a document without passages: what the index has of it is removed, and the report's `notes` tell it.

        Args:
            documents: read as they are needed, a few batches ahead of what is written, while the model embeds others.
                Where reading them fails, what came before is stored.
            options:
                on_existing: what to do with a document whose id is in the index already: "replace" it, "skip" it, or
                    "fail", which lists it in the report.
                on_repeated: which of several documents of one id in this call counts: the "first", and the others fail,
                    or the "last".
                on_bad_field: what to do with a value that does not fit the type of its declared field: "fail" the
                    document, or "leave_out" the field, which the report lists.
                batch_size: documents looked up and written in one round trip at most; 64. Passages of several batches
                    are embedded together.
                progress: called with the report so far whenever passages were embedded or documents written, so that
                    it moves within a long document too (`embedded`, `under_way`); None: in a notebook, a bar.
                dry_run: whether to write nothing and only report what would be added and updated (`report.ids`);
                    nothing is embedded.

        Raises:
            TypeError: something else than documents.
            ValueError: an invalid option.
            ServerError: the server cannot be reached or refuses a command.
            EmbeddingError: the model failed.
        """
        return self.index._run(adding(self, documents, options))

    def sync(
        self,
        documents: Iterable[Document] | DocumentSource,
        *,
        where: Where | None = None,
        dry_run: bool = False,
        on_repeated: OnRepeated = "first",
        on_bad_field: OnBadField = "fail",
        batch_size: int | None = None,
        progress: Progress | None = None,
        delete_most: bool = False,
    ) -> IngestReport:
        """Add documents, and remove those that the input does not have.

        Nothing is removed if part of the input could not be read: the missing documents may come from there. The
        report then counts them as `kept`.

        Args:
            documents: all that the index shall hold, or all that match `where`.
            where: documents that do not match stay, though the input does not have them; `ragknn.filters` explains it.
            dry_run: whether to write nothing and only report what would be added, updated and deleted (`report.ids`);
                nothing is embedded.
            on_repeated: as for `add`.
            on_bad_field: as for `add`.
            batch_size: as for `add`.
            progress: as for `add`.
            delete_most: whether more than half of the documents that were there may be removed, if they are more than
                20; or any, by an input without documents. Such an input is rather the wrong folder.

        Raises:
            TypeError: something else than documents.
            ValueError: an invalid filter or option.
            DeletionRefused: most would be removed, without `delete_most`. What the input has is stored, and nothing was
                removed; the error carries the report.
            ServerError: the server cannot be reached or refuses a command.
            EmbeddingError: the model failed.
        """
        options = _options(on_repeated, on_bad_field, batch_size, progress, dry_run)
        return self.index._run(syncing(self, documents, where, options, delete_most=delete_most))

    def add_vectors(
        self,
        ids: Sequence[str],
        vectors: ArrayLike | Sequence[ArrayLike | None],
        *,
        texts: Sequence[str] | None = None,
        labels: Sequence[Label | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        **options: Unpack[IngestOptions],
    ) -> IngestReport:
        """Add ready vectors, each a document of one passage.

        Args:
            ids: n ids.
            vectors: shape (n, dim); or n vectors of shape (dim,), of which some may be None: such a document is found
                by its words, by filters and by its id, and never by a vector.
            texts: n texts to give back with the neighbors; none: empty ones.
            labels: n labels, None where there is none.
            metadata: n mappings.
            options: as for `add`.

        Raises:
            InvalidVectors: the shape is another.
            ValueError: the lengths differ, or an invalid option.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(adding_vectors(self.index, ids, vectors, texts, labels, metadata, options))

    def add_passages(
        self,
        passages: Iterable[Passage],
        *,
        embed: bool = True,
        keep_others: bool = False,
        long_texts: LongTexts = "fail",
        **options: Unpack[IngestOptions],
    ) -> IngestReport:
        """Add documents whose passages were cut elsewhere, each in one step.

        A passage keeps its id, its offsets, its page and headings, its label and its metadata. Where it has a `vector`,
        that is stored; if not, its text is embedded. What `Index.passages(vectors=True)` reads can be added here
        unchanged; the document then has no page starts of its own, and what stood between two passages, and in none of
        them, is a space or an empty line in its text.

        Args:
            passages: those of one document one after the other; together they replace what there is of it, unless
                `keep_others` is true. Passages
                without offsets (0, 0) are put one after the other. An id of a passage should be unique in the index.
            embed: whether passages without a vector are embedded, or stored without one, to be found by
                their words, by filters and by their ids only.
            keep_others: whether the other passages stay that the index has of these documents. One that is given takes
                the place of the one that has its id, and keeps its vector if the text is the same; new ones stand where
                their offsets say, or come last. Nothing is lost where another writer adds to the same document.
            long_texts: what to do with a text that has more tokens than the model reads: "fail", the default, raises
                `TextTooLong`; "mean" stores the mean of the vectors of its pieces, "cut" the vector of its beginning.
            options: as for `add`; with `keep_others`, `on_existing` is "replace", and a document may come again.

        Raises:
            TypeError: something else than passages.
            ValueError: an invalid option.
            ServerError: the server cannot be reached or refuses a command.
            EmbeddingError: the model failed.
        """
        return self.index._run(adding_passages(self.index, passages, embed, keep_others, long_texts, options))

    def update(
        self,
        ids: Iterable[str] | None = None,
        *,
        where: Where | None = None,
        metadata: Mapping[str, Any] | None = None,
        label: Label | EllipsisType | None = ...,
        on_bad_field: OnBadField = "fail",
    ) -> IngestReport:
        """Change metadata and label of documents; nothing is embedded.

        A later `sync` of the same sources writes what they say again.

        Args:
            ids: which documents; ids that are not in the index are no error.
            where: those that match; with `ids`, those of them that match. `ragknn.filters` explains it.
            metadata: entries to set; one that is None is removed, and all others stay.
            label: the new label; None removes it; left out, it stays.
            on_bad_field: as for `add`.

        Returns:
            A report whose `updated` counts the documents that were changed.

        Raises:
            TypeError: ids, metadata or a label of another type.
            ValueError: neither ids nor a filter, or nothing to change.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(updating(self.index, ids, where, metadata, label, on_bad_field))

    def delete(self, document_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Remove documents with all their passages; return how many of them there were.

        Args:
            document_ids: ids of documents, not of passages; ids that are not in the index are no error.
            where: those that do not match stay; `ragknn.filters` explains it.

        Raises:
            TypeError: a str in place of several.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(deleting(self.index, document_ids, where))

    def delete_passages(self, passage_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Remove single passages; return how many of them there were.

        The others of their documents stay, with their vectors; a document whose last passage is removed is gone.

        Args:
            passage_ids: ids that are not in the index are no error.
            where: those that do not match stay; `ragknn.filters` explains it.

        Raises:
            TypeError: a str in place of several.
            IngestFailed: the server has no room to store what is left of a document, which stays as it was.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(removing(self.index, passage_ids, where))

    def delete_where(self, where: Where) -> int:
        """Remove all documents that match, with all their passages; return how many there were.

        Raises:
            ValueError: an empty or invalid filter; `clear` removes everything.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(deleting_where(self.index, where))

    def clear(self) -> int:
        """Remove all documents; the index stays, with its fields and settings. Return how many documents there were.

        Raises:
            ValueError: the index requires a filter: `delete_where` removes what one matches.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(clearing(self.index))


class AsyncIndexer:
    """Async twin of `Indexer`: reading, splitting and embedding run in threads, with which a cancelled task ends."""

    def __init__(self, index: AsyncIndex, splitter: Splitter | None = None) -> None:
        check_type("index", index, AsyncIndex)
        self.index = index
        self.splitter = _checked(splitter)

    async def add(
        self, documents: Iterable[Document] | DocumentSource, **options: Unpack[IngestOptions]
    ) -> IngestReport:
        """Async twin of `Indexer.add`."""
        return await self.index._run(adding(self, documents, options))

    async def sync(
        self,
        documents: Iterable[Document] | DocumentSource,
        *,
        where: Where | None = None,
        dry_run: bool = False,
        on_repeated: OnRepeated = "first",
        on_bad_field: OnBadField = "fail",
        batch_size: int | None = None,
        progress: Progress | None = None,
        delete_most: bool = False,
    ) -> IngestReport:
        """Async twin of `Indexer.sync`."""
        options = _options(on_repeated, on_bad_field, batch_size, progress, dry_run)
        return await self.index._run(syncing(self, documents, where, options, delete_most=delete_most))

    async def add_vectors(
        self,
        ids: Sequence[str],
        vectors: ArrayLike | Sequence[ArrayLike | None],
        *,
        texts: Sequence[str] | None = None,
        labels: Sequence[Label | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        **options: Unpack[IngestOptions],
    ) -> IngestReport:
        """Async twin of `Indexer.add_vectors`."""
        return await self.index._run(adding_vectors(self.index, ids, vectors, texts, labels, metadata, options))

    async def add_passages(
        self,
        passages: Iterable[Passage],
        *,
        embed: bool = True,
        keep_others: bool = False,
        long_texts: LongTexts = "fail",
        **options: Unpack[IngestOptions],
    ) -> IngestReport:
        """Async twin of `Indexer.add_passages`."""
        return await self.index._run(adding_passages(self.index, passages, embed, keep_others, long_texts, options))

    async def update(
        self,
        ids: Iterable[str] | None = None,
        *,
        where: Where | None = None,
        metadata: Mapping[str, Any] | None = None,
        label: Label | EllipsisType | None = ...,
        on_bad_field: OnBadField = "fail",
    ) -> IngestReport:
        """Async twin of `Indexer.update`."""
        return await self.index._run(updating(self.index, ids, where, metadata, label, on_bad_field))

    async def delete(self, document_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Async twin of `Indexer.delete`."""
        return await self.index._run(deleting(self.index, document_ids, where))

    async def delete_passages(self, passage_ids: Iterable[str], *, where: Where | None = None) -> int:
        """Async twin of `Indexer.delete_passages`."""
        return await self.index._run(removing(self.index, passage_ids, where))

    async def delete_where(self, where: Where) -> int:
        """Async twin of `Indexer.delete_where`."""
        return await self.index._run(deleting_where(self.index, where))

    async def clear(self) -> int:
        """Async twin of `Indexer.clear`."""
        return await self.index._run(clearing(self.index))


def _options(
    on_repeated: OnRepeated, on_bad_field: OnBadField, batch_size: int | None, progress: Progress | None, dry_run: bool
) -> IngestOptions:
    options: IngestOptions = {
        "on_repeated": on_repeated,
        "on_bad_field": on_bad_field,
        "progress": progress,
        "dry_run": dry_run,
    }
    return options if batch_size is None else {**options, "batch_size": batch_size}


def _checked(splitter: Splitter | None) -> Splitter | None:
    if splitter is not None:
        check_type("splitter", splitter, Splitter, "pass Splitter(size, overlap)")
    return splitter
