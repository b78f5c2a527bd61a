"""Random filters in every kind of search, against what they mean in Python."""

import os

import numpy as np
import pytest
import redis
from filtering import Meaning, comparisons, conditions, one_of, wheres
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer, Retriever

FIELDS = {"tag": "tag", "number": "numeric", "title": "text"}
MEANING = Meaning(FIELDS)
TAGS, NUMBERS, LABELS = ["a", "ab", "c", 1, True], [0, 1, 2, 0.3, 5, -1, 7], ["p", "q", 3]
TITLES = ["red", "blue red", "big blue", "old red big", "old"]
QUERY = "running apples apples and 42 pears"


def documents():
    """Return documents that have some of the fields each, and texts with some of the query's words."""
    rng = np.random.default_rng(11)

    def some(values, share=0.7):
        return values[rng.integers(len(values))] if rng.random() < share else None

    stems = ["run", "apple", "42", "pear", "stone", "runs", "apples"]
    return [
        Document(
            f"d{number}",
            " ".join(rng.choice(stems, size=rng.integers(2, 9))),
            some(LABELS, 0.75),
            {
                "tag": [some(TAGS, 1), some(TAGS, 1)] if number % 3 == 0 else some(TAGS),
                "number": some(NUMBERS),
                "title": some(TITLES),
            },
        )
        for number in range(90)
    ]


DOCUMENTS = documents()
BEGINNINGS = st.fixed_dictionaries({"$prefix": st.sampled_from(["a", "ab", "d1", "q", '"', "1", "x*"])})
ON_TAG = conditions(comparisons(one_of(TAGS), "$contains") | BEGINNINGS)
ON_NUMBER = conditions(comparisons(one_of(NUMBERS), "$gt", "$gte", "$lt", "$lte"))
ON_TITLE = conditions(st.fixed_dictionaries({"$contains": one_of(TITLES)}))
ON_LABEL = conditions(comparisons(one_of(LABELS)) | BEGINNINGS)
IDS = one_of([document.id for document in DOCUMENTS])
ON_ID = conditions(st.fixed_dictionaries({"$in": st.lists(IDS, min_size=1, max_size=4)}) | BEGINNINGS)
WHERES = wheres(
    st.fixed_dictionaries({"tag": ON_TAG})
    | st.fixed_dictionaries({"number": ON_NUMBER})
    | st.fixed_dictionaries({"title": ON_TITLE})
    | st.fixed_dictionaries({"label": ON_LABEL})
    | st.fixed_dictionaries({"document_id": ON_ID})
)


@pytest.fixture(scope="module", params=[("flat", 3), ("hnsw", 2)], ids=["flat-resp3", "hnsw-resp2"])
def retriever(request, redis_url):
    algorithm, protocol = request.param
    options = {"embedder": HashingEmbedder(32), "fields": FIELDS, "algorithm": algorithm}
    with (
        redis.Redis.from_url(redis_url, protocol=protocol) as client,
        Index(f"filtered-{os.getpid()}-{algorithm}", client=client, **options) as index,
    ):
        assert Indexer(index).add(DOCUMENTS).added == len(DOCUMENTS)
        yield Retriever(index)
        index.drop()


def meant(where):
    return {document.id for document in DOCUMENTS if MEANING.matches(document, where)}


def distances(retrieval):
    return {neighbor.passage.document_id: neighbor.distance for neighbor in retrieval}


def scores(retrieval):
    return {neighbor.passage.document_id: neighbor.score for neighbor in retrieval}


def restricted(values, where):
    wanted = meant(where)
    return {key: value for key, value in values.items() if key in wanted}


@settings(max_examples=150)
@given(where=WHERES)
def test_a_filter_restricts_each_kind_of_search_and_changes_nothing_else(retriever, where):
    k = len(DOCUMENTS)
    near = pytest.approx(restricted(distances(retriever.retrieve(QUERY, k)), where), abs=1e-6)
    assert distances(retriever.retrieve(QUERY, k, where=where)) == near
    within = retriever.retrieve(QUERY, None, max_distance=2.0, where=where)
    assert distances(within) == near
    assert list(within.distances) == sorted(within.distances)
    by_words = pytest.approx(restricted(scores(retriever.retrieve(QUERY, k, mode="text")), where), rel=1e-6)
    assert scores(retriever.retrieve(QUERY, k, mode="text", where=where)) == by_words
    assert scores(retriever.retrieve(QUERY, k, mode="text", where=where, max_distance=2.0)) == by_words
    assert retriever.index.count_documents(where) == len(meant(where))


OR_NOTHING = {"$or": [{"tag": None}, {"document_id": "d0", "tag": "nowhere"}]}
# Of which some find nothing at all.
FEW = wheres(
    st.sampled_from([{"tag": "a"}, {"tag": None}, {"tag": "nowhere"}, {"tag": {"$in": ["nowhere", "neither"]}}])
    | st.sampled_from(
        [{"label": "p"}, {"label": {"$ne": "p"}}, {"label": "nowhere"}, {"document_id": {"$prefix": "q"}}]
    )
    | st.sampled_from([{"number": {"$gte": 1}}, {"number": 99}, {"number": {"$in": [1, 77]}}])
)


@settings(max_examples=200)
@given(where=FEW)
@example(where={"$and": [OR_NOTHING, OR_NOTHING]})
@example(where={"$and": [{"$or": [{"label": "p"}, {"label": "p", "tag": "nowhere"}]}, OR_NOTHING]})
def test_alternatives_that_nothing_has_keep_no_others_out(retriever, where):
    assert set(distances(retriever.retrieve(QUERY, 90, where=where))) == meant(where)
    assert set(distances(retriever.retrieve(QUERY, None, max_distance=2.0, where=where))) == meant(where)


def test_alternatives_that_deny_something_find_all_that_they_mean(retriever):
    where = {
        "$or": [{"number": {"$ne": 0.3, "$not": {"$lte": 5}}}, {"number": {"$gte": 1}}],
        "$not": {"$or": [{"document_id": "d1"}]},
    }
    assert set(distances(retriever.retrieve(QUERY, 90, where=where))) == meant(where)


def test_what_is_denied_has_its_distance_within_a_radius(retriever):
    everything = distances(retriever.retrieve(QUERY, 90))
    for where in ({"tag": {"$ne": "a"}}, {"label": {"$nin": ["p"]}}, {"number": {"$ne": None}}, {"$not": {"tag": "b"}}):
        for radius in (0.9, 1.5):
            found = distances(retriever.retrieve(QUERY, None, max_distance=radius, where=where))
            near = {key: distance for key, distance in everything.items() if distance <= radius}
            assert found == pytest.approx(restricted(near, where), abs=1e-6)


@pytest.mark.parametrize("query", ["42", "apples", "apples apples", "run", "the 42 of it"])
def test_a_single_word_is_found_beside_a_filter(retriever, query):
    free = scores(retriever.retrieve(query, 90, mode="text"))
    assert free
    for where in ({"number": {"$gte": 0}}, {"tag": {"$ne": "c"}}, {"label": "p"}, {"document_id": {"$ne": "none"}}):
        found = scores(retriever.retrieve(query, 90, mode="text", where=where))
        assert found == pytest.approx(restricted(free, where), rel=1e-6)


def test_a_word_that_is_asked_for_twice_counts_twice(retriever):
    once, twice = (scores(retriever.retrieve(query, 90, mode="text")) for query in ("apples", "apples, apples"))
    assert twice == pytest.approx({key: 2 * score for key, score in once.items()}, rel=1e-6)


def test_what_begins_with_something_is_found_however_much_it_is(faces, redis_url, index_name, embedder):
    ids = [f"guide/{number}: {sign}" for number in range(600) for sign in ("\\", '"')]
    ids += ["Guide/1", "guid", "other/guide/1"]
    with faces.index(index_name, url=redis_url, embedder=embedder, any_field=True) as index:
        indexer = faces.indexer(index)
        indexer.add(Document(id_, "text", metadata={"path": id_, "list": [id_, "x"], "n": 1}) for id_ in ids)
        for field in ("document_id", "path", "list"):
            assert index.count_documents({field: {"$prefix": "guide/"}}) == 1_200
            assert index.count_documents({field: {"$not": {"$prefix": "guide/"}}}) == 3
            assert index.count_documents({field: {"$prefix": "guide/59"}}) == 22
            assert index.count_documents({field: {"$prefix": "guide/7: \\"}}) == 1
            assert index.count_documents({field: {"$prefix": "nothing"}}) == 0
        assert index.count_documents({"n": {"$prefix": "1"}}) == 0
        found = faces.retriever(index).retrieve("text", k=2_000, where={"path": {"$prefix": "gui"}})
        assert len(found) == 1_201
        assert indexer.delete_where({"path": {"$prefix": "guide/"}}) == 1_200
        assert {document.id for document in index.documents()} == set(ids[-3:])


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ({"document_id": {"$contains": "tutorial"}}, ValueError, r"for a single value, got \$contains: take \$prefix"),
        ({"label": {"$contains": "p"}}, ValueError, r"for a single value, got \$contains: take \$prefix"),
        ({"tag": {"$prefix": ""}}, ValueError, r"expected \$prefix with at least one character"),
        ({"tag": {"$prefix": 1}}, TypeError, r"expected \$prefix with a str, got .*1"),
        ({"tag": {"$prefix": None}}, TypeError, r"expected \$prefix with a str, got None"),
        ({"number": {"$prefix": "1"}}, ValueError, r"got '\$prefix'; declare the field as tag"),
        ({"title": {"$prefix": "re"}}, ValueError, r"got '\$prefix'; declare the field as tag"),
        ({"tag": {"$startswith": "a"}}, ValueError, r"expected an operator that tag fields have, .*\$prefix"),
    ],
)
def test_an_operator_that_means_nothing_there_is_refused(retriever, where, error, message):
    for call in (lambda: retriever.retrieve(QUERY, where=where), lambda: retriever.index.count(where)):
        with pytest.raises(error, match=message):
            call()
