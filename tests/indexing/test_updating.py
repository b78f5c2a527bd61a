"""Labels, metadata and fields change without embedding; whoever reads meanwhile sees whole documents."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest
from embedders import CountingEmbedder

from ragknn import Document, HashingEmbedder, Index, Indexer, IngestReport, Passage, SchemaMismatch, Splitter
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import declare_fields

WORDS = Splitter(4, 0, "words")
FIELDS = {"topic": "tag", "year": "numeric", "title": "text", "author.name": "tag"}
A = Document("a", "one two three four five six", "x", {"topic": "u", "year": 2020, "title": "Quick fox", "other": [1]})
B = Document("b", "seven", 3, {"topic": ["u", "v"], "author": {"name": "Ann", "age": 7}})
C = Document("c", "eight")


@pytest.fixture
def counting():
    return CountingEmbedder()


@pytest.fixture
def opened(faces, redis_url, index_name, counting):
    """An index of A, B and C."""
    with faces.index(index_name, url=redis_url, embedder=counting, fields=FIELDS) as index:
        assert faces.indexer(index, WORDS).add([A, B, C]).failed == ()
        del counting.texts[:]
        yield index


@pytest.fixture
def indexer(faces, opened):
    return faces.indexer(opened, WORDS)


def hashes(client, name):
    """Return all fields of all passages, by their keys."""
    return {key: client.hgetall(key) for key in client.scan_iter(f"{Keys(name).passage_prefix}*", count=1000)}


def found(index, where):
    return sorted({passage.document_id for passage in index.passages(where=where)})


# ---- update ----------------------------------------------------------------------------------------------------


def test_metadata_is_merged_and_none_removes_an_entry(indexer, opened):
    report = indexer.update(["a", "b"], metadata={"topic": "w", "year": None, "author": {"name": "Bo"}, "new": [1, 2]})
    assert (report.updated, report.failed, report.left_out) == (2, (), ())
    assert report.ids == {**dict.fromkeys(IngestReport.KINDS, ()), "updated": ("a", "b")}
    [a, b, c] = opened.documents()
    merged = {"topic": "w", "title": "Quick fox", "other": [1], "author": {"name": "Bo"}, "new": [1, 2]}
    assert a == Document("a", A.text, "x", merged)
    assert b == Document("b", B.text, 3, {"topic": "w", "author": {"name": "Bo"}, "new": [1, 2]})
    assert c == C
    assert {passage.id: passage.metadata for passage in opened.passages(["a#0", "a#1"])} == {
        "a#0": a.metadata,
        "a#1": a.metadata,
    }


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"metadata": {"topic": "w"}}, {"topic": "u"}, {"topic": "w"}),
        ({"metadata": {"topic": ["w", "u"]}}, {"topic": {"$ne": "w"}}, {"topic": "w"}),
        ({"metadata": {"topic": None}}, {"topic": "u"}, {"topic": None}),
        ({"metadata": {"year": 1999}}, {"year": {"$gt": 2000}}, {"year": {"$lt": 2000}}),
        ({"metadata": {"year": date(1999, 1, 1)}}, {"year": 2020}, {"year": date(1999, 1, 1)}),
        ({"metadata": {"title": "Slow dog"}}, {"title": {"$contains": "fox"}}, {"title": {"$contains": "dog"}}),
        ({"metadata": {"author": {"name": "Bo"}}}, {"author.name": None}, {"author.name": "Bo"}),
        ({"metadata": {"author.name": "Bo"}}, {"author.name": None}, {"author.name": "Bo"}),
        ({"label": "y"}, {"label": "x"}, {"label": "y"}),
        ({"label": np.int64(4)}, {"label": "x"}, {"label": 4}),
        ({"label": None}, {"label": "x"}, {"label": None}),
    ],
)
def test_the_new_value_is_found_and_the_old_one_is_not(indexer, opened, change, before, after):
    assert "a" in found(opened, before)
    indexer.update(["a"], **change)
    assert "a" not in found(opened, before)
    assert [one.id for one in opened.passages(where={"$and": [after, {"document_id": "a"}]})] == ["a#0", "a#1"]


def test_any_field_is_kept_up_with_the_metadata(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), any_field=True) as index:
        faces.indexer(index).add([A, B])
        faces.indexer(index).update(["a", "b"], metadata={"topic": 9, "author": {"name": "Bo"}, "other": None})
        assert found(index, {"topic": 9}) == found(index, {"author.name": "Bo"}) == ["a", "b"]
        assert found(index, {"topic": "u"}) == found(index, {"author.name": "Ann"}) == found(index, {"other": 1}) == []
        assert found(index, {"author.age": 7}) == found(index, {"author.age": {"$ne": None}}) == []
        faces.indexer(index).update(["a"], metadata=dict.fromkeys(["topic", "year", "title", "author"]))
        assert [document.metadata for document in index.documents(["a"])] == [{}]
        assert found(index, {"topic": None}) == ["a"]


def test_nothing_is_embedded_and_text_and_vectors_stay_byte_for_byte(indexer, opened, client, counting):
    changing = (b"label", b"metadata", b"f:topic", b"details_hash")

    def unchangeable():
        return {
            key: {name: value for name, value in fields.items() if name not in changing}
            for key, fields in hashes(client, opened.name).items()
        }

    before = unchangeable()
    assert indexer.update(where={"label": {"$ne": None}}, metadata={"topic": "z"}, label="z").updated == 2
    assert indexer.add([Document("c", C.text, "z", {"topic": "z"})]).updated == 1
    assert indexer.sync([Document("c", C.text, "y", {"topic": "y"})], where={"label": "z", "topic": "q"}).updated == 1
    assert counting.texts == []
    assert unchangeable() == before


def test_ids_and_a_filter_together_change_what_is_in_both(indexer, opened):
    assert indexer.update(["a", "c", "x", "a"], where={"topic": "u"}, label="new").ids["updated"] == ("a",)
    assert indexer.update(iter(["c", "b"]), label="new").updated == 2
    assert indexer.update(where={"topic": "nosuch"}, label="other").updated == 0
    assert indexer.update([], label="other").updated == indexer.update(["x"], label="other").updated == 0
    assert [document.label for document in opened.documents()] == ["new"] * 3


def test_an_entry_that_was_none_already_stays(indexer, opened):
    indexer.add([Document("n", "text", None, {"k": None, "other": {"k": None}})])
    indexer.update(["n"], label="x")
    assert [document.metadata for document in opened.documents(["n"])] == [{"k": None, "other": {"k": None}}]


def test_keys_that_are_no_strings_are_those_that_json_makes_of_them(indexer, opened):
    indexer.add([Document("n", "text", None, {1: "a", 2: "b"})])
    indexer.update(["n"], metadata={1: None, 2: "c"})
    assert [document.metadata for document in opened.documents(["n"])] == [{"2": "c"}]


def test_many_documents_are_updated(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, text_search=False, fields={"n": "numeric"}) as index:
        ids = [f"{number:03}" for number in range(600)]
        faces.indexer(index).add_vectors(ids, np.ones((600, 2)), metadata=[{"n": n} for n in range(600)])
        assert faces.indexer(index).update(where={"n": {"$lt": 550}}, metadata={"n": -1}, label="x").updated == 550
        assert index.values("n") == {-1.0: 550, **{float(n): 1 for n in range(550, 600)}}
        assert index.values("label") == {"x": 550}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label": "x"}, ValueError, "expected ids, a filter, or both"),
        ({"where": {}, "label": "x"}, ValueError, "expected ids, a filter, or both"),
        ({"ids": ["a"]}, ValueError, "expected metadata or a label to change, got neither"),
        ({"ids": "a", "label": "x"}, TypeError, "expected an iterable of ids, got 'a'"),
        ({"ids": [1], "label": "x"}, TypeError, "expected an id of type str, got 1"),
        ({"ids": ["a"], "metadata": [1]}, TypeError, "expected metadata as a mapping"),
        ({"ids": ["a"], "metadata": {"k": object()}}, ValueError, r"expected metadata that JSON can hold.*\['k'\]"),
        ({"ids": ["a"], "metadata": {"k": float("nan")}}, ValueError, r"expected metadata that JSON can hold.*\['k'\]"),
        ({"ids": ["a"], "metadata": {"k": "\ud800"}}, ValueError, "expected text that UTF-8 can hold"),
        ({"ids": ["a"], "label": ["x"]}, TypeError, "expected the label of the update as str, int or float, got list"),
        ({"ids": ["a"], "label": float("inf")}, ValueError, "expected a finite number as a label"),
        ({"ids": ["a"], "label": "\ud800"}, ValueError, "expected text that UTF-8 can hold"),
        ({"ids": ["a"], "label": "l" * 5_000}, ValueError, "expected a document id, label or tag of at most"),
        ({"ids": ["a"], "label": "x", "on_bad_field": "no"}, ValueError, "expected on_bad_field to be one of"),
        ({"where": {"nosuch": 1}, "label": "x"}, ValueError, "expected a field that can be filtered on"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_nothing_is_written(indexer, opened, client, arguments, error, message):
    before = hashes(client, opened.name)
    with pytest.raises(error, match=message):
        indexer.update(**arguments)
    assert hashes(client, opened.name) == before


def test_a_value_that_does_not_fit_its_field_fails_the_document_or_is_left_out(indexer, opened):
    report = indexer.update(["a", "b"], metadata={"year": "soon", "topic": "w"})
    assert (report.updated, [failure.document_id for failure in report.failed]) == (0, ["a", "b"])
    assert "field 'year': expected a number" in report.failed[0].reason
    assert [document.metadata for document in opened.documents()] == [A.metadata, B.metadata, {}]
    report = indexer.update(["a", "b"], metadata={"year": "soon", "topic": "w"}, on_bad_field="leave_out")
    assert (report.updated, report.failed, [one.document_id for one in report.left_out]) == (2, (), ["a", "b"])
    assert found(opened, {"topic": "w", "year": None}) == ["a", "b"]
    assert [document.metadata["year"] for document in opened.documents(["a"])] == ["soon"]


def test_fields_that_an_update_does_not_touch_stay_as_they_were_indexed(indexer, opened):
    # What was left out, and what was a number as Decimal and is kept as text, would not fit any more.
    metadata = {"year": Decimal("1.5"), "topic": {"not": "a tag"}, "title": "Fox"}
    assert len(indexer.add([Document("n", "text", None, metadata)], on_bad_field="leave_out").left_out) == 1
    report = indexer.update(["n"], metadata={"title": "Dog"}, label="x")
    assert (report.updated, report.failed, report.left_out) == (1, (), ())
    assert found(opened, {"year": 1.5, "topic": None, "title": {"$contains": "dog"}, "label": "x"}) == ["n"]
    assert indexer.update(["n"], metadata={"topic": {"still": "none"}}).failed


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (UUID(int=7), str(UUID(int=7))),
        (Decimal("1.50"), "1.50"),
        (PurePosixPath("a/b"), "a/b"),
        (date(2024, 2, 29), "2024-02-29"),
        ({UUID(int=7), "x"}, [str(UUID(int=7)), "x"]),
        (np.array(["p", "q"]), ["p", "q"]),
        (np.bool_(True), True),
    ],
)
def test_a_tag_is_what_is_read_back_whether_it_is_added_or_updated(indexer, opened, given, stored):
    assert indexer.add([Document("n", "text", None, {"topic": given})]).failed == ()
    assert indexer.update(["c"], metadata={"topic": given}).failed == ()
    assert [document.metadata for document in opened.documents(["n", "c"])] == [{"topic": stored}] * 2
    for one in stored if isinstance(stored, list) else [stored]:
        assert {"c", "n"} <= set(found(opened, {"topic": one}))


def test_passages_keep_metadata_and_labels_of_their_own(faces, opened, indexer):
    own = [
        Passage("p", "r", "first", 0, 0, "x", {"n": 1, "page": 1, "topic": "u"}),
        Passage("q", "r", "second", 0, 0, "y", {"n": 1, "page": 2}),
    ]
    assert indexer.add_passages(own).failed == ()
    [document] = opened.documents(["r"])
    assert (document.label, document.metadata) == (None, {"n": 1})
    indexer.update(["r"], metadata={"n": 2, "topic": "w"})
    assert [(one.id, one.label, one.metadata) for one in opened.passages(["p", "q"])] == [
        ("p", "x", {"n": 2, "page": 1, "topic": "w"}),
        ("q", "y", {"n": 2, "page": 2, "topic": "w"}),
    ]
    indexer.update(["r"], metadata={"topic": None, "page": None}, label="z")
    assert list(opened.documents(["r"])) == [Document("r", "first\n\nsecond", "z", {"n": 2})]
    assert found(opened, {"topic": "u", "label": "z"}) == []


@pytest.mark.parametrize("change", ["label", "metadata"])
def test_a_change_of_one_passage_among_others_is_seen(faces, opened, indexer, counting, change):
    def passages(third):
        details = {"label": (third, {}), "metadata": (None, {"page": third})}[change]
        other = {"label": ("one", {}), "metadata": (None, {"page": "one"})}[change]
        last = {"label": ("two", {}), "metadata": (None, {"page": "two"})}[change]
        return [
            Passage(str(number), "r", f"text {number}", 0, 0, *each)
            for number, each in enumerate((other, last, details))
        ]

    indexer.add_passages(passages("one"))
    assert indexer.add_passages(passages("one")).unchanged == 1
    del counting.texts[:]
    assert indexer.add_passages(passages("two")).updated == 1
    [third] = opened.passages(["2"])
    assert "two" in (third.label, third.metadata.get("page"))
    assert counting.texts == []


def test_a_required_filter_holds_for_updates_too(faces, redis_url, index_name):
    options = {"fields": {"tenant": "tag"}, "required_filter": "tenant"}
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), **options) as index:
        indexer = faces.indexer(index)
        indexer.add([Document(name, "text", None, {"tenant": name}) for name in "ab"])
        for arguments in ({"ids": ["a"]}, {"where": {"label": None}}, {"ids": ["a"], "where": {"label": None}}):
            with pytest.raises(ValueError, match="expected a filter on 'tenant', which this index requires"):
                indexer.update(label="x", **arguments)
        assert indexer.update(["a", "b"], where={"tenant": "a"}, label="x").ids["updated"] == ("a",)
        [failure] = indexer.update(where={"tenant": "b"}, metadata={"tenant": None}).failed
        assert "field 'tenant': expected a value, which this index requires" in failure.reason
        assert [one.label for one in index.documents(where={"tenant": {"$in": ["a", "b"]}})] == ["x", None]


def test_a_sync_afterwards_writes_what_the_source_says(indexer, opened, counting):
    indexer.update(["a", "b", "c"], metadata={"topic": "w", "year": 1}, label="z")
    assert [one.label for one in opened.documents()] == ["z"] * 3
    report = indexer.sync([A, B, C])
    assert (report.updated, report.unchanged, report.passages) == (3, 0, 0)
    assert list(opened.documents()) == [A, B, C]
    assert found(opened, {"topic": "w"}) == found(opened, {"year": 1}) == []
    assert counting.texts == []


def interfering(monkeypatch, name, redis_url, times):
    """Let another writer change document a, so many times, between the reading and the writing of an update."""
    from ragknn.indexing import _changing

    write, left = _changing.change_documents, list(range(times))

    def interfered(keys, changes):
        if left:
            number = left.pop()
            kept, left[:] = left[:], []  # not while the other one writes
            with Index(name, url=redis_url) as other:
                assert Indexer(other).update(["a"], metadata={f"theirs{number}": number}).updated == 1
            left[:] = kept
        return (yield from write(keys, changes))

    monkeypatch.setattr(_changing, "change_documents", interfered)


def test_of_two_changes_at_once_neither_is_lost(indexer, opened, redis_url, monkeypatch):
    interfering(monkeypatch, opened.name, redis_url, 2)
    report = indexer.update(["a", "b"], metadata={"mine": 1}, label="z")
    assert (report.updated, report.failed) == (2, ())
    [a, b] = opened.documents(["a", "b"])
    assert a.metadata == {**A.metadata, "mine": 1, "theirs0": 0, "theirs1": 1}
    assert (a.label, b.metadata) == ("z", {**B.metadata, "mine": 1})


def test_a_document_that_others_never_stop_changing_is_told(indexer, opened, redis_url, monkeypatch):
    interfering(monkeypatch, opened.name, redis_url, 99)
    report = indexer.update(["a", "b"], metadata={"mine": 1, "year": []}, on_bad_field="leave_out")
    assert report.ids["updated"] == ("b",)
    assert [failure.document_id for failure in report.failed] == ["a"]
    assert "got it changed; try again" in report.failed[0].reason
    assert [one.document_id for one in report.left_out] == ["b"]
    assert "mine" not in next(iter(opened.documents(["a"]))).metadata


def versioned(name, version):
    """A document of which text, label and metadata all tell the version, with more or fewer passages."""
    return Document(name, f"v{version} " * (version % 23 + 2), version, {"v": version, "u": version})


@pytest.mark.long
def test_whoever_reads_while_others_write_sees_whole_documents(faces, redis_url, index_name):
    names = [f"d{number}" for number in range(8)]
    errors, done = [], threading.Event()

    def run(write):
        try:
            with Index(index_name, url=redis_url) as index:
                for version in range(1, 60):
                    write(Indexer(index, WORDS), version)
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    def replace(indexer, version):
        indexer.add([versioned(name, version) for name in names])

    def update(indexer, version):
        report = indexer.update(names, metadata={"u": -version}, label=-version)
        # A document that is written too often meanwhile is told, and stays as it is.
        assert all("got it changed; try again" in failure.reason for failure in report.failed)

    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields={"u": "numeric"}) as index:
        faces.indexer(index, WORDS).add([versioned(name, 0) for name in names])
        threads = [threading.Thread(target=run, args=[write]) for write in (replace, update)]
        for thread in threads:
            thread.start()
        reads = 0
        while any(thread.is_alive() for thread in threads) or not reads:
            for document in index.documents(names, vectors=True):
                version = document.metadata["v"]
                assert document.text == versioned(document.id, version).text
                assert document.label == document.metadata["u"]
                assert len(document.vectors) == -(-(version % 23 + 2) // 4)
                reads += 1
        for thread in threads:
            thread.join()
        assert errors == []
        assert reads >= len(names)
        for document in index.documents():
            passages = list(index.passages([f"{document.id}#{number}" for number in range(10)]))
            assert {json.dumps([one.label, one.metadata]) for one in passages} == {
                json.dumps([document.label, document.metadata])
            }
            assert len(passages) == -(-(document.metadata["v"] % 23 + 2) // 4)
            assert document.id in found(index, {"u": document.label, "label": document.label})
        assert faces.indexer(index, WORDS).sync([versioned(name, 99) for name in names]).failed == ()
        assert list(index.documents()) == [versioned(name, 99) for name in names]


# ---- add_fields ------------------------------------------------------------------------------------------------

LATER = [
    Document("a", "one two three four five six", None, {"t": "u", "n": 5, "w": "Quick fox", "in": {"side": "x"}}),
    Document("b", "seven", None, {"t": ["u", 1], "n": "2024-02-29", "w": "dog", "in.side": "y"}),
    Document("c", "eight", None, {"t": {"not": "a tag"}, "n": "soon", "w": 7, "in": 3}),
    Document("d", "nine", None, {}),
]
NEW = {"t": "tag", "n": "numeric", "w": "text", "in.side": "tag"}


@pytest.fixture
def later(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields={"old": "tag"}) as index:
        assert faces.indexer(index, WORDS).add(LATER).failed == ()
        yield index


def check_later(index):
    assert found(index, {"t": "u"}) == ["a", "b"]
    assert found(index, {"t": 1}) == ["b"]
    assert found(index, {"n": {"$gte": 5}}) == ["a", "b"]
    assert found(index, {"n": date(2024, 2, 29)}) == ["b"]
    assert found(index, {"w": {"$contains": "FOX"}}) == ["a"]
    assert found(index, {"in.side": {"$in": ["x", "y"]}}) == ["a", "b"]
    assert found(index, {"t": None}) == found(index, {"n": None}) == found(index, {"w": None}) == ["c", "d"]
    assert [passage.id for passage in index.passages(where={"t": "u", "n": 5})] == ["a#0", "a#1"]


def test_fields_that_are_added_later_are_filled_and_found_like_the_first(faces, later, redis_url):
    with pytest.raises(ValueError, match="expected a field that can be filtered on, got 't'"):
        later.count({"t": "u"})
    report = later.add_fields(NEW)
    assert (report.failed, report.updated) == ((), 4)
    assert {(one.document_id, one.reason.partition(":")[0]) for one in report.left_out} == {
        ("c", "field 't'"), ("c", "field 'n'"), ("c", "field 'w'"),
    }  # fmt: skip
    assert len(report.left_out) == 3
    check_later(later)
    assert later.describe().fields == {"old": "tag", **NEW}
    faces.indexer(later, WORDS).add([Document("e", "ten", None, {"t": "u", "n": -1, "in": {"side": "x"}})])
    assert found(later, {"t": "u", "n": -1, "in.side": "x"}) == ["e"]
    assert later.values("n") == {5.0: 1, 1709164800.0: 1, -1.0: 1}
    with faces.index(later.name, url=redis_url) as other:
        assert found(other, {"t": "u", "n": -1}) == ["e"]
    assert list(later.documents(["a", "b", "c", "d"])) == LATER


@pytest.mark.parametrize("fields", [{"old": "tag"}, {"old": "tag", "n": "numeric"}, {}, None])
def test_an_index_is_opened_with_its_older_fields_too(faces, later, redis_url, fields):
    later.add_fields(NEW)
    with faces.index(later.name, url=redis_url, fields=fields) as other:
        check_later(other)
    other = faces.index(later.name, url=redis_url, fields={"old": "numeric"})
    with pytest.raises(SchemaMismatch, match=r"fields: expected \{'old': 'numeric'\}"):
        other.count()


def test_a_field_that_is_there_is_left_as_it_is(later):
    assert later.add_fields({"old": "tag"}).updated == 0
    later.add_fields(NEW)
    report = later.add_fields({"n": "numeric", "more": "tag"})
    assert report.left_out == ()
    assert later.add_fields(NEW).updated == 0
    check_later(later)


def test_a_field_of_another_type_is_refused_and_none_is_declared(later):
    with pytest.raises(SchemaMismatch, match="field 'old': expected 'numeric', found 'tag'"):
        later.add_fields({"n": "numeric", "old": "numeric"})
    assert dict(later.schema.fields) == {"old": "tag"}
    with pytest.raises(ValueError, match="expected a field that can be filtered on"):
        later.count({"n": 5})


def test_a_declaration_that_was_broken_off_is_not_taken_for_another_type(later):
    later._run(declare_fields(later._keys, {"n": "tag"}))
    for kind in ("numeric", "text"):
        with pytest.raises(SchemaMismatch, match=f"field 'n': expected '{kind}', found 'tag'"):
            later.add_fields({"n": kind})
    assert dict(later.schema.fields) == {"old": "tag"}
    later.add_fields({"n": "tag"})
    assert found(later, {"n": 5}) == ["a"]


@pytest.mark.parametrize("name", ["label", "document_id", "", "$x", 3])
def test_names_that_cannot_be_declared_are_refused(later, name):
    with pytest.raises(ValueError, match="expected a field name"):
        later.add_fields({name: "tag"})
    with pytest.raises(ValueError, match="expected the type of field 'x' to be one of"):
        later.add_fields({"x": "date"})


def test_what_is_written_without_the_fields_while_they_are_filled_is_filled_too(faces, later, redis_url, monkeypatch):
    from ragknn.indexing import _changing

    def swapping(keys, old, new):
        # Another process that has the index open as it was writes between the filling and the declaring.
        with Index(later.name, url=redis_url) as other:
            other_indexer = Indexer(other, WORDS)
            other_indexer.add([Document("a", "new text", None, LATER[0].metadata), Document("z", "x", None, {"n": 5})])
        return (yield from swap(keys, old, new))

    swap = _changing.swap_manifest
    monkeypatch.setattr(_changing, "swap_manifest", swapping)
    report = later.add_fields(NEW)
    assert {"a", "z"} <= set(report.ids["updated"])
    assert len(set(report.ids["updated"])) == report.updated
    assert found(later, {"n": 5}) == ["a", "z"]
    assert found(later, {"t": "u", "in.side": "x"}) == ["a"]


def test_fields_are_added_by_two_at_once(faces, later, redis_url):
    errors = []

    def adding(fields):
        try:
            with Index(later.name, url=redis_url) as index:
                index.add_fields(fields)
                check_fields(index, fields)
        except BaseException as error:
            errors.append(error)

    def check_fields(index, fields):
        assert index.schema.fields.items() >= fields.items()

    parts = [{name: NEW[name] for name in names} for names in (("t", "n"), ("n", "w", "in.side"))]
    threads = [threading.Thread(target=adding, args=[part]) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with faces.index(later.name, url=redis_url) as other:
        check_later(other)


ADDING = """
    import sys
    from ragknn import Index
    from ragknn.server import _driving

    url, name, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
    index = Index(name, url=url).open()
    exchange, rounds = _driving.exchange, []

    def stopping(client, commands, read=None, **options):
        if {command[0] for command in commands} != {"FT.INFO"}:  # which is asked as often as the server needs
            rounds.append(commands)
            if len(rounds) == last:
                print("stopped", flush=True)
                sys.stdin.read()  # whoever is to be killed waits here for it
        return exchange(client, commands, read, **options)

    _driving.exchange = stopping
    index.add_fields({"n": "numeric", "t": "tag"})
    print(len(rounds))
"""


@pytest.mark.long
def test_fields_are_declared_whole_or_not_at_all_wherever_their_adding_is_killed(redis_url, index_name):
    ids = [f"{number:03}" for number in range(600)]
    command = [sys.executable, "-c", textwrap.dedent(ADDING), redis_url, index_name]

    def run(last):
        return subprocess.Popen([*command, str(last)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fill(index):
        metadata = [{"n": number, "t": str(number % 2)} for number in range(600)]
        Indexer(index).add_vectors(ids, np.ones((600, 2)), metadata=metadata)

    def is_declared(index):
        try:
            assert index.count({"n": {"$gte": 100}}) == 500
            assert found(index, {"t": "1", "n": {"$lt": 10}}) == ["001", "003", "005", "007", "009"]
        except ValueError:
            return False
        return True

    with Index(index_name, url=redis_url, dim=2, text_search=False) as index:
        fill(index)
    with run(0) as process:  # from its beginning to its end
        rounds = int(process.stdout.readline())
    with Index(index_name, url=redis_url, dim=2, text_search=False) as index:
        assert is_declared(index)
        index.drop()
    with Index(index_name, url=redis_url, dim=2, text_search=False) as index:
        fill(index)
    declared = []
    for last in (2, 4, rounds // 2, rounds - 3, rounds - 1, rounds):
        with run(last) as process:
            if stopped := process.stdout.readline() == "stopped\n":
                os.kill(process.pid, signal.SIGKILL)
        assert stopped or declared[-1], (last, rounds, declared)
        with Index(index_name, url=redis_url) as index:
            declared.append(is_declared(index))
            assert declared[-1] == bool(index.schema.fields)
    assert declared[:3] == [False] * 3
    with Index(index_name, url=redis_url) as index:
        index.add_fields({"n": "numeric", "t": "tag"})
        assert is_declared(index)
        assert index.values("n") == {float(number): 1 for number in range(600)}


def test_a_document_of_which_a_passage_is_gone_is_never_changed_by_half(indexer, opened, client):
    indexer.add([A])
    whole = list(opened.passages())
    client.unlink(opened._keys.passage("a", 1))
    report = indexer.update(["a"], metadata={"mine": 1})
    assert (report.updated, [failure.document_id for failure in report.failed]) == (0, ["a"])
    assert "some of its passages are gone from the server" in report.failed[0].reason
    assert client.exists(opened._keys.passage("a", 1)) == 0
    assert indexer.add([A]).updated == 1
    assert list(opened.passages()) == whole


def test_a_document_of_which_the_first_passage_is_gone_counts_as_not_stored(indexer, opened, client):
    indexer.add([A])
    whole = list(opened.passages())
    client.unlink(opened._keys.passage("a", 0))
    assert indexer.update(["a"], metadata={"mine": 1}).ids["updated"] == ()
    assert opened.exists(["a"]) == [False]
    assert indexer.add([A]).updated == 1
    assert list(opened.passages()) == whole
    client.unlink(opened._keys.passage("a", 0))
    assert indexer.delete(["a"]) == 0
    assert not list(client.scan_iter(f"{opened._keys.passages('a')}*"))


def test_adding_a_document_with_another_label_brings_back_a_passage_that_is_gone(indexer, opened, client):
    indexer.add([A])
    client.unlink(opened._keys.passage("a", 1))
    report = indexer.add([Document("a", A.text, "another", A.metadata)])
    assert (report.updated, report.failed) == (1, ())
    own = opened.passages(where={"document_id": "a"})
    assert [(one.number, one.label) for one in own] == [(0, "another"), (1, "another")]
