"""What the drills of faults share: documents of two versions, work that is disturbed, and what must hold afterwards.

`DRILL_POINTS` says at how many points, drawn by chance, each fault strikes, and `DRILL_SEED` is the seed of the first;
each point has a seed of its own, which is in the name of its test: `DRILL_SEED=17 DRILL_POINTS=1 pytest tests/drill`
repeats those of one seed. Without `DRILL_POINTS`, a few of all are drawn, as quick ones.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import redis
from servers import private_server

from ragknn import Document, HashingEmbedder, Index, Indexer, LabelVoter, RagKNNError, Retriever, Splitter
from ragknn._protocol.keys import Keys

POINTS = int(os.environ.get("DRILL_POINTS", "0"))
FIRST = int(os.environ.get("DRILL_SEED", "0"))
FEW = 3
PAUSE = 3.0 if POINTS else 0.3  # seconds at most

NAME = "drill"
EMBEDDER = HashingEmbedder(32)
SPLITTER = Splitter(12, 0)
COUNT = 60
K = 20
OTHER = Splitter(7, 0)
CHANGES = ("rebuild", "rewrite", "reembed")  # of the algorithm, of how words are found, of the splitter
WORKS = ("sync", "delete", "drop", *CHANGES)

Hashes = Mapping[str, Mapping[int, Mapping[bytes, bytes]]]
"""What is stored, by document and number of the passage."""


def points(kinds: Sequence[str], *faults: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return what is tried: a kind of work, what strikes it, and the seed; the works take turns.

    What changes an index and was killed is waited for some seconds, so that it is not among the few.
    """
    if POINTS:
        seeds = range(FIRST, FIRST + POINTS)
        return [(kinds[seed % len(kinds)], *fault, seed) for fault in product(*faults) for seed in seeds]
    quick = [one for one in product(kinds, *faults) if one[0] not in CHANGES]
    drawn = random.Random(FIRST).sample(quick, min(FEW, len(quick)))
    return [(*one, FIRST + place) for place, one in enumerate(drawn)]


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


def work(url: str, kind: str) -> None:
    """Do what a drill disturbs."""
    with opened(url) as index:
        if kind == "sync":
            Indexer(index, SPLITTER).sync(NEW, batch_size=8).raise_for_failures()
        elif kind == "delete":
            Indexer(index).delete(DELETED)
        elif kind == "drop":
            index.drop()
        else:
            change(index, kind)


def change(index: Any, kind: str) -> None:
    """Change what an index is made of, there or back."""
    schema = index.schema
    if kind == "rebuild":
        index.rebuild(algorithm="hnsw" if schema.algorithm == "flat" else "flat")
    elif kind == "rewrite":
        index.rebuild(language="german" if schema.language == "english" else "english")
    else:
        index.reembed(splitter=OTHER if schema.splitter == SPLITTER else SPLITTER)


def change_back(url: str, kind: str) -> None:
    """Change the index to what it was before, and end or give up what was begun."""
    with opened(url) as index:
        if kind == "rewrite":
            index.rebuild(language="english")
        elif kind == "reembed":
            index.reembed(splitter=SPLITTER)


def take_turns(url: str, turn: int, batch: int) -> None:
    """Make the index hold one version after the other, as one of several writers."""
    with opened(url) as index:
        for number in range(3):
            Indexer(index, SPLITTER).sync([OLD, NEW][(turn + number) % 2], batch_size=batch).raise_for_failures()


def tried(url: str, kind: str) -> RagKNNError | None:
    """Do the same, and return the error of ours that came; any other error is a fault."""
    try:
        work(url, kind)
    except RagKNNError as error:
        return error
    return None


def in_another_process(url: str, kind: str) -> multiprocessing.process.BaseProcess:
    """Begin to do the same in another process, which has a parent without threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drilling"])
    process = context.Process(target=tried, args=(url, kind), daemon=True)
    process.start()
    return process


def connected(url: str) -> redis.Redis:
    """Return a plain client of a server that has loaded all it had."""
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
            return client
        except redis.exceptions.BusyLoadingError:
            time.sleep(0.01)


def settle(client: redis.Redis) -> None:
    """Wait until no other client has a connection, so that the server has done all that was sent."""
    while len(client.client_list()) > 1:
        time.sleep(0.002)


def stored(client: redis.Redis) -> Hashes:
    """Read all passages as they are stored."""
    keys, found = Keys(NAME, store=int(client.hget(Keys(NAME).manifest, "store") or 1)), {}
    names = sorted(client.scan_iter(f"{keys.passage_prefix}*", count=1000))
    pipe = client.pipeline(transaction=True)
    for name in names:
        pipe.hgetall(name)
    for name, fields in zip(names, pipe.execute(), strict=True):
        document, number = keys.split_passage(name.decode())
        found.setdefault(document, {})[number] = fields
    return found


@cache
def fresh(which: str, folder: Any) -> Hashes:
    """Return what an index holds that is made of these documents at once: "old", "left" or "new"; or was changed."""
    own = folder / which
    own.mkdir()
    with private_server(own) as url:
        store(url, {"left": LEFT, "new": NEW}.get(which, OLD))
        if which in CHANGES:
            work(url, which)
        with connected(url) as client:
            return stored(client)


def whole(client: redis.Redis, *states: Hashes) -> None:
    """Check that each document is as in one of these states, to the last byte, or absent as in one of them."""
    found = stored(client)
    known = set().union(*states)
    assert set(found) <= known
    wrong = {one: found.get(one) for one in known if found.get(one) not in [state.get(one) for state in states]}
    assert not wrong, f"neither old nor new: {sorted(wrong)}"


def right(url: str) -> None:
    """Check that what the index counts, finds and votes is what is stored, by brute force."""
    with opened(url, create=False) as index, connected(url) as client:
        index.wait_until_searchable()
        hashes = {
            (document, number): fields for document, parts in stored(client).items() for number, fields in parts.items()
        }
        assert index.count() == len(hashes)
        assert index.count_documents() == len({document for document, _ in hashes})
        vectors = np.array([np.frombuffer(one[b"vector"], np.float32) for one in hashes.values()]).reshape(-1, 32)
        retriever = Retriever(index)
        for query in ("old7x0 new8x1", "new3x0", "old5x0 old4x3"):
            vector = np.asarray(EMBEDDER.embed_queries([query]))[0]
            distances = 1 - vectors @ vector / np.linalg.norm(vector) / np.linalg.norm(vectors, axis=1)
            answer = retriever.retrieve(query, k=K)
            assert answer.complete
            near = [neighbor.distance for neighbor in answer]
            if index.schema.algorithm == "flat":
                np.testing.assert_allclose(near, np.sort(distances)[:K], atol=1e-5)
            for neighbor in answer:
                passage = neighbor.passage
                assert passage.text.encode() == hashes[passage.document_id, passage.number][b"text"]
            consistent(answer)
            if hashes:
                assert set(LabelVoter(retriever, k=K).vote(query).shares) <= {one.passage.label for one in answer}


def consistent(answer: Any) -> None:
    """Check that no document of an answer is there in two versions, or with the label of another one."""
    versions: dict[str, set[str]] = {}
    for neighbor in answer:
        passage = neighbor.passage
        versions.setdefault(passage.document_id, set()).add(passage.text[:3])
        assert passage.label == passage.metadata["version"] == passage.text[:3]
    assert all(len(one) == 1 for one in versions.values())


def converges(url: str, folder: Any, kind: str = "sync") -> None:
    """Check that a sync brings the index to what a new one would hold, and that the next one has nothing to do.

    A rebuild is done once more first; what is left of the index after a drop is nothing.
    """
    if kind in CHANGES:
        change_back(url, kind)
    store(url, NEW)
    if kind == "rebuild":
        work(url, kind)
    with connected(url) as client:
        whole(client, fresh("new", folder))
        with opened(url) as index:
            report = Indexer(index, SPLITTER).sync(NEW)
            assert report.unchanged == len(NEW)
            assert not report.embedded
        assert len(client.execute_command("FT._LIST")) == 1
    right(url)
    with opened(url) as index:
        assert index.drop() == len(NEW)
    with connected(url) as client:
        left = client.keys("ragknn:*") + client.execute_command("FT._LIST")
        assert not left, f"orphans: {left}"


def ends_of(kind: str, folder: Any) -> list[Hashes]:
    """Return what may be stored while a work goes on: before and after it, for each document."""
    after = {"sync": "new", "delete": "left", "rebuild": "old", "rewrite": "rewrite", "reembed": "reembed"}.get(kind)
    return [fresh("old", folder), {} if after is None else fresh(after, folder)]
