"""What a server takes for so many passages, and what a cluster of them would: measured here, and carried on.

python -m benchmarks.scale [--part PART] [--size N] [--largest N] [--runs N] [--against URLS] [--save FOLDER]

memory: bytes of a passage by dim, dtype and algorithm, of the hash and of the index together.
growth: time of one search on the server by the number of passages, as the server counts it.
nodes: the same for a node of 3 and of 10 that share the passages, as a multiple of one server that has all.
carried: searches a second by the number of passages and nodes, simulated (`benchmarks/measuring/queueing.py` says how)
from the times of `growth`; its assumptions are in docs/scale.md.
spread: storing and searching where three primaries here have a part each, beside one that has all. There is no
coordinator that can be installed here: all are asked at the same time, from threads, and answers are not merged.
against: storing and searching on other servers or clusters, by their URLs with spaces between them, beside one here.
Each gets an index, which is dropped in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from typing import Any
from uuid import uuid4

import numpy as np
import redis

import ragknn
from benchmarks.measuring.data import CHARACTERS, DIM, Source
from benchmarks.measuring.program import run
from benchmarks.measuring.queueing import Nodes, most_searches
from benchmarks.measuring.racing import OURS, Contender, Race, race
from benchmarks.measuring.results import Curve, LeftOut, Line
from benchmarks.stores.choosing import server
from ragknn._secrets import without_login

K = 10
QUERIES = 200
DIMS = (384, 768, 1536)
KINDS: dict[str, dict[str, Any]] = {
    f"{algorithm} {dtype}{', words' if words else ''}": {
        "algorithm": algorithm,
        "dtype": dtype,
        "text_search": words,
    }
    for algorithm, dtype, words in (
        *(("flat", "float32", False), ("flat", "float16", False), ("hnsw", "float32", False)),
        *(("hnsw", "float16", False), ("flat", "float32", True)),
    )
}
WITHIN = 0.05  # seconds in which 99 of 100 searches are to be answered
PASSAGES = (10**6, 10**7, 10**8, 10**9)
NODES = (1, 3, 10, 30, 100)


def bytes_a_passage(size: int, dim: int, **options: Any) -> float:
    """Return the memory that each of so many passages of 800 characters adds to as many."""
    source, used = Source(dim), []
    with (
        server() as url,
        redis.Redis.from_url(url) as client,
        ragknn.Index("scale", url=url, dim=dim, **options) as index,
    ):
        for first in range(0, 2 * size, size):
            ids = [f"document-{first + row}" for row in range(size)]
            texts = source.texts(size) if options["text_search"] else ["x" * CHARACTERS] * size
            ragknn.Indexer(index).add_vectors(ids, source.vectors(size), texts=texts).raise_for_failures()
            used.append(client.info("memory")["used_memory"])
    return float(used[1] - used[0]) / size


def memory(size: int, largest: int, runs: int, against: str) -> Iterator[Curve]:
    """Yield the bytes of a passage over the values in its vector."""
    lines = []
    for name, options in KINDS.items():
        found = tuple(bytes_a_passage(size, dim, **options) for dim in DIMS)
        lines.append(Line(name, DIMS, found, found, found))
    yield Curve(f"memory of a passage of 800 characters, {size:,} of them", "values in a vector", "bytes", tuple(lines))


def search_times(sizes: Sequence[int], algorithm: str, runs: int) -> Line:
    """Return the milliseconds of one search on the server at each number of passages: the median of the runs."""
    source = Source(DIM)
    found: list[list[float]] = []
    options: dict[str, Any] = {"dim": DIM, "algorithm": algorithm, "text_search": False}
    with (
        server() as url,
        redis.Redis.from_url(url) as client,
        ragknn.Index("scale", url=url, **options) as index,
    ):
        retriever, queries, there = ragknn.Retriever(index), source.vectors(QUERIES), 0
        for size in sizes:
            made = source.documents(size - there, there)
            ragknn.Indexer(index).add_vectors(made.ids, made.vectors).raise_for_failures()
            there = size
            found.append(sorted(_asked(client, retriever, queries) for _ in range(runs)))
    middle = tuple(float(np.median(times)) for times in found)
    return Line(algorithm, tuple(sizes), middle, tuple(t[0] for t in found), tuple(t[-1] for t in found))


def _asked(client: redis.Redis, retriever: ragknn.Retriever, queries: Any) -> float:
    client.config_resetstat()
    for query in queries:
        retriever.kneighbors(query[np.newaxis], K)
    return float(client.info("commandstats")["cmdstat_FT.SEARCH"]["usec_per_call"]) / 1000


@cache
def measured(largest: int, runs: int) -> tuple[Line, ...]:
    """Return the times of both algorithms, measured once."""
    sizes = [n for power in range(3, 10) for n in (10**power, 10**power * 3) if n <= largest]
    return tuple(search_times(sizes, algorithm, runs) for algorithm in ("flat", "hnsw"))


def growth(size: int, largest: int, runs: int, against: str) -> Iterator[Curve]:
    """Yield the time of one search over the number of passages."""
    yield Curve(f"one search on the server, dim {DIM}, k {K}", "passages", "ms", measured(largest, runs))


def carried_on(line: Line) -> Callable[[float], float]:
    """Return the seconds of a search at any number of passages.

    Between the measured ones they are interpolated. Beyond the last a flat index takes as much longer as it has more
    passages, and HNSW so much longer with each doubling as over the last tenfold growth.
    """
    last, slowest = line.x[-1], line.y[-1]
    a_tenth = float(np.interp(math.log(last / 10), np.log(line.x), line.y))
    a_doubling = (slowest - a_tenth) / math.log2(10)

    def at(n: float) -> float:
        if n <= last:
            return float(np.exp(np.interp(math.log(n), np.log(line.x), np.log(line.y)))) / 1000
        return (slowest * n / last if line.name == "flat" else slowest + a_doubling * math.log2(n / last)) / 1000

    return at


def nodes(size: int, largest: int, runs: int, against: str) -> Iterator[Curve]:
    """Yield how much less work a search is for a node that has a part of the passages."""
    lines = []
    for line in measured(largest, runs):
        at = carried_on(line)
        for number in (3, 10):
            sizes = tuple(n for n in line.x if n / number >= line.x[0])
            share = tuple(at(n) / at(n / number) for n in sizes)
            lines.append(Line(f"{line.name}, {number} nodes", sizes, share, share, share))
    yield Curve("a node's work for one search: all on one server / this node", "passages", "x", tuple(lines))


def carried(size: int, largest: int, runs: int, against: str) -> Iterator[Curve]:
    """Yield the searches a second over the number of passages, for several numbers of nodes."""
    for line in measured(largest, runs):
        at = carried_on(line)
        lines = []
        for number in NODES:
            most = tuple(most_searches(Nodes(number, at(n / number)), WITHIN) for n in PASSAGES)
            lines.append(Line(f"{number} nodes", PASSAGES, most, most, most))
        name = f"{line.name}: searches a second of which 99 of 100 take at most {1000 * WITHIN:g} ms, simulated"
        yield Curve(name, "passages", "searches/s", tuple(lines))


def spread(size: int, largest: int, runs: int, against: str) -> Iterator[Race]:
    """Yield how long storing and searching take on three primaries that share the passages, beside one."""
    source = Source(DIM)
    parts = [source.documents(largest // (runs + 1), number * largest) for number in range(runs + 1)]
    queries = source.vectors(QUERIES)

    def shared(indexes: list[ragknn.Index], pool: ThreadPoolExecutor, call: int) -> None:
        part, step = parts[call % len(parts)], len(indexes)

        def store(number: int) -> None:
            writer = ragknn.Indexer(indexes[number])
            writer.add_vectors(part.ids[number::step], part.vectors[number::step]).raise_for_failures()

        list(pool.map(store, range(step)))

    def asked(retrievers: list[ragknn.Retriever], pool: ThreadPoolExecutor, call: int) -> None:
        query = queries[call % QUERIES][np.newaxis]
        list(pool.map(lambda retriever: retriever.kneighbors(query, K), retrievers))

    for algorithm in ("flat", "hnsw"):
        storers, askers = [], []
        options: dict[str, Any] = {"dim": DIM, "algorithm": algorithm, "text_search": False}
        with ExitStack() as stack:
            for number, called in ((1, OURS), (3, "3 primaries")):
                urls = [stack.enter_context(server()) for _ in range(number)]
                indexes = [stack.enter_context(ragknn.Index("scale", url=url, **options)) for url in urls]
                pool = stack.enter_context(ThreadPoolExecutor(number))
                storers.append(Contender(called, partial(shared, indexes, pool)))
                askers.append(Contender(called, partial(asked, list(map(ragknn.Retriever, indexes)), pool)))
            yield race(f"storing, {algorithm}", storers, runs=runs, work=len(parts[0]), unit="passages")
            there = f"{algorithm}, {len(parts) * len(parts[0]):,} passages"
            yield race(f"one question, {there}", askers, runs=runs, calls=QUERIES // runs)


def elsewhere(size: int, largest: int, runs: int, against: str) -> Iterator[Race | LeftOut]:
    """Yield how long storing and searching take on other servers, beside one here."""
    if not against:
        yield LeftOut("other servers and clusters", "none is named: --against redis+cluster://node:6379")
        return
    source, name = Source(DIM), f"scale-{uuid4().hex}"
    with server() as url, ExitStack() as stack:
        indexes = {}
        for called, of in ((OURS, url), *((without_login(one), one) for one in against.split())):
            options: dict[str, Any] = {"dim": DIM, "algorithm": "hnsw", "text_search": False}
            indexes[called] = stack.enter_context(ragknn.Index(name, url=of, **options))
            stack.callback(indexes[called].drop)
        parts = [source.documents(size // (runs + 1), number * size) for number in range(runs + 1)]

        def storing(index: ragknn.Index, call: int) -> None:
            part = parts[call % len(parts)]
            ragknn.Indexer(index).add_vectors(part.ids, part.vectors).raise_for_failures()

        storers = [Contender(called, partial(storing, index)) for called, index in indexes.items()]
        yield race("storing, HNSW", storers, runs=runs, work=len(parts[0]), unit="passages")
        queries = source.vectors(QUERIES)

        def asking(retriever: ragknn.Retriever, call: int) -> None:
            retriever.kneighbors(queries[call % QUERIES][np.newaxis], K)

        askers = [Contender(called, partial(asking, ragknn.Retriever(index))) for called, index in indexes.items()]
        yield race("one question, HNSW", askers, runs=runs, calls=QUERIES // runs)


PARTS = {"memory": memory, "growth": growth, "nodes": nodes, "carried": carried, "spread": spread, "against": elsewhere}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("scale", __doc__, PARTS, arguments, size=4_096, largest=100_000, against="")


if __name__ == "__main__":
    main()
