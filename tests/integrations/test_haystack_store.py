"""The document store: what it gives back, what it refuses, when it opens, and what it writes down of itself."""

import asyncio
import copy
import json
import pickle

import numpy as np
import pytest
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from haystack_stores import Awaited, both, ids, where

import ragknn
from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore
from ragknn import Index, Indexer, LabelVoter, Retriever, Splitter

FAIL, NONE, SKIP, OVERWRITE = (getattr(DuplicatePolicy, name) for name in ("FAIL", "NONE", "SKIP", "OVERWRITE"))
APPLE = Document(id="a", content="a red apple", embedding=[1.0, 0.0], meta={"kind": "fruit"})
PEAR = Document(id="p", content="a green pear", embedding=[0.0, 1.0], meta={"kind": "fruit"})
CAR = Document(id="c", content="a red car", embedding=[1.0, 1.0], meta={"kind": "machine"})


@pytest.fixture
def make(redis_url, index_name):
    """Make stores on one index, and close them at the end."""
    made = []

    def store(name=index_name, **options):
        made.append(RagKNNDocumentStore(name, url=redis_url, **options))
        return made[-1]

    yield store
    for one in made:
        one.close()


@pytest.fixture
def awaited():
    """Turn stores into such that their async methods are called without waiting, on one loop."""
    with asyncio.Runner() as runner:
        made = []

        def store(store):
            made.append(Awaited(store, runner.get_loop()))
            return made[-1]

        yield store
        for one in made:
            one.close()


@pytest.fixture(params=["sync", "async"])
def world(request):
    """What turns a store into one that is called without waiting: as it is, or by its async methods."""
    return (lambda store: store) if request.param == "sync" else request.getfixturevalue("awaited")


# ---- what is given back -----------------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_was_whatever_is_in_it(make):
    documents = [
        Document(id="all", content=" padded\n", embedding=[0.1, 0.2], meta={"n": {"x": [1, None]}, "none": None}),
        Document(id="blob", blob=ByteStream(b"\x00\xff", {"page": 1}, "image/png"), meta={"k": 1}),
        Document(id="empty", content=""),
        Document(id="nothing", meta={"label": [1]}),
        Document(id="sparse", embedding=[1.0, 0.0], sparse_embedding=SparseEmbedding([3], [0.5])),
        Document(id="weird {id}: #1", content="x", meta={"a b.c": "ü\n"}),
    ]
    store = make(dtype="float64")
    assert store.write_documents(documents) == 6
    assert store.filter_documents() == documents
    assert ids(store.filter_documents(where("id", "==", "weird {id}: #1"))) == ["weird {id}: #1"]
    assert store.filter_documents(where("meta.n.x", "==", 1)) == documents[:1]


def test_embeddings_are_rounded_to_the_type_of_the_index(make):
    store = make()
    store.write_documents([Document(id="a", embedding=[0.1, 0.2])])
    [back] = store.filter_documents()
    assert back.embedding == np.array([0.1, 0.2], np.float32).astype(float).tolist()


def test_what_is_written_is_an_index_like_any_other_and_labels_vote(make, index_name, redis_url):
    documents = [
        Document(id=f"{label}{n}", content=label, embedding=[float(n), 1.0], meta={"label": label})
        for label, numbers in (("low", range(3)), ("high", range(10, 13)))
        for n in numbers
    ]
    make(metric="l2").write_documents(documents)
    with Index(index_name, url=redis_url) as index:
        [found] = Retriever(index).kneighbors([[11.0, 1.0]], k=3)
        assert sorted(one.passage.document_id for one in found) == ["high10", "high11", "high12"]
        assert LabelVoter(Retriever(index), k=3).vote_on(found).label == "high"


def test_an_index_that_ragknn_has_filled_is_read_passage_by_passage(make, index_name, redis_url, embedder):
    with Index(index_name, url=redis_url, embedder=embedder, fields={"year": "numeric"}) as index:
        text = "one two three four five. six seven eight nine ten."
        document = ragknn.Document("doc", text, label="L", metadata={"year": 2020})
        Indexer(index, Splitter(5, 0, unit="words")).add([document])
    store = make()
    [first, second] = store.filter_documents(where("meta.year", ">=", 2020))
    assert (first.content, second.content) == ("one two three four five.", "six seven eight nine ten.")
    assert second.meta == {"year": 2020, "label": "L", "source_id": "doc"}
    assert [one.content for one in store.bm25_retrieval("seven")] == [second.content]
    assert store.write_documents([Document(id="more", embedding=[1.0] * 64)]) == 1
    assert store.count_documents() == 3


# ---- policies ---------------------------------------------------------------------------------------------------


def test_ids_that_are_there_are_refused_skipped_or_overwritten(make, world):
    store = world(make())
    assert store.write_documents([APPLE, PEAR]) == 2
    new = Document(id="a", content="another apple", embedding=[0.5, 0.5])
    for policy in (FAIL, NONE):
        with pytest.raises(DuplicateDocumentError, match="got 'a', in the index already"):
            store.write_documents([CAR, new], policy)
        assert store.filter_documents() == [APPLE, PEAR]
    assert store.write_documents([new, CAR], SKIP) == 1
    assert store.filter_documents() == [APPLE, CAR, PEAR]
    assert store.write_documents([new, CAR], OVERWRITE) == 2
    assert store.filter_documents() == [new, CAR, PEAR]


def test_of_an_id_that_comes_twice_the_first_or_the_last_is_kept_or_none(make, world):
    store = world(make(embedding_dim=2))
    twice = [Document(id="x", content="first"), PEAR, Document(id="x", content="last")]
    with pytest.raises(DuplicateDocumentError, match="got 'x', in this call more than once"):
        store.write_documents(twice)
    assert store.count_documents() == 0
    assert store.write_documents(twice, SKIP) == 2
    assert [one.content for one in store.filter_documents(where("id", "==", "x"))] == ["first"]
    assert store.write_documents(twice, OVERWRITE) == 3
    assert [one.content for one in store.filter_documents(where("id", "==", "x"))] == ["last"]


def test_what_cannot_be_stored_is_an_error_that_names_it_and_leaves_no_half(make, world):
    store = world(make(fields={"year": "numeric"}))
    store.write_documents([APPLE])
    wrong = {
        "document 'w': expected an embedding of 2 values, got 3": Document(id="w", embedding=[1.0, 2.0, 3.0]),
        "w: expected finite vectors": Document(id="w", embedding=[1.0, float("nan")]),
        "w: expected .* with a direction": Document(id="w", embedding=[0.0, 0.0]),
        "w: field 'year': expected a number, a date": Document(id="w", content="x", meta={"year": "some day"}),
        "document 'w': expected no entry '_haystack'": Document(id="w", content="x", meta={"_haystack": 1}),
    }
    for message, document in wrong.items():
        with pytest.raises(DocumentStoreError, match=message):
            store.write_documents([PEAR, document])
        assert store.filter_documents() == [APPLE]
    for anything in ("text", [APPLE, "text"], None, {APPLE.id: APPLE}):
        with pytest.raises(ValueError, match=r"expected a list of haystack\.Document"):
            store.write_documents(anything)
    with pytest.raises(ValueError, match="expected a DuplicatePolicy"):
        store.write_documents([PEAR], "skip")
    assert store.write_documents([PEAR]) == 1


# ---- opening ----------------------------------------------------------------------------------------------------


def test_before_something_is_written_the_store_is_empty_and_no_index_is_made(make, world, client, index_name):
    store = world(make())
    assert (store.count_documents(), store.filter_documents(), store.bm25_retrieval("x")) == (0, [], [])
    assert store.embedding_retrieval([1.0]) == store.hybrid_retrieval("x", [1.0]) == []
    assert (store.get_metadata_fields_info(), store.delete_documents(["a"])) == ({}, None)
    assert store.update_by_filter(where("meta.a", "==", 1), {"a": 2}) == 0
    assert store.write_documents([]) == 0
    with pytest.raises(DocumentStoreError, match="expected documents with embeddings, or embedding_dim"):
        store.write_documents([Document(content="no embedding")])
    assert list(client.scan_iter(f"ragknn:{index_name}:*")) == []
    assert store.write_documents([Document(content="none"), APPLE]) == 2


@pytest.mark.usefixtures("no_pauses")
def test_nothing_connects_before_the_first_call():
    nowhere = "redis://localhost:1"
    store = RagKNNDocumentStore("later", url=nowhere)
    with pytest.raises(DocumentStoreError, match="expected Redis at localhost:1"):
        store.count_documents()


def test_an_index_of_other_embeddings_is_refused_and_so_is_a_missing_one(make):
    make(model="mini", metric="ip").write_documents([APPLE])
    assert make(model="mini", embedding_dim=2).count_documents() == make().count_documents() == 1
    for other, message in (
        ({"embedding_dim": 3}, "embedding_dim: expected 3, found 2"),
        ({"model": "maxi"}, "model: expected 'maxi', found 'mini'"),
        ({"metric": "l2"}, "metric: expected 'l2', found 'ip'"),
        ({"required_filter": "kind"}, "required_filter: expected 'kind', found None"),
    ):
        with pytest.raises(DocumentStoreError, match=message):
            make(**other).count_documents()
    with pytest.raises(DocumentStoreError, match="expected an index named"):
        make("nobody-made-it", create=False).count_documents()


def test_wrong_arguments_are_refused_when_the_store_is_made():
    for wrong, error in (
        ({"index": "a b"}, ValueError),
        ({"url": 6379}, TypeError),
        ({"embedding_dim": 0}, ValueError),
        ({"model": " "}, ValueError),
        ({"metric": "cos"}, ValueError),
        ({"fields": {"year": "int"}}, ValueError),
        ({"fields": ["year"]}, TypeError),
        ({"required_filter": 1}, TypeError),
        ({"timeout": 0}, ValueError),
    ):
        with pytest.raises(error, match="expected"):
            RagKNNDocumentStore(**{"index": "a", **wrong})


def test_an_index_that_others_have_dropped_is_an_error_once_and_then_made_anew(make, world, index_name, redis_url):
    store = world(make())
    store.write_documents([APPLE])
    Index(index_name, url=redis_url).drop()
    with pytest.raises(DocumentStoreError, match="it was dropped"):
        store.count_documents()
    assert store.count_documents() == 0
    assert store.write_documents([PEAR]) == 1
    assert store.filter_documents() == [PEAR]


def test_an_index_that_is_dropped_with_its_documents_is_made_anew_for_both_worlds(make, awaited):
    store = make()
    other = awaited(store)
    store.write_documents([APPLE])
    assert other.count_documents() == 1
    store.delete_all_documents(recreate_index=True)
    assert other.count_documents() == 0
    other.write_documents([Document(id="3", embedding=[1.0, 2.0, 3.0])])
    assert ids(store.filter_documents()) == ["3"]


# ---- tenants ----------------------------------------------------------------------------------------------------


def test_a_required_filter_keeps_tenants_apart(make, world):
    store = world(make(required_filter="meta.tenant"))
    mine = Document(id="m", content="red", embedding=[1.0, 0.0], meta={"tenant": "me"})
    theirs = Document(id="t", content="red", embedding=[1.0, 0.0], meta={"tenant": "them"})
    assert store.write_documents([mine, theirs]) == 2
    me = where("meta.tenant", "==", "me")
    assert ids(store.filter_documents(me)) == ids(store.embedding_retrieval([1.0, 0.0], me)) == ["m"]
    for call in (
        store.filter_documents,
        store.count_documents,
        lambda: store.delete_documents(["t"]),
        store.delete_all_documents,
        lambda: store.delete_all_documents(recreate_index=True),
        lambda: store.bm25_retrieval("red"),
    ):
        with pytest.raises(DocumentStoreError, match="expected a filter on 'tenant'"):
            call()
    with pytest.raises(DocumentStoreError, match="field 'tenant': expected a value"):
        store.write_documents([Document(id="x", content="red")])
    assert store.delete_by_filter(both(me, where("id", "in", ["m", "t"]))) == 1
    assert store.count_documents_by_filter(where("meta.tenant", "==", "them")) == 1


# ---- as a dump --------------------------------------------------------------------------------------------------


def test_a_store_is_the_same_after_it_was_written_down(make, redis_url, index_name, monkeypatch):
    monkeypatch.setenv("THE_URL", redis_url)
    options = {"metric": "ip", "fields": {"meta.year": "numeric"}, "model": "mini", "timeout": 3.0}
    store = RagKNNDocumentStore(index_name, url=Secret.from_env_var("THE_URL"), **options)
    store.write_documents([APPLE])
    written = json.loads(json.dumps(store.to_dict()))
    assert written["type"] == "haystack_integrations.document_stores.ragknn.RagKNNDocumentStore"
    assert redis_url not in json.dumps(written)
    again = RagKNNDocumentStore.from_dict(written)
    assert (again.to_dict(), again.count_documents()) == (written, 1)
    for twin in (copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert (twin.to_dict(), twin.count_documents()) == (written, 1)
        twin.close()
    store.close()
    again.close()


def test_no_password_is_in_a_dump():
    url = "redis://me:hunter2@localhost:6390/0"
    for one in (url, Secret.from_env_var("REDIS_URL", strict=False)):
        store = RagKNNDocumentStore("secret", url=one)
        assert "hunter2" not in json.dumps(store.to_dict()) + repr(store)
    assert RagKNNDocumentStore("secret", url=url).to_dict()["init_parameters"]["url"] == "redis://me@localhost:6390/0"
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        RagKNNDocumentStore("secret", url=Secret.from_token(url)).to_dict()
