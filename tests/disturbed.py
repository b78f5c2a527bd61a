"""The works that drills disturb, and the documents that these are about: each has an old version and a new one."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis
from servers import private_server

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Layout,
    Passage,
    RagKNNError,
    Splitter,
    aimport_index,
    aimport_parquet,
    export_parquet,
    import_index,
    import_parquet,
)
from ragknn._protocol.replies import as_mapping

NAME = "drill"
EMBEDDER = HashingEmbedder(32)
SPLITTER = Splitter(12, 0)
COUNT = 60
OTHER = Splitter(7, 0)

CHANGES = ("rebuild", "rewrite", "reembed")  # of the algorithm, of how words are found, of the splitter
IMPORTS = ("import", "restore")  # of a search index that another library made, and of a Parquet file
WORKS = ("sync", "delete", "drop", *CHANGES, *IMPORTS)

_SOURCE = "theirs"
_LAYOUT = Layout(
    *("vector", "text", None, "about.document", "about.label", "about.metadata", "about.start", "about.end")
)


def _document(version: str, number: int) -> Document:
    passages = 1 + (number if version == "old" else number * 5 + 3) % 6
    parts = [" ".join([f"{version}{number}x{part}"] * 4) + "." for part in range(passages)]
    return Document(f"d{number}", " ".join(parts), version, {"version": version})


SAME = [_document("old", number) for number in range(0, COUNT, 5)]
OLD = [*SAME, *(_document("old", number) for number in range(COUNT) if number % 5)]
NEW = [*SAME, *(_document("new", number) for number in range(COUNT + 9) if number % 5 and number % 7)]
DELETED = [document.id for document in OLD[::2]]
LEFT = OLD[1::2]


def opened(url: str, **options: Any) -> Index:
    """Return the index of the drill."""
    return Index(NAME, url=url, embedder=EMBEDDER, **options)


def store(url: str, documents: Sequence[Document]) -> None:
    """Make the index hold these documents."""
    with opened(url) as index:
        Indexer(index, SPLITTER).sync(documents).raise_for_failures()


def begin(url: str, folder: Path, *kinds: str) -> None:
    """Empty the server, and put there what works begin with: the old documents, and what they take the new ones of."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        store(url, OLD)
        for kind in {*kinds} & {*IMPORTS}:
            passages = _new_passages(folder)
            if kind == "import":
                _offer(client, passages)


def _offer(client: redis.Redis, passages: Sequence[Passage]) -> None:
    """Make a search index of passages as another library might."""
    vector = ("vector", "VECTOR", "FLAT", "6", "TYPE", "FLOAT32", "DIM", "32", "DISTANCE_METRIC", "COSINE")
    client.execute_command("FT.CREATE", _SOURCE, "PREFIX", "1", f"{_SOURCE}:", "SCHEMA", "text", "TEXT", *vector)
    for one in passages:
        about = {"document": one.document_id, "label": one.label, "metadata": dict(one.metadata)}
        about |= {"start": one.start, "end": one.end}
        fields = {"text": one.text, "vector": one.vector.tobytes(), "about": json.dumps(about)}
        client.hset(f"{_SOURCE}:{one.id}", mapping=fields)
    while as_mapping(client.execute_command("FT.INFO", _SOURCE))["indexing"] not in (0, b"0"):
        time.sleep(0.001)


@cache
def _new_passages(folder: Path) -> list[Passage]:
    """Return the passages of the new documents, and leave a file of them in the folder."""
    own = folder / "passages"
    own.mkdir()
    with private_server(own) as url:
        store(url, NEW)
        with opened(url) as index:
            export_parquet(index, folder / "new.parquet")
            return list(index.passages(vectors=True))


class _Sync:
    """The sync faces, called as those of the fixture `faces` are."""

    index, indexer = Index, Indexer

    @staticmethod
    def call(function: Any, _: Any, *args: Any, **options: Any) -> Any:
        return function(*args, **options)


def work(url: str, kind: str, folder: Path, faces: Any = _Sync) -> None:
    """Do what a drill disturbs."""
    if kind == "import":
        given = {"layout": _LAYOUT, "embedder": EMBEDDER}
        report = faces.call(import_index, aimport_index, _SOURCE, NAME, url=url, **given)
        report.written.raise_for_failures()
    elif kind == "restore":
        report = faces.call(import_parquet, aimport_parquet, folder / "new.parquet", NAME, url=url, embedder=EMBEDDER)
        report.written.raise_for_failures()
    else:
        with faces.index(NAME, url=url, embedder=EMBEDDER) as index:
            if kind == "sync":
                faces.indexer(index, SPLITTER).sync(NEW, batch_size=8).raise_for_failures()
            elif kind == "delete":
                faces.indexer(index).delete(DELETED)
            elif kind == "drop":
                index.drop()
            else:
                _change(index, kind)


def _change(index: Any, kind: str) -> None:
    """Change what an index is made of, there or back."""
    schema = index.schema
    if kind == "rebuild":
        index.rebuild(algorithm="hnsw" if schema.algorithm == "flat" else "flat")
    elif kind == "rewrite":
        index.rebuild(language="german" if schema.language == "english" else "english")
    else:
        index.reembed(splitter=OTHER if schema.splitter == SPLITTER else SPLITTER)


def end(url: str, kind: str, folder: Path) -> None:
    """Bring to its end what was begun, and the index to where a sync goes on with it."""
    with redis.Redis.from_url(url) as client:
        if kind == "import":
            if _SOURCE.encode() in client.execute_command("FT._LIST"):
                client.execute_command("FT.DROPINDEX", _SOURCE, "DD")
            _offer(client, _new_passages(folder))
        if kind in IMPORTS:
            work(url, kind, folder)
        if kind == "import":
            client.execute_command("FT.DROPINDEX", _SOURCE, "DD")
    with opened(url) as index:
        if kind == "rebuild":
            index.rebuild(algorithm="flat")
        elif kind == "rewrite":
            index.rebuild(language="english")
        elif kind == "reembed":
            index.reembed(splitter=SPLITTER)


def take_turns(url: str, turn: int, batch: int) -> None:
    """Make the index hold one version after the other, as one of several writers."""
    with opened(url) as index:
        for number in range(3):
            Indexer(index, SPLITTER).sync([OLD, NEW][(turn + number) % 2], batch_size=batch).raise_for_failures()


def take_turns_in_a_loop(url: str, turn: int, batch: int) -> None:
    """Do the same in an event loop of one's own."""

    async def taking() -> None:
        async with AsyncIndex(NAME, url=url, embedder=EMBEDDER) as index:
            for number in range(3):
                documents = [OLD, NEW][(turn + number) % 2]
                (await AsyncIndexer(index, SPLITTER).sync(documents, batch_size=batch)).raise_for_failures()

    asyncio.run(taking())


def tried(url: str, kind: str, folder: Path, faces: Any = _Sync) -> RagKNNError | None:
    """Do a work, and return the error of ours that came; any other error is a fault."""
    try:
        work(url, kind, folder, faces)
    except RagKNNError as error:
        return error
    return None


def in_another_process(url: str, kind: str, folder: Path) -> multiprocessing.process.BaseProcess:
    """Begin a work in another process, which has a parent without threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["disturbed"])
    process = context.Process(target=tried, args=(url, kind, folder), daemon=True)
    process.start()
    return process
