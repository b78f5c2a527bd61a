"""Storing documents with ready vectors: ragknn beside the same by hand, by other libraries and by other engines.

python -m benchmarks.storing [--part PART] [--size N] [--runs N] [--save FOLDER]

Each run stores all documents in an empty index. faiss and Chroma are other engines, which work in the process: they
have no server that several processes could ask, and faiss keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.data import DIM, Documents, Source, nearest, recall
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import Contender, Facts, Race, race
from benchmarks.measuring.results import LeftOut
from benchmarks.stores.choosing import server, those_that_can
from benchmarks.stores.shapes import Shape, Store

K = 10
QUERIES = 100  # to see that what is stored is found


class Storing:
    """A contender that stores documents in a new index each time."""

    def __init__(self, kind: type[Store], url: str, shape: Shape, documents: Documents) -> None:
        self.kind = kind
        self._url, self._shape, self._documents = url, shape, documents
        self._store: Store | None = None

    def prepare(self) -> None:
        """Make an empty index in place of the last one."""
        self.close()
        self._store = self.kind(self._url, self._shape)

    def run(self, call: int) -> None:
        """Store the documents."""
        assert self._store is not None
        self._store.store(self._documents)

    def recall(self, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Facts:
        """Return the share of the true neighbors that the store finds."""
        assert self._store is not None
        found = [[text for text, _ in self._store.search(query, truth.shape[1])] for query in queries]
        return {"recall": round(recall(found, truth, self._documents.texts), 4)}

    def close(self) -> None:
        """Remove the index."""
        if self._store is not None:
            self._store.close()
        self._store = None


def measure(algorithm: Literal["flat", "hnsw"], words: bool, size: int, runs: int) -> Iterator[Race | LeftOut]:
    """Yield the race for one kind of index."""
    shape = Shape(algorithm, words, DIM)
    source = Source()
    documents, queries = source.documents(size), source.vectors(QUERIES)
    truth = nearest(documents.vectors, queries, K)
    with server() as url, ExitStack() as stack:
        kinds, left_out = those_that_can(url, shape)
        yield from left_out
        storing = [stack.enter_context(closing(Storing(kind, url, shape, documents))) for kind in kinds]
        contenders = [
            Contender(one.kind.name, one.run, one.prepare, one.kind.kind, partial(one.recall, queries, truth))
            for one in storing
        ]
        yield race(f"storing, {shape}", contenders, runs=runs, work=size, unit="documents")


PARTS = {
    "flat-words": partial(measure, "flat", True),
    "flat": partial(measure, "flat", False),
    "hnsw-words": partial(measure, "hnsw", True),
    "hnsw": partial(measure, "hnsw", False),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("storing", __doc__, PARTS, arguments, size=20_000)


if __name__ == "__main__":
    main()
