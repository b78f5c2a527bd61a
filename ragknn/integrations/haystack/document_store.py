"""A document store of Haystack that keeps its documents in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from ragknn.integrations.haystack import _operations as operations
from ragknn.integrations.haystack._filters import where_of
from ragknn.integrations.haystack._metadata_methods import MetadataMethods
from ragknn.integrations.haystack._retrieval import RetrievalMethods


class RagKNNDocumentStore(MetadataMethods, RetrievalMethods):
    """Documents in an index of ragknn, found by their embeddings, by words and by filters.

    Each document is a document of one passage in the index, with the same id, so that everything else of ragknn works
    on it too. The index is opened when a method first needs it, and made when documents are first written; before that
    the store is empty. Threads and event loops may share a store; the methods whose names end in `_async` wait for
    Redis without a thread.

    Filters can be on any entry of the metadata: by `==`, `!=`, `in` and `not in`; and by `<`, `<=`, `>` and `>=` on
    those that `fields` declares as numeric, which holds numbers and dates. A document whose entry is a list has each
    of its elements: `==` finds one of them. What is declared later is filled from the documents that are there.

    Args:
        index: its name: letters, digits, `_`, `.` and `-`.
        url: Redis to use, as a string or as a secret of Haystack; None: `RAGKNN_URL`, or where that is not set the
            embedded server. A password in a string is in no dump: `RAGKNN_PASSWORD` has it where the dump is loaded.
        embedding_dim: values in an embedding; None: as the index has it, and in a new one as the first document does.
        model: name of the model that the embeddings come from. It is kept with a new index, and an index of another
            model is refused. None: it is not looked at.
        fields: entries of the metadata to declare, each "tag", "numeric" or "text"; a dotted name such as
            "author.name" is an entry within another.
        metric: "cosine", "ip" or "l2"; None: as the index was built, and cosine for a new one. The same holds for each
            of the following.
        algorithm: "flat" (exact; the default) or "hnsw" (approximate, quicker from about 100,000 documents on).
        dtype: "float32" (the default), "float16", "bfloat16" or "float64" for stored embeddings. Haystack has 64 bits:
            with fewer, an embedding that is read back is rounded.
        language: by whose rules the stems of words are found; "english".
        required_filter: an entry of the metadata, such as "tenant", that every filter must pin and every document must
            have; it is declared as a tag.
        timeout: seconds that one search may take; None: `RAGKNN_TIMEOUT`, or 10.
        create: whether to make the index where there is none; if not, that is an error.

    Raises:
        TypeError: an argument of another type.
        ValueError: an invalid name, choice or field name.
    """

    __module__ = "haystack_integrations.document_stores.ragknn"  # from where Haystack loads what a pipeline names

    def count_documents(self) -> int:
        """Return how many documents there are.

        Raises:
            DocumentStoreError: no server.
        """
        return self._read(operations.counting(None), 0)

    async def count_documents_async(self) -> int:
        """Async twin of `count_documents`."""
        return await self._read_async(operations.counting(None), 0)

    def filter_documents(self, filters: Mapping[str, Any] | None = None) -> list[Document]:
        """Return the documents that match, or all, with their embeddings.

        Raises:
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        return self._read(operations.finding(where_of(filters)), [], filtered=bool(filters))

    async def filter_documents_async(self, filters: Mapping[str, Any] | None = None) -> list[Document]:
        """Async twin of `filter_documents`."""
        return await self._read_async(operations.finding(where_of(filters)), [], filtered=bool(filters))

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents, each in one step: it is there whole, or as it was before.

        Args:
            documents: with or without embeddings; one without is found by words and filters. The score is not stored.
            policy: what to do with an id that is there already, or comes twice: FAIL, and NONE which means the same,
                write nothing then, nor where any document cannot be stored; SKIP keeps the first; OVERWRITE the last.

        Returns:
            How many were written; with OVERWRITE as many as were given.

        Raises:
            DuplicateDocumentError: an id that is there already, or comes twice, with FAIL or NONE.
            DocumentStoreError: a document cannot be stored, such as one with an embedding of another size; or no
                server. To write the same again is safe, with SKIP or OVERWRITE if some were written.
            ValueError: something else than documents.
        """
        operation = operations.storing(documents, policy)
        return self._write(operation, operations.size_of(documents)) if documents else 0

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Async twin of `write_documents`."""
        operation = operations.storing(documents, policy)
        return await self._write_async(operation, operations.size_of(documents)) if documents else 0

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; an id that is not there is no error.

        Raises:
            DocumentStoreError: no server.
        """
        self._read(operations.deleting(document_ids), None)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Async twin of `delete_documents`."""
        await self._read_async(operations.deleting(document_ids), None)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Delete all documents.

        Args:
            recreate_index: whether to drop the index too, so that what is written next makes a new one. If not, it
                stays as it is, with its fields.

        Raises:
            DocumentStoreError: the index requires a filter, or no server.
        """
        if recreate_index:
            self._drop()
        else:
            self._read(operations.clearing, None)

    async def delete_all_documents_async(self, recreate_index: bool = False) -> None:
        """Async twin of `delete_all_documents`."""
        if recreate_index:
            await self._drop_async()
        else:
            await self._read_async(operations.clearing, None)

    def delete_by_filter(self, filters: Mapping[str, Any]) -> int:
        """Delete the documents that match, and return how many there were.

        Raises:
            FilterError: filters without a meaning, or empty ones.
            DocumentStoreError: no server.
        """
        return self._read(operations.deleting_matching(where_of(filters)), 0, filtered=True)

    async def delete_by_filter_async(self, filters: Mapping[str, Any]) -> int:
        """Async twin of `delete_by_filter`."""
        return await self._read_async(operations.deleting_matching(where_of(filters)), 0, filtered=True)

    def update_by_filter(self, filters: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """Set entries of the metadata of the documents that match, and return how many match.

        Args:
            filters: which documents.
            meta: entries to set; one that is None is removed, and all others stay.

        Raises:
            FilterError: filters without a meaning, or empty ones.
            DocumentStoreError: a value that does not fit its declared field, or no server.
        """
        return self._read(operations.updating(where_of(filters), meta), 0, filtered=True)

    async def update_by_filter_async(self, filters: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
        """Async twin of `update_by_filter`."""
        return await self._read_async(operations.updating(where_of(filters), meta), 0, filtered=True)
