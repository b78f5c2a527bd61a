"""Passages cut elsewhere, vectors made elsewhere, and documents that have none."""

import math
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import redis
from embedders import CountingEmbedder

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    InvalidVectors,
    Passage,
    Splitter,
    abuild_context,
    build_context,
)
from ragknn._protocol.schema import Schema
from ragknn.estimators import KNeighborsClassifier
from ragknn.evaluation import ascan_recall, scan_recall
from ragknn.voting.tuning import atune, tune

WORDS = Splitter(4, 0, "words")
EMBEDDER = HashingEmbedder(16)
COLOURS = ["red", "green", "blue", "black", "white"]
# Each document has three passages; those of every third document have no vector.
TEXTS = {
    f"d{number:02}": [f"{COLOURS[number % 5]} {COLOURS[part]} fruit n{number} p{part}" for part in range(3)]
    for number in range(15)
}
LABELS = {name: COLOURS[number % 2] for number, name in enumerate(TEXTS)}
WITHOUT = set(list(TEXTS)[::3])


def passages_of(names, *, without=frozenset(), vectors=True):
    """Passages of these documents, with vectors but for those of some."""
    for name in names:
        for number, text in enumerate(TEXTS[name]):
            [vector] = EMBEDDER.embed_documents([text])
            kept = vector if vectors and name not in without else None
            yield Passage(f"{name}/{number}", name, text, 0, 0, LABELS[name], {"n": number}, vector=kept)


@pytest.fixture
def make(faces, redis_url, index_name):
    """Build an index of passages; it is closed at the end."""
    opened = []

    def build(passages, suffix="", **options):
        settings = {"embedder": EMBEDDER, "fields": {"n": "numeric"}, **options}
        index = faces.index(f"{index_name}{suffix}", url=redis_url, **settings)
        opened.append(index)
        report = faces.indexer(index).add_passages(passages, embed=False)
        assert report.failed == ()
        return index

    yield build
    for index in opened:
        index.drop()


@pytest.fixture
def mixed(make):
    """An index in which every third document has no vector."""
    return make(passages_of(TEXTS, without=WITHOUT))


@pytest.fixture
def twin(make):
    """An index of the documents that have a vector, and of no others."""
    return make(passages_of([name for name in TEXTS if name not in WITHOUT]), "-twin")


def reversing(query, passages):
    """A reranker that turns the order of the passages' texts around."""
    return [-sorted(p.text for p in passages).index(passage.text) for passage in passages]


OPTIONS = [
    {},
    {"diversity": 0.5},
    {"per_document": 1},
    {"max_distance": 0.8},
    {"rerank": reversing},
    {"with_vectors": True},
    {"where": {"n": {"$lt": 2}}},
    {"diversity": 0.3, "per_document": 2, "max_distance": 1.5, "rerank": reversing, "with_vectors": True},
    {"diversity": 1.0, "with_vectors": True, "candidates": 200},
]
QUERY = "red fruit n3 p1"


def told(retrieval):
    """What a retrieval says, so that two can be compared: NaN equals itself here."""
    return [
        (n.passage.id, round(n.distance, 6), n.score and round(n.score, 6), n.vector_rank, n.text_rank)
        for n in retrieval
        if n.distance == n.distance
    ]


# ---- documents without a vector --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
def test_by_vector_nothing_is_found_that_has_none(faces, mixed, twin, options):
    for k in (1, 5, 100):
        found, expected = (
            faces.retriever(index).retrieve(QUERY, k, **{"candidates": 100, **options}) for index in (mixed, twin)
        )
        assert told(found) == told(expected)
        assert len(found) == len(expected)
        assert found.complete
        assert all((neighbor.passage.vector is not None) == ("with_vectors" in options) for neighbor in found)
    if "max_distance" in options:
        found, expected = (faces.retriever(index).retrieve(QUERY, None, **options) for index in (mixed, twin))
        assert told(found) == told(expected)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
@pytest.mark.parametrize("mode", ["text", "hybrid"])
@pytest.mark.parametrize("query", [QUERY, "n3 n4", "nosuch"])
def test_by_words_documents_without_a_vector_are_found_too(faces, mixed, options, mode, query):
    found = faces.retriever(mixed).retrieve(query, 100, mode=mode, **{"candidates": 100, **options})
    assert found.complete
    words = set(query.split())
    by_words = [
        (name, number)
        for name, texts in TEXTS.items()
        for number, text in enumerate(texts)
        if words & set(text.split()) and ("where" not in options or number < 2)
    ]
    without = [n for n in found if n.passage.document_id in WITHOUT]
    if "max_distance" in options:
        assert without == []
    elif "per_document" not in options:
        assert {n.passage.id for n in without} == {f"{name}/{n}" for name, n in by_words if name in WITHOUT}
    for neighbor in without:
        assert math.isnan(neighbor.distance)
        assert neighbor.vector_rank is None
        assert neighbor.passage.vector is None
        assert not math.isnan(neighbor.score)
    if mode == "text" and not options:
        assert {n.passage.id for n in found} == {f"{name}/{number}" for name, number in by_words}
    if "with_vectors" in options:
        assert all(n.passage.vector is not None for n in found if n not in without)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "none")
@pytest.mark.parametrize("algorithm", ["flat", "hnsw"])
def test_an_index_without_any_vector_answers_whatever_is_asked(faces, make, algorithm, options):
    index = make(passages_of(TEXTS, vectors=False), algorithm=algorithm)
    retriever = faces.retriever(index)
    assert len(retriever.retrieve(QUERY, 5, **options)) == 0
    assert len(retriever.retrieve(QUERY, None, **{"max_distance": 2, **options})) == 0
    for mode in ("text", "hybrid"):
        found = retriever.retrieve("n3", 5, mode=mode, **options)
        assert found.complete
        assert {neighbor.passage.document_id for neighbor in found} == (set() if "max_distance" in options else {"d03"})
        assert len(retriever.retrieve("nosuch", 5, mode=mode, **options)) == 0
    if "rerank" not in options:
        assert [len(one) for one in retriever.kneighbors(np.ones((2, 16)), 3, **options)] == [0, 0]


@pytest.mark.parametrize("protocol", [2, 3])
def test_neither_protocol_takes_what_has_no_vector_for_missing(faces, mixed, redis_url, protocol):
    world = redis if faces.kind == "sync" else redis.asyncio
    client = world.Redis.from_url(redis_url, protocol=protocol)
    with faces.index(mixed.name, client=client) as index:
        retriever = faces.retriever(index)
        for options in ({}, {"where": {"n": 1}}, {"where": {"document_id": "d00"}}, {"mode": "hybrid"}):
            found = retriever.retrieve(QUERY, 100, **options)
            assert (found.complete, found.warnings) == (True, ())
        assert len(retriever.retrieve(QUERY, 100)) == 30
        assert len(retriever.retrieve(QUERY, 100, where={"document_id": "d00"})) == 0
        assert retriever.retrieve(QUERY, None, max_distance=2).complete
    faces.call(redis.Redis.close, redis.asyncio.Redis.aclose, client)


def test_counts_and_reads_hold_what_has_no_vector(faces, mixed):
    assert (mixed.count(), mixed.count_documents()) == (45, 15)
    info = mixed.describe()
    assert (info.documents, info.passages, info.indexing_failures) == (15, 45, 0)
    assert mixed.count({"document_id": {"$in": sorted(WITHOUT)}}) == 15
    assert mixed.values("label") == {"red": 8, "green": 7}
    [with_some] = mixed.documents(["d01"], vectors=True)
    np.testing.assert_array_equal(with_some.vectors, EMBEDDER.embed_documents(TEXTS["d01"]))
    [without] = mixed.documents(["d00"], vectors=True)
    assert (without.vectors, without.text) == (None, "\n\n".join(TEXTS["d00"]))


def test_a_document_of_which_some_passages_have_a_vector_is_read_with_nan_for_the_others(faces, make):
    first, second, third = passages_of(["d01"])
    index = make([first, replace(second, vector=None), third], dtype="float16")
    [document] = index.documents(vectors=True)
    assert document.vectors.dtype == np.float16
    assert np.isnan(document.vectors).all(axis=1).tolist() == [False, True, False]
    [a, b, c] = index.passages(vectors=True)
    assert b.vector is None
    np.testing.assert_array_equal([a.vector, c.vector], document.vectors[[0, 2]])
    assert len(faces.retriever(index).retrieve(QUERY, 5)) == 2


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("priors", [None, "balanced"])
def test_who_votes_by_vector_are_those_that_have_one(faces, mixed, twin, weights, priors):
    texts = [QUERY, "green fruit n4 p2"]
    voters = [faces.voter(faces.retriever(index), 7, weights=weights, priors=priors) for index in (mixed, twin)]
    np.testing.assert_allclose(*(voter.predict_proba(texts) for voter in voters))
    assert [told(vote.neighbors) for vote in voters[0].vote_many(texts)] == [
        told(vote.neighbors) for vote in voters[1].vote_many(texts)
    ]
    for index in (mixed, twin):
        with pytest.raises(ValueError, match="expected k <= 10, the number of labelled documents"):
            faces.voter(faces.retriever(index), 11).vote(QUERY)
        with pytest.raises(ValueError, match="expected k <= "):
            faces.voter(faces.retriever(index), 8).vote(QUERY, where={"label": "red"})


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_by_words_all_may_vote_and_by_distance_those_that_have_one(faces, mixed, mode):
    retriever = faces.retriever(mixed)
    vote = faces.voter(retriever, 15).vote("fruit", mode=mode)
    assert {neighbor.passage.document_id for neighbor in vote.neighbors} == set(TEXTS)
    assert vote.shares == pytest.approx({"red": 8 / 15, "green": 7 / 15})
    vote = faces.voter(retriever, 10, weights="distance").vote("fruit", mode=mode)
    assert {neighbor.passage.document_id for neighbor in vote.neighbors} == set(TEXTS) - WITHOUT
    assert sum(vote.weights) == pytest.approx(1)
    assert sum(vote.shares.values()) == pytest.approx(1)


def test_an_index_without_any_vector_has_no_vote_by_vector_and_one_by_words(faces, make):
    index = make(passages_of(TEXTS, vectors=False))
    voter = faces.voter(faces.retriever(index), 3)
    with pytest.raises(ValueError, match="expected documents with labels"):
        voter.vote(QUERY)
    assert len(voter.vote("fruit", mode="text").neighbors) == 3
    assert faces.voter(faces.retriever(index), 3, weights="distance").vote("fruit", mode="text").abstained


def test_tuning_and_estimators_use_those_that_have_a_vector(faces, mixed, twin, redis_url):
    tuned = [faces.call(tune, atune, index, [1, 3, 9]) for index in (mixed, twin)]
    assert tuned[0].settings == tuned[1].settings
    assert tuned[0].passages == tuned[1].passages == 30
    queries = EMBEDDER.embed_queries([QUERY, "green fruit n4 p2"])
    models = [KNeighborsClassifier.from_index(index.name, url=redis_url, n_neighbors=5) for index in (mixed, twin)]
    np.testing.assert_array_equal(*(model.predict_proba(queries) for model in models))
    assert len(models[0].ids_) == 30


def test_recall_is_measured_among_what_has_a_vector(faces, make):
    index = make(passages_of(TEXTS, without=WITHOUT), algorithm="hnsw")
    scanned = partial(faces.call, scan_recall, ascan_recall)
    scan = scanned(faces.retriever(index), [QUERY, "blue fruit"], 10, efs=[10, 100])
    assert scan.points[-1].recall == 1.0


@pytest.mark.parametrize("window", [0, 1, 5])
@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_context_is_made_of_passages_without_vectors_and_with_own_ids(faces, mixed, mode, window):
    retrieval = faces.retriever(mixed).retrieve("n3 n4 p1", 4, mode=mode)
    context = faces.call(build_context, abuild_context, retrieval, mixed, window=window)
    assert context.warnings == ()
    used = {passage_id for source in context.sources for passage_id in source.passage_ids}
    numbers = {(n.passage.document_id, n.passage.number) for n in retrieval}
    assert used == {f"{name}/{near}" for name, number in numbers for near in range(3) if abs(near - number) <= window}
    if window == 5:
        for source in context.sources:
            assert source.text == "\n\n".join(TEXTS[source.document_id])


# ---- ready vectors and queries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
@pytest.mark.parametrize(
    "options", [{}, {"rerank": reversing, "candidates": 5}, {"max_distance": 0.8}, {"with_vectors": True}]
)
def test_a_ready_vector_goes_with_the_words_of_a_query(faces, mixed, redis_url, mode, options):
    [vector] = EMBEDDER.embed_queries([QUERY])
    expected = scores(faces.retriever(mixed).retrieve(QUERY, 5, mode=mode, **options))
    counting = CountingEmbedder()
    with faces.index(mixed.name, url=redis_url, embedder=counting) as index:
        counting.embed_queries = None  # never called
        retriever = faces.retriever(index)
        for given in (vector, vector.tolist(), vector.astype(np.float64)):
            found = retriever.retrieve(QUERY, 5, vector=given, mode=mode, **options)
            assert (scores(found), found.query) == (expected, QUERY)
        many = retriever.retrieve_many([QUERY, QUERY], 5, vectors=[vector, -vector], mode=mode, **options)
        assert scores(many[0]) == expected
        other = scores(retriever.retrieve(QUERY, 5, vector=-vector, mode=mode, **options))
        assert scores(many[1]) == other
        assert (other == expected) == (mode == "text" and "max_distance" not in options)


def scores(retrieval):
    """Ids with scores, or with distances where these decide."""
    return [(n.passage.id, round(n.distance if n.score is None else n.score, 6)) for n in retrieval]


@pytest.mark.parametrize("wrong", [np.ones(15), np.ones((2, 16)), np.zeros(16), np.full(16, np.nan), ["a"] * 16])
def test_a_ready_vector_of_a_wrong_kind_is_refused(faces, mixed, wrong):
    with pytest.raises(InvalidVectors):
        faces.retriever(mixed).retrieve(QUERY, vector=wrong)
    with pytest.raises(InvalidVectors):
        faces.retriever(mixed).retrieve_many([QUERY], vectors=[np.ones(16), np.ones(16)])


def test_rows_without_a_vector_are_added_beside_others(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        indexer = faces.indexer(index)
        vectors = [[1, 0], None, np.array([0, 1]), None]
        report = indexer.add_vectors("abcd", vectors, texts=["red", "green", "blue", ""])
        assert [(one.document_id, one.reason) for one in report.failed] == [
            ("d", "expected a text or a vector, got neither")
        ]
        assert indexer.add_vectors("abc", vectors[:3], texts=["red", "green", "blue"]).unchanged == 3
        assert indexer.add_vectors("b", [[1, 1]], texts=["green"]).updated == 1
        assert len(faces.retriever(index).kneighbors([1, 1], 5)[0]) == 3
        assert indexer.add_vectors("b", [None], texts=["green"]).updated == 1
        assert len(faces.retriever(index).kneighbors([1, 1], 5)[0]) == 2
        [found] = faces.retriever(index).retrieve("green", mode="text")
        assert (found.passage.id, math.isnan(found.distance)) == ("b#0", True)


# ---- passages cut elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_passages_that_are_read_and_added_elsewhere_give_the_same_answers(faces, make, dtype):
    [vector] = EMBEDDER.embed_documents(["red wine"])
    own = Passage("custom id {1}#", "own", "red wine", 0, 0, 3, {"n": 0}, vector=vector)
    first = make([*passages_of(TEXTS, without=WITHOUT), own], dtype=dtype)
    cut = Document("cut", "a red word, another red word, and a third one", "red", {"x": [1]})
    faces.indexer(first, WORDS).add([cut])
    second = make(list(first.passages(vectors=True)), "-copy", dtype=dtype)
    assert list(second.documents()) == list(first.documents())
    assert list(second.passages()) == list(first.passages())
    for mode in ("vector", "text", "hybrid"):
        found, expected = (
            faces.retriever(index).retrieve_many([QUERY, "red word"], 100, mode=mode) for index in (first, second)
        )
        # Of equally good passages, any may come first.
        assert [sorted(row[:3] for row in told(one)) for one in found] == [
            sorted(row[:3] for row in told(one)) for one in expected
        ]
        assert [len(one) for one in found] == [len(one) for one in expected]
    again = faces.indexer(second).add_passages(list(first.passages(vectors=True)), embed=False)
    assert (again.unchanged, again.updated, again.failed) == (17, 0, ())


def test_own_ids_are_found_by_reads_and_in_results(faces, mixed):
    ids = ["d03/2", "d00/0", "nosuch", "d03/0", "d03#0"]
    assert [one.id for one in mixed.passages(ids)] == ["d03/2", "d00/0", "d03/0"]
    assert [one.id for one in mixed.passages(ids, where={"n": 0})] == ["d00/0", "d03/0"]
    assert [one.number for one in mixed.passages(ids)] == [2, 0, 0]
    assert faces.retriever(mixed).retrieve(QUERY, 1)[0].passage.id in {
        f"{name}/{n}" for name in TEXTS for n in range(3)
    }


def test_an_own_id_that_looks_like_that_of_another_document_is_found_where_it_is(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        faces.indexer(index).add_passages([Passage("b#7", "a", "one", 0, 0), Passage("a#0", "a", "two", 0, 0)])
        assert [(one.id, one.text, one.number) for one in index.passages(["a#0", "b#7", "a#1"])] == [
            ("a#0", "two", 1),
            ("b#7", "one", 0),
        ]


def test_passages_with_offsets_of_their_own_keep_them(faces, redis_url, index_name):
    text = "one two three four"
    spans = [(0, 7), (4, 13), (14, 18)]
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        given = [Passage(f"p{start}", "a", text[start:end], start, end) for start, end in spans]
        assert faces.indexer(index).add_passages(given).failed == ()
        assert [(one.start, one.end) for one in index.passages()] == spans
        assert [one.text for one in index.documents()] == [text]


@pytest.mark.parametrize("keep_others", [False, True])
def test_of_a_new_passage_fields_are_made_once(redis_url, index_name, keep_others):
    made = []

    def watch(frame, event, _):
        if event == "call" and frame.f_code is Schema.field_values.__code__:
            made.append(frame)

    new = list(passages_of(list(TEXTS)[:4]))
    with Index(index_name, url=redis_url, embedder=EMBEDDER, fields={"n": "numeric"}, any_field=True) as index:
        sys.setprofile(watch)
        try:
            report = Indexer(index).add_passages(new, embed=False, keep_others=keep_others)
        finally:
            sys.setprofile(None)
        assert (report.added, len(made)) == (4, len(new))
        index.drop()


def test_passages_without_a_vector_are_embedded_unless_that_is_not_wanted(faces, redis_url, index_name):
    counting = CountingEmbedder()
    with faces.index(index_name, url=redis_url, embedder=counting) as index:
        indexer = faces.indexer(index)
        [ready] = HashingEmbedder(16).embed_documents(["ready"])
        given = [Passage("1", "a", "one", 0, 0, vector=ready), Passage("2", "a", "two", 0, 0)]
        assert indexer.add_passages(given).passages == 2
        assert counting.texts == ["two"]
        np.testing.assert_array_equal(next(index.passages(["1"], vectors=True)).vector, ready)
        assert indexer.add_passages(given).unchanged == 1
        assert indexer.add_passages(given, embed=False).updated == 1
        assert counting.texts == ["two"]
        assert [one.vector is None for one in index.passages(vectors=True)] == [False, True]


def test_an_index_of_ready_vectors_takes_passages_and_embeds_none(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        indexer = faces.indexer(index)
        assert indexer.add_passages([Passage("1", "a", "one", 0, 0, vector=[1, 2])]).added == 1
        assert indexer.add_passages([Passage("1", "b", "one", 0, 0)], embed=False).added == 1
        with pytest.raises(ValueError, match="open it with the embedder that they come from"):
            indexer.add_passages([Passage("1", "c", "one", 0, 0)])
        assert index.count_documents() == 2


GOOD = Passage("1", "a", "one", 0, 3)


@pytest.mark.parametrize(
    ("passages", "reason"),
    [
        ([replace(GOOD, end=4)], "passage '1': expected end - start to be the length of the text, 3, got 4 - 0"),
        ([replace(GOOD, start=5, end=2)], "passage '1': expected end - start to be the length of the text"),
        ([GOOD, replace(GOOD, text="two")], "expected each passage id once, got '1' twice"),
        ([replace(GOOD, text="", end=0)], "passage '1': expected a text or a vector, got neither"),
        ([GOOD, replace(GOOD, id="2", vector=[1] * 15)], "expected vectors of shape (n, 16), got (1, 15)"),
        ([replace(GOOD, vector=np.ones((2, 16)))], "passage '1': expected a vector of shape (16,), got 2 rows"),
        ([replace(GOOD, vector=np.zeros(16))], "expected finite vectors with a direction, got only zeros"),
        ([replace(GOOD, vector=np.full(16, np.nan))], "expected finite vectors with a direction, got NaN"),
        ([replace(GOOD, id="\ud800")], "expected text that UTF-8 can hold"),
        ([replace(GOOD, text="\ud800", end=1)], "expected text that UTF-8 can hold"),
        ([replace(GOOD, id="i" * 5_000)], "expected a document id, label or tag of at most 4096 bytes"),
        ([GOOD, replace(GOOD, id="2", metadata={"k": object()})], "expected metadata that JSON can hold"),
        ([replace(GOOD, metadata={"n": "soon"})], "field 'n': expected a number"),
        ([replace(GOOD, label=math.nan)], "expected a finite number as a label"),
    ],
)
def test_a_document_of_unfit_passages_is_told_and_keeps_no_other_out(faces, redis_url, index_name, passages, reason):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER, fields={"n": "numeric"}) as index:
        around = [Passage("x", "before", "text", 0, 0), *passages, Passage("y", "behind", "text", 0, 0)]
        report = faces.indexer(index).add_passages(around)
        assert [(one.document_id, one.reason[: len(reason)]) for one in report.failed] == [("a", reason)]
        assert [document.id for document in index.documents()] == ["before", "behind"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("text", "expected passages, got 'text' of type str"),
        (Document("a", "text"), "expected passages, got Document"),
        (None, "expected passages, got None"),
        (replace(GOOD, id=3), "expected a passage with id as a str that is not empty, got 3"),
        (replace(GOOD, id=""), "expected a passage with id as a str that is not empty, got ''"),
        (replace(GOOD, document_id=""), "expected a passage with document_id as a str that is not empty, got ''"),
        (replace(GOOD, document_id=None), "expected a passage with document_id as a str"),
        (replace(GOOD, text=None), "expected the text of passage '1' as str, got NoneType"),
        (replace(GOOD, metadata=[1]), "expected the metadata of passage '1' as a mapping"),
        (replace(GOOD, label=[1]), "expected the label of passage '1' as str, int or float, got list"),
        (replace(GOOD, start="0"), "'str' object cannot be interpreted as an integer"),
    ],
)
def test_anything_but_passages_is_a_type_error(faces, redis_url, index_name, wrong, message):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        with pytest.raises(TypeError, match=message):
            faces.indexer(index).add_passages([wrong])
        assert index.count() == 0


def test_passages_of_one_document_that_stand_apart_are_told(faces, redis_url, index_name):
    a, b = Passage("1", "a", "one", 0, 0), Passage("2", "b", "two", 0, 0)
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        report = faces.indexer(index).add_passages([a, b, replace(a, id="3", text="three")])
        assert [(one.document_id, one.reason[:22]) for one in report.failed] == [("a", "expected each id once,")]
        assert [one.text for one in index.documents()] == ["one", "two"]
        assert (
            faces.indexer(index).add_passages([a, b, replace(a, id="3", text="three")], on_repeated="last").failed == ()
        )
        assert [one.text for one in index.documents()] == ["three", "two"]


def test_numpy_in_passages_comes_back_as_python(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        given = Passage("1", "a", "one", np.int64(2), np.int64(5), np.int64(7), {"x": np.float32(0.5)})
        assert faces.indexer(index).add_passages([given]).failed == ()
        [read] = index.passages()
        assert (type(read.label), type(read.start), type(read.metadata["x"])) == (int, int, float)
        assert (read.label, read.start, read.metadata) == (7, 2, {"x": 0.5})


def test_a_dry_run_tells_which_ready_vectors_have_no_distance(faces, make):
    passages = list(passages_of(["d01", "d02", "d04", "d05"], without={"d04"}))
    for place, spoiled in ((1, np.nan), (10, 0.0)):
        passages[place] = replace(passages[place], vector=np.full(16, spoiled))
    indexer = faces.indexer(make([]))
    told, done = (indexer.add_passages(passages, embed=False, dry_run=dry_run) for dry_run in (True, False))
    assert [one.document_id for one in told.failed] == ["d01", "d05"]
    assert replace(told, dry_run=False, seconds=0) == replace(done, seconds=0)
