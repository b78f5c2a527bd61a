import math
import pickle

import numpy as np
import pytest
import redis
import redis.asyncio

from ragknn import (
    Document,
    IncompleteRetrieval,
    Index,
    Indexer,
    IndexNotFound,
    InvalidVectors,
    Neighbor,
    Passage,
    Retrieval,
    Retriever,
    Splitter,
)
from ragknn._protocol.vectors import from_bytes, to_bytes

# How far the server's distances may be off: it reckons in float32, and for cosine in short dtypes it stores the
# vectors scaled to length 1 and rounded once more.
TOLERANCE = {"float64": 1e-6, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}

DIM = 24


def exact_distances(stored, queries, metric):
    """Return the distances, shape (n_queries, n), as the textbook defines them."""
    if metric == "l2":
        return np.sqrt(((queries[:, None, :] - stored[None, :, :]) ** 2).sum(axis=2))
    if metric == "cosine":
        stored = stored / np.linalg.norm(stored, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return 1 - queries @ stored.T


def rounded(vectors, dtype):
    return np.array([from_bytes(blob, dtype) for blob in to_bytes(vectors, dtype)], dtype=np.float64)


# ---- against brute force ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_flat_index_finds_what_brute_force_finds(redis_url, index_name, metric, dtype):
    generator = np.random.default_rng(7)
    vectors, queries = generator.normal(size=(300, DIM)), generator.normal(size=(8, DIM))
    with Index(index_name, url=redis_url, dim=DIM, metric=metric, dtype=dtype, text_search=False) as index:
        assert Indexer(index).add_vectors([str(row) for row in range(300)], vectors).added == 300
        retrievals = Retriever(index).kneighbors(queries, k=10)
    expected = exact_distances(rounded(vectors, dtype), rounded(queries, dtype), metric)
    for row, retrieval in enumerate(retrievals):
        found = [int(passage.document_id) for passage in retrieval.passages]
        order = np.argsort(expected[row])[:10]
        tolerance = TOLERANCE[dtype] * max(1.0, np.abs(expected[row]).max())
        np.testing.assert_allclose(retrieval.distances, expected[row][found], rtol=0, atol=tolerance)
        # The same passages in the same order, unless they lie closer together than the server reckons.
        np.testing.assert_allclose(expected[row][found], expected[row][order], rtol=0, atol=2 * tolerance)
        if dtype in ("float32", "float64"):
            assert found == order.tolist()
        assert list(retrieval.distances) == sorted(retrieval.distances)
        assert retrieval.complete


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_an_hnsw_index_finds_nearly_all_that_brute_force_finds(redis_url, index_name, metric):
    generator = np.random.default_rng(11)
    vectors, queries = generator.normal(size=(2000, DIM)), generator.normal(size=(50, DIM))
    with Index(index_name, url=redis_url, dim=DIM, metric=metric, algorithm="hnsw", text_search=False) as index:
        assert Indexer(index).add_vectors([str(row) for row in range(2000)], vectors).added == 2000
        retrievals = Retriever(index).kneighbors(queries, k=10)
        wide = Retriever(index).kneighbors(queries, k=10, ef_runtime=1000)
    expected = np.argsort(exact_distances(vectors, queries, metric), axis=1)[:, :10]

    def recall(found):
        ids = [{int(passage.document_id) for passage in retrieval.passages} for retrieval in found]
        return np.mean([len(mine & set(true.tolist())) / 10 for mine, true in zip(ids, expected, strict=True)])

    assert recall(retrievals) >= 0.95
    assert recall(wide) >= 0.99


def test_the_distance_of_l2_is_the_euclidean_one(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, metric="l2") as index:
        faces.indexer(index).add_vectors(["far", "near", "here"], [[3, 4], [0, 1], [0, 0]])
        [retrieval] = faces.retriever(index).kneighbors([0, 0], k=3)
    assert [(n.passage.document_id, n.distance) for n in retrieval] == [("here", 0.0), ("near", 1.0), ("far", 5.0)]


def test_equal_vectors_have_cosine_distance_0_and_opposite_ones_2(faces, redis_url, index_name):
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(50, DIM))
    with faces.index(index_name, url=redis_url, dim=DIM) as index:
        faces.indexer(index).add_vectors([str(row) for row in range(50)], vectors)
        retriever = faces.retriever(index)
        for row, retrieval in enumerate(retriever.kneighbors(vectors * 3, k=1)):
            assert retrieval[0].passage.document_id == str(row)
            assert 0 <= retrieval[0].distance < 1e-6
        for retrieval in retriever.kneighbors(-vectors, k=50):
            assert 2 - 1e-6 < retrieval[-1].distance <= 2


def test_the_distance_of_ip_may_be_negative(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, metric="ip") as index:
        faces.indexer(index).add_vectors(["a", "b", "zero"], [[3, 0], [-3, 0], [0, 0]])
        [retrieval] = faces.retriever(index).kneighbors([2, 0], k=3)
    assert [(n.passage.document_id, n.distance) for n in retrieval] == [("a", -5.0), ("zero", 1.0), ("b", 7.0)]


# ---- retrieve --------------------------------------------------------------------------------------------------

TEXTS = [
    "The red apple is on the table.",
    "A green pear is on the chair.",
    "Fast cars drive on the road.",
    "Slow trains stop at the station.",
    "The password is reset by mail.",
]


@pytest.fixture
def filled(faces, redis_url, index_name, embedder):
    """An open index with one document for each of the texts, numbered from 0."""
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add([Document(str(n), text) for n, text in enumerate(TEXTS)])
        yield index


@pytest.fixture
def retriever(faces, filled):
    return faces.retriever(filled)


def test_retrieve_gives_the_k_nearest_passages_nearest_first(retriever, embedder):
    query = "How is the password reset?"
    expected = exact_distances(embedder.embed_documents(TEXTS), embedder.embed_queries([query]), "cosine")[0]
    order = np.argsort(expected)[:3]
    retrieval = retriever.retrieve(query, k=3)
    assert (retrieval.query, retrieval.complete, retrieval.warnings) == (query, True, ())
    assert retrieval.passages == tuple(Passage(f"{n}#0", str(n), TEXTS[n], 0, len(TEXTS[n])) for n in order)
    assert retrieval.distances == pytest.approx(expected[order], abs=1e-6)
    assert [neighbor.score for neighbor in retrieval] == [None, None, None]


def test_k_is_5_unless_it_is_named(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add([Document(str(n), f"text {n}") for n in range(30)])
        retriever = faces.retriever(index)
        assert len(retriever.retrieve("text")) == 5
        assert [len(found) for found in retriever.retrieve_many(["text"] * 2)] == [5, 5]
        assert [len(found) for found in retriever.kneighbors(np.ones(64))] == [5]
        assert [len(retriever.retrieve("text", k=k)) for k in (1, 10, 11, 30)] == [1, 10, 11, 30]


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_k_larger_than_the_index_gives_all_there_is(redis_url, index_name, embedder, protocol):
    with (
        redis.Redis.from_url(redis_url, protocol=protocol) as client,
        Index(index_name, client=client, embedder=embedder) as index,
    ):
        retriever = Retriever(index)
        assert retriever.retrieve("pear", k=100) == Retrieval([], query="pear")
        Indexer(index).add([Document(str(n), text) for n, text in enumerate(TEXTS)])
        retrieval = retriever.retrieve("pear", k=1000)
        assert (len(retrieval), retrieval.complete) == (5, True)


def test_an_integer_of_numpy_is_a_k(retriever):
    assert len(retriever.retrieve("pear", k=np.int64(2))) == 2


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_1_is_refused(retriever, k):
    for ask in (retriever.retrieve, lambda query, k: retriever.retrieve_many([query], k=k)):
        with pytest.raises(ValueError, match=f"expected k >= 1, got {k}"):
            ask("pear", k=k)
    with pytest.raises(ValueError, match=f"expected k >= 1, got {k}"):
        retriever.kneighbors(np.ones(64), k=k)


@pytest.mark.parametrize("k", [2.0, "2", [3]])
def test_a_k_that_is_no_integer_is_a_type_error(retriever, k):
    with pytest.raises(TypeError):
        retriever.retrieve("pear", k=k)


@pytest.mark.parametrize("query", ["", " ", "\n\t"])
def test_a_query_without_words_is_refused(retriever, query):
    with pytest.raises(ValueError, match="expected a query with words in it, got"):
        retriever.retrieve(query)
    with pytest.raises(ValueError, match="expected a query with words in it, got"):
        retriever.retrieve_many(["pear", query])


@pytest.mark.parametrize("query", [None, 3, b"pear", ["pear"]])
def test_a_query_that_is_no_text_is_a_type_error(retriever, query):
    with pytest.raises(TypeError, match="expected a query of type str, got"):
        retriever.retrieve(query)


def test_one_text_in_place_of_many_is_a_type_error(retriever):
    with pytest.raises(TypeError, match="expected a sequence of queries, got the str 'pear'; use retrieve"):
        retriever.retrieve_many("pear")


def test_asking_many_gives_what_asking_each_gives(retriever):
    queries = ["pear", "apple table", "trains", "pear", "🏷️ names"]
    many = retriever.retrieve_many(queries, k=2)
    assert many == [retriever.retrieve(query, k=2) for query in queries]
    assert retriever.retrieve_many(tuple(queries), k=2) == many


def test_asking_nothing_gives_nothing(retriever):
    assert retriever.retrieve_many([]) == []
    assert retriever.kneighbors(np.empty((0, 64))) == []


def test_more_queries_than_go_into_one_round_trip_are_all_answered(retriever):
    queries = [TEXTS[n % 5] for n in range(2003)]
    found = retriever.retrieve_many(queries, k=1)
    assert [retrieval.query for retrieval in found] == queries
    assert [retrieval[0].passage.document_id for retrieval in found] == [str(n % 5) for n in range(2003)]


def test_ready_vectors_are_searched_as_they_are(retriever, embedder):
    vectors = embedder.embed_queries(["pear", "trains"])
    found = retriever.kneighbors(vectors, k=2)
    asked = retriever.retrieve_many(["pear", "trains"], k=2)
    assert [retrieval.neighbors for retrieval in found] == [retrieval.neighbors for retrieval in asked]
    assert [retrieval.query for retrieval in found] == [None, None]
    assert retriever.kneighbors(vectors[0], k=2) == found[:1]
    assert retriever.kneighbors(vectors.tolist(), k=2) == found


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0] * 63], r"expected vectors of shape \(n, 64\), got \(1, 63\)"),
        ([[math.nan] * 64], "in row 0: NaN or infinite values"),
        ([[1.0] * 64, [0.0] * 64], "in row 1: only zeros"),
        ("pear", "values that are no numbers"),
    ],
)
def test_vectors_that_cannot_be_searched_with_are_refused(retriever, vectors, message):
    with pytest.raises(InvalidVectors, match=message):
        retriever.kneighbors(vectors)


def test_ef_runtime_is_for_hnsw_only(faces, retriever, redis_url, index_name, embedder):
    with pytest.raises(ValueError, match="expected ef_runtime with an hnsw index only, got it with flat"):
        retriever.retrieve("pear", ef_runtime=10)
    with faces.index(f"{index_name}-hnsw", url=redis_url, embedder=embedder, algorithm="hnsw") as index:
        faces.indexer(index).add([Document("a", "pear")])
        on_hnsw = faces.retriever(index)
        assert len(on_hnsw.retrieve("pear", ef_runtime=1)) == 1
        with pytest.raises(ValueError, match="expected ef_runtime >= 1, got 0"):
            on_hnsw.retrieve("pear", ef_runtime=0)
        index.drop()


# ---- what comes back -------------------------------------------------------------------------------------------


def test_labels_and_metadata_come_back_with_their_types(faces, redis_url, index_name, embedder):
    labels = ["billing", "1", 1, 1.0, True, False, 0, -2.5, "", None, "ä \\ % \x1f\n", 10**20]
    metadata = {"i": 1, "f": 1.0, "s": "1", "b": True, "n": None, "list": [1, "a", None], "nested": {"ä": {"x": 0.1}}}
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        documents = [Document(f"d{n}", f"text {n}", label, metadata) for n, label in enumerate(labels)]
        assert faces.indexer(index).add(documents).failed == ()
        found = {p.document_id: p for p in faces.retriever(index).retrieve("text", k=100).passages}
    for document in documents:
        passage = found[document.id]
        assert (passage.label, type(passage.label)) == (document.label, type(document.label))
        assert passage.metadata == metadata
        assert [type(value) for value in passage.metadata.values()] == [type(metadata[key]) for key in passage.metadata]


def test_documents_of_any_unicode_come_back_as_they_went_in(faces, redis_url, index_name, embedder):
    ids = [
        "a#0",
        "a#0#1",
        "a:1",
        "{a}",
        "}{",
        "%7B",
        "\x00",
        "\r\n",
        " a ",
        "ä",
        "a\u0308",
        "名前/🏷️.md",
        "\ufeff",
        '"\\',
    ]
    documents = [Document(name, f"text {name} text\x00 \u2028 🏷️") for name in ids]
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert faces.indexer(index).add(documents).failed == ()
        passages = faces.retriever(index).retrieve("text", k=100).passages
    assert {p.document_id: (p.id, p.text) for p in passages} == {
        document.id: (f"{document.id}#0", document.text) for document in documents
    }


def test_the_offsets_of_a_passage_cut_it_out_of_its_document(faces, redis_url, index_name, embedder):
    text = "Äpfel 🍎 are red.\n\n" + " ".join(f"word{n}" for n in range(100)) + "\n\n# Ende\nßßß"
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index, Splitter(7, 2, "words")).add([Document("d", text)])
        passages = faces.retriever(index).retrieve("word7", k=100).passages
    assert len(passages) > 10
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
    assert sorted(passage.id for passage in passages) == sorted(f"d#{n}" for n in range(len(passages)))


def test_queries_in_any_script_find_their_text(faces, redis_url, index_name, embedder):
    texts = [
        "パスワードをリセットする",
        "إعادة تعيين كلمة المرور",
        "Пароль сбросить",
        "重置密码 🏷️",
        "@label:{x} -(a|b) *=>[KNN 3]",
    ]
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        faces.indexer(index).add([Document(str(n), text) for n, text in enumerate(texts)])
        found = faces.retriever(index).retrieve_many(texts, k=1)
    assert [retrieval[0].passage.text for retrieval in found] == texts
    assert [retrieval[0].distance for retrieval in found] == pytest.approx([0] * 5, abs=1e-6)


def test_a_replaced_document_is_found_as_it_is_now(faces, filled, retriever):
    faces.indexer(filled).add([Document("0", "The blue plum is in the garden.")])
    passages = retriever.retrieve("red apple", k=10).passages
    assert sorted(passage.document_id for passage in passages) == ["0", "1", "2", "3", "4"]
    assert {passage.text for passage in passages} == {"The blue plum is in the garden.", *TEXTS[1:]}


def test_an_index_that_was_dropped_meanwhile_is_an_error_not_an_empty_answer(faces, filled, retriever, redis_url):
    with Index(filled.name, url=redis_url) as other:
        other.drop()
    with pytest.raises(IndexNotFound, match=f"expected index '{filled.name}'"):
        retriever.retrieve("pear")


# ---- incomplete answers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_index(redis_url):
    """Name of an index that takes the server much longer than a millisecond to search."""
    name, dim, count = "test-large", 512, 30_000
    vectors = np.random.default_rng(5).normal(size=(count, dim)).astype(np.float32)
    with Index(name, url=redis_url, dim=dim, text_search=False) as index:
        pipeline = index.client.pipeline(transaction=False)
        for row, blob in enumerate(to_bytes(vectors, "float32")):
            key = f"{index._keys.passages(str(row))}0"
            pipeline.hset(key, mapping={"vector": blob, "document_id": f'"{row}"', "metadata": "{}"})
            if row % 1000 == 999:
                pipeline.execute()
        yield name
        index.drop()


@pytest.fixture
def hurried(faces, redis_url, large_index, request):
    """The large index, opened for searches of a millisecond over the protocol that the test names."""
    world = redis if faces.kind == "sync" else redis.asyncio
    client = world.Redis.from_url(redis_url, protocol=request.param)
    with faces.index(large_index, client=client, timeout=0.001) as index:
        yield index
    # Handed in, so ours to close.
    faces.call(redis.Redis.close, redis.asyncio.Redis.aclose, client)


@pytest.mark.parametrize(
    ("hurried", "told"),
    [(2, "neighbors came; the server may have run out of time"), (3, "Timeout limit was reached")],
    indirect=["hurried"],
)
def test_a_search_that_runs_out_of_time_is_an_error_that_carries_what_came(faces, hurried, told, recorder):
    with pytest.raises(IncompleteRetrieval) as raised:
        faces.retriever(hurried, timed=True).kneighbors(np.ones((3, 512)), k=10)
    partial = raised.value.retrieval
    assert partial.timings["search"] > 0
    [span] = recorder.ended
    assert (span.attributes["error.type"], span.attributes["ragknn.complete"]) == ("IncompleteRetrieval", False)
    assert (partial.complete, len(partial) < 10) == (False, True)
    assert partial.warnings[0].endswith(told)
    assert str(raised.value) == (
        f"expected a complete answer, got {len(partial)} neighbors and the warning: {partial.warnings[0]}. "
        "Raise the timeout, or accept a partial answer: on_incomplete='return'."
    )
    found = faces.retriever(hurried, on_incomplete="return").kneighbors(np.ones((3, 512)), k=10)
    assert [retrieval.complete for retrieval in found] == [False] * 3


def test_a_search_that_has_time_is_complete(faces, redis_url, large_index):
    with faces.index(large_index, url=redis_url) as index:
        [retrieval] = faces.retriever(index).kneighbors(np.ones(512), k=10)
    assert (len(retrieval), retrieval.complete, retrieval.warnings) == (10, True, ())


def test_what_to_do_with_an_incomplete_answer_is_raise_or_return(faces, filled):
    with pytest.raises(ValueError, match="expected on_incomplete to be 'raise' or 'return', got 'ignore'"):
        faces.retriever(filled, on_incomplete="ignore")


# ---- the record ------------------------------------------------------------------------------------------------


def neighbor(n, distance, text="text", label=None):
    return Neighbor(Passage(f"d{n}#0", f"d{n}", text, 0, len(text), label), distance)


def test_a_retrieval_is_an_immutable_sequence_of_neighbors():
    neighbors = [neighbor(0, 0.1), neighbor(1, 0.25), neighbor(2, 0.5)]
    retrieval = Retrieval(neighbors, query="q")
    assert list(retrieval) == neighbors
    assert (len(retrieval), retrieval[0], retrieval[-1], retrieval[1:]) == (
        *(3, neighbors[0], neighbors[2]),
        Retrieval(neighbors[1:], query="q"),
    )
    assert neighbors[1] in retrieval
    assert list(reversed(retrieval)) == neighbors[::-1]
    assert retrieval.passages == tuple(n.passage for n in neighbors)
    assert retrieval.distances == (0.1, 0.25, 0.5)
    assert not Retrieval([])
    with pytest.raises(TypeError):
        retrieval[0] = neighbors[1]
    with pytest.raises(TypeError):
        hash(retrieval)
    with pytest.raises(AttributeError):
        retrieval.extra = 1
    neighbors.clear()
    assert len(retrieval) == 3


def test_retrievals_are_equal_if_all_of_them_is():
    one = Retrieval([neighbor(0, 0.1)], query="q")
    assert one == Retrieval([neighbor(0, 0.1)], query="q")
    for other in (
        Retrieval([neighbor(0, 0.2)], query="q"),
        Retrieval([neighbor(0, 0.1)], query="r"),
        Retrieval([neighbor(0, 0.1)], query="q", complete=False),
        Retrieval([neighbor(0, 0.1)], query="q", warnings=["w"]),
        [neighbor(0, 0.1)],
    ):
        assert one != other


def test_the_repr_shows_a_line_for_each_neighbor():
    long = "word " * 40
    retrieval = Retrieval([neighbor(0, 0.12345, "two\n  lines"), neighbor(1, -1.5, long)], query="q", complete=False)
    shortened = f"{'word ' * 15}word…"
    assert repr(retrieval) == (
        f"Retrieval('q', 2 neighbors, incomplete)\n  0.1235  d0#0  two lines\n  -1.5000  d1#0  {shortened}"
    ).replace("0.1235", f"{0.12345:.4f}")
    assert repr(Retrieval([])) == "Retrieval(None, 0 neighbors)"


def test_the_html_of_a_retrieval_escapes_whatever_comes_from_outside():
    passage = Passage("<i>#0", "<i>", "<script>alert(1)</script> & more", 0, 5, "<b>label</b>")
    html = Retrieval([Neighbor(passage, 0.5)], query="<q>", complete=False, warnings=["<w>"])._repr_html_()
    for raw in ("<i>", "<script>", "<b>label", "<q>", "<w>", "& more"):
        assert raw not in html
    for escaped in ("&lt;i&gt;", "&lt;script&gt;alert(1)", "&lt;b&gt;label", "&lt;q&gt;", "&lt;w&gt;", "&amp; more"):
        assert escaped in html
    assert "distance 0.5000" in html


def test_retrievals_and_their_error_can_be_pickled():
    retrieval = Retrieval([neighbor(0, 0.1, label=3)], query="q", complete=False, warnings=["late"])
    assert pickle.loads(pickle.dumps(retrieval)) == retrieval
    error = pickle.loads(pickle.dumps(IncompleteRetrieval(retrieval)))
    assert (error.retrieval, str(error)) == (retrieval, str(IncompleteRetrieval(retrieval)))


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_query_with_a_lone_surrogate_is_refused_with_its_place(retriever, mode):
    with pytest.raises(
        ValueError, match=r"lone surrogate, U\+D83D, which is half of a character, in .* at character 5: "
    ):
        retriever.retrieve("pear \ud83d", k=2, mode=mode)
