"""What adding reports where the connection broke and was made again: what this call stored counts as added by it."""

import random

import numpy as np
import pytest
from embedders import CountingEmbedder
from proxies import DOWN, UP, proxy_before
from servers import private_server

from ragknn import Document, Index, Indexer, Splitter

COUNT = 90
WORDS = Splitter(size=3, overlap=0, unit="words")
DOCUMENTS = [Document(f"d{number}", "one two three four five six"[: 10 + number % 15]) for number in range(COUNT)]
VECTORS = np.random.default_rng(0).standard_normal((COUNT, 16))
IDS = [one.id for one in DOCUMENTS]
POINTS = 2  # of each kind in a run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("counts")) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(server):
    with proxy_before(server) as proxy:
        yield proxy


def add_documents(indexer, policy):
    return indexer.add(DOCUMENTS, on_existing=policy, batch_size=10)


def add_vectors(indexer, policy):
    return indexer.add_vectors(IDS, VECTORS, on_existing=policy, batch_size=10)


@pytest.mark.parametrize("add", [add_documents, add_vectors])
@pytest.mark.parametrize("policy", ["replace", "skip", "fail"])
@pytest.mark.usefixtures("no_pauses")
def test_what_was_stored_by_a_call_that_was_cut_counts_as_added(faces, server, proxy, add, policy):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    with (
        Index("c", url=server, embedder=CountingEmbedder()) as direct,
        faces.index("c", url=proxy.url, embedder=CountingEmbedder()) as index,
    ):
        indexer, eraser = faces.indexer(index, WORDS), Indexer(direct)
        eraser.clear()
        before = dict(proxy.forwarded)
        expected = add(indexer, policy)
        sizes = {way: proxy.forwarded[way] - before[way] for way in (UP, DOWN)}
        assert expected.added == COUNT
        for _ in range(POINTS):
            eraser.clear()
            way = chance.choice([UP, DOWN, DOWN])
            proxy.cut(way, after=chance.randrange(sizes[way]))
            report = add(indexer, policy)
            proxy.mend()
            assert (report.added, report.skipped, report.unchanged, report.failed) == (COUNT, 0, 0, ())
            assert (report.passages, report.ids) == (expected.passages, expected.ids)
            assert report.verification == expected.verification
            assert all("though some may have been there before" in note.reason for note in report.notes)
            assert (policy == "fail") == bool(add(indexer, policy).failed)


@pytest.mark.usefixtures("no_pauses")
def test_what_was_there_before_a_call_that_was_cut_is_left_as_it_is(faces, server, proxy):
    chance = random.Random(seed := random.randrange(10**6))
    print(f"seed {seed}")
    theirs = [Document(one.id, f"their {one.text}") for one in DOCUMENTS[::2]]
    with (
        Index("c", url=server, embedder=CountingEmbedder()) as direct,
        faces.index("c", url=proxy.url, embedder=CountingEmbedder()) as index,
    ):
        indexer, other = faces.indexer(index, WORDS), Indexer(direct, WORDS)
        for _ in range(POINTS):
            other.clear()
            other.add(theirs)
            proxy.cut(DOWN, after=chance.randrange(3_000))
            report = add_documents(indexer, "skip")
            proxy.mend()
            assert (report.ids["skipped"], report.added) == (tuple(one.id for one in theirs), COUNT // 2)
            assert {one.text for one in direct.documents([one.id for one in theirs])} == {one.text for one in theirs}
