"""Filters beyond searching: counting, deleting, syncing, voting and tuning among what matches; mandatory filters."""

import pytest

from ragknn import Document, Index, SchemaMismatch
from ragknn.voting.tuning import atune, tune

FIELDS = {"tenant": "tag", "year": "numeric"}


def document(id_, tenant, year=2020, label=None, text=None):
    return Document(id_, text or f"card payment {id_}", label, {"tenant": tenant, "year": year})


DOCUMENTS = [
    *(document(f"a{n}", "a", 2015 + n, "card" if n % 2 else "cash") for n in range(6)),
    *(document(f"b{n}", "b", 2015 + n, "loan") for n in range(4)),
]


@pytest.fixture(params=[None, "tenant"], ids=["free", "required"])
def required(request):
    return request.param


@pytest.fixture
def index(faces, redis_url, index_name, embedder, required):
    with faces.index(index_name, url=redis_url, embedder=embedder, fields=FIELDS, required_filter=required) as index:
        faces.indexer(index).add(DOCUMENTS)
        yield index


def ids(retrieval):
    return {neighbor.passage.document_id for neighbor in retrieval}


def test_counting_and_searching_among_what_matches(faces, index):
    assert index.count({"tenant": "a"}) == 6
    assert index.count({"tenant": {"$in": ["a", "b"]}, "year": {"$lt": 2017}}) == 4
    for mode in ("vector", "text", "hybrid"):
        found = faces.retriever(index).retrieve("card payment", k=10, mode=mode, where={"tenant": "b"})
        assert ids(found) == {"b0", "b1", "b2", "b3"}


def test_deleting_what_matches_and_nothing_else(faces, index):
    indexer = faces.indexer(index)
    assert indexer.delete_where({"tenant": "a", "year": {"$gte": 2018}}) == 3
    assert indexer.delete(["a0", "b0", "nobody"], where={"tenant": "a"}) == 1
    assert index.count({"tenant": "a"}) == 2
    assert index.count({"tenant": "b"}) == 4


@pytest.mark.parametrize("where", [None, {}])
def test_deleting_where_nothing_is_asked_is_refused(faces, index, where):
    with pytest.raises(ValueError, match="expected a filter"):
        faces.indexer(index).delete_where(where)
    assert index.count({"tenant": {"$in": ["a", "b"]}}) == 10


def test_deleting_more_than_comes_at_once(faces, redis_url, index_name, embedder, monkeypatch):
    monkeypatch.setattr("ragknn._protocol.finding.KEYS_PER_ROUND", 7)
    with faces.index(index_name, url=redis_url, embedder=embedder, fields=FIELDS) as index:
        faces.indexer(index).add(document(f"d{n}", "ab"[n % 2]) for n in range(50))
        assert faces.indexer(index).delete_where({"tenant": "a"}) == 25
        assert index.count() == 25


def test_sync_leaves_alone_what_does_not_match(faces, index):
    report = faces.indexer(index).sync([DOCUMENTS[0], document("a9", "a")], where={"tenant": "a"})
    assert (report.added, report.unchanged, report.deleted) == (1, 1, 5)
    assert index.count({"tenant": "b"}) == 4


def test_only_what_matches_votes(faces, index):
    retriever = faces.retriever(index)
    voter = faces.voter(retriever, k=3, where={"tenant": "a"})
    vote = voter.vote("card payment b1")
    assert ids(vote.neighbors) < {f"a{n}" for n in range(6)}
    assert voter.classes_.tolist() == ["card", "cash"]
    assert set(vote.shares) <= {"card", "cash"}
    with pytest.raises(ValueError, match="expected k <= 4, the number of labelled documents"):
        faces.voter(retriever, k=5, where={"tenant": "b"}).vote("card")


def test_tuning_among_what_matches(index, faces):
    where = {"tenant": "a"}
    assert faces.call(tune, atune, index, [1, 3], where=where).passages == 6


# ---- mandatory filters -----------------------------------------------------------------------------------------


@pytest.fixture
def tenants(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder, fields=FIELDS, required_filter="tenant") as index:
        faces.indexer(index).add(DOCUMENTS)
        yield index


MISSING = "expected a filter on 'tenant', which this index requires"


@pytest.mark.parametrize(
    "where",
    [
        None,
        {},
        {"year": 2020},
        {"tenant": {"$ne": "a"}},
        {"tenant": None},
        {"tenant": {"$in": ["a", None]}},
        {"tenant": {"$nin": ["a"]}},
        {"$or": [{"tenant": "a"}, {"year": 2020}]},
        {"$not": {"tenant": "a"}},
    ],
    ids=str,
)
def test_nothing_is_asked_without_the_required_filter(faces, tenants, where):
    retriever, indexer = faces.retriever(tenants), faces.indexer(tenants)
    asked = [
        lambda: retriever.retrieve("card", where=where),
        lambda: retriever.retrieve("card", mode="text", where=where),
        lambda: retriever.retrieve_many(["card"], where=where),
        lambda: retriever.retrieve_any(["card"], where=where),
        lambda: retriever.retrieve_like("card", ["cash"], where=where),
        lambda: retriever.kneighbors([1.0] * 64, where=where),
        lambda: faces.voter(retriever, k=1, where=where).vote("card"),
        lambda: faces.voter(retriever, k=1, where=where).predict(["card"]),
        lambda: faces.voter(retriever, k=1, where=where).refresh(),
        lambda: tenants.count(where),
        lambda: indexer.delete(["a0"], where=where),
        lambda: indexer.delete_where(where),
        lambda: indexer.sync([], where=where),
    ]
    for ask in asked:
        with pytest.raises(ValueError, match=MISSING):
            ask()
    assert tenants.count({"tenant": {"$in": ["a", "b"]}}) == 10


@pytest.mark.parametrize(
    "where",
    [{"tenant": "a"}, {"tenant": {"$eq": "a"}}, {"tenant": {"$in": ["a"]}}, {"$and": [{"tenant": "a"}]}],
    ids=str,
)
def test_the_required_filter_may_be_put_in_several_ways(faces, tenants, where):
    assert ids(faces.retriever(tenants).retrieve("card", k=10, where=where)) == {f"a{n}" for n in range(6)}


def test_whoever_opens_the_index_is_held_to_it(faces, tenants, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url) as again, pytest.raises(ValueError, match=MISSING):
        again.count()
    with pytest.raises(SchemaMismatch, match="required_filter: expected 'other', found 'tenant'"):
        Index(index_name, url=redis_url, fields={"other": "tag"}, required_filter="other").open()


def test_a_document_without_the_required_field_does_not_get_in(faces, tenants):
    report = faces.indexer(tenants).add([Document("x", "no tenant"), Document("y", "none", None, {"tenant": []})])
    assert report.added == 0
    for failure in report.failed:
        assert "field 'tenant': expected a value, which this index requires" in failure.reason


@pytest.mark.parametrize(
    ("fields", "name"), [({}, "tenant"), ({"tenant": "numeric"}, "tenant"), ({"tenant": "tag"}, "label")]
)
def test_the_required_field_must_be_declared_as_tag(fields, name):
    with pytest.raises(ValueError, match=f"expected required_filter to be a field declared as tag, got '{name}'"):
        Index("x", fields=fields, required_filter=name)


def test_an_estimator_does_not_get_around_it(tenants, faces, redis_url):
    from ragknn.estimators import KNeighborsClassifier

    with pytest.raises(ValueError, match="Expected an index without a required filter"):
        KNeighborsClassifier.from_index(tenants.name, url=redis_url)
