"""The retrievers: what they find, compared with NumPy and with ragknn itself, and how they take their arguments."""

import asyncio
import json
from math import exp

import numpy as np
import pytest
from haystack import Document
from haystack.document_stores.errors import DocumentStoreError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import FilterPolicy
from haystack.errors import FilterError
from haystack_stores import both, ids, where

from haystack_integrations.components.retrievers.ragknn import (
    RagKNNBM25Retriever,
    RagKNNEmbeddingRetriever,
    RagKNNHybridRetriever,
)
from haystack_integrations.document_stores.ragknn import RagKNNDocumentStore
from ragknn import Index, Retriever, WeightedScores

RANDOM = np.random.default_rng(7)
VECTORS = RANDOM.normal(size=(60, 8))
WORDS = ["red", "green", "blue", "apple", "pear", "car", "train", "road"]
DOCUMENTS = [
    Document(
        id=f"d{n:02}",
        content=" ".join(RANDOM.choice(WORDS, 5)),
        embedding=VECTORS[n].tolist(),
        meta={"part": n % 3, "even": n % 2 == 0},
    )
    for n in range(60)
]
QUERY, WORD = RANDOM.normal(size=8), "green apple"


@pytest.fixture
def store(redis_url, index_name):
    store = RagKNNDocumentStore(index_name, url=redis_url, dtype="float64", metric="cosine")
    store.write_documents(DOCUMENTS)
    yield store
    store.close()


@pytest.fixture(params=["run", "run_async"])
def run(request):
    """Call a retriever in sync code or in async code."""
    if request.param == "run":
        yield lambda retriever, **asked: retriever.run(**asked)["documents"]
        return
    with asyncio.Runner() as runner:
        stores = []

        def call(retriever, **asked):
            stores.append(retriever.document_store)
            return runner.run(retriever.run_async(**asked))["documents"]

        yield call
        for one in stores:
            runner.run(one.close_async())


def scores(documents):
    return [one.score for one in documents]


def test_the_nearest_are_those_of_numpy_with_the_cosine_as_score(store, run):
    cosines = VECTORS @ QUERY / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(QUERY)
    order = np.argsort(-cosines)
    retriever = RagKNNEmbeddingRetriever(store, top_k=7)
    found = run(retriever, query_embedding=QUERY.tolist())
    assert ids(found) == [f"d{n:02}" for n in order[:7]]
    assert scores(found) == pytest.approx(cosines[order[:7]])
    assert {one.embedding for one in found} == {None}
    scaled = run(retriever, query_embedding=QUERY.tolist(), scale_score=True, return_embedding=True, top_k=60)
    assert scores(scaled) == pytest.approx((cosines[order] + 1) / 2)
    assert scaled[0].embedding == VECTORS[order[0]].tolist()
    even = run(retriever, query_embedding=QUERY.tolist(), filters=where("meta.even", "==", True))
    assert ids(even) == [f"d{n:02}" for n in order if n % 2 == 0][:7]


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_larger_score_is_nearer_whatever_the_metric(redis_url, index_name, metric):
    store = RagKNNDocumentStore(index_name, url=redis_url, dtype="float64", metric=metric)
    store.write_documents(DOCUMENTS)
    expected = VECTORS @ QUERY if metric == "ip" else -np.linalg.norm(VECTORS - QUERY, axis=1)
    found = store.embedding_retrieval(QUERY.tolist(), top_k=60)
    assert scores(found) == pytest.approx(sorted(expected, reverse=True))
    scaled = scores(store.embedding_retrieval(QUERY.tolist(), top_k=60, scale_score=True))
    assert scaled == sorted(scaled, reverse=True)
    assert all(0 <= score <= 1 for score in scaled)
    store.close()


def test_scores_are_those_of_the_store_in_memory(store):
    oracle = InMemoryDocumentStore(embedding_similarity_function="cosine", shared=False)
    oracle.write_documents(DOCUMENTS)
    for scaled in (False, True):
        theirs, ours = (one.embedding_retrieval(QUERY.tolist(), None, 5, scaled) for one in (oracle, store))
        assert ids(ours) == ids(theirs)
        assert scores(ours) == pytest.approx(scores(theirs))


def test_words_and_both_searches_together_find_what_ragknn_finds(store, run, redis_url, index_name):
    with Index(index_name, url=redis_url) as index:
        ours = Retriever(index)
        by_words = ours.retrieve(WORD, 6, mode="text", where={"part": 1})
        together = ours.retrieve(WORD, 6, mode="hybrid", vector=QUERY, fusion=WeightedScores(0.3))
    filters = where("meta.part", "==", 1)
    found = run(RagKNNBM25Retriever(store, filters, top_k=6), query=WORD)
    assert ids(found) == [one.passage.document_id for one in by_words]
    assert scores(found) == [one.score for one in by_words]
    scaled = run(RagKNNBM25Retriever(store, filters, 6, scale_score=True), query=WORD)
    assert scores(scaled) == pytest.approx([1 / (1 + exp(-score / 8)) for score in scores(found)])
    retriever = RagKNNHybridRetriever(store, top_k=6, vector_share=0.3)
    found = run(retriever, query=WORD, query_embedding=QUERY.tolist())
    assert ids(found) == [one.passage.document_id for one in together]
    assert scores(found) == [one.score for one in together]
    other = run(retriever, query=WORD, query_embedding=QUERY.tolist(), vector_share=1.0, return_embedding=True)
    assert ids(other) == ids(store.embedding_retrieval(QUERY.tolist(), top_k=6))
    assert other[0].embedding is not None


def test_filters_of_a_call_take_the_place_of_the_others_or_go_with_them(store, run):
    first, second = where("meta.part", "==", 1), where("meta.even", "==", True)
    asked = {"query_embedding": QUERY.tolist(), "top_k": 60}
    replacing = RagKNNEmbeddingRetriever(store, first)
    merging = RagKNNEmbeddingRetriever(store, first, filter_policy=FilterPolicy.MERGE)
    assert len(run(replacing, **asked)) == len(run(merging, **asked)) == 20
    assert len(run(replacing, **asked, filters=second)) == 30
    assert ids(run(merging, **asked, filters=second)) == ids(run(replacing, **asked, filters=both(first, second)))


def test_nothing_asked_is_nothing_found_or_an_error(store, run):
    near, wordy, hybrid = (
        kind(store) for kind in (RagKNNEmbeddingRetriever, RagKNNBM25Retriever, RagKNNHybridRetriever)
    )
    assert run(near, query_embedding=QUERY.tolist(), top_k=0) == run(wordy, query="the of") == []
    for wrong, message in (
        (lambda: run(near, query_embedding=[]), "expected the embedding of a query"),
        (lambda: run(near, query_embedding=QUERY.tolist(), top_k=-1), "expected top_k"),
        (lambda: run(wordy, query=" "), "expected a query with words"),
        (lambda: run(hybrid, query="red", query_embedding=QUERY.tolist(), vector_share=2.0), "expected vector"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
    for embedding, message in (
        ([1.0], r"got \(1, 1\)"),
        ([float("nan")] * 8, "NaN"),
        (["a"] * 8, "no numbers"),
    ):
        with pytest.raises(DocumentStoreError, match=message):
            run(near, query_embedding=embedding)
    with pytest.raises(FilterError, match="declare the field as numeric"):
        run(wordy, query="red", filters=where("meta.part", ">", 1))
    with pytest.raises(DocumentStoreError, match="expected diversity"):
        run(RagKNNBM25Retriever(store, options={"diversity": 7}), query="red")
    for options in ({"nonsense": 1}, {"where": {"label": "a"}}, "ef_runtime"):
        with pytest.raises(ValueError, match="expected options as a mapping of candidates, "):
            RagKNNEmbeddingRetriever(store, options=options)
        with pytest.raises(ValueError, match="expected options as a mapping of candidates, "):
            store.bm25_retrieval("red", where("meta.part", "==", 1), options=options)


def test_options_of_a_search_are_handed_on(store):
    options = {"max_distance": 0.5}
    found = RagKNNEmbeddingRetriever(store, top_k=60, options=options).run(query_embedding=QUERY.tolist())["documents"]
    assert 0 < len(found) < 60
    assert min(scores(found)) >= 0.5


@pytest.mark.parametrize("kind", [RagKNNEmbeddingRetriever, RagKNNBM25Retriever, RagKNNHybridRetriever])
def test_a_retriever_is_the_same_after_it_was_written_down(kind):
    store = RagKNNDocumentStore("handbook", url="redis://me:hunter2@localhost:6379")
    filters = where("meta.year", ">=", 2020)
    own = {"vector_share": 0.2} if kind is RagKNNHybridRetriever else {"scale_score": True}
    retriever = kind(store, filters, 3, filter_policy=FilterPolicy.MERGE, options={"candidates": 80}, **own)
    written = json.loads(json.dumps(retriever.to_dict()))
    assert written["type"] == f"haystack_integrations.components.retrievers.ragknn.{kind.__name__}"
    assert "hunter2" not in json.dumps(written)
    again = kind.from_dict(written)
    assert again.to_dict() == written
    assert (again.filters, again.top_k, again.filter_policy) == (filters, 3, FilterPolicy.MERGE)
    assert own.items() <= written["init_parameters"].items()
    for wrong, error in (({"top_k": 0}, ValueError), ({"document_store": InMemoryDocumentStore()}, TypeError)):
        with pytest.raises(error, match="expected"):
            kind(**{"document_store": store, **wrong})
