"""How a document store searches: by a vector, by words, or by both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from typing import Any

from haystack import Document

from ragknn import Neighbor, Retrieval, WeightedScores
from ragknn.integrations._steps import Steps
from ragknn.integrations.haystack._documents import as_document
from ragknn.integrations.haystack._errors import Unfit, as_haystack
from ragknn.integrations.haystack._filters import where_of
from ragknn.integrations.haystack._opening import Open
from ragknn.integrations.haystack._operations import Operation
from ragknn.integrations.haystack._options import checked_options
from ragknn.integrations.haystack._store import Store

# A BM25 score that becomes 0.73 on the scale from 0 to 1; Haystack's own store in memory has the same.
_HALFWAY = 8.0

Filters = Mapping[str, Any]


class RetrievalMethods(Store):
    """The searches of a store; the retrievers call them."""

    def embedding_retrieval(
        self,
        query_embedding: Sequence[float],
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Return the documents whose embeddings are nearest, nearest first.

        Args:
            query_embedding: of the question.
            filters: which documents are looked at.
            top_k: how many are returned at most.
            scale_score: whether scores are between 0 and 1. If not, they are the cosine, the inner product, or of an
                index of metric l2 the distance, below zero.
            return_embedding: whether the documents bring their embeddings.
            options: others of `ragknn.Retriever.kneighbors`, such as {"ef_runtime": 200}.

        Raises:
            ValueError: the embedding is empty, `top_k` negative, or an option that does not exist.
            FilterError: filters without a meaning.
            DocumentStoreError: an embedding of another size, or no server.
        """
        operation = nearest(query_embedding, filters, top_k, scale_score, return_embedding, options)
        return self._read(operation, [], filtered=bool(filters))

    async def embedding_retrieval_async(
        self,
        query_embedding: Sequence[float],
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Async twin of `embedding_retrieval`."""
        operation = nearest(query_embedding, filters, top_k, scale_score, return_embedding, options)
        return await self._read_async(operation, [], filtered=bool(filters))

    def bm25_retrieval(
        self,
        query: str,
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Return the documents that have words of the query, best first.

        Args:
            query: words; their stems are looked for.
            filters: which documents are looked at.
            top_k: how many are returned at most.
            scale_score: whether scores are between 0 and 1; if not, they are those of BM25.
            options: others of `ragknn.Retriever.retrieve`.

        Raises:
            ValueError: the query is empty, `top_k` negative, or an option that does not exist.
            FilterError: filters without a meaning.
            DocumentStoreError: no server.
        """
        return self._read(wordiest(query, filters, top_k, scale_score, options), [], filtered=bool(filters))

    async def bm25_retrieval_async(
        self,
        query: str,
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Async twin of `bm25_retrieval`."""
        operation = wordiest(query, filters, top_k, scale_score, options)
        return await self._read_async(operation, [], filtered=bool(filters))

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: Sequence[float],
        filters: Filters | None = None,
        top_k: int = 10,
        vector_share: float = 0.5,
        return_embedding: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Return the documents that both searches together find, best first, in one round trip.

        Args:
            query: words.
            query_embedding: of the same question.
            filters: which documents are looked at.
            top_k: how many are returned at most.
            vector_share: 0 to 1: how much the vector search counts. Each search scales its scores to 0..1, and the
                weighted sum of both is the score (`ragknn.WeightedScores`).
            return_embedding: whether the documents bring their embeddings.
            options: others of `ragknn.Retriever.retrieve`, such as {"candidates": 100}.

        Raises:
            ValueError: the query or the embedding is empty, `top_k` negative, the share not between 0 and 1, or an
                option that does not exist.
            FilterError: filters without a meaning.
            DocumentStoreError: an embedding of another size, or no server.
        """
        operation = of_both(query, query_embedding, filters, top_k, vector_share, return_embedding, options)
        return self._read(operation, [], filtered=bool(filters))

    async def hybrid_retrieval_async(
        self,
        query: str,
        query_embedding: Sequence[float],
        filters: Filters | None = None,
        top_k: int = 10,
        vector_share: float = 0.5,
        return_embedding: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Async twin of `hybrid_retrieval`."""
        operation = of_both(query, query_embedding, filters, top_k, vector_share, return_embedding, options)
        return await self._read_async(operation, [], filtered=bool(filters))


@as_haystack()
def nearest(
    vector: Sequence[float],
    filters: Filters | None,
    top_k: int,
    scaled: bool,
    with_vectors: bool,
    options: Mapping[str, Any] | None,
) -> Operation[list[Document]]:
    """Return the search by a vector."""
    _check_vector(vector)
    asked = {"where": where_of(filters), "with_vectors": with_vectors, **checked_options(options)}

    def search(on: Open) -> Steps[Retrieval]:
        found: list[Retrieval] = yield lambda: on.retriever.kneighbors([vector], top_k, **asked)
        return found[0]

    return _documents_of(search, top_k, _similarity if scaled else _closeness)


@as_haystack()
def wordiest(
    query: str, filters: Filters | None, top_k: int, scaled: bool, options: Mapping[str, Any] | None
) -> Operation[list[Document]]:
    """Return the search by words."""
    _check_query(query)
    asked = {"where": where_of(filters), "mode": "text", **checked_options(options)}

    def search(on: Open) -> Steps[Retrieval]:
        found: Retrieval = yield lambda: on.retriever.retrieve(query, top_k, **asked)
        return found

    return _documents_of(search, top_k, _scaled_score if scaled else _score)


@as_haystack()
def of_both(
    query: str,
    vector: Sequence[float],
    filters: Filters | None,
    top_k: int,
    share: float,
    with_vectors: bool,
    options: Mapping[str, Any] | None,
) -> Operation[list[Document]]:
    """Return the search by words and a vector."""
    _check_query(query)
    _check_vector(vector)
    try:
        fusion = WeightedScores(share)
    except (TypeError, ValueError) as error:
        raise Unfit(str(error)) from error
    asked = {"where": where_of(filters), "with_vectors": with_vectors, "fusion": fusion, **checked_options(options)}

    def search(on: Open) -> Steps[Retrieval]:
        found: Retrieval = yield lambda: on.retriever.retrieve(query, top_k, vector=vector, mode="hybrid", **asked)
        return found

    return _documents_of(search, top_k, _score)


def _documents_of(
    search: Callable[[Open], Steps[Retrieval]], top_k: int, score: Callable[[Neighbor], float | None]
) -> Operation[list[Document]]:
    if not isinstance(top_k, int) or top_k < 0:
        raise Unfit(f"expected top_k as a whole number of 0 or more, got {top_k!r}")

    def steps(on: Open) -> Steps[list[Document]]:
        found = (yield from search(on)) if top_k else ()
        return [as_document(neighbor.passage, score(neighbor)) for neighbor in found]

    return steps


def _similarity(neighbor: Neighbor) -> float:
    return neighbor.similarity


def _closeness(neighbor: Neighbor) -> float:
    return -neighbor.distance if neighbor.metric == "l2" else 1 - neighbor.distance


def _score(neighbor: Neighbor) -> float | None:
    return neighbor.score


def _scaled_score(neighbor: Neighbor) -> float:
    return 1 / (1 + exp(-(neighbor.score or 0.0) / _HALFWAY))


def _check_query(query: Any) -> None:
    if not isinstance(query, str) or not query.strip():
        raise Unfit(f"expected a query with words, got {query!r}")


def _check_vector(vector: Any) -> None:
    if isinstance(vector, str) or not hasattr(vector, "__len__") or not len(vector):
        raise Unfit(f"expected the embedding of a query as a list of floats, got {vector!r}")
