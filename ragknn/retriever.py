"""Searching an index: `Retriever` in sync code, `AsyncRetriever` in async code."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_integer

from numpy.typing import ArrayLike

from ragknn.connection import arun, run
from ragknn.flows import Flow, Work
from ragknn.index import AsyncIndex, Index
from ragknn.records import Retrieval
from ragknn.searching import Ask, OnIncomplete, nearest
from ragknn.vectors import check_vectors


class Retriever:
    """Find the passages nearest to a question.

    Args:
        index: an open index.
        on_incomplete: what to do when the server stops before it has looked everywhere: "raise"
            `IncompleteRetrieval`, or "return" what came, with `complete` False.
    """

    def __init__(self, index: Index, *, on_incomplete: OnIncomplete = "raise") -> None:
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)

    def retrieve(self, query: str, k: int = 5, *, ef_runtime: int | None = None) -> Retrieval:
        """Return the k passages nearest to the query, nearest first.

        Args:
            query: what is asked.
            k: number of passages; fewer come where the index holds fewer.
            ef_runtime: hnsw only: candidates that the search keeps. More finds more of the true neighbors
                and takes longer. None: 100, or twice k where that is more.

        Raises:
            ValueError: k < 1, an empty query, or one longer than the model reads.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached, or refuses.
        """
        return run(self.index.client, _asking(self, [query], k, ef_runtime))[0]

    def retrieve_many(self, queries: Sequence[str], k: int = 5, *, ef_runtime: int | None = None) -> list[Retrieval]:
        """Return for each query what `retrieve` would: embedded together, and asked in one round trip.

        From 1,000 queries on, each thousand is a round trip.
        """
        return run(self.index.client, _asking(self, queries, k, ef_runtime))

    def kneighbors(self, vectors: ArrayLike, k: int = 5, *, ef_runtime: int | None = None) -> list[Retrieval]:
        """Return for each row of `vectors`, shape (n, dim), the k nearest passages, nearest first.

        Raises:
            InvalidVectors: a wrong shape, or a row without a distance.
        """
        return run(self.index.client, _searching(self, vectors, k, ef_runtime))


class AsyncRetriever:
    """Async twin of `Retriever`: embedding runs in a thread."""

    def __init__(self, index: AsyncIndex, *, on_incomplete: OnIncomplete = "raise") -> None:
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)

    async def retrieve(self, query: str, k: int = 5, *, ef_runtime: int | None = None) -> Retrieval:
        """Async twin of `Retriever.retrieve`."""
        return (await arun(self.index.client, _asking(self, [query], k, ef_runtime)))[0]

    async def retrieve_many(
        self, queries: Sequence[str], k: int = 5, *, ef_runtime: int | None = None
    ) -> list[Retrieval]:
        """Async twin of `Retriever.retrieve_many`."""
        return await arun(self.index.client, _asking(self, queries, k, ef_runtime))

    async def kneighbors(self, vectors: ArrayLike, k: int = 5, *, ef_runtime: int | None = None) -> list[Retrieval]:
        """Async twin of `Retriever.kneighbors`."""
        return await arun(self.index.client, _searching(self, vectors, k, ef_runtime))


def _asking(
    retriever: Retriever | AsyncRetriever, queries: Sequence[str], k: int, ef_runtime: int | None
) -> Flow[list[Retrieval]]:
    check_queries(queries)
    embedder = retriever.index.embedder
    vectors = yield Work(lambda: embedder.embed_queries(queries))
    return (yield from _searching(retriever, vectors, k, ef_runtime, queries))


def _searching(
    retriever: Retriever | AsyncRetriever,
    vectors: ArrayLike,
    k: int,
    ef_runtime: int | None,
    queries: Sequence[str] | None = None,
) -> Flow[list[Retrieval]]:
    index = retriever.index
    schema = index.schema
    if as_integer(k) < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    if ef_runtime is not None and schema.algorithm != "hnsw":
        raise ValueError(f"expected ef_runtime with an hnsw index only, got it with {schema.algorithm}, which is exact")
    if ef_runtime is not None and as_integer(ef_runtime) < 1:
        raise ValueError(f"expected ef_runtime >= 1, got {ef_runtime}")
    ask = Ask(as_integer(k), ef_runtime, index.timeout, retriever.on_incomplete)
    rows = check_vectors(vectors, schema.dim, schema.metric, schema.dtype)
    return (yield from nearest(index.keys, schema, rows, ask, index.watch, queries))


def check_queries(queries: Sequence[str]) -> None:
    """Refuse what is no sequence of texts with words in them.

    Raises:
        TypeError: a str in place of a sequence, or a query of another type.
        ValueError: an empty query.
    """
    if isinstance(queries, str):
        raise TypeError(f"expected a sequence of queries, got the str {queries!r}; use retrieve() for one")
    for query in queries:
        if not isinstance(query, str):
            raise TypeError(f"expected a query of type str, got {query!r} of type {type(query).__name__}")
        if not query.strip():
            raise ValueError(f"expected a query with words in it, got {query!r}")


def _checked_choice(on_incomplete: OnIncomplete) -> OnIncomplete:
    if on_incomplete not in ("raise", "return"):
        raise ValueError(f"expected on_incomplete to be 'raise' or 'return', got {on_incomplete!r}")
    return on_incomplete
