"""The retriever of LangChain: every option, what its documents tell, tracing, and chains."""

import asyncio
import math

import pytest
from embedders import CountingEmbedder
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from pydantic import ValidationError

import ragknn
from ragknn import AsyncIndex, Document, Index, Indexer, Splitter
from ragknn.integrations.langchain import RagKNNRetriever

TEXTS = {
    "fruit.md": "red apple. green apple. blue apple. apple tree.",
    "cars.md": "red cars. fast cars.",
    "page.md": "apple pages.",
}


@pytest.fixture
def index(redis_url, index_name):
    with Index(index_name, url=redis_url, embedder=CountingEmbedder(64), any_field=True, algorithm="hnsw") as index:
        documents = [Document(name, text, name[:2], {"name": name}) for name, text in TEXTS.items()]
        documents[-1] = Document("page.md", TEXTS["page.md"], None, {"name": "page.md", "page": 7, "distance": "far"})
        Indexer(index, Splitter(2, 0, "words")).add(documents)
        yield index


@pytest.fixture(params=["sync", "async"])
def ask(request, index):
    def asked(query, retriever=None, /, **options):
        retriever = retriever or RagKNNRetriever(index=index)
        return (
            retriever.invoke(query, **options)
            if request.param == "sync"
            else asyncio.run(retriever.ainvoke(query, **options))
        )

    return asked


def ids(documents):
    return [one.id for one in documents]


def test_documents_tell_how_they_were_found_and_where_they_are_from(ask, index):
    [found] = ask("green apple", k=1)
    assert found.page_content == "green apple."
    assert found.metadata == {
        "document_id": "fruit.md",
        "label": "fr",
        "start": 11,
        "end": 23,
        "name": "fruit.md",
        "distance": pytest.approx(0, abs=1e-6),
        "similarity": pytest.approx(1, abs=1e-6),
        "complete": True,
    }
    [page] = ask("pages", k=1, mode="text")
    # What is stored stays, but for what tells of the search.
    assert (page.metadata["page"], page.metadata["score"] > 0) == (7, True)
    assert math.isnan(page.metadata["distance"])


OPTIONS = [
    {"k": 2},
    {"where": {"name": "fruit.md"}},
    {"mode": "text"},
    {"mode": "hybrid", "fusion": ragknn.ReciprocalRank(), "candidates": 20},
    {"max_distance": 0.7},
    {"k": None, "max_distance": 0.9},
    {"rerank": lambda query, passages: [len(passage.text) for passage in passages], "candidates": 6},
    {"per_document": 1},
    {"diversity": 0.6},
    {"ef_runtime": 50},
    {"recall": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options))
def test_each_option_means_what_it_means_in_ragknn(ask, index, options):
    options = {"k": 5, **options}
    expected = [one.passage.id for one in ragknn.Retriever(index).retrieve("green apple", **options)]
    assert expected
    assert ids(ask("green apple", RagKNNRetriever(index=index, **options))) == expected
    assert ids(ask("green apple", RagKNNRetriever(index=index, k=1), **options)) == expected


def test_a_filter_of_a_call_is_added_to_that_of_the_retriever(ask, index):
    retriever = RagKNNRetriever(index=index, where={"name": {"$in": ["fruit.md", "cars.md"]}}, k=9)
    assert {one.metadata["document_id"] for one in ask("red", retriever)} == {"fruit.md", "cars.md"}
    assert {one.metadata["document_id"] for one in ask("red", retriever, filter={"name": "cars.md"})} == {"cars.md"}
    assert ask("red", retriever, where={"name": "page.md"}) == ask("", retriever) == ask(" ", retriever) == []


def test_wrong_options_are_refused(ask, index):
    with pytest.raises(ValidationError, match="per_documnet"):
        RagKNNRetriever(index=index, per_documnet=1)
    with pytest.raises(ValidationError, match="Input should be 'vector', 'text' or 'hybrid'"):
        RagKNNRetriever(index=index, mode="words")
    with pytest.raises(TypeError, match="name of an index, an Index or an AsyncIndex, got one of type int"):
        RagKNNRetriever(index=3)
    with pytest.raises(TypeError, match="got a function"):
        RagKNNRetriever(index=index, where=lambda document: True)
    with pytest.raises(TypeError, match=r"expected options among .*, got top_k"):
        ask("x", top_k=3)
    with pytest.raises(ValueError, match="on_incomplete"):
        ask("x", RagKNNRetriever(index=index, on_incomplete="wait"))
    assert len(ask("red", k=1)) == 1


def test_it_opens_an_index_that_exists_by_name_and_makes_none(index, redis_url, monkeypatch):
    monkeypatch.setenv("RAGKNN_URL", redis_url)
    with pytest.raises(ragknn.IndexNotFound):
        RagKNNRetriever(index=f"{index.name}-nobody").invoke("x")


def test_an_async_index_serves_both_worlds(index, redis_url):
    async def work():
        async with AsyncIndex(index.name, url=redis_url, embedder=index.embedder) as one:
            retriever = RagKNNRetriever(index=one, k=1)
            found = await retriever.ainvoke("fast cars")
            assert await asyncio.to_thread(retriever.invoke, "fast cars") == found
            await retriever.aclose()
            assert await one.count() == index.count()  # still open
            return ids(found)

    assert asyncio.run(work()) == ["cars.md#1"]


class Tracer(BaseCallbackHandler):
    def __init__(self):
        self.started, self.errors = [], []

    def on_retriever_start(self, serialized, query, *, metadata, **more):
        self.started.append((query, metadata))

    def on_retriever_error(self, error, **more):
        self.errors.append(error)


def test_tracing_learns_of_store_and_model_and_of_errors(ask, index):
    tracer = Tracer()
    retriever = RagKNNRetriever(index=index)
    ask("red", retriever, config={"callbacks": [tracer]})
    [(query, told)] = tracer.started
    assert (query, told["ls_retriever_name"]) == ("red", "ragknn")
    assert (told["ls_vector_store_provider"], told["ls_embedding_model"]) == ("ragknn", "ragknn/hashing-64")
    with pytest.raises(ValueError, match="expected k"):
        ask("red", retriever, config={"callbacks": [tracer]}, k=-1)
    assert len(tracer.errors) == 1
    assert RagKNNRetriever(index="not-opened")._get_ls_params()["ls_embedding_model"] is None


def test_it_is_a_part_of_a_chain_and_answers_batches(index):
    model = FakeListChatModel(responses=["It is green [1]."])
    prompt = ChatPromptTemplate.from_template("{passages}\n{question}")
    retriever = RagKNNRetriever(index=index, k=2)
    chain = (
        {"passages": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
        | prompt
        | model
        | StrOutputParser()
    )
    assert chain.invoke("green apple") == asyncio.run(chain.ainvoke("green apple")) == "It is green [1]."
    assert [found[0].id for found in retriever.batch(["green apple", "fast cars"])] == ["fruit.md#1", "cars.md#1"]
    asyncio.run(retriever.aclose())
