"""The retriever for LlamaIndex, and embeddings in both directions."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest
from llama_index.core import MockEmbedding
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import QueryBundle, TextNode
from llama_index_cases import nodes, only

import ragknn
from ragknn import AsyncIndex, HashingEmbedder, Index, Indexer, Retriever, SchemaMismatch, WeightedScores
from ragknn.embedding import embed_documents, embed_queries
from ragknn.integrations.llama_index import RagKNNEmbedding, RagKNNRetriever, RagKNNVectorStore, embedder_from

TEXTS = {
    "apples": "The red apple is sweet. Apples keep for months in a cool cellar.",
    "pears": "A green pear is soft when it is ripe. Pears do not keep long.",
    "cars": "Fast cars on the road. A red car is said to be faster.",
}


@pytest.fixture
def index(redis_url, index_name, embedder):
    """An index of three documents of two passages each."""
    documents = [ragknn.Document(name, text, name[0], {"size": len(name)}) for name, text in TEXTS.items()]
    with Index(index_name, url=redis_url, embedder=embedder, fields={"size": "numeric"}) as index:
        Indexer(index, ragknn.Splitter(size=9, overlap=0)).add(documents)
        yield index


def both(make, question):
    """Return what a retriever finds in sync code, which must be what it finds in async code."""
    found = make().retrieve(question)
    assert asyncio.run(make().aretrieve(question)) == found
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": {"label": {"$in": ["a", "c"]}}},
        {"mode": "text"},
        {"mode": "hybrid", "fusion": WeightedScores(0.2)},
        {"max_distance": 0.9},
        {"per_document": 1, "diversity": 0.4, "candidates": 6},
        {"rerank": lambda query, passages: [passage.start for passage in passages]},
        {"with_vectors": True},
    ],
    ids=lambda options: "-".join(options) or "none",
)
def test_a_retriever_finds_what_ragknn_does_with_every_option(index, options):
    expected = Retriever(index).retrieve("a red apple", k=4, **options)
    found = both(lambda: RagKNNRetriever(index, 4, **options), "a red apple")
    assert [one.node_id for one in found] == [passage.id for passage in expected.passages]
    assert [one.text for one in found] == [passage.text for passage in expected.passages]
    if options.get("with_vectors"):
        assert found[0].node.embedding == pytest.approx(expected[0].passage.vector.tolist())
    if "rerank" in options:
        assert [one.score for one in found] == [neighbor.score for neighbor in expected]
    else:
        assert all(0 <= one.score <= 1 for one in found)


def test_filters_of_llamaindex_hold_beside_a_where(index):
    def make():
        return RagKNNRetriever(index, 9, filters=only(("size", "GT", 4)), where={"label": "p"})

    assert {one.node.ref_doc_id for one in both(make, "apple")} == {"pears"}
    assert RagKNNRetriever(index, filters=only(("size", "IN", []))).retrieve("apple") == []
    assert RagKNNRetriever(index).retrieve("  ") == []
    with pytest.raises(TypeError, match="expected options among"):
        RagKNNRetriever(index, depth=3).retrieve("apple")


def test_what_is_near_in_any_number(index):
    found = both(lambda: RagKNNRetriever(index, None, max_distance=2.0), "apple")
    assert len(found) == index.count()


def test_a_question_with_possible_answers_is_asked_with_them(index):
    bundle = QueryBundle("what keeps?", custom_embedding_strs=["Apples keep for months.", "what keeps?"])
    expected = Retriever(index).retrieve_like("what keeps?", ["Apples keep for months."], k=2)
    found = both(lambda: RagKNNRetriever(index, 2), bundle)
    assert [one.node_id for one in found] == [passage.id for passage in expected.passages]


def test_an_index_of_ready_vectors_is_asked_with_a_model_or_an_embedding(redis_url, index_name):
    store = RagKNNVectorStore(index_name, url=redis_url)
    store.add(nodes())

    class First(MockEmbedding):
        """Embeds every text as the vector of the first node."""

        def _get_vector(self):
            return nodes()[0].embedding

    found = both(lambda: RagKNNRetriever(store, 1, embed_model=First(embed_dim=8)), "anything")
    assert (found[0].node_id, found[0].score) == ("a1", pytest.approx(1))
    vector = nodes()[3].embedding
    assert both(lambda: RagKNNRetriever(store, 1), QueryBundle("x", embedding=vector))[0].node_id == "c1"
    assert both(lambda: RagKNNRetriever(store, 1, mode="text"), "pear")[0].node_id == "b1"
    with pytest.raises(ValueError, match="holds ready vectors: open it with the embedder"):
        RagKNNRetriever(store, 1).retrieve("anything")
    store.close()


def test_a_retriever_is_a_part_of_a_query_engine(index):
    engine = RetrieverQueryEngine.from_args(RagKNNRetriever(index, 2, per_document=1), llm=MockLLM())
    answer = engine.query("Which apple is red?")
    assert {one.node.ref_doc_id for one in answer.source_nodes} <= {*TEXTS}
    assert "Which apple is red?" in str(answer)


def test_a_retriever_of_an_async_index_and_of_no_index(index):
    retriever = RagKNNRetriever(AsyncIndex.like(index), 2)
    assert asyncio.run(retriever.aretrieve("apple")) == retriever.retrieve("apple")
    with pytest.raises(TypeError, match="expected index of type"):
        RagKNNRetriever("handbook")


# ---- embeddings ------------------------------------------------------------------------------------------------


def test_an_embedder_of_ragknn_is_an_embedding_model(embedder):
    model = RagKNNEmbedding(embedder, embed_batch_size=2)
    assert (model.model_name, model.embedder) == (embedder.name, embedder)
    texts = ["one", "two words", "ﬁle"]
    expected = embed_documents(embedder, texts)[0]
    assert np.allclose(model.get_text_embedding_batch(texts), expected)
    assert np.allclose(asyncio.run(model.aget_text_embedding_batch(texts)), expected)
    assert np.allclose(model.get_text_embedding("ﬁle"), embed_documents(embedder, ["file"])[0])
    query = embed_queries(embedder, ["ﬁle"])[0][0]
    assert np.allclose([model.get_query_embedding("file"), asyncio.run(model.aget_query_embedding("file"))], query)
    [node] = IngestionPipeline(transformations=[model]).run(nodes=[TextNode(text="one")])
    assert np.allclose(node.embedding, expected[0])
    assert model.to_dict()["model_name"] == embedder.name


def test_an_embedding_model_without_an_embedder_is_the_model_of_its_name(sentence_embedder):
    model = RagKNNEmbedding()
    assert model.model_name == sentence_embedder.name
    assert RagKNNEmbedding.from_dict(model.to_dict()).embedder.name == sentence_embedder.name


class Counting(BaseEmbedding):
    """Embeds with the hashing embedder, queries and texts apart."""

    def _get_query_embedding(self, query):
        return HashingEmbedder(64).embed_queries([f"query {query}"])[0].tolist()

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text):
        return HashingEmbedder(64).embed_documents([text])[0].tolist()


def test_an_embedding_model_is_an_embedder_of_ragknn_by_its_name(redis_url, index_name):
    model = Counting(model_name="counting/v1")
    made = embedder_from(model)
    assert (made.name, made.dim) == ("counting/v1", 64)
    assert np.allclose(made.embed_documents(["a", "b"]), HashingEmbedder(64).embed_documents(["a", "b"]))
    assert np.allclose(made.embed_queries(["a"]), HashingEmbedder(64).embed_queries(["query a"]))
    store = RagKNNVectorStore(index_name, url=redis_url, embed_model=model)
    store.add([TextNode(id_="n", text="t", embedding=model.get_text_embedding("t"))])
    assert store.index.describe().embedder == "counting/v1"
    assert RagKNNRetriever(store, 1).retrieve("t")[0].node_id == "n"
    other = RagKNNVectorStore(index_name, url=redis_url, embed_model=Counting(model_name="counting/v2"))
    for call in (lambda: other.add(nodes()), other.get_nodes, lambda: asyncio.run(other.aget_nodes())):
        with pytest.raises(SchemaMismatch, match=r"embedder: expected 'counting/v2', found 'counting/v1'"):
            call()
    with pytest.raises(ValueError, match="expected a model with a name, got MockEmbedding"):
        embedder_from(MockEmbedding(embed_dim=8))
    assert embedder_from(MockEmbedding(embed_dim=8), "mock", dim=8).name == "mock"
    with pytest.raises(TypeError, match="expected an embedding model of LlamaIndex"):
        embedder_from(HashingEmbedder(8))
    own = HashingEmbedder(8)
    assert embedder_from(RagKNNEmbedding(own)) is own


def test_without_llamaindex_the_error_says_which_extra_to_install():
    script = "import sys; sys.modules['llama_index'] = None; import ragknn.integrations.llama_index"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'ragknn[llama-index]'" in done.stderr
