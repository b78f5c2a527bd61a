"""How a search grows: with the number of documents, with k, with the values of a vector, with those who ask at once.

python -m benchmarks.growth [--part PART] [--size N] [--largest N] [--runs N] [--save FOLDER]

HNSW without words, with the same effort everywhere. `--largest 1000000` takes hours and some 6 GiB of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from benchmarks.measuring.data import DIM, Source
from benchmarks.measuring.growing import grow
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import Contender, Race, race
from benchmarks.measuring.results import Curve
from benchmarks.stores.choosing import opened, server, those_that_can
from benchmarks.stores.listening import bare_search
from benchmarks.stores.ours import RagKNN
from benchmarks.stores.shapes import Shape, Store
from benchmarks.stores.together import BARE, race_together
from benchmarks.stores.with_redisvl import RedisVL

K = 10
QUERIES = 200
KS = (1, 3, 10, 30, 100, 300)
DIMS = (64, 128, 384, 768, 1536)
TASKS = (1, 2, 4, 8, 16, 32, 64)
AT_ONCE = 1_000  # documents stored in one call, so that few are in memory


@contextmanager
def filled_stores(size: int, dim: int = DIM) -> Iterator[tuple[str, list[Store], Source]]:
    """Fill ragknn, and redisvl where it is installed, with so many documents."""
    source, shape = Source(dim), Shape("hnsw", False, dim)
    with server() as url:
        able, _ = those_that_can(url, shape)
        with opened(url, shape, [store for store in able if store in (RagKNN, RedisVL)]) as stores:
            for first in range(0, size, AT_ONCE):
                documents = source.documents(min(AT_ONCE, size - first), first)
                for store in stores:
                    store.store(documents)
            yield url, stores, source


def search_race(url: str, stores: Sequence[Store], source: Source, k: int, runs: int) -> Race:
    """Return the race for one question after the other."""
    queries = source.vectors(QUERIES)

    def asking(search: Callable[..., Any], call: int) -> None:
        search(queries[call % QUERIES])

    with ExitStack() as stack:
        contenders = []
        for store in stores:
            contenders.append(Contender(store.name, partial(asking, partial(store.search, k=k)), kind=store.kind))
            if isinstance(store, RagKNN):
                bare = stack.enter_context(bare_search(url, store, k))
                contenders.append(Contender(BARE, partial(asking, bare), kind="floor"))
        return race(f"k {k}", contenders, runs=runs, calls=QUERIES // runs)


def over_documents(size: int, largest: int, runs: int) -> Iterator[Curve]:
    """Yield the time of one search over the number of documents."""

    def at(n: int) -> Race:
        with filled_stores(n) as filled:
            return search_race(*filled, K, runs)

    sizes = [10**power for power in range(3, 10) if 10**power <= largest]
    yield grow("one search by the number of documents", "documents", sizes, at)


def over_k(size: int, largest: int, runs: int) -> Iterator[Curve]:
    """Yield the time of one search over k."""
    with filled_stores(size) as filled:
        yield grow(f"one search by k, {size:,} documents", "k", KS, lambda k: search_race(*filled, k, runs))


def over_dim(size: int, largest: int, runs: int) -> Iterator[Curve]:
    """Yield the time of one search over the values in a vector."""

    def at(dim: int) -> Race:
        with filled_stores(size, dim) as filled:
            return search_race(*filled, K, runs)

    yield grow(f"one search by the values in a vector, {size:,} documents", "values in a vector", DIMS, at)


def over_tasks(size: int, largest: int, runs: int) -> Iterator[Curve]:
    """Yield the searches in a second over the number of tasks that ask at the same time."""
    with filled_stores(size) as (url, stores, source):
        queries = source.vectors(QUERIES)
        yield grow(
            f"tasks that search at the same time, {size:,} documents",
            "tasks",
            TASKS,
            lambda tasks: race_together(f"{tasks} tasks", url, stores, queries, tasks, runs),
        )


PARTS = {"documents": over_documents, "k": over_k, "dim": over_dim, "tasks": over_tasks}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("growth", __doc__, PARTS, arguments, size=10_000, largest=100_000)


if __name__ == "__main__":
    main()
