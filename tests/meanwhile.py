"""Searches and syncs that go on in a thread while a cluster is changed beneath them, in either world."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from clusters import Bed, until

from ragknn import (
    ConnectionFailed,
    Document,
    HashingEmbedder,
    IncompleteRetrieval,
    IndexNotFound,
    RagKNNError,
    Splitter,
)

NAME = "doc"
WORDS = Splitter(10, 0, unit="words")
EMBEDDER = HashingEmbedder(32)
SIZE = 120
K = 12
TIMEOUT = 2  # seconds
PATIENCE = 60  # seconds in which a cluster is whole again


def documents(version: int) -> list[Document]:
    """Return documents of one to four passages, with the version in each of these."""
    return [
        Document(
            f"d{number}", " ".join(f"v{version} number {number} part {part} of some words here now" for part in parts)
        )
        for number in range(SIZE)
        for parts in [range(1 + (number + version) % 4)]
    ]


def opened(faces: Any, bed: Bed, name: str = NAME, **options: Any) -> Any:
    """Return an index of the documents."""
    return faces.index(name, url=bed.url, embedder=EMBEDDER, timeout=TIMEOUT, **options)


def filled(faces: Any, bed: Bed, name: str = NAME) -> None:
    """Store the first version."""
    with opened(faces, bed, name) as index:
        faces.indexer(index, WORDS).sync(documents(0))


def patiently(do: Callable[[], Any], errors: tuple[type[Exception], ...] = (ConnectionFailed,)) -> Any:
    """Do something again as long as the cluster is in trouble."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return do()
        except errors:
            assert time.monotonic() < deadline, "it took too long"


def assert_holds(index: Any, version: int) -> None:
    """All documents are there, whole, of one version, and found."""
    wanted = {one.id: one.text for one in documents(version)}
    assert {one.id: one.text for one in index.documents()} == wanted
    assert sum(index.check().counts.values()) == 0
    assert index.count_documents() == SIZE


class _Meanwhile:
    """Does something over and over in a thread, until the block ends; each pass ends well, is refused, or is wrong."""

    def __init__(self, faces: Any, bed: Bed, name: str = NAME) -> None:
        self._loop = None if faces.kind == "sync" else asyncio.new_event_loop()
        self._faces, self._bed = type(faces)(faces.kind, self._loop), bed  # with a loop of its own, for the thread
        self._name = name
        self.right, self.refused = 0, 0
        self.wrong: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        self.goes_on(1)
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def goes_on(self, passes: int) -> None:
        """Wait until so many more have ended well, or one was wrong."""
        before = self.right
        until(lambda: self.right >= before + passes or self.wrong or not self._thread.is_alive(), PATIENCE)

    def _run(self) -> None:
        try:
            with opened(self._faces, self._bed, self._name) as index:
                self._begin(index)
                while not (self._over.is_set() or self.wrong):
                    self._pass(index)
        except Exception as error:
            self.wrong.append(error)

    def _begin(self, index: Any) -> None:
        pass

    def _pass(self, index: Any) -> None:
        raise NotImplementedError


class Searching(_Meanwhile):
    """Searches: each answer that counts as complete must be the right one."""

    def _begin(self, index: Any) -> None:
        self._retriever = self._faces.retriever(index)
        self._expected = self._ask()

    def _ask(self) -> list[float]:
        found = self._retriever.retrieve(documents(0)[7].text, k=K)
        assert found.complete
        return [round(one.distance, 4) for one in found]

    def _pass(self, index: Any) -> None:
        try:
            found = self._ask()
        except (ConnectionFailed, IncompleteRetrieval):
            self.refused += 1
        else:
            self.right += found == self._expected
            self.wrong += [found] * (found != self._expected)


class Syncing(_Meanwhile):
    """Syncs one version after the other; the last that was stored as a whole is `version`."""

    @property
    def version(self) -> int:
        """The last version that was stored as a whole."""
        return self.right

    def _pass(self, index: Any) -> None:
        try:
            report = self._faces.indexer(index, WORDS).sync(documents(self.version + 1))
        except (ConnectionFailed, IndexNotFound):  # a node that was added has no index until the next call
            self.refused += 1
        except RagKNNError as error:
            self.wrong.append(error)
        else:
            self.wrong += report.failed
            self.right += not report.failed
