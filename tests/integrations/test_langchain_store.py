"""The vector store of LangChain beyond the suite: filters, scores, MMR, documents of several passages, wrong input."""

import asyncio
import inspect

import numpy as np
import pytest
from embedders import CountingEmbedder
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from proxies import DOWN, proxy_before

import ragknn
from ragknn import AsyncIndex, Index, Indexer
from ragknn.integrations.langchain import LangChainEmbedder, RagKNNVectorStore

TEXTS = ["the red apple", "a green pear", "fast cars on the road", "slow trains at the station", "the red pear"]
METADATAS = [{"n": number, "deep": {"x": number % 2}, "tags": ["a", "b"][: number % 3]} for number in range(5)]
IDS = list("abcde")


class Both:
    """Calls each method of a store as it is, or as its async twin, each call under an event loop of its own."""

    def __init__(self, store, asynchronous):
        self.store, self._asynchronous = store, asynchronous

    def __getattr__(self, name):
        if not self._asynchronous or not inspect.ismethod(getattr(self.store, f"a{name}", None)):
            return getattr(self.store, name)
        method = getattr(self.store, f"a{name}")
        return lambda *args, **options: asyncio.run(method(*args, **options))


@pytest.fixture
def embedder():
    return CountingEmbedder(32)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def make(request, redis_url, index_name, embedder):
    made = []

    def build(embedding=embedder, **options):
        store = RagKNNVectorStore(index_name, embedding, **{"url": redis_url, **options})
        made.append(store)
        return Both(store, request.param)

    yield build
    for store in made:
        asyncio.run(store.aclose())


@pytest.fixture
def store(make):
    store = make()
    assert store.add_texts(TEXTS, METADATAS, ids=IDS) == IDS
    return store


def ids(documents):
    return [one.id for one in documents]


# ---- writing -----------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_embedded_and_what_has_replaces_it(store, embedder):
    embedder.texts.clear()
    documents = [Document(page_content=TEXTS[0], metadata=METADATAS[0], id="a"), Document(page_content="new", id="b")]
    made, *given = store.add_documents([Document(page_content="without an id"), *documents])
    assert given == ["a", "b"]
    assert len(made) > 20
    assert sorted(embedder.texts) == ["new", "without an id"]
    assert store.get_by_ids(["b", "nobody", made, "b"]) == [
        documents[1],
        Document(page_content="without an id", id=made),
    ]
    assert store.get_by_ids([]) == []


def test_ready_vectors_are_stored_as_they_are(store, embedder):
    vectors = embedder.embed_queries(["far away", "elsewhere"])
    embedder.texts.clear()
    store.add_texts(["x", "y"], ids=["x", "y"], vectors=vectors.tolist())
    assert embedder.texts == []
    assert ids(store.similarity_search("far away", k=1)) == ["x"]
    with pytest.raises(ragknn.IngestFailed, match=r"z: expected vectors of shape \(n, 32\)"):
        store.add_texts(["z"], ids=["z"], vectors=[[1.0, 2.0]])
    assert store.get_by_ids(["z"]) == []


WRONG = {
    "each id once, got 'x' more than once": lambda store: store.add_texts(["p", "q"], ids=["x", "x"]),
    "as many ids as documents, 2, got 1": lambda store: store.add_texts(["p", "q"], ids=["x"]),
    "as many metadatas as texts, 2, got 1": lambda store: store.add_texts(["p", "q"], [{}]),
    "as many vectors as documents, 2, got 1": lambda store: store.add_texts(["p", "q"], vectors=[[0.0] * 32]),
    "expected text in each document, got none in number 1": lambda store: store.add_texts(["p", ""], ids=["x", "y"]),
    "several texts, got a str": lambda store: store.add_texts("pq"),
    "iterable of ids": lambda store: store.get_by_ids("ab"),
    "expected an iterable of ids": lambda store: store.delete("ab"),
    "expected filter or where, got prefix": lambda store: store.delete(prefix="a"),
    "got a function": lambda store: store.similarity_search("x", filter=lambda document: True),
    "got a Num": lambda store: store.similarity_search("x", filter=type("Num", (), {})()),
    "which mean the same, got both": lambda store: store.similarity_search("x", filter={"n": 1}, where={"n": 2}),
    "expected options among": lambda store: store.similarity_search("x", top_k=3),
    "expected k >= 1|whole number": lambda store: store.similarity_search("x", k=-1),
    "lambda_mult from 0": lambda store: store.max_marginal_relevance_search("x", lambda_mult=1.5),
    r"shape \(dim,\), got shape \(2, 32\)": lambda store: store.similarity_search_by_vector([[0.0] * 32] * 2),
    "32": lambda store: store.similarity_search_by_vector([1.0] * 31),
    "words alone have no similarity": lambda store: store.similarity_search_with_relevance_scores("x", mode="text"),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_told_of_and_changes_nothing(store, message):
    with pytest.raises((ValueError, TypeError), match=message):
        WRONG[message](store)
    assert store.index.count() == 5
    assert ids(store.similarity_search(TEXTS[2], k=1)) == ["c"]


def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(store):
    with pytest.raises(ragknn.IngestFailed, match="bad") as caught:
        store.add_texts(["fine", "not"], [{}, {"x": object()}], ids=["good", "bad"])
    assert [failure.document_id for failure in caught.value.report.failed] == ["bad"]
    assert ids(store.get_by_ids(["good", "bad"])) == ["good"]


def test_documents_are_deleted_by_ids_by_filter_and_all(store):
    assert store.delete(["a", "nobody"]) is True
    assert store.delete(["b", "c"], filter={"n": 2}) is True
    assert ids(store.get_by_ids(IDS)) == ["b", "d", "e"]
    assert store.delete(filter={"deep.x": 1}) is True
    assert ids(store.get_by_ids(IDS)) == ["e"]
    assert store.delete([]) is True
    assert store.index.count() == 1
    assert store.delete() is True
    assert store.index.count() == 0


# ---- searching ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_scores_are_distances_and_relevance_lies_between_0_and_1(make, embedder, metric):
    store = make(metric=metric)
    store.add_texts(TEXTS, ids=IDS)
    query, rows = embedder.embed_queries(["red pear"])[0], embedder.embed_documents(TEXTS)
    expected = {"cosine": 1 - rows @ query, "ip": 1 - rows @ query, "l2": np.linalg.norm(rows - query, axis=1)}[metric]
    found = store.similarity_search_with_score("red pear", k=5)
    assert [score for _, score in found] == pytest.approx(sorted(expected), abs=1e-5)
    relevant = store.similarity_search_with_relevance_scores("red pear", k=5)
    scores = [score for _, score in relevant]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1
    some = store.similarity_search_with_relevance_scores("red pear", k=5, score_threshold=scores[1])
    assert some == relevant[:2]
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": scores[1], "k": 5}
    )
    assert retriever.invoke("red pear") == asyncio.run(retriever.ainvoke("red pear")) == [one for one, _ in some]


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
def test_diverse_results_are_those_of_langchains_own_function(store, embedder, lambda_mult):
    question = "red pears on the road"
    query, rows = embedder.embed_queries([question])[0], embedder.embed_documents(TEXTS)
    chosen = maximal_marginal_relevance(query, rows.tolist(), lambda_mult=lambda_mult, k=4)
    options = {"k": 4, "fetch_k": 5, "lambda_mult": lambda_mult}
    by_text = store.max_marginal_relevance_search(question, **options)
    assert ids(by_text) == [IDS[number] for number in chosen]
    assert store.max_marginal_relevance_search_by_vector(query.tolist(), **options) == by_text
    retriever = store.as_retriever(search_type="mmr", search_kwargs=options)
    assert retriever.invoke(question) == asyncio.run(retriever.ainvoke(question)) == by_text


def test_fewer_candidates_than_results_are_as_many(store):
    assert len(store.max_marginal_relevance_search("pear", k=4, fetch_k=1)) == 4


FILTERS = [
    ({"n": 2}, "c"),
    ({"deep.x": 1}, "bd"),
    ({"tags": "b"}, "c"),
    ({"$or": [{"n": {"$in": [0, 4]}}, {"$not": {"deep.x": 0}}]}, "abde"),
    ({"nobody": 1}, ""),
    ({}, "abcde"),
    (None, "abcde"),
]


@pytest.mark.parametrize(("where", "expected"), FILTERS, ids=str)
def test_filters_on_any_entry_hold_in_every_search(store, embedder, where, expected):
    vector = embedder.embed_queries(["pear"])[0]
    for found in (
        store.similarity_search("pear", k=9, filter=where),
        store.similarity_search("pear", k=9, where=where, mode="hybrid"),
        store.similarity_search_by_vector(vector, k=9, filter=where),
        store.max_marginal_relevance_search("pear", k=9, filter=where),
        [one for one, _ in store.similarity_search_with_score("pear", k=9, filter=where)],
        store.as_retriever(search_kwargs={"filter": where, "k": 9}).invoke("pear"),
    ):
        assert sorted(ids(found)) == list(expected)


def test_words_are_searched_too_and_nothing_is_found_for_nothing(store):
    [(best, score), (other, less)] = store.similarity_search_with_score("red pear", k=2, mode="text")
    assert best.id == "e"
    assert score > less > 0
    assert other.id in "ab"
    assert ids(store.similarity_search("red pear", k=1, mode="hybrid")) == ["e"]
    assert store.similarity_search("", k=2) == store.similarity_search("pear", k=0) == []
    assert store.similarity_search_by_vector([0.1] * 32, k=0) == []


# ---- documents of several passages -------------------------------------------------------------------------------


def chunk(name, text, source, **metadata):
    return Document(page_content=text, metadata={"source": source, **metadata}, id=name)


def test_texts_of_one_source_are_the_passages_of_one_document(make, embedder):
    store = make(document_key="source", label_key="kind")
    store.add_documents(
        [
            chunk("1", "the red apple", "fruit.md", kind="food"),
            chunk("x", "fast cars", "cars.md", kind="traffic"),
            chunk("2", "the green apple", "fruit.md", kind="food"),
            Document(page_content="an apple alone", id="3"),
        ]
    )
    index = store.index
    assert index.count_documents() == 3
    assert [(one.document_id, one.id) for one in index.passages()] == [
        *(("3", "3"), ("cars.md", "x")),
        *(("fruit.md", "1"), ("fruit.md", "2")),
    ]
    [document] = index.documents(["fruit.md"])
    assert (document.text, document.label) == ("the red apple\n\nthe green apple", "food")
    assert len(store.similarity_search("apple", k=3, per_document=1)) == 3
    assert ids(store.similarity_search("apple", k=2, filter={"document_id": "fruit.md"})) in (["1", "2"], ["2", "1"])
    assert ragknn.LabelVoter(ragknn.Retriever(index), 2).vote("red apple").label == "food"
    # One more comes to what is there, one is replaced, one moves to another document, one goes.
    store.add_documents(
        [
            chunk("4", "a blue apple", "fruit.md"),
            chunk("1", "the red apple, again", "fruit.md"),
            chunk("x", "fast cars", "fruit.md"),
        ]
    )
    store.delete(["2"])
    assert [(one.document_id, one.id) for one in index.passages()] == [
        ("3", "3"),
        *(("fruit.md", name) for name in ("1", "4", "x")),
    ]
    assert index.count_documents() == 2
    assert index.check().is_sound


def test_where_a_splitter_tells_offsets_the_document_has_its_text(make):
    text = "One two three. Four five six. Seven."
    cut = [(0, 14), (15, 29), (10, 20), (30, 36)]
    store = make(document_key="source")
    pieces = [chunk(f"p{start}", text[start:end], "t.md", start_index=start) for start, end in cut]
    store.add_documents(pieces[2:])
    store.add_documents(pieces[:2])
    [document] = store.index.documents()
    assert document.text == text
    assert [(one.start, one.end) for one in store.index.passages()] == sorted(cut)


def test_a_store_within_a_filter_neither_sees_nor_changes_what_is_outside(make):
    wide = make(fields={"tenant": "tag"}, required_filter="tenant")
    mine = Both(RagKNNVectorStore(wide.index, where={"tenant": "a"}), wide._asynchronous)
    theirs = Both(RagKNNVectorStore(wide.index, where={"tenant": "b"}), wide._asynchronous)
    mine.add_texts(["mine"], [{"tenant": "a", "n": 1}], ids=["m"])
    theirs.add_texts(["theirs"], [{"tenant": "b", "n": 1}], ids=["t"])
    assert ids(mine.similarity_search("theirs", k=9)) == ids(mine.similarity_search("x", filter={"n": 1})) == ["m"]
    assert mine.get_by_ids(["m", "t"]) == mine.get_by_ids(["m"])
    mine.delete(["t"])
    mine.delete(filter={"n": 1})
    assert ids(theirs.get_by_ids(["m", "t"])) == ["t"]
    with pytest.raises(ragknn.IngestFailed, match="got one that others have"):
        mine.add_texts(["stolen"], [{"tenant": "a"}], ids=["t"])
    theirs.delete()
    assert theirs.similarity_search("theirs") == []
    for store in (mine, theirs):
        asyncio.run(store.store.aclose())


# ---- indexes -----------------------------------------------------------------------------------------------------


def test_any_index_that_exists_is_a_store(make, redis_url, index_name, embedder):
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        Indexer(index, ragknn.Splitter(4, 0, "words")).add(
            [ragknn.Document("notes.md", "one two. " * 6, "x", {"n": 1})]
        )
        store = Both(RagKNNVectorStore.from_index(index), make()._asynchronous)
        found = store.similarity_search("one two", k=2)
        assert {one.id.partition("#")[0] for one in found} == {"notes.md"}
        assert found[0].metadata == {"n": 1}
        # What is added under the id of a passage takes its place there, and a new one is apart.
        store.add_texts(["replaced"], ids=["notes.md#1"])
        before = index.count()
        store.add_texts(["same name"], ids=["notes.md"])
        assert index.count() == before + 1
        assert ids(store.get_by_ids(["notes.md", "notes.md#0", "notes.md#1"])) == [
            "notes.md",
            "notes.md#0",
            "notes.md#1",
        ]
        by_name = Both(RagKNNVectorStore.from_index(index_name, url=redis_url, embedding=embedder), store._asynchronous)
        assert by_name.get_by_ids(["notes.md#1"])[0].page_content == "replaced"
        for one in (store, by_name):
            asyncio.run(one.store.aclose())
        assert index.count() == before + 1  # still open
    nobody = Both(RagKNNVectorStore.from_index(f"{index_name}-nobody", url=redis_url), store._asynchronous)
    with pytest.raises(ragknn.IndexNotFound):
        nobody.similarity_search("x")


@pytest.mark.parametrize("way", ["texts", "documents"])
def test_a_store_is_made_with_texts_or_documents(make, redis_url, index_name, embedder, way):
    make_with = Both(RagKNNVectorStore, make()._asynchronous)
    options = {"index": index_name, "url": redis_url}
    if way == "texts":
        store = make_with.from_texts(["a", "b"], embedder, [{"n": 1}, {"n": 2}], ids=["1", "2"], **options)
    else:
        documents = [Document(page_content=text, metadata={"n": n}, id=str(n)) for n, text in [(1, "a"), (2, "b")]]
        store = make_with.from_documents(documents, embedder, **options)
    assert [one.metadata for one in store.get_by_ids(["2", "1"])] == [{"n": 2}, {"n": 1}]
    asyncio.run(store.aclose())


def test_arguments_that_do_not_fit_are_refused(redis_url, index_name, embedder):
    index = Index(index_name, url=redis_url, embedder=embedder)
    with pytest.raises(ValueError, match="expected embedding with the name of an index"):
        RagKNNVectorStore(index, embedder)
    with pytest.raises(ValueError, match="expected url with the name of an index"):
        RagKNNVectorStore(index, url=redis_url)
    with pytest.raises(TypeError, match="name of an index, an Index or an AsyncIndex, got one of type int"):
        RagKNNVectorStore(3)
    with pytest.raises(TypeError, match=r"members of ragknn\.Embedder"):
        RagKNNVectorStore("x", object())
    with pytest.raises(TypeError, match="got a function"):
        RagKNNVectorStore(index, where=lambda document: True)
    with pytest.raises(ValueError, match="name of their model, got DeterministicFakeEmbedding"):
        RagKNNVectorStore("x", DeterministicFakeEmbedding(size=6))


def test_an_index_of_another_model_is_refused_before_anything_is_written(make):
    one, other = (LangChainEmbedder(DeterministicFakeEmbedding(size=8), name=name) for name in ("one", "other"))
    make(one).add_texts(["text"], ids=["a"])
    with pytest.raises(ragknn.SchemaMismatch, match="'other'"):
        make(other).add_texts(["text"], ids=["b"])
    assert ids(make(one).get_by_ids(["a", "b"])) == ["a"]


# ---- sync, async, and what goes wrong between --------------------------------------------------------------------


def test_one_store_serves_sync_code_and_several_event_loops(redis_url, index_name, embedder):
    store = RagKNNVectorStore(index_name, embedder, url=redis_url)

    async def work(name):
        await store.aadd_texts([f"text {name}"], ids=[name])
        found = await asyncio.gather(*(store.asimilarity_search(f"text {name}", k=1) for _ in range(3)))
        return ids(found[0])

    assert asyncio.run(work("a")) == ["a"]
    store.add_texts(["text b"], ids=["b"])
    assert asyncio.run(work("c")) == ["c"]
    assert ids(store.similarity_search("text b", k=1)) == ["b"]
    asyncio.run(store.aclose())


def test_async_searches_and_reads_use_no_thread(redis_url, index_name, embedder):
    async def work():
        async with AsyncIndex(index_name, url=redis_url, embedder=embedder) as index:
            store = RagKNNVectorStore(index)
            await store.aadd_texts(TEXTS, ids=IDS)
            loop = asyncio.get_running_loop()
            await loop.shutdown_default_executor()  # from here on whoever wants a thread gets an error
            vector = HASHED[0].tolist()
            found = await store.asimilarity_search_by_vector(vector, k=1)
            found += await store.amax_marginal_relevance_search_by_vector(vector, k=1)
            found += await store.asimilarity_search("pear green", k=1, mode="text")
            found += await store.aget_by_ids(["c"])
            return ids(found)

    assert asyncio.run(work()) == ["a", "a", "b", "c"]


HASHED = CountingEmbedder(32).embed_documents(TEXTS)


def test_an_index_with_a_client_of_one_world_serves_this_one_and_says_so_in_the_other(client, index_name, embedder):
    with Index(index_name, client=client, embedder=embedder) as index:
        store = RagKNNVectorStore(index)
        store.add_texts(["a"], ids=["a"])
        with pytest.raises(ValueError, match="pass url= in place of client="):
            asyncio.run(store.asimilarity_search("a"))
        assert ids(store.similarity_search("a")) == ["a"]


def test_fifty_questions_at_once_are_answered_right_also_after_cancelled_ones(redis_url, index_name, embedder):
    async def work():
        async with AsyncIndex(index_name, url=redis_url, embedder=embedder) as index:
            store = RagKNNVectorStore(index)
            names = [str(number) for number in range(50)]
            await store.aadd_texts([f"text number {name}" for name in names], ids=names)
            retriever = store.as_retriever(search_kwargs={"k": 1})
            asked = await asyncio.gather(*(retriever.ainvoke(f"text number {name}") for name in names))
            assert [ids(found) for found in asked] == [[name] for name in names]
            running = [asyncio.create_task(retriever.ainvoke(f"text number {name}")) for name in names]
            running += [asyncio.create_task(store.aadd_texts([f"new {n}"], ids=[f"new {n}"])) for n in range(9)]
            for step, task in enumerate(running):
                if step % 3 == 0:
                    await asyncio.sleep(0)
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            assert all(isinstance(one, list | asyncio.CancelledError) for one in ended)
            again = await asyncio.gather(*(retriever.ainvoke(f"text number {name}") for name in names))
            assert again == asked
            stored = await store.aget_by_ids([f"new {n}" for n in range(9)])
            assert all(one.page_content == one.id for one in stored)

    asyncio.run(work())


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_gone_between_calls_is_told_of_and_the_next_call_works(redis_url, index_name, embedder):
    with proxy_before(redis_url) as proxy:
        store = RagKNNVectorStore(index_name, embedder, url=proxy.url)

        async def asked(name):
            return ids(await store.asimilarity_search(f"text {name}", k=1))

        store.add_texts(["text a", "text b"], ids=["a", "b"])
        assert asyncio.run(asked("b")) == ["b"]
        proxy.cut(DOWN, after=0, times=100)
        with pytest.raises(ragknn.ConnectionFailed):
            store.add_texts(["text c"], ids=["c"])
        with pytest.raises(ragknn.ConnectionFailed):
            asyncio.run(asked("a"))
        proxy.mend()
        assert asyncio.run(asked("a")) == ids(store.similarity_search("text a", k=1)) == ["a"]
        assert {one.page_content for one in store.get_by_ids(["c"])} <= {"text c"}
        asyncio.run(store.aclose())
