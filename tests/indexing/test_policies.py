"""What becomes of documents that exist, come twice or do not fit; dry runs; clearing."""

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
from embedders import CountingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import (
    DeletionRefused,
    Document,
    Failure,
    HashingEmbedder,
    Index,
    Indexer,
    IngestFailed,
    IngestReport,
    Passage,
)
from ragknn._protocol.keys import Keys

FIELDS = {"year": "numeric", "topic": "tag"}
BATCHES = [1, 2, 64]


@pytest.fixture
def counting():
    return CountingEmbedder()


@pytest.fixture
def opened(faces, redis_url, index_name, counting):
    with faces.index(index_name, url=redis_url, embedder=counting, fields=FIELDS) as index:
        yield index


@pytest.fixture
def indexer(faces, opened):
    return faces.indexer(opened)


def texts(index):
    return {document.id: document.text for document in index.documents()}


def documents(**texts):
    return [Document(name, text) for name, text in texts.items()]


def stored(client, name):
    return {key: client.hgetall(key) for key in client.scan_iter(f"ragknn:{name}:*", count=1000)}


# ---- documents that the index has already ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize(
    ("policy", "added", "updated", "unchanged", "skipped", "failed"),
    [("replace", "d", "a", 1, 0, ""), ("skip", "d", "", 0, 2, ""), ("fail", "d", "", 0, 0, "ab")],
)
def test_documents_that_exist_are_replaced_skipped_or_fail(
    indexer, opened, counting, batch_size, policy, added, updated, unchanged, skipped, failed
):
    indexer.add(documents(a="one", b="two", c="three"))
    del counting.texts[:]
    report = indexer.add(documents(a="ONE", b="two", d="four"), on_existing=policy, batch_size=batch_size)
    unchanged_ids, skipped_ids = tuple("b" * unchanged), tuple("ab" * bool(skipped))
    assert list(report.ids) == list(IngestReport.KINDS)
    assert list(report.ids.values()) == [tuple(added), tuple(updated), unchanged_ids, (), skipped_ids, ()]
    assert (report.unchanged, report.skipped) == (unchanged, skipped)
    assert [failure.document_id for failure in report.failed] == list(failed)
    assert {one.reason for one in report.failed} <= {"expected a new document, got an id that the index has already"}
    assert texts(opened) == {"a": "ONE" if policy == "replace" else "one", "b": "two", "c": "three", "d": "four"}
    assert counting.texts == ["ONE", "four"] if policy == "replace" else ["four"]
    assert report.documents == 3
    assert (f"{skipped} skipped" in str(report)) == bool(skipped)


@pytest.mark.parametrize("policy", ["replace", "skip", "fail"])
def test_the_policies_hold_for_vectors_and_passages_too(indexer, opened, policy):
    def add_both(text):
        yield indexer.add_vectors(["v"], np.ones((1, 16)), texts=[text], on_existing=policy)
        yield indexer.add_passages([Passage("1", "p", text, 0, 0)], on_existing=policy)

    assert [report.added for report in add_both("old")] == [1, 1]
    reports = list(add_both("new"))
    assert [(report.updated, report.skipped, len(report.failed)) for report in reports] == [
        {"replace": (1, 0, 0), "skip": (0, 1, 0), "fail": (0, 0, 1)}[policy]
    ] * 2
    assert texts(opened) == dict.fromkeys("pv", "new" if policy == "replace" else "old")


class Interfering(HashingEmbedder):
    """Lets another writer do something while a document is embedded."""

    def __init__(self, interfere):
        super().__init__(16)
        self.interfere = interfere

    def embed_documents(self, texts):
        if self.interfere:
            interfere, self.interfere = self.interfere, None
            interfere()
        return super().embed_documents(texts)


@pytest.mark.parametrize(
    ("policy", "text", "counted"),
    [("replace", "mine", (2, 0, 0)), ("skip", "theirs", (1, 1, 0)), ("fail", "theirs", (1, 0, 1))],
)
def test_a_document_that_another_writer_adds_meanwhile_counts_as_existing(
    faces, redis_url, index_name, policy, text, counted
):
    def interfere():
        with Index(index_name, url=redis_url) as other:
            Indexer(other).add(documents(a="theirs"))

    with faces.index(index_name, url=redis_url, embedder=Interfering(interfere)) as index:
        report = faces.indexer(index).add(documents(a="mine", b="mine too"), on_existing=policy)
        assert (report.added + report.updated, report.skipped, len(report.failed)) == counted
        assert texts(index) == {"a": text, "b": "mine too"}


def test_a_change_of_details_finds_another_text_and_writes_all_of_it(faces, redis_url, index_name):
    def interfere():
        with Index(index_name, url=redis_url) as other:
            Indexer(other).add(documents(a="theirs"))

    def some():
        yield Document("a", "mine", "x")
        interfere()  # when the first is looked up already
        yield Document("b", "read meanwhile")

    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        faces.indexer(index).add(documents(a="mine"))
        report = faces.indexer(index).add(some(), batch_size=1)
        assert (report.added, report.updated, report.failed) == (1, 1, ())
        assert list(index.documents(["a"])) == [Document("a", "mine", "x")]


# ---- several of one id -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("policy", ["replace", "skip", "fail"])
@pytest.mark.parametrize("which", ["first", "last"])
def test_of_several_documents_of_one_id_the_first_or_the_last_counts(
    indexer, opened, batch_size, existing, policy, which
):
    if existing:
        indexer.add(documents(a="old"))
    several = [*documents(a="1", b="1"), *documents(a="2"), *documents(c="1"), *documents(a="3", b="2")]
    report = indexer.add(several, on_repeated=which, on_existing=policy, batch_size=batch_size)
    kept = existing and policy != "replace"
    expected = {"a": "old" if kept else "1" if which == "first" else "3", "b": "1" if which == "first" else "2"}
    assert texts(opened) == {**expected, "c": "1"}
    assert report.ids["added"] == tuple("bc" if existing else "abc")
    assert report.ids["updated"] == (("a",) if existing and policy == "replace" else ())
    repeated = [failure.document_id for failure in report.failed if "a second time" in failure.reason]
    assert repeated == (["a", "a", "b"] if which == "first" else [])


@pytest.mark.parametrize("batch_size", BATCHES)
def test_the_last_of_several_vectors_counts(indexer, opened, batch_size):
    rows = np.eye(16)[:4]
    options = {"on_repeated": "last", "batch_size": batch_size}
    assert indexer.add_vectors("abab", rows, texts="1234", **options).failed == ()
    assert texts(opened) == {"a": "3", "b": "4"}
    np.testing.assert_array_equal([one.vector for one in opened.passages(vectors=True)], rows[2:])
    assert len(indexer.add_vectors("abab", rows, texts="1234", batch_size=batch_size).failed) == 2
    assert texts(opened) == {"a": "1", "b": "2"}
    np.testing.assert_array_equal([one.vector for one in opened.passages(vectors=True)], rows[:2])


# ---- values that do not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", BATCHES)
@pytest.mark.parametrize("method", ["add", "sync"])
def test_a_value_that_does_not_fit_fails_the_document_or_is_left_out(indexer, opened, method, batch_size):
    several = [
        Document("a", "text", None, {"year": "soon", "topic": {"x": 1}}),
        Document("b", "text", None, {"year": 2020, "topic": "u"}),
        Document("c", "text", None, {"year": 2021, "topic": object()}),
    ]
    report = getattr(indexer, method)(several, batch_size=batch_size)
    assert [(one.document_id, one.reason[:28]) for one in report.failed] == [
        ("a", "field 'topic': expected a st"),
        ("c", "expected metadata that JSON "),
    ]
    assert list(texts(opened)) == ["b"]
    report = getattr(indexer, method)(several, on_bad_field="leave_out", batch_size=batch_size)
    assert [failure.document_id for failure in report.failed] == ["c"]  # no metadata at all
    assert [(one.document_id, one.reason.partition(":")[0]) for one in report.left_out] == [
        ("a", "field 'topic'"),
        ("a", "field 'year'"),
    ]
    assert "left out: a: field 'year': expected a number" in str(report)
    assert [one.id for one in opened.documents(where={"year": None, "topic": None})] == ["a"]
    assert next(iter(opened.documents(["a"]))).metadata == several[0].metadata
    again = getattr(indexer, method)(several[:2], on_bad_field="leave_out", batch_size=batch_size)
    assert (again.unchanged, again.left_out) == (2, ())


def test_a_required_field_is_never_left_out(faces, redis_url, index_name):
    options = {"fields": {"tenant": "tag"}, "required_filter": "tenant"}
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16), **options) as index:
        several = [
            Document(str(n), "text", None, {"tenant": value}) for n, value in enumerate([{"x": 1}, None, [], "t"])
        ]
        report = faces.indexer(index).add(several, on_bad_field="leave_out")
        assert [failure.document_id for failure in report.failed] == ["0", "1", "2"]
        assert index.count({"tenant": "t"}) == 1


# ---- options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"on_existing": "keep"}, ValueError, "expected on_existing to be one of replace, skip, fail, got 'keep'"),
        ({"on_repeated": "all"}, ValueError, "expected on_repeated to be one of first, last, got 'all'"),
        ({"on_bad_field": "ignore"}, ValueError, "expected on_bad_field to be one of fail, leave_out, got 'ignore'"),
        ({"batch_size": 0}, ValueError, "expected batch_size >= 1, got 0"),
        ({"batch_size": 1.5}, TypeError, "integer"),
        ({"dry": True}, TypeError, "expected options among .*, got dry"),
        ({"batchsize": 3}, TypeError, "expected options among .*, got batchsize"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_read(indexer, opened, options, error, message):
    def never():
        raise AssertionError("the documents were asked for")
        yield

    for add in (
        lambda: indexer.add(never(), **options),
        lambda: indexer.add_passages(never(), **options),
        lambda: indexer.add_vectors(["a"], np.ones((1, 16)), **options),
    ):
        with pytest.raises(error, match=message):
            add()
    assert opened.count() == 0


# ---- failures --------------------------------------------------------------------------------------------------


def test_failures_are_raised_if_that_is_asked_for(indexer):
    report = indexer.add(documents(a="text"))
    assert report.raise_for_failures() is None
    report = indexer.add(documents(b="text", c="", d=" "))
    with pytest.raises(IngestFailed) as raised:
        report.raise_for_failures()
    assert raised.value.report is report
    assert str(raised.value) == (
        "expected all documents in the index, got 2 failures: c: expected text, got none or only white space "
        "(and 1 more: see report.failed)"
    )
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (copied.report, str(copied)) == (report, str(raised.value))


# ---- dry runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", BATCHES)
def test_a_dry_run_tells_what_a_run_would_do_and_does_nothing(indexer, opened, counting, client, batch_size):
    indexer.add([Document("a", "one"), Document("b", "two"), Document("c", "three", "x"), Document("d", "four")])
    before = stored(client, opened.name)
    del counting.texts[:]
    wanted = [*documents(a="ONE", b="two"), Document("c", "three", "y"), *documents(e="five", f="")]
    told = indexer.sync(wanted, dry_run=True, batch_size=batch_size)
    assert told.ids == {
        "added": ("e",),
        "updated": ("a", "c"),
        "unchanged": ("b",),
        "deleted": ("d",),
        "skipped": (),
        "kept": (),
    }
    assert told.reasons == {"a": ("text",), "c": ("label",)}
    assert told.verification is None
    assert (told.dry_run, told.unchanged, told.deleted, told.passages, len(told.failed)) == (True, 1, 1, 2, 1)
    assert str(told).startswith("dry run, nothing written: 1 added, 2 updated, 1 unchanged, 1 deleted")
    assert stored(client, opened.name) == before
    assert counting.texts == []
    done = indexer.sync(wanted, batch_size=batch_size)
    assert (done.ids, done.reasons) == (told.ids, told.reasons)
    assert replace(done, dry_run=True, seconds=0) == replace(told, seconds=0)


def test_a_dry_run_says_what_would_be_kept(indexer):
    class Source:
        def __iter__(self):
            raise AssertionError("an indexer takes the outcomes")

        def outcomes(self):
            return iter([Document("a", "one"), Failure("b.pdf", "expected a PDF")])

    indexer.add(documents(a="one", b="two"))
    for dry_run in (True, False):
        report = indexer.sync(Source(), dry_run=dry_run)
        assert (report.kept, report.deleted, report.ids["deleted"], report.ids["kept"]) == (1, 0, (), ("b",))


@pytest.fixture(scope="module")
def shared(redis_url):
    options = {"embedder": HashingEmbedder(8), "fields": {"year": "numeric"}}
    with Index(f"policies-{os.getpid()}", url=redis_url, **options) as index:
        yield index
        index.drop()


SOME = st.lists(
    st.builds(
        lambda name, text, label, year: Document(name, text, label, {"year": year}),
        st.sampled_from("abcdef"),
        st.sampled_from(["one", "two", ""]),
        st.sampled_from([None, "x"]),
        st.sampled_from([1, 2, None, "bad"]),
    ),
    max_size=10,
)


@settings(max_examples=60)
@given(
    before=SOME,
    wanted=SOME,
    where=st.sampled_from([None, {"year": 1}, {"label": "x"}]),
    which=st.sampled_from(["first", "last"]),
    bad=st.sampled_from(["fail", "leave_out"]),
    batch_size=st.integers(1, 4),
)
def test_a_run_does_exactly_what_the_dry_run_told(shared, before, wanted, where, which, bad, batch_size):
    indexer = Indexer(shared)
    indexer.sync(before, on_repeated="last", on_bad_field="leave_out", delete_most=True)
    contents = list(shared.documents())
    options = {"on_repeated": which, "on_bad_field": bad, "batch_size": batch_size}
    told = indexer.sync(wanted, where=where, dry_run=True, **options)
    assert list(shared.documents()) == contents
    done = indexer.sync(wanted, where=where, delete_most=True, **options)
    assert (done.ids, done.reasons) == (told.ids, told.reasons)
    assert replace(done, dry_run=True, seconds=0) == replace(told, seconds=0)
    for name in ("added", "updated", "deleted"):
        assert len(set(done.ids[name])) == len(done.ids[name]) == getattr(done, name)
    after = {document.id: document for document in shared.documents()}
    old = {document.id: document for document in contents}
    assert set(done.ids["added"]) == after.keys() - old.keys()
    assert set(done.ids["deleted"]) == old.keys() - after.keys()
    assert set(done.ids["updated"]) >= {name for name in old.keys() & after.keys() if old[name] != after[name]}


# ---- clearing --------------------------------------------------------------------------------------------------


def test_clearing_removes_all_documents_and_keeps_the_index(indexer, opened, client):
    opened.add_fields({"later": "tag"})
    indexer.add([*documents(a="one two", b="three"), Document("c", "four", None, {"later": "x"})])
    assert indexer.clear() == 3
    assert list(stored(client, opened.name)) == [Keys(opened.name).manifest.encode()]
    assert (opened.count(), list(opened.documents())) == (0, [])
    assert indexer.clear() == 0
    assert indexer.add([Document("c", "four", None, {"later": "x"})]).added == 1
    assert opened.count({"later": "x"}) == 1


def test_a_report_of_nothing_is_empty():
    assert IngestReport().documents == 0
    assert IngestReport().raise_for_failures() is None


# ---- deleting most ---------------------------------------------------------------------------------------------


MANY = [Document(f"m{number}", f"text {number}") for number in range(50)]


@pytest.fixture
def of_many(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        faces.indexer(index).sync(MANY)
        yield index


@pytest.mark.parametrize("documents", [[], MANY[:10], [Document("foreign", "text")]], ids=["none", "few", "foreign"])
def test_an_input_that_would_remove_most_is_refused(faces, of_many, documents):
    indexer, missing = faces.indexer(of_many), 50 - sum(one in MANY for one in documents)
    with pytest.raises(
        DeletionRefused, match=rf"most of the 50 documents .* got one without {missing} of them"
    ) as refused:
        indexer.sync(iter(documents))
    assert (refused.value.before, refused.value.report.kept, refused.value.report.deleted) == (50, missing, 0)
    assert set(refused.value.report.ids["kept"]) == {one.id for one in MANY if one not in documents}
    assert pickle.loads(pickle.dumps(refused.value)).report == refused.value.report
    assert of_many.count_documents() == 50 + (missing == 50 and bool(documents))  # what the input has is stored
    assert indexer.sync(documents, dry_run=True).deleted == missing
    assert indexer.sync(documents, delete_most=True).deleted == missing
    assert of_many.count_documents() == len(documents)


def test_fewer_go_without_a_word(faces, of_many):
    indexer = faces.indexer(of_many)
    assert indexer.sync(MANY[:25]).deleted == 25
    assert indexer.sync(MANY[:5]).deleted == 20
    with pytest.raises(DeletionRefused):
        indexer.sync([])
    with pytest.raises(TypeError, match="delete_most"):
        indexer.sync([], delete_most="yes")
