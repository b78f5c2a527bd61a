"""An index that others drop and make anew with another embedder, while it is open here."""

import pytest

from ragknn import Document, FunctionEmbedder, HashingEmbedder, Index, Indexer, SchemaMismatch


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
def url(request, redis_url, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", str(request.param))
    return redis_url


def made(name, url, dim):
    """Make the index anew, with one document."""
    with Index(name, url=url, embedder=HashingEmbedder(dim)) as index:
        Indexer(index).add([Document("a", f"apple {dim}")])


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
