"""Hybrid candidates come without their texts, which are read of the passages that are returned."""

import sys

import numpy as np
import pytest

from ragknn import Document, HashingEmbedder, Index, Indexer, Passage
from ragknn._protocol import layout
from ragknn._protocol.keys import Keys
from ragknn.retrieval import _plan
from ragknn.retrieval.fusion import ReciprocalRank, WeightedScores

WORDS = ("card", "payment", "refund", "brake", "wheel", "saddle", "lock", "charger", "battery", "range", "cold", "rain")
QUERY = "refund of a card payment"


def documents():
    rng = np.random.default_rng(5)
    return [
        Document(f"d%{n}", " ".join(rng.choice(WORDS, size=7)), n % 3, {"kind": "ab"[n % 2], "n": n})
        for n in range(160)
    ]


@pytest.fixture
def index(faces, redis_url, index_name):
    embedder = HashingEmbedder(32)
    with faces.index(index_name, url=redis_url, embedder=embedder, fields={"kind": "tag"}) as index:
        faces.indexer(index).add(documents())
        yield index


@pytest.fixture(scope="module")
def stored(redis_url):
    """Name of an index that no test changes."""
    with Index("test-reading-later", url=redis_url, embedder=HashingEmbedder(32), fields={"kind": "tag"}) as index:
        Indexer(index).add(documents())
        yield index.name
        index.drop()


@pytest.fixture(params=[2, 3])
def either_protocol(request, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))


class Meddling:
    """A fusion that, once, lets somebody change the index between the search and the reading."""

    def __init__(self, change):
        self._change = change

    def fuse(self, rankings):
        fused = WeightedScores().fuse(rankings)
        if self._change is not None:
            change, self._change = self._change, None
            change([key.rpartition("#")[0] for key, _ in fused[:5]])
        return fused


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": {"kind": "a"}},
        {"max_distance": 0.8},
        {"per_document": 1},
        {"diversity": 0.4},
        {"diversity": 0.4, "mode": "text"},
        {"with_vectors": True},
        {"fusion": ReciprocalRank(), "with_vectors": True, "diversity": 0.2},
    ],
    ids=str,
)
def test_what_is_read_later_is_what_would_have_come_at_once(
    faces, either_protocol, redis_url, stored, options, monkeypatch
):
    options = {"mode": "hybrid", "candidates": 60, **options}
    with faces.index(stored, url=redis_url, embedder=HashingEmbedder(32)) as index:
        later = faces.retriever(index).retrieve(QUERY, 5, **options)
        monkeypatch.setattr(_plan, "WORTH_A_ROUND_TRIP", 10_000)
        at_once = faces.retriever(index).retrieve(QUERY, 5, **options)
    assert later == at_once
    assert len(later) == 5
    for one, other in zip(later, at_once, strict=True):
        assert np.array_equal(one.passage.vector, other.passage.vector)
        assert one.passage.digest == other.passage.digest
        assert one.passage.text


def test_of_the_candidates_only_those_that_are_returned_become_passages(faces, index):
    retriever = faces.retriever(index)
    retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)
    made = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code is Passage.from_sources.__func__.__code__:
            made.append(len(frame.f_locals["sources"]))

    sys.setprofile(watch)
    retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)
    sys.setprofile(None)
    assert sum(made) == 2 * 5, "once to be compared, once to be returned"


def test_texts_and_metadata_are_sent_and_read_of_what_is_returned_alone(faces, index, commands):
    retriever = faces.retriever(index)
    retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)
    loads = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code is layout._json.__code__:
            loads.append(frame)

    with commands as sent:
        sys.setprofile(watch)
        found = retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)
        sys.setprofile(None)
    searches = [words for words in sent if words[0] == "FT.SEARCH"]
    assert [("text" in words, "INKEYS" in words) for words in searches] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert len(sent) <= len(searches) + 1, "beside them at most a look at the index"
    assert not loads
    sys.setprofile(watch)
    assert [neighbor.passage.metadata["n"] for neighbor in found for _ in range(3)]
    sys.setprofile(None)
    assert len(loads) == 5


def test_ids_of_candidates_are_sent_to_a_fusion_that_others_wrote_and_decoded_of_none_for_ours(faces, index, commands):
    retriever = faces.retriever(index)
    ours = retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)
    decoded = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code is Keys.split_passage.__code__:
            decoded.append(frame)

    with commands as sent:
        sys.setprofile(watch)
        assert len(retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100)) == 5
        sys.setprofile(None)
    candidates, chosen = ([words for words in sent if ("INKEYS" in words) is later] for later in (False, True))
    assert not any("id" in words for words in candidates)
    assert all("id" in words for words in chosen)
    assert len(decoded) <= 3 * 5, "of what is returned alone, for its key"
    with commands as sent:
        theirs = retriever.retrieve(QUERY, 5, mode="hybrid", candidates=100, fusion=Meddling(None))
    assert all("id" in words for words in sent if words[0] == "FT.SEARCH")
    assert theirs == ours


@pytest.mark.parametrize("kind", ["deleted", "written anew", "filtered out"])
def test_what_changed_between_search_and_reading_leaves_no_hole(faces, either_protocol, index, redis_url, kind):
    def change(best):
        with Index(index.name, url=redis_url, embedder=HashingEmbedder(32)) as other:
            if kind == "deleted":
                Indexer(other).delete(best[1:3])
            elif kind == "written anew":
                Indexer(other).add([Document(one, "wheel of cold", metadata={"kind": "a"}) for one in best[1:3]])
            else:
                Indexer(other).update(best[1:3], metadata={"kind": "b"})

    options = {"mode": "hybrid", "candidates": 60, "where": {"kind": "a"}}
    before = faces.retriever(index).retrieve(QUERY, 5, **options)
    found = faces.retriever(index).retrieve(QUERY, 5, fusion=Meddling(change), **options)
    assert found == faces.retriever(index).retrieve(QUERY, 5, **options)
    assert found != before
    assert len(found) == 5
    assert found.complete
    assert not {one.document_id for one in before.passages[1:3]} & {one.document_id for one in found.passages}


def test_of_several_questions_those_are_asked_again_of_which_something_changed(faces, index, redis_url, commands):
    def change(best):
        with Index(index.name, url=redis_url, embedder=HashingEmbedder(32)) as other:
            Indexer(other).delete(best[:1])

    queries = ["saddle and brake", QUERY, "cold rain"]
    retriever = faces.retriever(index)
    with commands as sent:
        found = retriever.retrieve_many(queries, 4, mode="hybrid", candidates=60, fusion=Meddling(change))
    assert sum(words[0] == "FT.SEARCH" and "INKEYS" not in words for words in sent) >= 2 * len(queries) + 2
    again = retriever.retrieve_many(queries, 4, mode="hybrid", candidates=60)
    assert found[0] == again[0]
    assert [len(one) for one in found] == [4, 4, 4]
    there = {document.id for document in index.documents()}
    assert len(there) == 159
    assert {passage.document_id for one in found for passage in one.passages} <= there
