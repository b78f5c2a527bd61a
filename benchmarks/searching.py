"""Searching: one question, many at once, many at the same time, and words beside meaning, with texts and metadata.

python -m benchmarks.searching [--part PART] [--size N] [--queries N] [--runs N] [--save FOLDER]

All search the same documents by HNSW with the same effort, each in its own index. "its bare command" is the command
that ragknn itself sends, sent again by redis-py to the same index, its reply left as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.data import DIM, FIELDS, Documents, Source, nearest, recall
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Facts, Race, race
from benchmarks.measuring.results import LeftOut
from benchmarks.stores.choosing import opened, server, those_that_can
from benchmarks.stores.listening import bare_search
from benchmarks.stores.ours import RagKNN
from benchmarks.stores.shapes import EF_RUNTIME, Shape, Store
from benchmarks.stores.together import BARE, race_together
from benchmarks.stores.with_redisvl import RedisVL

K = 10
TASKS = 32
QUESTIONS_A_TASK = 8
CANDIDATES = 100

Search: TypeAlias = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """Stores that hold the same documents, and what they are asked."""

    url: str
    stores: list[Store]
    documents: Documents
    queries: NDArray[np.float32]
    questions: list[str]

    @property
    def ours(self) -> RagKNN:
        """The store of ragknn."""
        return next(store for store in self.stores if isinstance(store, RagKNN))

    def recall(self, search_many: Callable[[NDArray[np.float32]], list[list[str]]]) -> Facts:
        """Return the share of the true neighbors that are found."""
        asked = self.queries[:200]
        truth = nearest(self.documents.vectors, asked, K)
        return {"recall": round(recall(search_many(asked), truth, self.documents.texts), 4)}


@contextmanager
def setting(words: bool, size: int, queries: int) -> Iterator[tuple[Setting, list[LeftOut]]]:
    """Fill a store of each kind, and tell who was left out."""
    source, shape = Source(), Shape("hnsw", words, DIM)
    documents = source.documents(size)
    with server() as url:
        kinds, left_out = those_that_can(url, shape)
        with opened(url, shape, kinds) as stores:
            for store in stores:
                store.store(documents)
            yield Setting(url, stores, documents, source.vectors(queries), source.questions(queries)), left_out


def one(words: bool, size: int, queries: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race for one question after the other."""
    with setting(words, size, queries) as (given, left_out), bare_search(given.url, given.ours, K) as bare:
        yield from left_out

        def asking(search: Search, call: int) -> None:
            search(given.queries[call % queries])

        contenders = [
            Contender(
                store.name,
                partial(asking, partial(store.search, k=K)),
                kind=store.kind,
                facts=partial(given.recall, partial(store.search_many, k=K)),
            )
            for store in given.stores
        ]
        contenders.insert(1, Contender(BARE, partial(asking, bare), kind="floor"))
        name = f"one question, HNSW, {'words' if words else 'no words'}"
        yield race(name, contenders, runs=runs, calls=max(1, queries // runs))


def many(size: int, queries: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race for all questions at once."""
    with setting(False, size, queries) as (given, left_out):
        yield from left_out
        contenders = []
        for store in given.stores:
            search_many = partial(store.search_many, k=K)
            asking = partial(ask_all, search_many, given.queries)
            contenders.append(Contender(store.name, asking, kind=store.kind, facts=partial(given.recall, search_many)))
        yield race(f"{queries:,} questions at once, HNSW", contenders, runs=runs, work=queries, unit="questions")


def ask_all(search_many: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32], call: int) -> None:
    """Ask all questions at once."""
    search_many(queries)


def tasks(size: int, queries: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race for many tasks that ask at the same time, on one async client of each."""
    with setting(False, size, queries) as (given, left_out):
        yield from left_out
        name = f"{TASKS} tasks that ask at the same time, HNSW"
        yield race_together(name, given.url, given.stores, given.queries[: TASKS * QUESTIONS_A_TASK], TASKS, runs)


def hybrid(size: int, queries: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race of hybrid mode with vector mode, and with hybrid queries of redisvl."""
    with setting(True, size, queries) as (given, left_out):
        yield from left_out
        retriever = given.ours.retriever

        def ours(mode: str, call: int) -> Any:
            at = call % queries
            options: dict[str, Any] = {"mode": mode, "ef_runtime": EF_RUNTIME}
            if mode == "hybrid":
                options["candidates"] = CANDIDATES
            found = retriever.retrieve(given.questions[at], K, vector=given.queries[at], **options)
            return [(one.passage.text, dict(one.passage.metadata)) for one in found]

        contenders = [
            Contender(OURS, partial(ours, "hybrid"), kind="ours"),
            Contender("its vector mode", partial(ours, "vector"), kind="floor"),
        ]
        for store in given.stores:
            if isinstance(store, RedisVL):
                contenders.append(Contender("redisvl", partial(redisvl_hybrid, store, given, queries), kind="other"))
        yield race(
            f"one hybrid question, {CANDIDATES} candidates", contenders, runs=runs, calls=max(1, queries // runs)
        )


def redisvl_hybrid(store: RedisVL, given: Setting, queries: int, call: int) -> Any:
    """Ask as redisvl does on a server without FT.HYBRID: it weighs the words of the k nearest, and finds no others."""
    from redisvl.query import AggregateHybridQuery

    at = call % queries
    query = AggregateHybridQuery(
        given.questions[at],
        "text",
        given.queries[at].tobytes(),
        "vector",
        num_results=K,
        return_fields=["text", *FIELDS],
        stopwords=None,
    )
    return store.index.query(query)


PARTS = {
    "one-words": partial(one, True),
    "one": partial(one, False),
    "many": many,
    "tasks": tasks,
    "hybrid": hybrid,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("searching", __doc__, PARTS, arguments, size=20_000, queries=1_000)


if __name__ == "__main__":
    main()
