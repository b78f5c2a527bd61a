"""Embedders of ragknn in LangChain, and embeddings of LangChain in ragknn."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest
from embedders import CountingEmbedder
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

import ragknn
from ragknn import HashingEmbedder, Index, Indexer, Retriever
from ragknn.integrations.langchain import LangChainEmbedder, RagKNNEmbeddings, RagKNNVectorStore


class Modelled(DeterministicFakeEmbedding):
    model: str


class Wrapping(Embeddings):
    def __init__(self, underlying_embeddings):
        self.underlying_embeddings = underlying_embeddings

    def embed_documents(self, texts):
        return self.underlying_embeddings.embed_documents(texts)

    def embed_query(self, text):
        return self.underlying_embeddings.embed_query(text)


def test_an_embedder_is_named_by_the_model_that_it_wraps():
    assert LangChainEmbedder(Modelled(size=4, model="first")).name == "first"
    assert LangChainEmbedder(Wrapping(Wrapping(Modelled(size=4, model="first")))).name == "first"
    assert LangChainEmbedder(Modelled(size=4, model="first"), name="mine").name == "mine"
    with pytest.raises(ValueError, match="name of their model, got DeterministicFakeEmbedding"):
        LangChainEmbedder(DeterministicFakeEmbedding(size=4))
    with pytest.raises(TypeError, match="expected LangChain's Embeddings, got one of type HashingEmbedder"):
        LangChainEmbedder(HashingEmbedder(4))


def test_an_index_refuses_another_model_of_the_same_size(redis_url, index_name):
    first, second = (LangChainEmbedder(Modelled(size=4, model=name)) for name in ("first", "second"))
    with Index(index_name, url=redis_url, embedder=first) as index:
        Indexer(index).add([ragknn.Document("a", "text")])
        assert Retriever(index).retrieve("text", 1)[0].distance == pytest.approx(0, abs=1e-6)
    with pytest.raises(ragknn.SchemaMismatch, match="expected 'second', found 'first'"):
        Index(index_name, url=redis_url, embedder=second).open()


def test_vectors_are_the_same_in_both_directions():
    theirs = Modelled(size=4, model="first")
    embedder = LangChainEmbedder(theirs)
    assert embedder.dim == 4
    assert np.allclose(embedder.embed_documents(["a", "b"]), theirs.embed_documents(["a", "b"]))
    assert np.allclose(embedder.embed_queries(["a"]), [theirs.embed_query("a")])
    back = RagKNNEmbeddings(HashingEmbedder(16))
    rows = HashingEmbedder(16).embed_documents(["a", "b"])
    assert np.allclose(back.embed_documents(["a", "b"]), rows)
    assert np.allclose(asyncio.run(back.aembed_documents(["a", "b"])), rows)
    assert np.allclose(asyncio.run(back.aembed_query("a")), back.embed_query("a"))
    assert back.embed_documents([]) == []
    with pytest.raises(TypeError, match="expected an embedder of ragknn, or an Index, got one of type str"):
        RagKNNEmbeddings("a-model")


def test_a_store_gives_back_its_embeddings_and_those_of_an_index_are_looked_for_late(redis_url, index_name):
    theirs = Modelled(size=4, model="first")
    assert RagKNNVectorStore("never-opened", theirs).embeddings is theirs
    with Index(index_name, url=redis_url, embedder=CountingEmbedder(16)) as index:
        Indexer(index).add([ragknn.Document("a", "text")])
    store = RagKNNVectorStore.from_index(index_name, url=redis_url, embedding=CountingEmbedder(16))
    assert store.as_retriever().tags == ["RagKNNVectorStore", "RagKNNEmbeddings"]
    assert store.index.client is None  # nothing was opened so far
    assert np.allclose(store.embeddings.embed_query("text"), HashingEmbedder(16).embed_queries(["text"])[0])
    store.close()


def test_what_was_embedded_in_both_ways_is_one_embedder():
    embedder = HashingEmbedder(16)
    store = RagKNNVectorStore("never-opened", RagKNNEmbeddings(embedder))
    assert store.index.embedder is embedder


def test_a_missing_framework_is_named_with_the_extra():
    script = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "import ragknn\n"
        "try:\n    import ragknn.integrations.langchain\n"
        "except ragknn.MissingDependency as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'ragknn[langchain]'" in done.stdout
