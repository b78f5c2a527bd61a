"""Syncing documents: when nothing has changed, for the first time with the model, and how much memory it takes.

python -m benchmarks.syncing [--part PART] [--size N] [--texts N] [--documents N] [--runs N] [--save FOLDER]

What it is compared with is the least there is: hashing the texts and reading as many hashes in one pipeline; embedding
the texts and storing nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from multiprocessing import get_context

import numpy as np
import psutil
import redis

import ragknn
from benchmarks.measuring.data import DIM, FIELDS, Source
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Race, race
from benchmarks.measuring.results import Curve, Line
from benchmarks.stores.choosing import server

WORDS = 30  # of the texts that the model embeds: about as many tokens as a paragraph has
POINTS = 50  # of the curve
NAME = "syncing"


def unchanged(size: int, runs: int, **_: int) -> Iterator[Race]:
    """Yield the race of syncing what is there already."""
    made = Source().documents(size)
    documents = [
        ragknn.Document(*row[:2], None, row[2]) for row in zip(made.ids, made.texts, made.metadata, strict=True)
    ]
    with (
        server() as url,
        redis.Redis.from_url(url) as client,
        ragknn.Index(NAME, url=url, embedder=ready_embedder(), fields=FIELDS, text_search=False) as index,
    ):
        indexer = ragknn.Indexer(index)

        def sync(call: int) -> None:
            report = indexer.sync(documents)
            assert call or report.added in (0, size)

        def digests() -> list[bytes]:
            return [blake2b(document.text.encode(), digest_size=16).digest() for document in documents]

        def read(call: int) -> None:
            pipeline = client.pipeline(transaction=False)
            for document in documents:
                pipeline.hget(f"bare:{document.id}", "digest")
            assert pipeline.execute() == digests()

        for document, digest in zip(documents, digests(), strict=True):
            client.hset(f"bare:{document.id}", mapping={"text": document.text, "digest": digest})
        contenders = [Contender(OURS, sync, kind="ours"), Contender("hash and read", read, kind="floor")]
        yield race(f"sync of {size:,} unchanged documents", contenders, runs=runs, work=size, unit="documents")


def first(texts: int, runs: int, **_: int) -> Iterator[Race]:
    """Yield the race of syncing new texts, embedded by the model, with embedding them alone."""
    source, number = Source(), itertools.count()
    embedder = ragknn.SentenceEmbedder()

    def new_texts() -> list[str]:
        return source.texts(texts, WORDS)  # new ones each time, so that no vector can be remembered

    with server() as url, ragknn.Index(NAME, url=url, embedder=embedder) as index:
        indexer = ragknn.Indexer(index)
        given: list[str] = []

        def prepare() -> None:
            given[:] = new_texts()

        def sync(call: int) -> None:
            report = indexer.add([ragknn.Document(f"{next(number)}", text) for text in given])
            assert report.added == texts

        def embed(call: int) -> None:
            embedder.embed_documents(given)

        contenders = [
            Contender(OURS, sync, prepare, kind="ours"),
            Contender("embedding alone", embed, prepare, kind="floor"),
        ]
        yield race("first sync of new texts, with the model", contenders, runs=runs, work=texts, unit="texts")


def memory(documents: int, **_: int) -> Iterator[Curve]:
    """Yield how the memory of a process grows that syncs documents from a generator."""
    with server() as url, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        line = process.submit(resident, url, documents).result()
    yield Curve("memory of the client", "documents synced", "MiB over those at the start", (line,), logarithmic=False)


def resident(url: str, n: int) -> Line:
    """Sync n documents from a generator, and return what that took of memory as they went."""
    own, source = psutil.Process(), Source()
    texts = source.texts(1_000)
    made = (ragknn.Document(f"document-{row}", f"{row} {texts[row % len(texts)]}") for row in range(n))
    taken: list[tuple[float, float]] = []
    with ragknn.Index("memory", url=url, embedder=ready_embedder(), text_search=False) as index:
        before = own.memory_info().rss
        every = max(1, n // POINTS)

        def watch(report: ragknn.IngestReport) -> None:
            if report.added >= every * len(taken):
                taken.append((report.added, (own.memory_info().rss - before) / 2**20))

        ragknn.Indexer(index).sync(made, progress=watch)
    x, y = zip(*taken, strict=True)
    return Line(OURS, x, y, y, y)


def ready_embedder() -> ragknn.FunctionEmbedder:
    """Return an embedder that takes no time."""
    vectors = Source().vectors(1_000)

    def embed(texts: list[str]) -> np.ndarray:
        return vectors[np.arange(len(texts)) % len(vectors)]

    return ragknn.FunctionEmbedder("ready", embed, dim=DIM)


PARTS = {"unchanged": unchanged, "first": first, "memory": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("syncing", __doc__, PARTS, arguments, size=10_000, texts=2_000, documents=100_000)


if __name__ == "__main__":
    main()
