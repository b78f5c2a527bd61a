"""Settings that ragknn chooses itself, beside what else could be chosen: the way beside a filter, ef_runtime by recall.

python -m benchmarks.settings [--part PART] [--size N] [--runs N] [--save FOLDER]

The searches beside a filter are bare commands, which differ by the way only. A filter lets any passages through, and
those of some topics: the second are near to each other, and mostly far from the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

import ragknn
from benchmarks.measuring.data import Source, nearest
from benchmarks.measuring.growing import grow
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Race, race
from benchmarks.measuring.results import Curve
from benchmarks.stores.choosing import server
from ragknn._protocol.counting import index_info
from ragknn._protocol.place import Place
from ragknn._protocol.query import Fragment
from ragknn._protocol.vectors import to_bytes
from ragknn._protocol.watch import Watch
from ragknn.retrieval._commands import Ask, Knn, commands
from ragknn.retrieval._effort import MOST_COUNTED

K = 10
QUERIES = 100
CALLS = 40  # in a run
AT_ONCE = 5_000
PASSING = (100, 300, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000)
RECALLS = (0.9, 0.95, 0.99, 0.999)


@contextmanager
def filled(size: int) -> Iterator[tuple[ragknn.Index, Source, NDArray[np.float32]]]:
    """Fill an hnsw index whose fields are a random rank and the topic, so that filters let through any number."""
    source = Source()
    ranks = np.random.default_rng(1).permutation(size)
    options: dict[str, Any] = {
        "algorithm": "hnsw",
        "text_search": False,
        "fields": {"rank": "numeric", "topic": "numeric"},
    }
    with (
        server() as url,
        ragknn.Index("settings", url=url, dim=source.documents(1).vectors.shape[1], **options) as index,
    ):
        vectors = []
        for first in range(0, size, AT_ONCE):
            part = source.documents(min(AT_ONCE, size - first), first)
            metadata = [{"rank": int(ranks[first + row]), "topic": int(topic)} for row, topic in enumerate(part.topics)]
            ragknn.Indexer(index).add_vectors(part.ids, part.vectors, metadata=metadata)
            vectors.append(part.vectors)
        yield index, source, np.concatenate(vectors)


def beside_filters(size: int, runs: int) -> Iterator[Curve]:
    """Yield the time of one search over the number of passages that pass a filter."""
    with filled(size) as (index, source, _), redis.Redis.from_url(index._url or "", protocol=3) as client:
        queries = to_bytes(source.vectors(QUERIES), "float32")
        counted = sorted({int(index.count({"topic": {"$gte": topic}})): topic for topic in range(200)}.items())
        by_topic = {min(counted, key=lambda pair: abs(pair[0] - n)) for n in PASSING if n < size}
        filters = {
            "any passages": {n: Fragment(f"(@rank:[0 {n - 1}])", {}) for n in PASSING if n < size},
            "passages of some topics": {n: Fragment(f"(@topic:[{topic} inf])", {}) for n, topic in by_topic},
        }
        for what, by_count in filters.items():
            race_of = partial(_race_beside, index, client, queries, by_count, runs)
            yield grow(f"one search among {size:,}, beside a filter for {what}", "passing", sorted(by_count), race_of)


def _race_beside(
    index: ragknn.Index,
    client: redis.Redis,
    queries: Sequence[bytes],
    filters: dict[int, Fragment],
    runs: int,
    passing: int,
) -> Race:
    known, unknown, among = Watch(), Watch(), filters[passing]
    place = Place(index._keys, index.schema, known, 60.0)
    known.take(index._run(index_info(index._keys)))
    known.take_count(among, min(passing, MOST_COUNTED + 1))

    def search(watch: Watch, way: str, call: int) -> None:
        asked = Place(place.keys, place.schema, watch, place.timeout)
        words = list(commands(asked, [Knn(queries[call % QUERIES])], Ask(K, returned=("distance",), among=among))[0])
        effort = f" EF_RUNTIME 100 HYBRID_POLICY {way}" if way == "BATCHES" else f" HYBRID_POLICY {way}"
        words[2] = words[2].replace(" EF_RUNTIME 100", effort) if way else words[2]
        client.execute_command(*words, NEVER_DECODE=True)

    contenders = [
        Contender(OURS, partial(search, known, ""), kind="ours"),
        Contender("the server's own choice", partial(search, unknown, "")),
        Contender("ADHOC_BF", partial(search, unknown, "ADHOC_BF"), kind="floor"),
        Contender("BATCHES", partial(search, unknown, "BATCHES"), kind="floor"),
    ]
    return race(f"{passing:,} pass", contenders, runs=runs, calls=CALLS)


def by_recall(size: int, runs: int) -> Iterator[Race]:
    """Yield races of one search with a wanted recall, the default and an exact search, each with the recall it had."""
    with filled(size) as (index, source, vectors):
        retriever, queries = ragknn.Retriever(index), source.vectors(QUERIES)
        truth = nearest(vectors, queries, K)

        def facts(**options: Any) -> dict[str, float | str]:
            found = retriever.kneighbors(queries, K, **options)
            ids = [{int(passage.document_id.rpartition("-")[2]) for passage in one.passages} for one in found]
            hits = [len(mine & set(rows)) for mine, rows in zip(ids, truth.tolist(), strict=True)]
            measured = index._watch.measured.get(K)
            ef = measured.ef_runtime(options["recall"]) if measured and "recall" in options else None
            return {"share found": round(sum(hits) / truth.size, 4), "ef_runtime": ef or "-"}

        def search(call: int, **options: Any) -> None:
            retriever.kneighbors(queries[call % QUERIES], K, **options)

        choices: dict[str, dict[str, Any]] = {OURS: {}, "exact": {"recall": 1.0}}
        choices |= {f"recall={recall}": {"recall": recall} for recall in RECALLS}
        contenders = [
            Contender(
                name,
                partial(search, **options),
                kind="ours" if name == OURS else "floor",
                facts=partial(facts, **options),
            )
            for name, options in choices.items()
        ]
        yield race(f"one search among {size:,}, as it is and with a recall", contenders, runs=runs, calls=CALLS)


PARTS = {"filters": beside_filters, "recall": by_recall}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts."""
    run("settings", __doc__, PARTS, arguments, size=20_000)


if __name__ == "__main__":
    main()
