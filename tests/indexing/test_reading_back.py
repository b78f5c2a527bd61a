"""What was stored is read back: documents, passages, values and counts, compared with what was given."""

import json
import math
import os
import re
from collections import Counter
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer, Passage, Splitter
from ragknn.indexing._reading import DOCUMENTS_PER_PART, PASSAGES_PER_PART

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
SPACES = [" ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u2028", "\x0b", "\x85", "\ufeff", "\x00"]
TEXTS = st.one_of(UNICODE, st.lists(st.sampled_from([*SPACES, "word", "Ä. ", "日本", "🏷️", "# H\n"])).map("".join))
IDS = st.one_of(
    UNICODE,
    st.text(st.sampled_from("a#{}%01\x00\n:*\\\"' "), max_size=8),
    st.integers(0, 3).map(lambda number: f"a#{number}"),
    st.integers(100, 4_000).map(lambda length: "1" * length),
).filter(bool)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), UNICODE)
METADATA = st.dictionaries(
    UNICODE,
    st.recursive(SCALARS, lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(UNICODE, one, max_size=3))),
    max_size=4,
)
LABELS = st.one_of(st.none(), UNICODE, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@pytest.fixture
def opened(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        yield index


def add(faces, index, *documents, splitter=None):
    report = faces.indexer(index, splitter or Splitter(4, 1, "words")).add(documents)
    assert report.failed == ()
    return report


# ---- whatever was given comes back -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(redis_url):
    """One index for all examples of a property, each of which clears it."""
    with Index(f"read-back-{os.getpid()}", url=redis_url, embedder=HashingEmbedder(8)) as index:
        yield index
        index.drop()


def numbered(values):
    """Give ids that stay the same from example to example, so that each replaces the one before."""
    return [(f"n{number}", value) for number, value in enumerate(values)]


@settings(max_examples=25)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=12),
    size=st.integers(1, 7),
    share=st.floats(0, 0.9),
    unit=st.sampled_from(["tokens", "words", "characters"]),
)
def test_any_text_comes_back_to_the_character(shared, texts, size, share, unit):
    indexer = Indexer(shared, Splitter(size, int(size * share), unit))
    indexer.delete([name for name, _ in numbered(texts)])
    documents = [Document(name, text) for name, text in numbered(texts)]
    refused = {failure.document_id: failure.reason for failure in indexer.add(documents).failed}
    assert set(refused.values()) <= {"expected text, got none or only white space"}
    assert not any(document.text.strip() for document in documents if document.id in refused)
    there = [document for document in documents if document.id not in refused]
    assert list(shared.documents([document.id for document in documents])) == there


@settings(max_examples=40)
@given(ids=st.lists(IDS, min_size=1, max_size=6, unique=True), asked=st.lists(IDS, max_size=6))
def test_any_ids_are_read_back_in_the_order_in_which_they_are_asked_for(shared, ids, asked):
    documents = {one: Document(one, f"a text of {len(one)} characters") for one in ids}
    indexer = Indexer(shared, Splitter(2, 0, "words"))
    assert indexer.add(documents.values()).failed == ()
    passages = {f"{one}#{number}" for one in ids for number in range(3)}
    wanted = [*asked, *reversed(ids), *asked]
    assert list(shared.documents(wanted)) == [documents[one] for one in wanted if one in documents]
    assert shared.exists(wanted) == [one in documents for one in wanted]
    spots = [*wanted, *(f"{one}#{number}" for one in wanted for number in ("0", "2", "3", "00", "-1", "²", "9" * 5000))]
    assert [passage.id for passage in shared.passages(spots)] == [one for one in spots if one in passages]
    assert {document.id for document in shared.documents()} >= set(ids)
    assert indexer.delete(ids) == len(ids)


@settings(max_examples=25)
@given(st.lists(st.tuples(LABELS, METADATA), min_size=1, max_size=12))
def test_any_metadata_comes_back_as_json_would_bring_it_back_and_any_label_with_its_type(shared, given):
    documents = [Document(name, "text", *details) for name, details in numbered(given)]
    assert Indexer(shared).add(documents).failed == ()
    ids = [document.id for document in documents]
    for document, read, passage in zip(
        documents, shared.documents(ids), shared.passages([f"{one}#0" for one in ids]), strict=True
    ):
        assert read.metadata == passage.metadata == json.loads(json.dumps(document.metadata))
        assert repr(read.label) == repr(passage.label) == repr(document.label)


class Colour(Enum):
    RED = "red"


GIVEN = {
    "uuid": (UUID(int=7), str(UUID(int=7))),
    "decimal": (Decimal("1.50"), "1.50"),
    "path": (PurePosixPath("a/b"), "a/b"),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "frozen": (frozenset({"b", "a"}), ["a", "b"]),
    "mixed": ({1, "a"}, [1, "a"]),
    "uuids": ({UUID(int=1)}, [str(UUID(int=1))]),
    "date": (date(2024, 2, 29), "2024-02-29"),
    "datetime": (datetime(2024, 2, 29, 12, 30), "2024-02-29T12:30:00"),
    "time": (time(12, 30), "12:30:00"),
    "day": (np.datetime64("2024-02-29"), "2024-02-29"),
    "enum": (Colour.RED, "red"),
    "tuple": ((1, (2,)), [1, [2]]),
    "int64": (np.int64(3), 3),
    "float32": (np.float32(0.5), 0.5),
    "bool": (np.bool_(True), True),
    "str": (np.str_("s"), "s"),
    "array": (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    "nested": ({"deep": [{Decimal(1), Decimal(2)}]}, {"deep": [["1", "2"]]}),
}


def test_usual_types_that_json_does_not_know_are_stored_as_text_lists_and_numbers(faces, opened):
    add(faces, opened, Document("a", "text", np.int64(3), {key: given for key, (given, _) in GIVEN.items()}))
    [read] = opened.documents()
    assert read.metadata == {key: stored for key, (_, stored) in GIVEN.items()}
    assert type(read.label) is int
    assert {key: type(read.metadata[key]) for key in ("int64", "float32", "bool", "str")} == {
        "int64": int, "float32": float, "bool": bool, "str": str,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metadata", "entry"),
    [
        ({"a": {"b": [1, object()]}}, r"<object .*> of type object in \['a'\]\['b'\]\[1\]"),
        ({"a": b"bytes"}, r"b'bytes' of type bytes in \['a'\]"),
        ({"a": math.nan}, r"nan of type float in \['a'\]"),
        ({"a": [1, math.inf]}, r"inf of type float in \['a'\]\[1\]"),
        ({"a": {(1, 2): 3}}, r"the key \(1, 2\) of type tuple in \['a'\]"),
        ({"a": np.array([1, math.nan])}, r"array\(.*\) of type ndarray in \['a'\]"),
        ({"a": {UUID(int=1): 3}}, r"the key UUID\(.*\) of type UUID in \['a'\]"),
    ],
)
def test_what_metadata_cannot_hold_is_named_with_its_entry(faces, opened, metadata, entry):
    [failure] = faces.indexer(opened).add([Document("a", "text", None, metadata)]).failed
    assert re.fullmatch(f"expected metadata that JSON can hold, got {entry}", failure.reason)


@pytest.mark.parametrize("metadata", [[1], "text", None, [("a", 1)], 3])
def test_metadata_that_is_no_mapping_is_a_type_error(metadata):
    with pytest.raises(TypeError, match="expected the metadata of document 'a' as a mapping such as a dict, got"):
        Document("a", "text", None, metadata)


# ---- which documents -------------------------------------------------------------------------------------------

SIX = [Document(name, f"word {name} " * 3, number % 2, {"n": number}) for number, name in enumerate("badcfe")]


@pytest.fixture
def six(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields={"n": "numeric"}) as index:
        add(faces, index, *SIX)
        yield index


def by_id(*names):
    return [next(document for document in SIX if document.id == name) for name in names]


def test_ids_and_a_filter_together_give_what_is_in_both(six):
    assert list(six.documents()) == by_id(*"abcdef")
    assert list(six.documents([])) == list(six.passages([])) == []
    assert list(six.documents(["f", "x", "a"])) == by_id("f", "a")
    assert list(six.documents(where={"n": {"$gte": 3}})) == by_id("c", "e", "f")
    assert list(six.documents(["f", "a", "c"], where={"n": {"$gte": 3}})) == by_id("f", "c")
    assert list(six.documents(where={"n": 99})) == list(six.documents(["a"], where={"n": 99})) == []
    assert [one.id for one in six.passages(where={"n": {"$gte": 4}})] == ["e#0", "e#1", "f#0", "f#1"]
    assert [one.id for one in six.passages(["f#1", "a#0", "f#0", "f#2"], where={"n": 4})] == ["f#1", "f#0"]
    assert six.exists(["a", "x", "f"]) == [True, False, True]
    assert six.exists(["a", "x", "f"], where={"n": 4}) == [False, False, True]
    assert six.count_documents() == 6
    assert six.count_documents({"label": 1}) == 3


def test_an_id_given_twice_comes_twice_however_far_apart(six):
    far = ["a", *(f"x{number}" for number in range(2 * PASSAGES_PER_PART)), "a"]
    assert list(six.documents(["a", "b", "a"])) == by_id("a", "b", "a")
    assert list(six.documents(far)) == by_id("a", "a")
    assert [one.id for one in six.passages(["a#0", "a#0"])] == ["a#0", "a#0"]
    assert six.exists(["a", "a"]) == [True, True]


@pytest.mark.parametrize("method", ["documents", "passages", "exists"])
@pytest.mark.parametrize("ids", ["abc", 3])
def test_one_id_in_place_of_several_is_a_type_error_at_the_call(redis_url, index_name, method, ids):
    with (
        Index(index_name, url=redis_url, dim=2) as index,
        pytest.raises(TypeError, match="expected an iterable of ids"),
    ):
        getattr(index, method)(ids)


@pytest.mark.parametrize("ids", ["abc", 3])
def test_one_id_is_a_type_error_at_the_call_in_async_code_too(faces, opened, ids):
    if faces.kind == "async":
        for method in (opened._wrapped.documents, opened._wrapped.passages):
            with pytest.raises(TypeError, match="expected an iterable of ids"):
                method(ids)
    with pytest.raises(TypeError, match="expected an iterable of ids"):
        opened.exists(ids)


@pytest.mark.parametrize("method", ["documents", "passages", "exists"])
@pytest.mark.parametrize("one", [3, None, b"a"])
def test_an_id_of_another_type_is_a_type_error(opened, method, one):
    with pytest.raises(TypeError, match="expected an id of type str, got"):
        list(getattr(opened, method)(["a", one]))


@pytest.mark.parametrize("where", [None, {"n": 4}])
@pytest.mark.parametrize("one", ["\ud800", "i" * 5_000, "#", "#0", "", "f#" + "1" * 5_000, "f#01", "f#-1"])
def test_ids_that_nothing_can_have_are_not_there(faces, six, one, where):
    assert [document.id for document in six.documents([one, "f"], where=where)] == ["f"]
    assert [passage.id for passage in six.passages([one, "f#0"], where=where)] == ["f#0"]
    assert six.exists([one, "f"], where=where) == [False, True]
    assert faces.indexer(six).update([one], label="x").updated == 0
    assert faces.indexer(six).delete([one]) == 0


@pytest.mark.parametrize(
    "read",
    [
        lambda index, where: list(index.documents(where=where)),
        lambda index, where: list(index.documents(["a"], where=where)),
        lambda index, where: list(index.passages(where=where)),
        lambda index, where: list(index.passages(["a#0"], where=where)),
        lambda index, where: index.exists(["a"], where=where),
        lambda index, where: index.count_documents(where),
        lambda index, where: index.count(where),
        lambda index, where: index.values("label", where),
        lambda index, where: index.value_range("n", where),
    ],
)
def test_a_required_filter_that_is_left_out_is_refused_by_every_read(faces, redis_url, index_name, read):
    options = {"fields": {"n": "numeric", "tenant": "tag"}, "required_filter": "tenant"}
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), **options) as index:
        add(faces, index, Document("a", "text", 1, {"tenant": "t", "n": 1}))
        for where in (None, {}, {"n": 1}, {"tenant": {"$ne": "u"}}):
            with pytest.raises(ValueError, match="expected a filter on 'tenant', which this index requires"):
                read(index, where)
        assert read(index, {"tenant": "t"})
        assert not read(index, {"tenant": "u"}) or read(index, {"tenant": "u"}) == [False]


def test_vectors_come_with_documents_and_passages_when_they_are_asked_for(faces, opened):
    add(faces, opened, Document("a", "one two three four five six"), Document("b", "seven"))
    passages = list(opened.passages(vectors=True))
    expected = HashingEmbedder(16).embed_documents([passage.text for passage in passages])
    np.testing.assert_array_equal([passage.vector for passage in passages], expected)
    [a, b] = opened.documents(vectors=True)
    np.testing.assert_array_equal(np.vstack([a.vectors, b.vectors]), expected)
    assert [one.vectors for one in opened.documents()] == [one.vector for one in opened.passages(["a#0", "b#0"])]
    np.testing.assert_array_equal(next(iter(opened.passages(["b#0"], vectors=True))).vector, expected[-1])


@pytest.mark.parametrize(("protocol", "decode_responses"), [(2, False), (2, True), (3, True)])
def test_any_client_reads_the_same(faces, redis_url, six, protocol, decode_responses):
    world = redis if faces.kind == "sync" else redis.asyncio
    client = world.Redis.from_url(redis_url, protocol=protocol, decode_responses=decode_responses)
    with faces.index(six.name, client=client) as index:
        assert list(index.documents()) == by_id(*"abcdef")
        for where in (None, {"n": {"$gte": 3}}):
            found, expected = ([*one.passages(where=where, vectors=True)] for one in (index, six))
            assert found == expected
            np.testing.assert_array_equal([one.vector for one in found], [one.vector for one in expected])
            assert [*index.documents(["f", "a"], where=where)] == [*six.documents(["f", "a"], where=where)]
            assert index.exists(["f", "a", "x"], where=where) == six.exists(["f", "a", "x"], where=where)
            for field in ("n", "label", "document_id"):
                assert index.values(field, where) == six.values(field, where)
            assert index.value_range("n", where) == six.value_range("n", where)
            assert index.count_documents(where) == six.count_documents(where)
        assert faces.indexer(index).update(["a"], metadata={"m": 1}).updated == 1
        assert index.add_fields({"m": "numeric"}).updated >= 1
        assert [one.id for one in index.documents(where={"m": 1})] == ["a"]
    faces.call(redis.Redis.close, redis.asyncio.Redis.aclose, client)


# ---- streaming -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(redis_url):
    """5,000 documents of two passages each, some with another label."""
    with Index(f"many-{os.getpid()}", url=redis_url, dim=2, text_search=False, fields={"n": "numeric"}) as index:
        vectors = np.ones((2, 2))
        passages = (
            Passage(
                f"{number:04}#{part}", f"{number:04}", f"text {part}", 0, 0, None, {"n": number}, vector=vectors[part]
            )
            for number in range(5_000)
            for part in range(2)
        )
        assert Indexer(index).add_passages(passages, batch_size=1_000).failed == ()
        yield index
        index.drop()


@pytest.fixture
def rounds(monkeypatch):
    """Count the round trips of both worlds."""
    from ragknn.server import _driving

    made = []

    def sent(exchange, *arguments, **options):
        made.append(1)
        return exchange(*arguments, **options)

    for name in ("exchange", "aexchange"):
        monkeypatch.setattr(_driving, name, partial(sent, getattr(_driving, name)))
    return made


def test_many_documents_are_read_a_part_at_a_time_and_in_order(faces, redis_url, many, rounds):
    names = [f"{number:04}" for number in range(5_000)]
    with faces.index(many.name, url=redis_url) as index:
        del rounds[:]
        assert [document.id for document in index.documents()] == names
        scans = len(rounds) - 5_000 // DOCUMENTS_PER_PART
        assert 0 < scans < 200  # what it takes to look through all keys of the server, a thousand at a time
        del rounds[:]
        assert [one.id for one in index.passages(where={"n": {"$lt": 2_500}})] == [
            f"{name}#{part}" for name in names[:2_500] for part in range(2)
        ]
        assert len(rounds) <= 5_000 // PASSAGES_PER_PART + 5_000 // 1_000 + 2
        del rounds[:]
        assert [one.id for one in index.documents(reversed(names))] == names[::-1]
        assert len(rounds) == 5_000 // DOCUMENTS_PER_PART
        del rounds[:]
        assert index.exists(names) == [True] * 5_000
        assert len(rounds) <= 5_000 // DOCUMENTS_PER_PART


def test_ids_are_taken_when_they_are_needed(faces, redis_url, many, rounds):
    taken = []

    def ids():
        for number in range(5_000):
            taken.append(number)
            yield f"{number:04}"

    with faces.index(many.name, url=redis_url) as index:
        stream = iter(index.documents(ids()))
        assert not taken
        del rounds[:]
        assert next(stream).id == "0000"
        assert len(taken) <= DOCUMENTS_PER_PART
        assert len(rounds) == 1
        assert sum(1 for _ in stream) == 4_999


# ---- values and ranges -----------------------------------------------------------------------------------------

FIELDS = {"tags": "tag", "year": "numeric", "title": "text", "a b": "tag"}
ODD = ["", " ", " a ", "a,b", "%", "\\", "\x1f", "\n", '"', "日本", "🏷️", "x" * 4_000]
SEVERAL = [
    Document("a", "one two three four five six", 1, {"tags": ["u", "v", "u"], "year": 0.1 + 0.2, "a b": True}),
    Document("b", "seven", "l", {"tags": "u", "year": 0.3, "a b": " q "}),
    Document("c", "eight", 1.5, {"tags": [], "year": 2**53 + 2, "a b": 2}),
    Document("d", "nine", None, {"tags": ["v", 3, 2.5, False], "year": date(2024, 2, 29)}),
    Document("e", "ten", "l", {"tags": None, "year": True}),
    Document("f", "eleven", "L", {"tags": ODD, "year": -0.0}),
    Document("g", "twelve", False, {"year": -1e300}),
]


def tally(field, documents=SEVERAL):
    """Count the documents that have each value of a field."""
    counts = Counter()
    for document in documents:
        stored = {**document.metadata, "label": document.label, "document_id": document.id}.get(field)
        if isinstance(stored, date):
            stored = (stored - date(1970, 1, 1)).total_seconds()
        several = stored if isinstance(stored, list) else [stored]
        counts.update({float(one) if field == "year" else one for one in several if one is not None})
    return counts


@pytest.fixture
def several(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields=FIELDS, any_field=False) as index:
        add(faces, index, *SEVERAL)
        yield index


@pytest.mark.parametrize("field", ["tags", "year", "label", "document_id", "a b"])
def test_the_values_of_a_field_are_counted_by_documents(several, field):
    found = several.values(field)
    assert found == tally(field)
    assert {repr(value) for value in found} == {repr(value) for value in tally(field)}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    among = [document for document in SEVERAL if document.id in ("a", "b", "d")]
    assert several.values(field, {"document_id": {"$in": ["a", "b", "d"]}}) == tally(field, among)
    assert several.values(field, {"document_id": "nosuch"}) == {}


def test_a_range_is_exact_and_follows_the_filter(several):
    assert several.value_range("year") == (-1e300, float(2**53 + 2))
    assert several.value_range("year", {"document_id": {"$in": ["a", "b"]}}) == (0.3, 0.1 + 0.2)
    assert several.value_range("year", {"label": "L"}) == (0.0, 0.0)
    assert several.value_range("year", {"document_id": "nosuch"}) is None


def test_an_empty_index_has_no_values(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, fields=FIELDS, any_field=True) as index:
        assert [index.values(field) for field in ("tags", "year", "label", "document_id", "a b", "other")] == [{}] * 6
        assert index.value_range("year") is None
        assert (index.count_documents(), list(index.documents()), list(index.passages())) == (0, [], [])
        assert index.exists(["a"]) == [False]


def test_fields_that_have_no_values_are_refused(several):
    with pytest.raises(ValueError, match="field 'title': expected a tag or numeric field, got text"):
        several.values("title")
    with pytest.raises(
        ValueError, match=r"expected a field that can be filtered on, label, document_id, .*got 'nosuch'"
    ):
        several.values("nosuch")
    for field in ("tags", "title", "label"):
        with pytest.raises(ValueError, match=f"field '{field}': expected a field declared as numeric, got"):
            several.value_range(field)


def test_each_of_thousands_of_values_is_counted(many):
    assert many.values("n") == {float(number): 1 for number in range(5_000)}
    assert many.values("document_id") == {f"{number:04}": 1 for number in range(5_000)}


def test_a_field_named_as_a_name_of_the_counting_is_counted_too(faces, redis_url, index_name):
    fields = dict.fromkeys(["n", "value", "stored", "text", "id", "metadata"], "numeric")
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields=fields) as index:
        add(faces, index, Document("a", "text", 3, dict.fromkeys(fields, 7)))
        for field in fields:
            assert index.values(field) == {7.0: 1}
            assert index.value_range(field) == (7.0, 7.0)
            assert [one.text for one in index.documents(where={field: 7})] == ["text"]
        [[found]] = faces.retriever(index).retrieve_many(["text"], 1)
        assert (found.passage.id, found.passage.text, found.passage.metadata) == (
            "a#0",
            "text",
            dict.fromkeys(fields, 7),
        )
