"""An index that others drop and make anew, with the same embedder or with another, while it is open here."""

from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
from reading import EMBEDDER, FIELDS, calls, documents
from stepping import Steps
from stores import keys_of

from ragknn import Document, FunctionEmbedder, HashingEmbedder, Index, Indexer, SchemaMismatch
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import create_command
from ragknn.estimators import KNeighborsClassifier


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def url(request, redis_url, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    return redis_url


def made(name, url, dim):
    """Make the index anew, with one document."""
    with Index(name, url=url, embedder=HashingEmbedder(dim)) as index:
        Indexer(index).add([Document("a", f"apple {dim}")])


# Of the same size, and near to each text is what is near to another one for the first.
ANOTHER = FunctionEmbedder("another", lambda texts: np.roll(EMBEDDER.embed_documents(texts), 5, axis=1))


def made_anew(name, url, embedder, some=None):
    """Drop the index, where it is there, and make it anew."""
    Index(name, url=url, embedder=embedder).drop()
    with Index(name, url=url, embedder=embedder, fields=FIELDS) as index:
        Indexer(index).add(some or documents(12)).raise_for_failures()


CALLS = {
    "vector": lambda retriever, indexer: retriever.retrieve("apple"),
    "many": lambda retriever, indexer: retriever.retrieve_many(["apple", "pear"]),
    "hybrid": lambda retriever, indexer: retriever.retrieve("apple", mode="hybrid"),
    "within a distance": lambda retriever, indexer: retriever.retrieve("apple", k=None, max_distance=1.0),
    "add": lambda retriever, indexer: indexer.add([Document("b", "pear")]),
    "sync": lambda retriever, indexer: indexer.sync([Document("a", "pear")]),
    "add_passages": lambda retriever, indexer: indexer.add_passages([], keep_others=True),
    "delete_passages": lambda retriever, indexer: indexer.delete_passages(["a#0"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_with_an_embedder_of_its_own_it_is_refused_and_nothing_is_written(faces, url, index_name, call):
    made(index_name, url, 16)
    with faces.index(index_name, url=url, embedder=HashingEmbedder(16)) as index:
        retriever = faces.retriever(index)
        retriever.retrieve("apple")
        with Index(index_name, url=url, create=False) as other:
            other.drop()
        made(index_name, url, 32)
        with pytest.raises(SchemaMismatch, match="expected 16, found 32"):
            call(retriever, faces.indexer(index))
    with Index(index_name, url=url, create=False) as left:
        assert [document.text for document in left.documents()] == ["apple 32"]


def test_with_the_embedder_of_the_index_searches_go_on_in_the_new_one(faces, url, index_name):
    made(index_name, url, 16)
    with faces.index(index_name, url=url, create=False) as index:
        retriever = faces.retriever(index)
        assert retriever.retrieve("apple")[0].passage.text == "apple 16"
        with Index(index_name, url=url, create=False) as other:
            other.drop()
        made(index_name, url, 32)
        assert retriever.retrieve("apple")[0].passage.text == "apple 32"
        assert index.schema.dim == 32


def test_an_embedder_of_the_same_size_writes_nothing_either(faces, url, index_name):
    made(index_name, url, 16)
    another = FunctionEmbedder("another", HashingEmbedder(16).embed_documents)
    with faces.index(index_name, url=url, embedder=HashingEmbedder(16)) as index:
        faces.retriever(index).retrieve("apple")
        with Index(index_name, url=url, create=False) as other:
            other.drop()
        with Index(index_name, url=url, embedder=another) as new:
            Indexer(new).add([Document("a", "apple")])
        with pytest.raises(SchemaMismatch, match="embedder: expected 'ragknn/hashing-16', found 'another'"):
            faces.indexer(index).add([Document("b", "pear")])
    with Index(index_name, url=url, embedder=another, create=False) as left:
        assert [document.id for document in left.documents()] == ["a"]


# What asks nothing that depends on the version that serves; and what opens the index by itself.
ASIDE = {"list_indexes", "import", "classifier", "within a radius, classified"}


@pytest.mark.parametrize("options", [{}, {"bulk": "always"}], ids=["server", "memory"])
def test_every_read_sees_another_embedder_of_the_same_size(faces, url, index_name, tmp_path, options):
    made_anew(index_name, url, EMBEDDER)
    with faces.index(index_name, url=url, embedder=EMBEDDER, timeout=10) as index:
        asked = calls(faces, index, tmp_path, **options)
        for call in asked.values():
            call()
        made_anew(index_name, url, ANOTHER)
        for name in asked.keys() - ASIDE:
            with pytest.raises(SchemaMismatch, match="embedder: expected 'ragknn/hashing-16', found 'another'"):
                asked[name]()


def test_every_read_goes_on_where_the_embedder_is_the_same(faces, redis_url, index_name, tmp_path):
    others = [replace(one, label="c", metadata={"n": 5, "t": "t0"}) for one in documents(12)]
    made_anew(index_name, redis_url, EMBEDDER)
    with faces.index(index_name, url=redis_url, timeout=10, embedder=EMBEDDER) as index:
        for number, (name, call) in enumerate(calls(faces, index, tmp_path).items()):
            call()
            made_anew(index_name, redis_url, EMBEDDER, documents(12) if number % 2 else others)
            with faces.index(index_name, url=redis_url) as fresh:
                assert (name, call()) == (name, calls(faces, fresh, tmp_path)[name]())


VECTORS = EMBEDDER.embed_queries([f"pears number{number}" for number in range(3)])


def distances(some):
    return [round(neighbor.distance, 5) for neighbors in some for neighbor in neighbors]


def fitted(index):
    model = KNeighborsClassifier.from_index(index.name, url=index.url, n_neighbors=2, bulk="never")
    return lambda: model.kneighbors(VECTORS)[0].round(5).tolist()


NEAR = {
    "retrieve": lambda faces, index: distances([faces.retriever(index).retrieve("pears number1", 3)]),
    "many": lambda faces, index: distances(faces.retriever(index).retrieve_many(["pears number1", "number2"], 3)),
    "memory": lambda faces, index: distances(faces.retriever(index, bulk="always").kneighbors(VECTORS, 3)),
    "ready": lambda faces, index: distances(faces.retriever(index).kneighbors(VECTORS, 3)),
    "text with a ready vector": lambda faces, index: distances(
        faces.retriever(index).retrieve_many(["number1"], 3, mode="hybrid", vectors=VECTORS[:1])
    ),
    "vote": lambda faces, index: distances([faces.voter(faces.retriever(index), 3).vote("number1").neighbors]),
    "vote on ready ones": lambda faces, index: distances(
        [one.neighbors for one in faces.voter(faces.retriever(index), 3).vote_many(VECTORS)]
    ),
}


@pytest.mark.parametrize("call", NEAR.values(), ids=NEAR)
def test_no_vector_is_compared_with_those_of_another_embedder_at_any_step(faces, redis_url, index_name, call):
    made_anew(index_name, redis_url, EMBEDDER)
    with faces.index(index_name, url=redis_url) as index:
        expected = call(faces, index)
    steps, refused = Steps(), 0
    for at in count():
        made_anew(index_name, redis_url, EMBEDDER)
        with steps.index(faces, index_name, url=redis_url, embedder=EMBEDDER) as index:
            steps.disturb(at, partial(made_anew, index_name, redis_url, ANOTHER))
            try:
                assert call(faces, index) == expected
            except SchemaMismatch:
                refused += 1
            if steps.count <= at:
                break
    assert refused


@pytest.mark.parametrize("call", ["ready", "memory", "vote on ready ones"])
def test_ready_vectors_are_of_the_embedder_with_which_the_index_was_opened(faces, url, index_name, call):
    made_anew(index_name, url, EMBEDDER)
    with faces.index(index_name, url=url, create=False) as index:
        NEAR[call](faces, index)
        made_anew(index_name, url, ANOTHER)
        assert index.count() == 12  # it goes on, for all who pass no vectors
        for _ in range(2):
            with pytest.raises(SchemaMismatch, match="embedder: expected 'ragknn/hashing-16', found 'another'"):
                NEAR[call](faces, index)


@pytest.mark.parametrize("kind", ["never", "always"])
def test_an_estimator_of_an_index_sees_that_it_is_another_one(redis_url, index_name, kind):
    made_anew(index_name, redis_url, EMBEDDER)
    model = KNeighborsClassifier.from_index(index_name, url=redis_url, n_neighbors=2, bulk=kind)
    model.kneighbors(VECTORS)
    made_anew(index_name, redis_url, ANOTHER)
    for ask in (model.predict, model.kneighbors, model.kneighbors_graph):
        with pytest.raises(SchemaMismatch):
            ask(VECTORS)


def test_no_two_indexes_of_one_name_are_searched_by_the_same_name(redis_url, index_name, client):
    names = []
    for _ in range(3):
        made_anew(index_name, redis_url, EMBEDDER)
        names.append(keys_of(client, index_name).searched)
        with Index(index_name, url=redis_url) as index:
            index.rebuild(algorithm="hnsw")
        names.append(keys_of(client, index_name).searched)
    assert len(set(names)) == 6


def test_an_index_of_an_earlier_release_goes_on_under_the_name_that_it_has(faces, redis_url, index_name, client):
    with Index(f"{index_name}-new", url=redis_url, embedder=EMBEDDER, fields=FIELDS) as new:
        earlier = replace(new.schema, version=1)
        new.drop()
    keys = Keys(index_name, 1)
    client.hset(keys.manifest, "schema", earlier.dumps())
    client.execute_command(*create_command(keys, earlier))
    client.execute_command("FT.ALIASADD", keys.alias, keys.searched)
    with faces.index(index_name, url=redis_url) as index:
        faces.indexer(index).add(documents(12))
        assert keys_of(client, index_name).searched == f"ragknn:{index_name}:v1"
        expected = NEAR["retrieve"](faces, index)
        with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as late:
            index.rebuild(algorithm="hnsw")
            assert keys_of(client, index_name).searched == f"ragknn:{index_name}:v2"
            assert NEAR["retrieve"](faces, late) == expected
            index.drop()
            assert client.keys(f"ragknn:{index_name}:*") == []
            made_anew(index_name, redis_url, ANOTHER)
            with pytest.raises(SchemaMismatch):
                NEAR["retrieve"](faces, late)
