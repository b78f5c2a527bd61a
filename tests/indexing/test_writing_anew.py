"""Rebuilding what the passages hold: dtype, fields, words."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import private_server
from stepping import Steps, at_work
from stores import check_tidy, same_as_fresh, stored

from ragknn import (
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    IndexNotFound,
    RebuildFailed,
    Retriever,
    SchemaMismatch,
    Splitter,
)
from ragknn._protocol.keys import Keys
from ragknn.estimators import KNeighborsClassifier

EMBEDDER = HashingEmbedder(16)
SPLITTER = Splitter(size=12, overlap=0, unit="words")
DOCUMENTS = [
    Document(
        f"d{n}",
        f"Brief {n} über die Äpfel und Birnen. " * (n % 4 + 1),
        "ab"[n % 2],
        {"year": n, "kind": "xyz"[n % 3], "tenant": "me"},
    )
    for n in range(30)
]


def made(url, name, documents=DOCUMENTS, **options):
    with Index(name, url=url, embedder=EMBEDDER, **options) as index:
        Indexer(index, SPLITTER).add(documents).raise_for_failures()


CHANGES = [
    {"dtype": "float16"},
    {"dtype": "bfloat16", "algorithm": "hnsw"},
    {"dtype": "float64", "metric": "l2"},
    {"fields": {"kind": "tag"}},
    {"fields": {"year": "tag", "kind": "text"}},
    {"fields": {}},
    {"language": "german"},
    {"stop_words": ["die", "und"]},
    {"fold_accents": False, "text_search": True},
    {"any_field": True},
    {"fields": {"tenant": "tag"}, "required_filter": "tenant"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_what_was_rebuilt_is_what_a_new_index_holds(redis_url, index_name, client, changes):
    made(redis_url, index_name, fields={"year": "numeric"})
    with Index(index_name, url=redis_url) as index:
        report = index.rebuild(**changes)
        assert set(changes) - {"text_search"} <= set(report.changed)
        assert (report.documents, report.embedded, report.left_out) == (30, 0, ())
        assert report.passages == len([one for some in stored(client, index_name).values() for one in some])
        check_tidy(client, index_name)
        assert index.check().is_sound
        options = {"fields": {"year": "numeric"}, **changes}
        same_as_fresh(client, index_name, lambda name: made(redis_url, name, **options), redis_url)
        assert Indexer(index).sync(DOCUMENTS, where={"tenant": "me"} if "required_filter" in changes else None)
        assert not index.rebuild(**changes).changed
        assert index.drop() == 30
    assert not client.keys(f"ragknn:{index_name}:*")


_VALUES = st.one_of(st.none(), st.integers(-5, 5), st.sampled_from(["a", "b c"]), st.lists(st.sampled_from("xy")))
_FIELDS = st.dictionaries(st.sampled_from(["p", "q", "r.s"]), st.sampled_from(["tag", "numeric", "text"]))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metadata=st.lists(st.fixed_dictionaries({"p": _VALUES, "q": _VALUES, "r": st.none()}), min_size=1, max_size=4),
    before=_FIELDS,
    after=_FIELDS,
    words=st.booleans(),
)
def test_any_fields_become_any_others(redis_url, client, metadata, before, after, words):
    """As an index that leaves out what does not fit, whatever was left out before."""
    documents = [Document(f"d{n}", "pears and " * (9 * n + 1), metadata=one) for n, one in enumerate(metadata)]

    def make(name, fields, text_search):
        with Index(name, url=redis_url, embedder=EMBEDDER, fields=fields, text_search=text_search) as index:
            Indexer(index, SPLITTER).add(documents, on_bad_field="leave_out").raise_for_failures()

    name = "fields-become-others"
    make(name, before, words)
    with Index(name, url=redis_url) as index:
        index.rebuild(fields=after, text_search=True)
        same_as_fresh(client, name, lambda other: make(other, after, True), redis_url)
        index.drop()


def test_it_is_found_by_what_was_changed(faces, redis_url, index_name):
    made(redis_url, index_name, text_search=False)
    with faces.index(index_name, url=redis_url) as index, Index(index_name, url=redis_url) as elsewhere:
        retriever, other = faces.retriever(index), Retriever(elsewhere)
        near = retriever.retrieve("Brief 7", 3)
        told = []
        planned = index.rebuild(text_search=True, language="german", dry_run=True)
        assert planned.changed["language"] == ("english", "german")
        assert planned.changed["text_search"] == (False, True)
        index.rebuild(text_search=True, language="german", progress=lambda *counts: told.append(counts))
        assert told[-1][0] >= 30
        assert told == sorted(told, key=lambda one: one[0] < 30)
        assert [one.distance for one in retriever.retrieve("Brief 7", 3)] == [one.distance for one in near]
        assert other.retrieve("Brief 7", 3) == retriever.retrieve("Brief 7", 3)
        for one in (retriever, other):
            assert len(one.retrieve("Apfel", 5, mode="text")) == 5  # the stem of Äpfel
        index.rebuild(fields={"year": "numeric", "kind": "tag"})
        assert index.count_documents({"year": {"$lt": 9}, "kind": "x"}) == 3
        assert list(other.index.documents(["d4"])) == [DOCUMENTS[4]]
        assert other.index.count_documents({"year": {"$lt": 9}, "kind": "x"}) == 3
        index.rebuild(fields={"kind": "tag"}, any_field=True)
        assert index.count_documents({"year": 3}) == 1
    with pytest.raises(SchemaMismatch, match="language"):
        Index(index_name, url=redis_url, language="english").open()


def test_values_that_do_not_fit_are_left_out_and_told(redis_url, index_name):
    made(redis_url, index_name, [*DOCUMENTS[:3], Document("odd", "pears", metadata={"kind": ["x"]})])
    with Index(index_name, url=redis_url) as index:
        report = index.rebuild(fields={"kind": "text"})
        [failure] = report.left_out
        assert failure.document_id == "odd"
        assert "fields left out of 1 documents" in str(report)
        assert index.count({"kind": {"$contains": "x"}}) == 1


def test_what_does_not_fit_is_refused_and_serves_on(redis_url, index_name, client):
    with Index(index_name, url=redis_url, dim=2, metric="l2") as index:
        indexer = Indexer(index)
        indexer.add_vectors(["a", "large", "zero"], [[1, 2], [1e6, 1], [0, 0]])
        with pytest.raises(RebuildFailed, match=r"'large': a value of 1e\+06 does not fit float16"):
            index.rebuild(dtype="float16")
        with pytest.raises(RebuildFailed, match="'zero': only zeros"):
            index.rebuild(dtype="float64", metric="cosine")
        with pytest.raises(RebuildFailed, match="field 'tenant': expected a value, which this index requires"):
            index.rebuild(fields={"tenant": "tag"}, required_filter="tenant")
        with pytest.raises(ValueError, match="required_filter to be a field declared as tag"):
            index.rebuild(required_filter="tenant")
        assert index.count() == 3
        assert indexer.delete(["zero", "large"]) == 2
        assert index.rebuild(dtype="float16").changed == {"dtype": ("float32", "float16")}
        check_tidy(client, index_name)
    classifier = KNeighborsClassifier(index=f"{index_name}-fit", url=redis_url, n_neighbors=1)
    classifier.fit(np.eye(2), ["a", "b"])
    with Index(f"{index_name}-fit", url=redis_url) as fitted:
        with pytest.raises(ValueError, match="with an estimator's rows"):
            fitted.rebuild(dtype="float16")
        fitted.drop()


def test_a_document_that_is_not_whole_is_told(redis_url, index_name, client):
    made(redis_url, index_name)
    client.delete(f"ragknn:{index_name}:p:{{d7}}:1")
    with Index(index_name, url=redis_url) as index:
        with pytest.raises(RebuildFailed, match="lost passages, such as 'd7': add them again"):
            index.rebuild(dtype="float16")
        Indexer(index).sync(DOCUMENTS)
        assert index.rebuild(dtype="float16").resumed
        check_tidy(client, index_name)


def test_what_was_begun_can_be_abandoned(faces, redis_url, index_name, client):
    with faces.index(index_name, url=redis_url, dim=2, metric="l2") as index:
        faces.indexer(index).add_vectors(["large", "a"], [[1e6, 1], [1, 2]])
        with pytest.raises(RebuildFailed):
            index.rebuild(dtype="float16")
        assert client.hexists(f"ragknn:{index_name}:manifest", "rebuild")
        assert index.abandon_rebuild()
        check_tidy(client, index_name)
        assert not index.abandon_rebuild()
        assert index.count() == 2


def test_an_index_that_is_dropped_meanwhile_leaves_nothing(redis_url, index_name, client):
    made(redis_url, index_name)
    dropped = []

    def drop(*_):
        if not dropped:
            with Index(index_name, url=redis_url) as other:
                dropped.append(other.drop())

    with Index(index_name, url=redis_url) as index, pytest.raises(IndexNotFound):
        index.rebuild(dtype="float16", progress=drop)
    client.delete(Keys(index_name).moving)
    assert not client.keys(f"ragknn:{index_name}:*")
    assert not [one for one in client.execute_command("FT._LIST") if index_name in one.decode()]


@pytest.mark.long
def test_no_search_and_no_write_fails_or_is_lost_meanwhile(redis_url, index_name, client):
    """While threads search, add, change, delete and read back, in indexes that they have opened before."""
    made(redis_url, index_name)
    asked = []
    numbers = {"added": 0, "changed": 0}

    def ask(index):
        found = Retriever(index).retrieve("Brief 7 über die Äpfel", 5)
        assert found.complete
        assert found[0].distance < 0.4
        assert index.count_documents() >= 30
        assert len(list(index.documents(["d4", "d5", "d6"]))) == 3
        asked.append(found)

    def add(index):
        number = numbers["added"]
        report = Indexer(index).add([Document(f"new{number}-{n}", f"neu {number} {n}") for n in range(3)])
        assert (report.added, report.failed) == (3, ())
        assert Indexer(index).delete([f"new{number}-1"]) == 1
        numbers["added"] += 1

    def change(index):
        numbers["changed"] += 1
        assert Indexer(index).update(["d1", "d2"], metadata={"turn": numbers["changed"]}).updated == 2

    works = (ask, ask, add, change)
    with at_work(redis_url, index_name, works, embedder=EMBEDDER), Index(index_name, url=redis_url) as index:
        for changes in [
            {"dtype": "float16"},
            {"dtype": "float32", "fields": {"year": "numeric"}},
            {"language": "german", "algorithm": "hnsw"},
            {"any_field": True, "algorithm": "flat"},
            {"any_field": False},
        ]:
            assert index.rebuild(**changes).changed
    assert min(len(asked), *numbers.values()) > 3
    with Index(index_name, url=redis_url) as index:
        expected = {one.id: one for one in DOCUMENTS}
        expected |= {
            f"new{n}-{m}": Document(f"new{n}-{m}", f"neu {n} {m}") for n in range(numbers["added"]) for m in (0, 2)
        }
        for one in ("d1", "d2"):
            old = expected[one]
            expected[one] = Document(one, old.text, old.label, {**old.metadata, "turn": numbers["changed"]})
        assert {one.id: one for one in index.documents()} == expected
        assert index.check().is_sound
    check_tidy(client, index_name)


def test_writers_go_on_where_who_closed_the_index_has_ended(faces, redis_url, index_name, client):
    made(redis_url, index_name)
    manifest = f"ragknn:{index_name}:manifest"
    birth = client.hget(manifest, "birth")
    with faces.index(index_name, url=redis_url, embedder=EMBEDDER) as index:
        indexer = faces.indexer(index)
        writes = [
            lambda: indexer.add([Document("new", "neu")]).added,
            lambda: indexer.add_vectors(["v"], np.ones((1, 16))).added,
            lambda: indexer.update(["d3"], label="c").updated,
            lambda: indexer.delete(["d4"]),
            lambda: indexer.delete_where({"label": "c"}),
            lambda: indexer.sync([*DOCUMENTS[5:], Document("new", "neu")], delete_most=True).deleted,
        ]
        for write, count in zip(writes, [1, 1, 1, 1, 1, 4], strict=True):
            client.hset(manifest, "birth", b"closed:somebody:" + birth)
            assert write() == count
            assert client.hget(manifest, "birth") == birth
        assert index.check().is_sound


def test_a_server_without_room_is_not_filled(tmp_path):
    with private_server(tmp_path) as url, Index("large", url=url, dim=512) as index:
        Indexer(index).add_vectors([f"d{n}" for n in range(3000)], np.random.default_rng(1).normal(size=(3000, 512)))
        used = index.client.info("memory")["used_memory"]
        index.client.config_set("maxmemory", used + 2_000_000)
        with pytest.raises(RebuildFailed, match="until the server's maxmemory"):
            index.rebuild(dtype="float64")
        index.client.config_set("maxmemory", 0)
        assert index.count() == 3000


WRITES = {
    "add": lambda indexer, new: indexer.add([Document(new, "text")]),
    "add_vectors": lambda indexer, new: indexer.add_vectors([new], np.ones((1, 16))),
    "update": lambda indexer, new: indexer.update(["d1"], metadata={"turn": new}),
    "delete": lambda indexer, new: indexer.delete(["d0"]),
}


@pytest.mark.parametrize("work", WRITES)
def test_what_is_changed_between_any_two_steps_of_a_write_loses_nothing(faces, redis_url, index_name, client, work):
    """It was given another version before, which who writes has not noticed, and then gets another store."""
    made(redis_url, index_name, DOCUMENTS[:3])
    turns = {"dtype": ["float16", "float32"], "algorithm": ["hnsw", "flat"]}

    def change(other, what):
        other.rebuild(**{what: turns[what][0]})
        turns[what].reverse()

    at, steps = 0, Steps()
    with Index(index_name, url=redis_url) as other:
        while at <= steps.count:
            new = f"new{at}"
            with steps.index(faces, index_name, url=redis_url, embedder=EMBEDDER) as index:
                index.count()
                change(other, "algorithm")
                steps.disturb(at, lambda: change(other, "dtype"))
                WRITES[work](faces.indexer(index, SPLITTER), new)
            match work:
                case "update":
                    [one] = other.documents(["d1"])
                    assert one.metadata["turn"] == new
                case "delete":
                    assert other.exists(["d0"]) == [False]
                    Indexer(other).add(DOCUMENTS[:1])
                case _:
                    assert other.exists([new]) == [True]
            check_tidy(client, index_name)
            at += 1
    assert at > 1
