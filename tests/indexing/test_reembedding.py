"""Moving an index to another model or splitter while it serves."""

import random
import signal
import subprocess
import sys
import time
from itertools import count

import numpy as np
import pytest
from stepping import Killed, at_work, up_to
from stores import check_tidy, keys_of, same_as_fresh, stored

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Passage,
    RebuildFailed,
    Retriever,
    SchemaMismatch,
    Splitter,
)
from ragknn._protocol.keys import Keys
from ragknn.indexing._rebuilding import reembedding
from ragknn.server._connection import run

OLD, NEW = HashingEmbedder(16), HashingEmbedder(24)
SHORT, LONG = (Splitter(size=size, overlap=0, unit="words") for size in (5, 12))
DOCUMENTS = [
    Document(f"d{n}", f"Letter {n} is about pears and plums. " * (n % 4 + 1), "ab"[n % 2], {"year": n})
    for n in range(30)
]


def made(url, name, embedder=OLD, splitter=SHORT, documents=DOCUMENTS):
    with Index(name, url=url, embedder=embedder, fields={"year": "numeric"}) as index:
        Indexer(index, splitter).add(documents).raise_for_failures()


def test_it_is_what_a_new_index_would_be(faces, redis_url, index_name, client):
    made(redis_url, index_name)
    told = []
    with faces.index(index_name, url=redis_url) as index, Index(index_name, url=redis_url) as elsewhere:
        retriever, voter = Retriever(elsewhere), LabelVoter(Retriever(elsewhere), 3)
        retriever.retrieve("letter 7")
        planned = index.reembed(NEW, LONG, dry_run=True)
        assert str(planned).startswith("dry run, nothing changed")
        report = index.reembed(NEW, LONG, progress=lambda *counts: told.append(counts))
        assert planned.changed == report.changed
        assert set(report.changed) == {"embedder", "dim", "splitter"}
        assert (report.documents, report.embedded) == (30, report.passages)
        assert told[-1][0] >= 30
        check_tidy(client, index_name)
        same_as_fresh(client, index_name, lambda name: made(redis_url, name, NEW, LONG), redis_url)
        assert index.check().is_sound
        with Index(index_name, url=redis_url, embedder=NEW) as fresh:
            for question in ("letter 7", "plums"):
                expected = Retriever(fresh).retrieve(question, 5)
                assert retriever.retrieve(question, 5) == expected
                assert faces.retriever(index).retrieve(question, 5) == expected
        assert voter.vote("letter 7").neighbors
        sync = faces.indexer(index).sync(DOCUMENTS)
        assert (sync.unchanged, sync.embedded) == (30, 0)
        assert not index.reembed(NEW, LONG).changed
        assert index.reembed(splitter=SHORT, dtype="float16").changed["dtype"] == ("float32", "float16")
        assert [one.id for one in elsewhere.documents()] == sorted(one.id for one in DOCUMENTS)
        assert index.drop() == 30
    assert not client.keys(f"ragknn:{index_name}:*")


def test_an_embedder_that_was_handed_in_is_refused_from_then_on(redis_url, index_name):
    made(redis_url, index_name)
    with (
        Index(index_name, url=redis_url, embedder=OLD) as index,
        Index(index_name, url=redis_url, embedder=OLD) as other,
    ):
        retriever = Retriever(other)
        retriever.retrieve("letter 7")
        index.reembed(NEW)
        assert index.embedder is NEW
        assert Retriever(index).retrieve("letter 7")
        for _ in range(2):
            with pytest.raises(SchemaMismatch, match="hashing-16"):
                retriever.retrieve("letter 7")
            with pytest.raises(SchemaMismatch, match="hashing-16"):
                Indexer(other).add([Document("new", "text")])
        assert index.count_documents() == 30


def test_what_was_cut_elsewhere_stays_so(redis_url, index_name, client):
    passages = [Passage(f"own-{n}", "cut", f"part {n} of it", 0, 0, "a", {"year": n}) for n in range(3)]
    words = [Passage("words#0", "words", "only words", 0, 10)]

    def make(name, embedder):
        with Index(name, url=redis_url, embedder=embedder, fields={"year": "numeric"}) as index:
            Indexer(index, SHORT).add(DOCUMENTS[:2])
            Indexer(index).add_passages(passages)
            Indexer(index).add_passages(words, embed=False)

    make(index_name, OLD)
    with Index(index_name, url=redis_url) as index:
        index.reembed(NEW)
        same_as_fresh(client, index_name, lambda name: make(name, NEW), redis_url)
        assert Indexer(index).add_passages(passages).unchanged == 1


def test_ready_vectors_become_those_of_a_model(redis_url, index_name):
    with Index(index_name, url=redis_url, dim=2) as index:
        Indexer(index).add_vectors(["a", "b"], np.eye(2), texts=["one text", ""])
        with pytest.raises(RebuildFailed, match="b: expected text"):
            index.reembed(NEW)
        assert index.count() == 2
        Indexer(index).delete(["b"])
        assert index.abandon_rebuild()
        index.reembed(NEW)
        [found] = Retriever(index).retrieve("one text")
        assert found.distance == pytest.approx(0, abs=1e-4)
        with pytest.raises(ValueError, match="expected an embedder, a splitter or both"):
            index.reembed()
        with pytest.raises(TypeError, match="expected embedder to be an embedder"):
            index.reembed("all-MiniLM-L6-v2")


class Counting:
    """An embedder that counts, and fails when it is told to."""

    name, dim, max_tokens = "counting", 16, None

    def __init__(self, until=10**9):
        self.embedded, self.until = 0, until

    def embed_documents(self, texts):
        self.embedded += len(texts)
        if self.embedded > self.until:
            raise ValueError("out of credits")
        return OLD.embed_documents(texts)

    embed_queries = embed_documents


def test_what_was_embedded_before_it_failed_is_not_embedded_again(redis_url, index_name, client):
    many = [Document(f"d{n}", f"Letter {n}.") for n in range(1000)]
    made(redis_url, index_name, documents=many)
    with Index(index_name, url=redis_url) as index:
        with pytest.raises(Exception, match="out of credits"):
            index.reembed(Counting(until=600))
        assert index.count() == 1000
        assert not client.exists(Keys(index_name).moving)
        Indexer(index).add([Document("d7", "Another one."), Document("new", "A new one.")])
        Indexer(index).delete(["d8"])
        embedder = Counting()
        report = index.reembed(embedder)
        assert report.resumed
        assert 400 <= report.embedded == embedder.embedded <= 700
        assert report.documents == 1000
        check_tidy(client, index_name)
        assert list(index.exists(["d7", "d8", "new"])) == [True, False, True]
        assert [one.text for one in index.documents(["d7"])] == ["Another one."]


class OutOfCredits:
    """An embedder beside which documents are added, and that fails when writers wait for what it embeds."""

    name, dim, max_tokens = "out of credits", 16, None

    def __init__(self, is_closed, add):
        self.is_closed, self.add = is_closed, add

    def embed_documents(self, texts):
        if self.is_closed():
            raise ValueError("out of credits")
        self.add()
        return OLD.embed_documents(texts)

    embed_queries = embed_documents


def test_a_model_that_fails_keeps_no_writer_waiting(faces, redis_url, index_name, client):
    made(redis_url, index_name)
    manifest, numbers = f"ragknn:{index_name}:manifest", count()

    def is_closed():
        return client.hget(manifest, "birth").startswith(b"closed:")

    with Index(index_name, url=redis_url) as other, faces.index(index_name, url=redis_url) as index:

        def add():
            Indexer(other).add([Document(f"new{next(numbers)}", "A new one.")]).raise_for_failures()

        with pytest.raises(ValueError, match="out of credits"):
            index.reembed(OutOfCredits(is_closed, add))
        assert not is_closed()
        assert not client.exists(Keys(index_name).moving)
        add()
        assert index.abandon_rebuild()
        assert index.count_documents() == 30 + next(numbers)
    check_tidy(client, index_name)


@pytest.mark.long
def test_it_may_end_between_any_two_commands(redis_url, index_name, client):
    documents = DOCUMENTS[:6]
    made(redis_url, index_name, documents=documents)
    with Index(index_name, url=redis_url) as reader:
        retriever = Retriever(reader)
        steps, finished, turn = 0, False, [(NEW, LONG), (OLD, SHORT)]
        while not finished:
            with Index(index_name, url=redis_url) as index:
                try:
                    run(client, up_to(reembedding(index, *turn[0], {}, 0.9, None, False), steps))
                    finished = True
                except Killed:
                    pass
            client.delete(Keys(index_name).moving)  # as time does
            assert retriever.retrieve("letter 3")[0].passage.document_id == "d3"
            with Index(index_name, url=redis_url) as index:
                assert Indexer(index).update(["d5"], metadata={"year": steps}).updated == 1
                assert index.count_documents() == 6
                is_done = index.schema.embedder == turn[0][0].name
                if is_done or steps % 7 == 0:
                    assert is_done or index.reembed(*turn[0]).changed
                    check_tidy(client, index_name)
                    turn.reverse()
            steps += 1
        assert steps > 30
        expected = {one.id: one.text for one in documents}
        assert {one.id: one.text for one in reader.documents()} == expected
        assert reader.check().is_sound


@pytest.mark.long
def test_no_search_and_no_write_fails_or_is_lost_meanwhile(redis_url, index_name, client):
    made(redis_url, index_name)
    asked = []
    numbers = {"added": 0, "synced": 0}

    def ask(index):
        found = Retriever(index).retrieve("Letter 7 is about pears and plums.", 3)
        assert found.complete
        assert found[0].passage.text.startswith("Letter")
        assert index.count_documents() >= 30
        assert [one.text for one in index.documents(["d4"])] == [DOCUMENTS[4].text]
        asked.append(found)

    def add(index):
        number = numbers["added"]
        report = Indexer(index).add([Document(f"new{number}-{n}", f"Letter {number} {n} too.") for n in range(3)])
        assert (report.added, report.failed) == (3, ())
        assert Indexer(index).delete([f"new{number}-1"]) == 1
        numbers["added"] += 1

    def sync(index):
        numbers["synced"] += 1
        report = Indexer(index).sync(
            [Document("s", f"Letter {numbers['synced']}.", metadata={"year": -1})], where={"year": -1}
        )
        assert not report.failed

    with at_work(redis_url, index_name, (ask, ask, add, sync)), Index(index_name, url=redis_url) as index:
        for embedder, splitter in [(NEW, LONG), (OLD, SHORT), (NEW, SHORT), (OLD, LONG)]:
            assert index.reembed(embedder, splitter).changed
    assert min(len(asked), *numbers.values()) > 3
    expected = {one.id: one for one in [*DOCUMENTS, Document("s", f"Letter {numbers['synced']}.", None, {"year": -1})]}
    added = [(n, m) for n in range(numbers["added"]) for m in (0, 2)]
    expected |= {f"new{n}-{m}": Document(f"new{n}-{m}", f"Letter {n} {m} too.") for n, m in added}
    with Index(index_name, url=redis_url) as index:
        assert {one.id: one for one in index.documents()} == expected
    check_tidy(client, index_name)
    same_as_fresh(client, index_name, lambda name: made(redis_url, name, OLD, LONG, expected.values()), redis_url)


KILLED = """
import sys
from ragknn import HashingEmbedder, Index, Splitter
with Index(sys.argv[2], url=sys.argv[1]) as index:
    print("ready", flush=True)
    while True:
        index.reembed(HashingEmbedder(24), Splitter(size=12, overlap=0, unit="words"))
        index.reembed(HashingEmbedder(16), Splitter(size=5, overlap=0, unit="words"))
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_leaves_an_index_that_serves(redis_url, index_name, client, seed):
    made(redis_url, index_name)
    with subprocess.Popen([sys.executable, "-c", KILLED, redis_url, index_name], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        with Index(index_name, url=redis_url) as reader:
            until = time.monotonic() + random.Random(seed).uniform(0.05, 0.6)
            while time.monotonic() < until:
                assert Retriever(reader).retrieve("Letter 7", 1).complete
                assert reader.count_documents() == 30
            process.send_signal(signal.SIGKILL)
            process.wait()
            client.delete(Keys(index_name).moving)  # as time does
            assert Indexer(reader).add([Document("new", "Letter new.")]).added == 1
    with Index(index_name, url=redis_url) as index:
        index.reembed(HashingEmbedder(32), LONG)
        check_tidy(client, index_name)
        assert index.check().is_sound
        documents = [*DOCUMENTS, Document("new", "Letter new.")]
        fresh = HashingEmbedder(32)
        same_as_fresh(client, index_name, lambda name: made(redis_url, name, fresh, LONG, documents), redis_url)
        assert keys_of(client, index_name).store > 1
        assert len(stored(client, index_name)) == 31
