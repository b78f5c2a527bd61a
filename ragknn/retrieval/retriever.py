"""Searching an index: `Retriever` in sync code, `AsyncRetriever` in async code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack, get_args

from numpy.typing import ArrayLike

from ragknn._checks import check_choice, check_flag, check_type, shown
from ragknn._protocol.place import Bulk, OnIncomplete
from ragknn.embedding._long_texts import LongTexts, checked_choice
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Retrieval
from ragknn.retrieval._asking import asking, asking_any, asking_like, asking_near, one_row
from ragknn.retrieval.options import Options


class Retriever:
    """Find the passages that answer a question.

    Args:
        index: the index to search.
        on_incomplete: what to do if the server stops before the search is complete: "raise"
            `IncompleteRetrieval`, or "return" what was found, with `complete` False.
        long_queries: what to do with a query that has more tokens than the model reads: "mean" searches with the mean
            of the vectors of its pieces, "cut" with the vector of its beginning, and both say so in `warnings`; "fail"
            raises `TextTooLong`.
        bulk: whether many searches at once on a flat index may be made in memory, with the same neighbors: all vectors
            are pulled out of the server once and kept while the index does not change and is open, if they take no more
            than `RAGKNN_BULK_BYTES`. "auto" does so where it is quicker by far, "always" wherever it is possible.
        timed: whether each retrieval tells in `timings` how long each stage of the call took.
    """

    def __init__(
        self,
        index: Index,
        *,
        on_incomplete: OnIncomplete = "raise",
        long_queries: LongTexts = "mean",
        bulk: Bulk = "auto",
        timed: bool = False,
    ) -> None:
        check_type("index", index, Index)
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)
        self.long_queries = checked_choice("long_queries", long_queries)
        check_choice("bulk", bulk, get_args(Bulk))
        self.bulk = bulk
        self.timed = check_flag("timed", timed)

    def retrieve(
        self, query: str, k: int | None = 5, *, vector: ArrayLike | None = None, **options: Unpack[Options]
    ) -> Retrieval:
        """Return the k passages that answer the query best, the best first.

        All options can be combined. They are applied in this order.

        Args:
            query: what is asked.
            k: number of passages; fewer come where there are fewer. None, with `max_distance`: all that are near.
            vector: the query as a ready vector, shape (dim,); None embeds the text. The text still gives the words of
                modes "text" and "hybrid", and is what passages are reranked against.
            options:
                where: look only among passages that match, such as `{"label": "billing", "year": {"$gte": 2020}}`;
                    `ragknn.filters` explains.
                mode: "vector" for the nearest passages; "text" for those that have the words of the query (BM25),
                    without embedding, with NaN as distances; "hybrid" for both in one round trip, fused; what is
                    read of the passages that are returned takes another.
                fusion: hybrid only: `WeightedScores()`, the default, or `ReciprocalRank()`.
                max_distance: leave out passages further away. With k=None, an hnsw index may miss some of the others.
                rerank: gives the candidates new scores, such as `CrossEncoderReranker()`: a callable from the query
                    and n passages to n scores, larger is better.
                candidates: passages to fuse, to rerank or to choose diverse ones from; None: 50, or 4 * k where that
                    is more.
                per_document: at most so many passages of each document.
                diversity: 0 to 1: how much a passage must differ from those before it (maximal marginal relevance);
                    above 0, exact duplicates are left out.
                ef_runtime: hnsw only: candidates that the server's search keeps. More finds more of the true
                    neighbors and takes longer. None: 100, or twice k where that is more.
                recall: in place of ef_runtime: share of the k true neighbors to find on average, such as 0.99. The
                    first search for a k measures which ef_runtime that takes, by exact searches for 50 to 200 of the
                    stored vectors: some 3 seconds with 100,000 passages, half a minute with a million. That is kept
                    with the index, for other processes too, until it has changed by half. It is measured with vectors
                    between those of passages: where passages fall into groups far apart, questions find more than was
                    asked for, and take longer than they need to. 1.0 is exact, and so is a small index or a filter that
                    up to 10,000 passages pass. A flat index always is.
                with_vectors: whether each passage brings its stored vector, as `neighbor.passage.vector`.

        Raises:
            ValueError: k < 1, an empty query, an invalid filter or option.
            TextTooLong: the query has more tokens than the model reads, and `long_queries` is "fail".
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(asking(self, [query], k, options, one_row(vector)), asks=True)[0]

    def retrieve_many(
        self,
        queries: Sequence[str],
        k: int | None = 5,
        *,
        vectors: ArrayLike | None = None,
        **options: Unpack[Options],
    ) -> list[Retrieval]:
        """Return for each query what `retrieve` would: embedded together, and asked in one round trip.

        From 1,000 searches on, each thousand is a round trip.

        Args:
            queries: what is asked.
            k: as for `retrieve`.
            vectors: the queries as ready vectors, shape (n, dim); None embeds the texts.
            options: as for `retrieve`.

        Raises:
            ValueError: as for `retrieve`, or another number of vectors than of queries.
            IncompleteRetrieval: the server stopped early for one of the queries.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(asking(self, queries, k, options, vectors), asks=True)

    def retrieve_any(self, phrasings: Sequence[str], k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Return the passages that answer a question with several phrasings, in one round trip.

        The results of the phrasings are fused by rank (Cormack, Clarke and Buettcher 2009). A neighbor's distance is
        the one to the nearest phrasing.

        Args:
            phrasings: at least one; the result shows the first, and rerankers use it.
            k: as for `retrieve`.
            options: as for `retrieve`.

        Raises:
            ValueError: as for `retrieve`, or no phrasing.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(asking_any(self, phrasings, k, options), asks=True)[0]

    def retrieve_like(
        self, query: str, answers: Sequence[str], k: int | None = 5, **options: Unpack[Options]
    ) -> Retrieval:
        """Return the passages nearest to possible answers.

        The search uses the mean of the vectors of the answers and of the query (hypothetical document embeddings; Gao,
        Ma, Lin and Callan 2022). The answers may be wrong, as long as they are written like the documents: let a
        language model write them.

        Args:
            query: what is asked; modes "text" and "hybrid" and rerankers use its words.
            answers: at least one.
            k: as for `retrieve`.
            options: as for `retrieve`.

        Raises:
            ValueError: as for `retrieve`, or no answer.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(asking_like(self, query, answers, k, options), asks=True)[0]

    def kneighbors(self, vectors: ArrayLike, k: int | None = 5, **options: Unpack[Options]) -> list[Retrieval]:
        """Return for each row of `vectors`, shape (n, dim), the k nearest passages, nearest first.

        The options are those of `retrieve`, but for mode and rerank, which need the words of a question.

        Raises:
            InvalidVectors: a wrong shape, or a row without a distance.
            ValueError: an invalid option.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self.index._run(asking_near(self, vectors, k, options), asks=True)


class AsyncRetriever:
    """Async twin of `Retriever`: embedding and reranking run in a thread."""

    def __init__(
        self,
        index: AsyncIndex,
        *,
        on_incomplete: OnIncomplete = "raise",
        long_queries: LongTexts = "mean",
        bulk: Bulk = "auto",
        timed: bool = False,
    ) -> None:
        check_type("index", index, AsyncIndex)
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)
        self.long_queries = checked_choice("long_queries", long_queries)
        check_choice("bulk", bulk, get_args(Bulk))
        self.bulk = bulk
        self.timed = check_flag("timed", timed)

    async def retrieve(
        self, query: str, k: int | None = 5, *, vector: ArrayLike | None = None, **options: Unpack[Options]
    ) -> Retrieval:
        """Async twin of `Retriever.retrieve`."""
        return (await self.index._run(asking(self, [query], k, options, one_row(vector)), asks=True))[0]

    async def retrieve_many(
        self,
        queries: Sequence[str],
        k: int | None = 5,
        *,
        vectors: ArrayLike | None = None,
        **options: Unpack[Options],
    ) -> list[Retrieval]:
        """Async twin of `Retriever.retrieve_many`."""
        return await self.index._run(asking(self, queries, k, options, vectors), asks=True)

    async def retrieve_any(self, phrasings: Sequence[str], k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Async twin of `Retriever.retrieve_any`."""
        return (await self.index._run(asking_any(self, phrasings, k, options), asks=True))[0]

    async def retrieve_like(
        self, query: str, answers: Sequence[str], k: int | None = 5, **options: Unpack[Options]
    ) -> Retrieval:
        """Async twin of `Retriever.retrieve_like`."""
        return (await self.index._run(asking_like(self, query, answers, k, options), asks=True))[0]

    async def kneighbors(self, vectors: ArrayLike, k: int | None = 5, **options: Unpack[Options]) -> list[Retrieval]:
        """Async twin of `Retriever.kneighbors`."""
        return await self.index._run(asking_near(self, vectors, k, options), asks=True)


def _checked_choice(on_incomplete: OnIncomplete) -> OnIncomplete:
    if not isinstance(on_incomplete, str) or on_incomplete not in ("raise", "return"):
        raise ValueError(f"expected on_incomplete to be 'raise' or 'return', got {shown(on_incomplete)}")
    return on_incomplete
