"""Searching an index: `Retriever` in sync code, `AsyncRetriever` in async code."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.vectors import check_vectors
from ragknn.embedding._long_texts import LongTexts, Notes, checked_choice, embed_documents, embed_queries
from ragknn.indexing.index import AsyncIndex, Index
from ragknn.records import Retrieval
from ragknn.retrieval._pipeline import Phrasing, Place, Question, select
from ragknn.retrieval._plan import Options, Plan, make_plan
from ragknn.retrieval._searches import OnIncomplete
from ragknn.server._connection import arun, run


class Retriever:
    """Find the passages that answer a question.

    Args:
        index: an open index.
        on_incomplete: what to do when the server stops before it has looked everywhere: "raise"
            `IncompleteRetrieval`, or "return" what came, with `complete` False.
        long_queries: what to do with a query that has more tokens than the model reads: "mean" searches with the mean
            of the vectors of its pieces, "cut" with the vector of its beginning, and both say so in `warnings`; "fail"
            raises `TextTooLong`.
    """

    def __init__(
        self, index: Index, *, on_incomplete: OnIncomplete = "raise", long_queries: LongTexts = "mean"
    ) -> None:
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)
        self.long_queries = checked_choice("long_queries", long_queries)

    def retrieve(self, query: str, k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Return the k passages that answer the query best, the best first.

        The options can be combined. They work in the order in which they stand here.

        Args:
            query: what is asked.
            k: number of passages; fewer come where there are fewer. None, with `max_distance`: all that are near.
            options:
                where: look only among passages that match, such as `{"label": "billing", "year": {"$gte": 2020}}`;
                    `ragknn.filters` explains.
                mode: "vector" for the nearest passages; "text" for those that have the words of the query (BM25), with
                    no embedding, in which the distances are NaN; "hybrid" for both in one round trip, fused.
                fusion: hybrid only: `WeightedScores()`, the default, or `ReciprocalRank()`.
                max_distance: leave out passages that lie further away. With k=None, an hnsw index may miss some that do
                    not.
                rerank: gives the candidates new scores, such as `CrossEncoderReranker()`: a callable from the query
                    and n passages to n scores, larger is better.
                candidates: passages to fuse, to rerank or to choose diverse ones from; None: 50, or 4 * k where that
                    is more.
                per_document: at most so many passages of each document.
                diversity: 0 to 1: how much a passage must differ from those before it (maximal marginal relevance);
                    above 0, exact duplicates are left out.
                ef_runtime: hnsw only: candidates that the server's search keeps. More finds more of the true
                    neighbors and takes longer. None: 100, or twice k where that is more.

        Raises:
            ValueError: k < 1, or an empty query; a filter or an option that cannot be.
            TextTooLong: the query has more tokens than the model reads, and `long_queries` is "fail".
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached, or refuses.
        """
        return run(self.index.client, asking(self, [query], k, options))[0]

    def retrieve_many(self, queries: Sequence[str], k: int | None = 5, **options: Unpack[Options]) -> list[Retrieval]:
        """Return for each query what `retrieve` would: embedded together, and asked in one round trip.

        From 1,000 searches on, each thousand is a round trip.
        """
        return run(self.index.client, asking(self, queries, k, options))

    def retrieve_any(self, phrasings: Sequence[str], k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Return the passages that answer a question put in several ways, in one round trip.

        What each phrasing finds is fused by rank (Cormack, Clarke and Buettcher 2009). A neighbor's distance is that
        to the nearest phrasing.

        Args:
            phrasings: at least one; the first is the one that the result shows and that is reranked against.
            k: as for `retrieve`.
            options: as for `retrieve`.
        """
        return run(self.index.client, _asking_any(self, phrasings, k, options))[0]

    def retrieve_like(
        self, query: str, answers: Sequence[str], k: int | None = 5, **options: Unpack[Options]
    ) -> Retrieval:
        """Return the passages nearest to what an answer may look like.

        The vector that is searched with is the mean of those of the answers and of the query (hypothetical document
        embeddings; Gao, Ma, Lin and Callan 2022). Answers may be wrong in what they say, as long as they speak like the
        documents: let a language model write them.

        Args:
            query: what is asked; its words are those of modes "text" and "hybrid", and it is reranked against.
            answers: at least one.
            k: as for `retrieve`.
            options: as for `retrieve`.
        """
        return run(self.index.client, _asking_like(self, query, answers, k, options))[0]

    def kneighbors(self, vectors: ArrayLike, k: int | None = 5, **options: Unpack[Options]) -> list[Retrieval]:
        """Return for each row of `vectors`, shape (n, dim), the k nearest passages, nearest first.

        The options are those of `retrieve`, but for mode and rerank, which need the words of a question.

        Raises:
            InvalidVectors: a wrong shape, or a row without a distance.
            ValueError: an option that cannot be.
        """
        return run(self.index.client, searching(self, vectors, k, options))


class AsyncRetriever:
    """Async twin of `Retriever`: embedding and reranking run in a thread."""

    def __init__(
        self, index: AsyncIndex, *, on_incomplete: OnIncomplete = "raise", long_queries: LongTexts = "mean"
    ) -> None:
        self.index = index
        self.on_incomplete = _checked_choice(on_incomplete)
        self.long_queries = checked_choice("long_queries", long_queries)

    async def retrieve(self, query: str, k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Async twin of `Retriever.retrieve`."""
        return (await arun(self.index.client, asking(self, [query], k, options)))[0]

    async def retrieve_many(
        self, queries: Sequence[str], k: int | None = 5, **options: Unpack[Options]
    ) -> list[Retrieval]:
        """Async twin of `Retriever.retrieve_many`."""
        return await arun(self.index.client, asking(self, queries, k, options))

    async def retrieve_any(self, phrasings: Sequence[str], k: int | None = 5, **options: Unpack[Options]) -> Retrieval:
        """Async twin of `Retriever.retrieve_any`."""
        return (await arun(self.index.client, _asking_any(self, phrasings, k, options)))[0]

    async def retrieve_like(
        self, query: str, answers: Sequence[str], k: int | None = 5, **options: Unpack[Options]
    ) -> Retrieval:
        """Async twin of `Retriever.retrieve_like`."""
        return (await arun(self.index.client, _asking_like(self, query, answers, k, options)))[0]

    async def kneighbors(self, vectors: ArrayLike, k: int | None = 5, **options: Unpack[Options]) -> list[Retrieval]:
        """Async twin of `Retriever.kneighbors`."""
        return await arun(self.index.client, searching(self, vectors, k, options))


def asking(
    retriever: Retriever | AsyncRetriever, queries: Sequence[str], k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    """Retrieve on the way of another flow; explained at `Retriever.retrieve_many`."""
    check_queries(queries)
    phrasings, notes = yield from _embedded(retriever, queries, plan := _planned(retriever, k, options))
    questions = [Question(one.text, (one,), of_it) for one, of_it in zip(phrasings, notes, strict=True)]
    return (yield from select(_place(retriever), questions, plan))


def _asking_any(
    retriever: Retriever | AsyncRetriever, phrasings: Sequence[str], k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    check_queries(phrasings)
    if not phrasings:
        raise ValueError("expected at least one phrasing, got none")
    put, notes = yield from _embedded(retriever, phrasings, plan := _planned(retriever, k, options))
    question = Question(phrasings[0], tuple(put), tuple(chain.from_iterable(notes)))
    return (yield from select(_place(retriever), [question], plan))


def _asking_like(
    retriever: Retriever | AsyncRetriever, query: str, answers: Sequence[str], k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    check_queries([query])
    check_queries(answers)
    if not answers:
        raise ValueError("expected at least one answer, got none; use retrieve() without")
    plan = _planned(retriever, k, options)
    index = retriever.index
    embedder = index.embedder

    def embed() -> tuple[NDArray[np.float64], Notes]:
        of_query, about_query = embed_queries(embedder, [query], retriever.long_queries)
        of_answers, about_answers = embed_documents(embedder, answers, retriever.long_queries, option="long_queries")
        mean = np.concatenate([of_query, of_answers]).mean(axis=0, dtype=np.float64)
        return mean, tuple(chain.from_iterable([*about_query, *about_answers]))

    vector, notes = yield Work(embed)
    [row] = check_vectors(vector, index.schema.dim, index.schema.metric, index.schema.dtype)
    return (yield from select(_place(retriever), [Question(query, (Phrasing(query, row),), notes)], plan))


def _embedded(
    retriever: Retriever | AsyncRetriever, texts: Sequence[str], plan: Plan
) -> Flow[tuple[list[Phrasing], list[Notes]]]:
    if not plan.needs_vectors:
        return [Phrasing(text, None) for text in texts], [()] * len(texts)
    index = retriever.index
    embedder = index.embedder
    vectors, notes = yield Work(lambda: embed_queries(embedder, texts, retriever.long_queries))
    rows = check_vectors(vectors, index.schema.dim, index.schema.metric, index.schema.dtype)
    return [Phrasing(text, row) for text, row in zip(texts, rows, strict=True)], notes


def searching(
    retriever: Retriever | AsyncRetriever, vectors: ArrayLike, k: int | None, options: Options
) -> Flow[list[Retrieval]]:
    """Retrieve on the way of another flow; explained at `Retriever.kneighbors`."""
    if options.get("mode", "vector") != "vector" or options.get("rerank"):
        raise ValueError("expected neither mode nor rerank with ready vectors, which have no words: use retrieve()")
    plan = _planned(retriever, k, options)
    schema = retriever.index.schema
    rows = check_vectors(vectors, schema.dim, schema.metric, schema.dtype)
    return (yield from select(_place(retriever), [Question(None, (Phrasing(None, row),)) for row in rows], plan))


def _planned(retriever: Retriever | AsyncRetriever, k: int | None, options: Options) -> Plan:
    index = retriever.index
    return make_plan(index.schema, index.filter(options.get("where")), k, options)


def _place(retriever: Retriever | AsyncRetriever) -> Place:
    index = retriever.index
    return Place(index.keys, index.schema, index.watch, index.timeout, retriever.on_incomplete)


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
