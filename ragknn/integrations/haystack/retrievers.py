"""Components of Haystack that find documents in a `RagKNNDocumentStore`."""

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy

from ragknn.integrations.haystack._retriever import BaseRetriever
from ragknn.integrations.haystack.document_store import RagKNNDocumentStore

# From where Haystack loads what a pipeline names.
_MODULE = "haystack_integrations.components.retrievers.ragknn"


@component
class RagKNNEmbeddingRetriever(BaseRetriever):
    """Find the documents whose embeddings are nearest to that of a question.

    Args:
        document_store: where to look.
        filters: which documents are looked at; None: all.
        top_k: how many are returned at most.
        scale_score: whether scores are between 0 and 1. If not, they are the cosine, the inner product, or of an index
            of metric l2 the distance, below zero.
        return_embedding: whether the documents bring their embeddings.
        filter_policy: whether filters that come with a call take the place of `filters`, REPLACE, or go with them,
            MERGE.
        options: others of `ragknn.Retriever.kneighbors`, such as {"ef_runtime": 200} or {"max_distance": 0.5}.

    Raises:
        TypeError: a store of another kind.
        ValueError: `top_k` below 1, or an option that does not exist.
    """

    __module__ = _MODULE

    def __init__(
        self,
        document_store: RagKNNDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        options: dict[str, Any] | None = None,
    ) -> None:
        own = {"scale_score": scale_score, "return_embedding": return_embedding}
        BaseRetriever.__init__(self, document_store, filters, top_k, filter_policy, options, **own)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": [...]}, nearest first; what is left out is as the retriever was made.

        Raises:
            ValueError: the embedding is empty, or `top_k` negative.
            FilterError: filters without a meaning.
            DocumentStoreError: an embedding of another size, or no server.
        """
        asked = self._asked(filters, top_k, scale_score=scale_score, return_embedding=return_embedding)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **asked)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Async twin of `run`."""
        asked = self._asked(filters, top_k, scale_score=scale_score, return_embedding=return_embedding)
        return {"documents": await self.document_store.embedding_retrieval_async(query_embedding, **asked)}


@component
class RagKNNBM25Retriever(BaseRetriever):
    """Find the documents that have the words of a question.

    Args:
        document_store: where to look.
        filters: which documents are looked at; None: all.
        top_k: how many are returned at most.
        scale_score: whether scores are between 0 and 1; if not, they are those of BM25.
        filter_policy: whether filters that come with a call take the place of `filters`, REPLACE, or go with them,
            MERGE.
        options: others of `ragknn.Retriever.retrieve`.

    Raises:
        TypeError: a store of another kind.
        ValueError: `top_k` below 1, or an option that does not exist.
    """

    __module__ = _MODULE

    def __init__(
        self,
        document_store: RagKNNDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        options: dict[str, Any] | None = None,
    ) -> None:
        BaseRetriever.__init__(self, document_store, filters, top_k, filter_policy, options, scale_score=scale_score)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": [...]}, best first; what is left out is as the retriever was made.

        Raises:
            ValueError: the query is empty, or `top_k` negative.
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        asked = self._asked(filters, top_k, scale_score=scale_score)
        return {"documents": self.document_store.bm25_retrieval(query, **asked)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Async twin of `run`."""
        asked = self._asked(filters, top_k, scale_score=scale_score)
        return {"documents": await self.document_store.bm25_retrieval_async(query, **asked)}


@component
class RagKNNHybridRetriever(BaseRetriever):
    """Find documents by the words of a question and by its embedding, in one round trip.

    Args:
        document_store: where to look.
        filters: which documents are looked at; None: all.
        top_k: how many are returned at most.
        vector_share: 0 to 1: how much the embedding counts; the words have the rest. Scores are between 0 and 1.
        return_embedding: whether the documents bring their embeddings.
        filter_policy: whether filters that come with a call take the place of `filters`, REPLACE, or go with them,
            MERGE.
        options: others of `ragknn.Retriever.retrieve`, such as {"candidates": 100}.

    Raises:
        TypeError: a store of another kind.
        ValueError: `top_k` below 1, or an option that does not exist.
    """

    __module__ = _MODULE

    def __init__(
        self,
        document_store: RagKNNDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        vector_share: float = 0.5,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        options: dict[str, Any] | None = None,
    ) -> None:
        own = {"vector_share": vector_share, "return_embedding": return_embedding}
        BaseRetriever.__init__(self, document_store, filters, top_k, filter_policy, options, **own)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        vector_share: float | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": [...]}, best first; what is left out is as the retriever was made.

        Raises:
            ValueError: the query or the embedding is empty, `top_k` negative, or the share not between 0 and 1.
            FilterError: filters without a meaning.
            DocumentStoreError: an embedding of another size, or no server.
        """
        asked = self._asked(filters, top_k, vector_share=vector_share, return_embedding=return_embedding)
        return {"documents": self.document_store.hybrid_retrieval(query, query_embedding, **asked)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        vector_share: float | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Async twin of `run`."""
        asked = self._asked(filters, top_k, vector_share=vector_share, return_embedding=return_embedding)
        return {"documents": await self.document_store.hybrid_retrieval_async(query, query_embedding, **asked)}
