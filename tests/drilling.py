"""What the drills of faults share: at which points they strike, and what must hold afterwards.

`DRILL_POINTS` says at how many points, drawn by chance, each fault strikes, and `DRILL_SEED` is the seed of the first;
each point has a seed of its own, which is in the name of its test: `DRILL_SEED=17 DRILL_POINTS=1 pytest tests/drill`
repeats those of one seed. Without `DRILL_POINTS`, a few of all are drawn, as quick ones.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import redis
from disturbed import CHANGES, EMBEDDER, IMPORTS, LEFT, NAME, NEW, OLD, SPLITTER, begin, end, opened, store, tried, work
from servers import private_server

from ragknn import Indexer, LabelVoter, Retriever
from ragknn._protocol.keys import Keys
from ragknn._protocol.schema import Schema

POINTS = int(os.environ.get("DRILL_POINTS", "0"))
FIRST = int(os.environ.get("DRILL_SEED", "0"))
FEW = 2
PAUSE = 3.0 if POINTS else 0.3  # seconds at most

K = 20

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


def fresh(which: str, folder: Any) -> Hashes:
    """Return what an index holds that is made at once, "left", "new" or "old", or after works: "old+reembed+sync"."""
    with _making:
        return _fresh(which, folder)


_making = threading.Lock()


@cache
def _fresh(which: str, folder: Any) -> Hashes:
    own = folder / which
    own.mkdir()
    base, *kinds = which.split("+")
    with private_server(own) as url:
        if kinds:
            begin(url, folder, *kinds)
        if base != "old" or not kinds:
            store(url, {"left": LEFT, "new": NEW, "old": OLD}[base])
        for kind in kinds:
            tried(url, kind, folder)  # what is imported is refused where it does not fit what was changed
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


def converges(url: str, folder: Any, *kinds: str) -> None:
    """Check that a sync brings the index to what a new one would hold, and that the next one has nothing to do.

    What was begun, of these kinds, is brought to its end first; what is left of the index after a drop is nothing.
    """
    for kind in (*CHANGES, *IMPORTS):
        if kind in kinds:
            end(url, kind, folder)
    store(url, NEW)
    if "rebuild" in kinds:
        work(url, "rebuild", folder)
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
    after = {"sync": "new", "delete": "left", "rebuild": "old"}.get(kind, f"old+{kind}")
    return [fresh("old", folder), {} if kind == "drop" else fresh(after, folder)]


def ends_of_both(kind: str, other: str, schema: Schema, folder: Any, *, told: bool) -> list[Hashes]:
    """Return what may be stored when two works went on at once: each document as after one of them and then the other.

    Args:
        kind: one of them.
        other: the other.
        schema: of the index, as it is by now.
        folder: of the fixture.
        told: whether one of them ended with an error, so that it may have done a part of its own.
    """
    ways = [("old", kind, other), ("old", other, kind)]
    if told:
        ways += [("old", kind), ("old", other), ("old",)]
    has_other_words = schema.language != "english"
    ways = [way for way in dict.fromkeys(ways) if way.count("rewrite") % 2 == has_other_words]
    return [fresh("+".join(way), folder) for way in ways] + [{}] * (told and "drop" in (kind, other))
