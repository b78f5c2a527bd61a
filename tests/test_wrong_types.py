"""An object of a wrong type is refused at once, with what was expected, what came and what to pass."""

import asyncio
import inspect

import pytest
import redis
import redis.asyncio

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncLabelVoter,
    AsyncRetriever,
    EmbeddingReranker,
    HashingEmbedder,
    Index,
    Indexer,
    LabelVoter,
    Retrieval,
    Retriever,
    abuild_context,
    alist_indexes,
    build_context,
    list_indexes,
)
from ragknn.estimators import KNeighborsClassifier, TextEmbedder
from ragknn.evaluation import aevaluate, ascan_recall, evaluate, scan_recall
from ragknn.voting.tuning import atune, tune

INDEX, AINDEX = Index("faq"), AsyncIndex("faq")
RETRIEVER, ARETRIEVER = Retriever(INDEX), AsyncRetriever(AINDEX)
VOTER = LabelVoter(RETRIEVER)
MIXED = "sync and async objects do not mix; pass "
EXPECTED_URL = "expected url as a str such as 'redis://localhost:6379', got "


class LangChainEmbeddings:
    def embed_documents(self, texts): ...
    def embed_query(self, text): ...


class Model:
    def encode(self, texts): ...


def settled(made):
    return asyncio.run(made) if inspect.iscoroutine(made) else made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Indexer("faq"), "expected index of type Index, got the str 'faq': pass Index('faq')"),
        (lambda: AsyncIndexer("faq"), "expected index of type AsyncIndex, got the str 'faq': pass AsyncIndex('faq')"),
        (lambda: Indexer(Index), "expected index of type Index, got the class Index: pass an object, Index(...)"),
        (lambda: Indexer(None), "expected index of type Index, got None: pass Index(...)"),
        (
            lambda: Indexer(AINDEX),
            f"expected index of type Index, got an AsyncIndex: {MIXED}Index(...), or use the Async classes throughout",
        ),
        (
            lambda: AsyncIndexer(INDEX),
            f"expected index of type AsyncIndex, got an Index: {MIXED}AsyncIndex(...), or use those without Async in "
            "their names throughout",
        ),
        (lambda: Indexer(Indexer(INDEX)), "expected index of type Index, got an Indexer: pass indexer.index"),
        (
            lambda: Indexer(INDEX, 256),
            "expected splitter of type Splitter, got the int 256: pass Splitter(size, overlap)",
        ),
        (lambda: Retriever(RETRIEVER), "expected index of type Index, got a Retriever: pass retriever.index"),
        (lambda: Retriever(AINDEX), f"expected index of type Index, got an AsyncIndex: {MIXED}"),
        (lambda: AsyncRetriever(INDEX), f"expected index of type AsyncIndex, got an Index: {MIXED}"),
        (lambda: LabelVoter(INDEX), "expected retriever of type Retriever, got an Index: pass Retriever(index)"),
        (
            lambda: AsyncLabelVoter(AINDEX),
            "expected retriever of type AsyncRetriever, got an AsyncIndex: pass AsyncRetriever(index)",
        ),
        (lambda: LabelVoter("faq"), "expected retriever of type Retriever, got the str 'faq': pass Retriever(Index("),
        (lambda: LabelVoter(ARETRIEVER), f"expected retriever of type Retriever, got an AsyncRetriever: {MIXED}"),
        (lambda: LabelVoter(VOTER), "expected retriever of type Retriever, got a LabelVoter: pass voter.retriever"),
        (lambda: VOTER.vote_on("text"), "expected retrieval of type Retrieval, got the str 'text': vote_on takes what"),
        (lambda: VOTER.vote_on([]), "expected retrieval of type Retrieval, got a list: vote_on takes what retrieve()"),
        (lambda: tune(RETRIEVER), "expected index of type Index, got a Retriever: pass retriever.index"),
        (lambda: tune(VOTER), "expected index of type Index, got a LabelVoter: pass voter.retriever.index"),
        (lambda: atune(INDEX), f"expected index of type AsyncIndex, got an Index: {MIXED}"),
        (lambda: evaluate(INDEX, {}), "expected retriever of type Retriever, got an Index: pass Retriever(index)"),
        (lambda: aevaluate(AINDEX, {}), "expected retriever of type AsyncRetriever, got an AsyncIndex: pass AsyncR"),
        (lambda: scan_recall(INDEX, ["x"]), "expected retriever of type Retriever, got an Index: pass Retriever("),
        (lambda: ascan_recall(RETRIEVER, ["x"]), "expected retriever of type AsyncRetriever, got a Retriever: sync"),
        (
            lambda: build_context(INDEX, Retrieval([])),
            "expected retrieval of type Retrieval, got an Index: the order is build_context(retrieval, index)",
        ),
        (lambda: build_context(Retrieval([]), RETRIEVER), "expected index of type Index, got a Retriever: pass retr"),
        (
            lambda: build_context(3),
            "expected retrieval of type Retrieval, got the int 3: pass what retrieve() returned",
        ),
        (lambda: abuild_context(Retrieval([]), INDEX), f"expected index of type AsyncIndex, got an Index: {MIXED}"),
        (lambda: Index("faq", url=3), f"{EXPECTED_URL}the int 3"),
        (lambda: AsyncIndex("faq", url=redis.Redis()), f"{EXPECTED_URL}a Redis; a client is passed as client="),
        (lambda: list_indexes(INDEX), f"{EXPECTED_URL}an Index"),
        (lambda: alist_indexes(3), f"{EXPECTED_URL}the int 3"),
        (lambda: Index("faq", client=3), "expected client as a redis.Redis object, got the int 3"),
        (lambda: Index("faq", client=redis.Redis), "expected client as a redis.Redis object, got the class Redis"),
        (
            lambda: Index("faq", client="redis://user:secret@host"),
            "expected client as a redis.Redis object, got the str 'redis://user:***@host': pass url='redis://user:***@host'",
        ),
        (
            lambda: Index("faq", client=redis.asyncio.Redis()),
            "expected client as a redis.Redis object, got one of redis.asyncio, which is a client for AsyncIndex",
        ),
        (
            lambda: AsyncIndex("faq", client=redis.Redis()),
            "expected client as a redis.asyncio.Redis object, got one of redis, which is a client for Index",
        ),
        (
            lambda: KNeighborsClassifier(client=redis.asyncio.Redis()).fit([[0.0], [1.0]], [0, 1]),
            "expected client as a redis.Redis object, got one of redis.asyncio",
        ),
        (lambda: KNeighborsClassifier.from_index(INDEX), "expected name of type str, got an Index: pass index.name"),
    ],
)
def test_what_is_of_a_wrong_type_is_told_with_what_to_pass(make, message):
    with pytest.raises(TypeError) as refused:
        settled(make())
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("embedder", "message"),
    [
        ("some/model", "the str 'some/model': pass SentenceEmbedder('some/model')"),
        (HashingEmbedder, "the class HashingEmbedder: pass an object, HashingEmbedder(...)"),
        (Model(), "a Model: pass SentenceEmbedder(model)"),
        (LangChainEmbeddings(), "a LangChainEmbeddings: pass FunctionEmbedder(name, embedder.embed_documents, ...)"),
        (lambda texts: texts, "a function: pass FunctionEmbedder(name, function)"),
        (3, "the int 3: pass an object with the members of ragknn.Embedder"),
    ],
)
def test_what_is_no_embedder_is_told_which_one_to_make_of_it(faces, embedder, message):
    for use in (
        lambda: faces.index("faq", embedder=embedder),
        lambda: EmbeddingReranker(embedder),
        lambda: TextEmbedder(embedder).transform(["text"]),
    ):
        with pytest.raises(TypeError) as refused:
            use()
        assert str(refused.value) == f"expected embedder to be an embedder, got {message}"


def test_an_object_of_a_derived_class_will_do():
    class Mine(Index):
        pass

    index = Mine("faq")
    assert Retriever(index).index is index
    with pytest.raises(TypeError, match=r"got a Mine: pass Retriever\(index\)"):
        LabelVoter(index)
