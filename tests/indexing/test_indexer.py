import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import redis
from embedders import CountingEmbedder
from servers import private_server

from ragknn import CommandRefused, Document, Failure, HashingEmbedder, IngestReport, InvalidVectors, Splitter
from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.hashing import digest
from ragknn._protocol.keys import Keys

WORDS = Splitter(size=4, overlap=0, unit="words")
RECORD = ("text_hash", "details_hash", "passages", "digests", "gaps", "page_starts")


class Source:
    """A source with documents that cannot be read."""

    def __init__(self, *outcomes):
        self._outcomes = outcomes

    def __iter__(self):
        raise AssertionError("an indexer takes the outcomes")

    def outcomes(self):
        return iter(self._outcomes)


@pytest.fixture
def counting():
    return CountingEmbedder()


@pytest.fixture
def opened(faces, redis_url, index_name, counting):
    """An empty index whose embedder counts."""
    with faces.index(index_name, url=redis_url, embedder=counting) as index:
        yield index


@pytest.fixture
def indexer(faces, opened):
    return faces.indexer(opened, WORDS)


@pytest.fixture
def stored(client, index_name):
    """Tell for each stored document its record and the hashes of its passages, vectors left out."""
    return lambda: read_stored(client, index_name)


def read_stored(client, name):
    keys = Keys(name)
    documents = {}
    for key in client.scan_iter(f"{keys.passage_prefix}*", count=1000):
        document_id, number = keys.split_passage(key.decode())
        fields = {field.decode(): value for field, value in client.hgetall(key).items()}
        assert fields.pop("digest").decode() == digest(fields["text"].decode(), fields.pop("vector"))
        texts = {field: value.decode() for field, value in fields.items()}
        record = {field: texts.pop(field) for field in RECORD if field in texts}
        assert (number == 0) == bool(record)
        top, parts = documents.setdefault(document_id, ({}, []))
        top.update(record)
        parts.append((number, texts))
    return {document_id: (top, [f for _, f in sorted(parts)]) for document_id, (top, parts) in documents.items()}


def counts(report):
    """Return the report's numbers, without its seconds."""
    values = (report.added, report.updated, report.unchanged, report.deleted, report.passages)
    return (*values, len(report.failed), report.kept)


def texts_of(documents):
    return {document_id: [part["text"] for part in parts] for document_id, (_, parts) in documents.items()}


# ---- add and sync ----------------------------------------------------------------------------------------------

A = Document("a", "one two three four five six seven", "x", {"year": 2020, "tags": ["u"]})
B = Document("b", "eight nine ten", 3)
C = Document("c", "eleven")


def test_documents_are_added_updated_and_left_alone(indexer, stored, counting):
    report = indexer.add([A, B])
    assert report == IngestReport(added=2, passages=3, embedded=3, seconds=report.seconds)
    assert texts_of(stored()) == {"a": ["one two three four", "five six seven"], "b": ["eight nine ten"]}
    changed = Document("b", "eight nine TEN", 3)
    report = indexer.add([A, changed, C])
    assert report == IngestReport(added=1, updated=1, unchanged=1, passages=2, embedded=2, seconds=report.seconds)
    assert report.documents == 3
    assert counting.texts[3:] == ["eight nine TEN", "eleven"]
    assert texts_of(stored())["b"] == ["eight nine TEN"]


def test_what_is_stored_of_a_document_is_all_of_it_and_nothing_else(indexer, stored):
    indexer.add([A, C])
    documents = stored()
    top, parts = documents["a"]
    assert sorted(top) == ["details_hash", "digests", "gaps", "passages", "text_hash"]
    assert (top["passages"], top["gaps"]) == ("2", '[[18, " "]]')
    assert sorted(documents["c"][0]) == ["details_hash", "passages", "text_hash"]
    shared = {"document_id": '"a"', "label": '"x"'}
    metadata = [json.loads(part.pop("metadata")) for part in parts]
    assert metadata == [{"year": 2020, "tags": ["u"]}] * 2
    assert parts == [
        {"text": "one two three four", "terms": "one two three four", "start": "0", "end": "18", **shared},
        {"text": "five six seven", "terms": "five six seven", "start": "19", "end": "33", **shared},
    ]
    assert documents["c"][1] == [
        {"text": "eleven", "terms": "eleven", "start": "0", "end": "6", "document_id": '"c"', "metadata": "{}"},
    ]


def test_sync_removes_what_the_input_no_longer_has(indexer, stored):
    assert counts(indexer.sync([A, B, C])) == (3, 0, 0, 0, 4, 0, 0)
    assert counts(indexer.sync([C, A])) == (0, 0, 2, 1, 0, 0, 0)
    assert sorted(stored()) == ["a", "c"]
    assert counts(indexer.sync([], delete_most=True)) == (0, 0, 0, 2, 0, 0, 0)
    assert stored() == {}


def test_add_removes_nothing(indexer, stored):
    indexer.add([A])
    assert counts(indexer.add([B])) == (1, 0, 0, 0, 1, 0, 0)
    assert counts(indexer.add([])) == (0, 0, 0, 0, 0, 0, 0)
    assert sorted(stored()) == ["a", "b"]


def test_a_document_that_shrinks_leaves_no_passage_behind_and_one_that_grows_is_whole(indexer, opened, stored):
    for words in (50, 3, 20, 1):
        text = " ".join(f"w{words}-{n}" for n in range(words))
        indexer.add([Document("a", text)])
        top, parts = stored()["a"]
        assert " ".join(part["text"] for part in parts) == text
        assert top["passages"] == str(len(parts)) == str(math.ceil(words / 4))
        assert opened.count() == len(parts)


def test_a_replaced_document_keeps_no_field_of_its_older_version(faces, redis_url, index_name, stored):
    fields = {"year": "numeric", "topic": "tag", "title": "text"}
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields=fields) as index:
        metadata = {"year": 2020, "topic": ["u", 1], "title": "The title", "other": True}
        faces.indexer(index).add([Document("a", "text", "x", metadata)])
        [part] = stored()["a"][1]
        assert {name: value for name, value in part.items() if name.startswith(("f:", "label"))} == {
            "label": '"x"',
            "f:year": "2020.0",
            "f:topic": '"u"\x1f1',
            "f:title": "the title",
        }
        assert counts(faces.indexer(index).add([Document("a", "text", None, {"year": None})])) == (0, 1, 0, 0, 0, 0, 0)
        [part] = stored()["a"][1]
        assert sorted(part) == ["document_id", "end", "metadata", "start", "terms", "text"]


@pytest.mark.parametrize(
    ("other", "changed"),
    [
        (Document("a", A.text, "x", {"tags": ["u"], "year": 2020}), False),
        (Document("a", A.text + " ", "x", A.metadata), True),
        (Document("a", A.text, "y", A.metadata), None),
        (Document("a", A.text, None, A.metadata), None),
        (Document("a", A.text, "x", {}), None),
    ],
)
def test_a_document_is_written_only_if_it_changed_and_embedded_only_if_its_text_did(
    indexer, opened, counting, other, changed
):
    indexer.add([A])
    del counting.texts[:]
    report = indexer.add([other])
    assert (report.updated, report.unchanged) == (int(changed is not False), int(changed is False))
    assert counting.texts == (["one two three four", "five six seven"] if changed else [])
    [stored] = list(opened.documents(["a"]))
    assert (stored.text, stored.label, stored.metadata) == (other.text, other.label, other.metadata)


def test_another_splitter_splits_every_document_again(faces, opened, stored):
    faces.indexer(opened, WORDS).sync([A, B])
    assert counts(faces.indexer(opened, Splitter(2, 0, "words")).sync([A, B])) == (0, 2, 0, 0, 6, 0, 0)
    assert texts_of(stored())["b"] == ["eight nine", "ten"]
    assert counts(faces.indexer(opened, Splitter(2, 0, "words")).sync([A, B])) == (0, 0, 2, 0, 0, 0, 0)


def test_of_documents_with_one_id_the_first_is_taken_and_the_others_are_told(indexer, stored):
    # Across batches, too.
    many = [Document(str(number), "text") for number in range(100)]
    report = indexer.sync([A, Document("a", "other"), *many, Document("a", "third")])
    message = "expected each id once, got it a second time; only the first was taken"
    assert report.failed == (Failure("a", message, "a"), Failure("a", message, "a"))
    assert (report.added, report.documents) == (101, 103)
    assert texts_of(stored())["a"] == ["one two three four", "five six seven"]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0 "])
def test_a_document_without_text_is_told_and_keeps_no_other_out(indexer, stored, text):
    report = indexer.add([A, Document("empty", text), B])
    reason = "expected text, got none or only white space"
    assert report.failed == (Failure("empty", reason, "empty"),)
    assert str(report.failed[0]) == f"empty: {reason}"
    assert sorted(stored()) == ["a", "b"]


def test_ids_of_any_unicode_are_kept_apart(indexer, stored, opened):
    ids = ["a b", "a{b}", "{a}", "%7Ba}", "a#0", "a:0", "ä", "a\u0308", "\x00", "\n", "名前", "🏷️", "*", "a" * 1000]
    assert indexer.add([Document(name, f"text of {name!r}") for name in ids]).failed == ()
    assert counts(indexer.sync([Document(name, f"text of {name!r}") for name in ids])) == (0, 0, 14, 0, 0, 0, 0)
    assert sorted(stored()) == sorted(ids)
    assert opened.describe().documents == 14
    for name in ids:
        assert indexer.delete([name]) == 1
    assert stored() == {}
    assert opened.count() == 0


def test_many_documents_are_brought_in_over_many_batches(indexer, opened):
    documents = [Document(str(n), " ".join(f"{n}-{i}" for i in range(n % 7 + 1))) for n in range(500)]
    passages = sum(math.ceil((n % 7 + 1) / 4) for n in range(500))
    assert counts(indexer.add(documents)) == (500, 0, 0, 0, passages, 0, 0)
    assert opened.count() == passages
    assert counts(indexer.sync(documents[:100], delete_most=True)) == (0, 0, 100, 400, 0, 0, 0)


# ---- what cannot be stored -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_document_whose_vector_has_no_distance_stays_as_it_was(indexer, stored, counting, value):
    indexer.add([A, B])
    before = stored()
    counting.spoiled = {"BROKEN": value}
    report = indexer.add([C, Document("a", "one two three four BROKEN six seven eight nine"), Document("d", "BROKEN")])
    reason = (
        "expected finite vectors with a direction, got NaN or infinite values; look at what the embedder makes of "
        "this text"
    )
    assert report.failed == (Failure("a", reason, "a"), Failure("d", reason, "d"))
    assert report.added == 1
    assert stored() == {**before, "c": stored()["c"]}


def test_a_value_too_large_for_float16_is_told_and_nothing_of_the_document_is_written(faces, redis_url, index_name):
    counting = CountingEmbedder(spoiled={"LARGE": 1e5})
    with faces.index(index_name, url=redis_url, embedder=counting, dtype="float16", metric="ip") as index:
        report = faces.indexer(index).add([Document("a", "LARGE"), Document("b", "small")])
        assert report.failed == (
            Failure(
                "a",
                "expected finite vectors with a direction, got a value of 100000 does not fit float16; "
                "store the index as float32",
                "a",
            ),
        )
        assert index.count() == 1


class Misshapen(HashingEmbedder):
    def embed_documents(self, texts):
        return super().embed_documents(texts)[:, :-1]


def test_an_embedder_that_breaks_its_promise_of_a_dimension_is_an_error(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=Misshapen(16)) as index:
        with pytest.raises(InvalidVectors, match=r"expected vectors of shape \(n, 16\), got \(2, 15\)"):
            faces.indexer(index).add([B, C])
        assert index.count() == 0


class Forgetful(HashingEmbedder):
    def embed_documents(self, texts):
        return super().embed_documents(texts)[:-1]


def test_an_embedder_that_leaves_out_a_text_is_an_error_and_nothing_is_stored(faces, redis_url, index_name, stored):
    with faces.index(index_name, url=redis_url, embedder=Forgetful(16)) as index:
        with pytest.raises(InvalidVectors):
            faces.indexer(index).add([A, B, C])
        assert stored() == {}


UNFIT = [
    Document("nan", "x", None, {"v": math.nan}),
    Document("object", "x", None, {"v": object()}),
    Document("label", "x", math.nan),
    Document("surrogate \ud800", "x"),
    Document("text", "x \ud800"),
    Document("metadata", "x", None, {"v": "\ud800"}),
    Document("year", "x", None, {"year": "2020"}),
    Document("huge", "x", None, {"year": 10**400}),
    Document("topic", "x", None, {"topic": {"a": 1}}),
    Document("title", "x", None, {"title": 3}),
    Document("i" * 5000, "x"),
    Document("longlabel", "x", "l" * 5000),
]


@pytest.mark.parametrize("document", UNFIT, ids=lambda document: document.id[:9].encode("ascii", "replace").decode())
def test_a_document_that_cannot_be_stored_is_told_and_keeps_no_other_out(
    faces, redis_url, index_name, stored, document
):
    fields = {"year": "numeric", "topic": "tag", "title": "text"}
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), fields=fields) as index:
        report = faces.indexer(index).add([B, document, C])
        assert [(failure.document_id, "expected" in failure.reason) for failure in report.failed] == [
            (document.id, True)
        ]
        assert sorted(stored()) == ["b", "c"]
        # What the index holds of a document that has become unfit stays.
        if document.text == "x":
            good = Document(document.id, "y") if len(document.id) < 100 and "\ud800" not in document.id else C
            faces.indexer(index).add([good])
            assert len(faces.indexer(index).sync([B, document, C]).failed) == 1
            assert sorted(stored()) == sorted({"b", "c", good.id})


def test_what_a_source_cannot_read_is_told_and_blocks_the_removal_of_the_missing(indexer, stored):
    indexer.sync([A, B, C])
    unread = Failure("folder/x.pdf", "expected a PDF, got none")
    report = indexer.sync(Source(A, unread, Document("d", "new")))
    counted = {"added": 1, "unchanged": 1, "passages": 1, "embedded": 1, "kept": 2}
    assert report == IngestReport(**counted, failed=(unread,), seconds=report.seconds)
    assert sorted(stored()) == ["a", "b", "c", "d"]
    assert "2 missing from the input were kept, since not all of it could be read" in str(report)
    assert counts(indexer.sync(Source(A))) == (0, 0, 1, 3, 0, 0, 0)


def test_a_document_that_a_source_cannot_read_is_kept_and_the_missing_are_removed(indexer, stored):
    indexer.sync([A, B, C])
    unread = Failure("data.csv:3", "expected a text, got none", "b")
    report = indexer.sync(Source(A, unread))
    assert counts(report) == (0, 0, 1, 1, 0, 1, 0)
    assert sorted(stored()) == ["a", "b"]


@pytest.mark.parametrize("wrong", ["text", {"id": "a"}, ("a", "text"), None, 3])
def test_anything_but_documents_is_a_type_error(indexer, wrong):
    with pytest.raises(TypeError, match="expected documents, got"):
        indexer.add([A, wrong])


def test_a_lone_document_is_a_type_error(indexer):
    with pytest.raises(TypeError):
        indexer.add(A)


@pytest.mark.parametrize("method", ["add", "sync"])
def test_of_an_input_that_breaks_off_all_is_stored_that_it_gave_and_nothing_deleted(indexer, stored, method):
    indexer.add([A, B, C])

    def breaking_off():
        for number in range(100):
            yield Document(f"n{number}", "text")
        raise LookupError("the disk is gone")

    with pytest.raises(LookupError, match="the disk is gone"):
        getattr(indexer, method)(breaking_off())
    documents = stored()
    assert {"a", "b", "c", *(f"n{number}" for number in range(100))} == set(documents)
    assert texts_of(documents)["a"] == ["one two three four", "five six seven"]


# ---- deleting --------------------------------------------------------------------------------------------------


def test_deleting_removes_documents_with_all_their_passages(indexer, opened, stored):
    indexer.add([A, B, C])
    assert indexer.delete(iter(["a", "unknown", "c", "a"])) == 2
    assert sorted(stored()) == ["b"]
    assert opened.count() == 1
    assert indexer.delete(["a"]) == indexer.delete([]) == 0
    assert counts(indexer.add([A])) == (1, 0, 0, 0, 2, 0, 0)


def test_a_single_id_in_place_of_a_list_is_a_type_error(indexer, stored):
    indexer.add([A, B, C])
    with pytest.raises(TypeError, match="expected an iterable of ids, got 'abc'; put one id into a list"):
        indexer.delete("abc")
    assert sorted(stored()) == ["a", "b", "c"]


# ---- ready vectors ---------------------------------------------------------------------------------------------


@pytest.fixture
def of_vectors(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2, fields={"year": "numeric"}) as index:
        yield index


def test_ready_vectors_are_stored_with_what_is_said_of_them(faces, of_vectors, stored):
    indexer = faces.indexer(of_vectors)
    vectors = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    described = {"texts": ["A", "B", "C"], "labels": [1, None, "x"], "metadata": [{}, {"year": 2020}, {"z": [1]}]}
    assert counts(indexer.add_vectors(["a", "b", "c"], vectors, **described)) == (3, 0, 0, 0, 3, 0, 0)
    documents = stored()
    assert texts_of(documents) == {"a": ["A"], "b": ["B"], "c": ["C"]}
    assert [decode_tag(documents[name][1][0].get("label", "null")) for name in "abc"] == [1, None, "x"]
    assert documents["b"][1][0]["f:year"] == "2020.0"
    assert counts(indexer.add_vectors(["a", "b", "c"], vectors, **described)) == (0, 0, 3, 0, 0, 0, 0)
    vectors[1] = [0, 2]
    assert counts(indexer.add_vectors(["a", "b", "c"], vectors, **described)) == (0, 1, 2, 0, 1, 0, 0)


def test_ready_vectors_without_texts_are_stored_with_empty_ones(faces, of_vectors, stored):
    assert faces.indexer(of_vectors).add_vectors(["a"], [1, 2]).added == 1
    assert stored()["a"][1] == [{"text": "", "start": "0", "end": "0", "document_id": '"a"', "metadata": "{}"}]


def test_arrays_of_numpy_serve_as_ids_and_labels(faces, of_vectors, stored):
    labels = np.array([0, 1, 1])
    report = faces.indexer(of_vectors).add_vectors(np.array(["a", "b", "c"]), np.eye(3, 2) + 1, labels=labels)
    assert counts(report) == (3, 0, 0, 0, 3, 0, 0)
    assert [stored()[name][1][0]["label"] for name in "abc"] == ["0", "1", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a"]}, "expected as many ids as vectors, 2, got 1"),
        ({"texts": ["A"]}, "expected as many texts as vectors, 2, got 1"),
        ({"labels": [1, 2, 3]}, "expected as many labels as vectors, 2, got 3"),
        ({"metadata": []}, "expected as many metadata as vectors, 2, got 0"),
        ({"vectors": [[1, 2, 3], [4, 5, 6]]}, "expected vectors of shape (n, 2), got (2, 3)"),
    ],
)
def test_lengths_that_differ_are_refused_and_nothing_is_stored(faces, of_vectors, arguments, message):
    with pytest.raises(InvalidVectors) as refused:
        faces.indexer(of_vectors).add_vectors(**{"ids": ["a", "b"], "vectors": [[1, 2], [3, 4]], **arguments})
    assert str(refused.value).startswith(message)
    assert of_vectors.count() == 0


def test_of_vectors_with_one_id_the_first_is_taken(faces, of_vectors):
    report = faces.indexer(of_vectors).add_vectors(["a", "b", "a"], [[1, 0], [0, 1], [-1, 0]], texts=["1", "2", "3"])
    assert [failure.document_id for failure in report.failed] == ["a"]
    [found] = faces.retriever(of_vectors).kneighbors([1, 0], k=1)
    assert (found[0].passage.text, found[0].distance) == ("1", 0.0)


def test_vectors_without_a_distance_are_told_and_keep_no_other_out(faces, of_vectors, stored):
    vectors = [[1, 0], [math.nan, 1], [0, 0], [0, 1]]
    report = faces.indexer(of_vectors).add_vectors(["a", "b", "c", "d"], vectors)
    assert [(failure.document_id, failure.reason.partition("got ")[2][:10]) for failure in report.failed] == [
        ("b", "NaN or inf"),
        ("c", "only zeros"),
    ]
    assert sorted(stored()) == ["a", "d"]


# ---- a server in trouble ---------------------------------------------------------------------------------------


def test_documents_that_the_server_has_no_memory_for_are_told_and_stay_as_they_were(faces, tmp_path):
    with private_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        index = faces.index("doc", url=url, embedder=HashingEmbedder(16))
        with index:
            indexer = faces.indexer(index, WORDS)
            indexer.add([A, B])
            before = read_stored(client, "doc")
            client.config_set("maxmemory", 1)
            changed = [Document("a", "other text " * 20), replace(B, text="one passage too"), replace(A, label="other")]
            report = indexer.add([*changed[:2], Document("new", "text " * 20), Document("short", "one passage")])
            assert [failure.document_id for failure in report.failed] == ["a", "b", "new", "short"]
            assert [failure.document_id for failure in indexer.add(changed[2:]).failed] == ["a"]
            for failure in report.failed:
                assert failure.reason.startswith(
                    "the server refused a command: command not allowed when used memory > "
                )
                assert failure.reason.endswith("; raise the server's maxmemory, or delete what is not needed")
            assert indexer.add([A, B]).unchanged == 2
            assert read_stored(client, "doc") == before
            client.config_set("maxmemory", 0)
            assert counts(indexer.add([Document("a", "other text")])) == (0, 1, 0, 0, 1, 0, 0)


def test_an_index_cannot_be_created_without_memory_and_says_why(faces, tmp_path):
    with private_server(tmp_path, "--maxmemory", "1") as url:
        index = faces.index("doc", url=url, embedder=HashingEmbedder(16))
        with pytest.raises(CommandRefused, match="raise the server's maxmemory"):
            index.open()


KILLED = """
    import sys
    from ragknn import Document, HashingEmbedder, Index, Indexer, Splitter

    url, name, version = sys.argv[1:]

    def documents():
        for number in range(600):
            if number == 300:
                print("half", flush=True)
            if number == 500:
                sys.stdin.read()  # whoever is to be killed waits here for it, at the latest
            words = 40 + number % 50 if version == "old" else 60 - number % 50
            yield Document(f"d{number}", " ".join([f"{version}{number}"] * words), version)

    with Index(name, url=url, embedder=HashingEmbedder(16)) as index:
        print(Indexer(index, Splitter(4, 0, "words")).sync(documents()).documents)
"""


def test_a_process_that_is_killed_while_it_indexes_leaves_only_whole_documents(redis_url, index_name, client):
    def start(version, stdin=subprocess.DEVNULL):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), redis_url, index_name, version]
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)

    def finish(version):
        with start(version) as process:
            assert process.stdout.read().split() == ["half", "600"]

    finish("old")
    with start("new", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "half\n"
        os.kill(process.pid, signal.SIGKILL)
    documents = read_stored(client, index_name)
    assert len(documents) == 600
    versions = {"old": 0, "new": 0}
    for document_id, (top, parts) in documents.items():
        version = decode_tag(parts[0]["label"])
        versions[version] += 1
        number = int(document_id[1:])
        words = 40 + number % 50 if version == "old" else 60 - number % 50
        assert " ".join(part["text"] for part in parts) == " ".join([f"{version}{number}"] * words)
        assert int(top["passages"]) == len(parts) == math.ceil(words / 4)
        assert {part["label"] for part in parts} == {f'"{version}"'}
    assert min(versions.values()) >= 100, "the process was to be killed midway"
    finish("new")
    documents = read_stored(client, index_name)
    assert len(documents) == 600
    assert {part["label"] for _, parts in documents.values() for part in parts} == {'"new"'}
