"""What a vector store answers: each search is one retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from numpy.typing import ArrayLike, NDArray

from ragknn import InvalidVectors, Neighbor, Retrieval, Where
from ragknn.integrations.langchain._documents import document_of, documents_of
from ragknn.integrations.langchain._filters import take_where
from ragknn.integrations.langchain._indexes import Indexes


class Searching(VectorStore):
    """The searches of `RagKNNVectorStore`."""

    _indexes: Indexes
    _scope: Where | None

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the k documents that answer a query best, the best first.

        Args:
            query: what is asked.
            k: number of documents; fewer come where there are fewer.
            **options: `filter`, and those of `Retriever.retrieve`.

        Raises:
            ValueError: an invalid filter or option.
            TypeError: an option that does not exist, or another kind of filter.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return documents_of(self._retrieve(query, k, options))

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Async twin of `similarity_search`."""
        return documents_of(await self._aretrieve(query, k, options))

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """Return documents as `similarity_search` does, each with the number by which they are ordered.

        That is the distance in the index's metric, of which the smallest comes first; with modes "text" and "hybrid"
        and with `rerank` it is a score, of which the largest does.
        """
        return [_scored(neighbor) for neighbor in self._retrieve(query, k, options)]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score`."""
        return [_scored(neighbor) for neighbor in await self._aretrieve(query, k, options)]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        # `similarity_search_with_relevance_scores` of LangChain, which looks at score_threshold, calls this.
        _check_has_similarity(options)
        return [_relevant(neighbor) for neighbor in self._retrieve(query, k, options)]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        _check_has_similarity(options)
        return [_relevant(neighbor) for neighbor in await self._aretrieve(query, k, options)]

    def similarity_search_by_vector(self, embedding: ArrayLike, k: int = 4, **options: Any) -> list[Document]:
        """Return the k documents that are nearest to a vector of shape (dim,), nearest first.

        Raises:
            InvalidVectors: a vector of another size than the index has.
            ValueError: as for `similarity_search`.
        """
        return documents_of(self._near(embedding, k, options))

    async def asimilarity_search_by_vector(self, embedding: ArrayLike, k: int = 4, **options: Any) -> list[Document]:
        """Async twin of `similarity_search_by_vector`."""
        return documents_of(await self._anear(embedding, k, options))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return documents that answer a query and differ from each other (maximal marginal relevance).

        Args:
            query: what is asked.
            k: number of documents.
            fetch_k: candidates that they are chosen from.
            lambda_mult: from 0, as different as can be, to 1, by relevance alone.
            **options: as for `similarity_search`.

        Raises:
            ValueError: as for `similarity_search`.
        """
        return documents_of(self._retrieve(query, k, _diverse(k, fetch_k, lambda_mult, options)))

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search`."""
        return documents_of(await self._aretrieve(query, k, _diverse(k, fetch_k, lambda_mult, options)))

    def max_marginal_relevance_search_by_vector(
        self, embedding: ArrayLike, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Do the same for a vector of shape (dim,).

        Raises:
            InvalidVectors: a vector of another size than the index has.
            ValueError: as for `similarity_search`.
        """
        return documents_of(self._near(embedding, k, _diverse(k, fetch_k, lambda_mult, options)))

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: ArrayLike, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search_by_vector`."""
        return documents_of(await self._anear(embedding, k, _diverse(k, fetch_k, lambda_mult, options)))

    def _retrieve(self, query: str, k: int, options: dict[str, Any]) -> Retrieval:
        if _is_nothing(k, query):
            return Retrieval(())
        where = take_where(options, self._scope)
        return self._indexes.retriever.retrieve(query, k, where=where, **options)

    async def _aretrieve(self, query: str, k: int, options: dict[str, Any]) -> Retrieval:
        if _is_nothing(k, query):
            return Retrieval(())
        where = take_where(options, self._scope)
        return await self._indexes.async_retriever.retrieve(query, k, where=where, **options)

    def _near(self, vector: ArrayLike, k: int, options: dict[str, Any]) -> Retrieval:
        if _is_nothing(k):
            return Retrieval(())
        where = take_where(options, self._scope)
        return self._indexes.retriever.kneighbors(_one_row(vector), k, where=where, **options)[0]

    async def _anear(self, vector: ArrayLike, k: int, options: dict[str, Any]) -> Retrieval:
        if _is_nothing(k):
            return Retrieval(())
        where = take_where(options, self._scope)
        found = await self._indexes.async_retriever.kneighbors(_one_row(vector), k, where=where, **options)
        return found[0]


def _one_row(vector: ArrayLike) -> NDArray[Any]:
    """Return a vector of shape (dim,) as one row.

    Raises:
        InvalidVectors: another shape.
    """
    row = np.asarray(vector)
    if row.ndim != 1:
        raise InvalidVectors(f"expected a vector of shape (dim,), got shape {row.shape}")
    return row[np.newaxis]


def _is_nothing(k: int, query: str | None = None) -> bool:
    return (type(k) is int and k == 0) or (isinstance(query, str) and not query.strip())


def _diverse(k: int, fetch_k: int, lambda_mult: float, options: Mapping[str, Any]) -> dict[str, Any]:
    if not 0 <= lambda_mult <= 1:
        raise ValueError(f"expected lambda_mult from 0 (most diverse) to 1 (most relevant), got {lambda_mult!r}")
    return {**options, "diversity": 1 - lambda_mult, "candidates": max(fetch_k, k)}


def _check_has_similarity(options: Mapping[str, Any]) -> None:
    if options.get("mode") == "text":
        raise ValueError(
            "expected mode 'vector' or 'hybrid' for relevance scores, got 'text': words alone have no similarity; "
            "similarity_search_with_score returns their scores"
        )


def _scored(neighbor: Neighbor) -> tuple[Document, float]:
    return document_of(neighbor.passage), neighbor.distance if neighbor.score is None else neighbor.score


def _relevant(neighbor: Neighbor) -> tuple[Document, float]:
    return document_of(neighbor.passage), neighbor.similarity
