"""The splitter is kept with its index, and taken from there where none is named."""

import json

import pytest
from commands import run_here
from embedders import CountingEmbedder

from ragknn import Document, Note, SchemaMismatch, Splitter
from ragknn._protocol.schema import Schema

TEXT = "one two three four five six seven eight nine ten"
DOCUMENTS = [Document("a", TEXT), Document("b", TEXT.upper())]
WORDS = Splitter(4, 1, "words", headings=False)


@pytest.fixture
def index(faces, redis_url, index_name):
    counting = CountingEmbedder()

    def open_again():
        return faces.index(index_name, url=redis_url, embedder=counting)

    open_again.texts = counting.texts
    return open_again


def texts_of(index, document_id="a"):
    return [passage.text for passage in index.passages() if passage.document_id == document_id]


def test_the_splitter_of_an_index_is_taken_where_none_is_named(faces, index):
    with index() as first:
        assert faces.indexer(first, WORDS).add(DOCUMENTS).notes == ()
        cut = texts_of(first)
        assert len(cut) > 2
    embedded = len(index.texts)
    with index() as again:
        assert faces.indexer(again).add(DOCUMENTS).unchanged == 2
        assert faces.indexer(again, WORDS).sync(DOCUMENTS).unchanged == 2
        assert len(index.texts) == embedded
        assert faces.indexer(again).add([Document("c", TEXT)]).notes == ()
        assert texts_of(again, "c") == cut
        assert again.schema.splitter == WORDS
        expected = {"size": 4, "overlap": 1, "unit": "words", "headings": False}
        assert again.describe().splitter == expected
        assert again.describe().to_dict()["splitter"] == expected


def test_another_splitter_is_kept_from_then_on_and_the_report_says_so(faces, index, index_name):
    with index() as opened:
        faces.indexer(opened, WORDS).add(DOCUMENTS)
        other = Splitter(5, 0, "words")
        report = faces.indexer(opened, other).add(DOCUMENTS[:1])
        [note] = report.notes
        assert report.updated == 1
        assert note == Note("changed", index_name, note.reason)
        assert note.reason == (
            "the splitter was size 4, overlap 1, unit words, headings False and is now size 5, overlap 0, unit words, "
            "headings True: documents are cut and embedded again as they are added, and others stay as they are"
        )
        assert str(note) in str(report)
        assert texts_of(opened) == ["one two three four five", "six seven eight nine ten"]
        assert len(texts_of(opened, "b")) > 2
    with index() as again:
        report = faces.indexer(again).sync(DOCUMENTS)
        assert (report.unchanged, report.updated, report.notes) == (1, 1, ())


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (Splitter(51), "expected size <= 50, the model's limit in tokens, got 51"),
        (Splitter(overlap=60), "expected overlap < size, got overlap 60 and size"),
    ],
)
def test_a_splitter_that_does_not_fit_the_model_is_refused_and_not_kept(
    faces, redis_url, index_name, splitter, message, dry_run
):
    embedder = CountingEmbedder()
    embedder.max_tokens = 50
    with faces.index(index_name, url=redis_url, embedder=embedder) as opened:
        faces.indexer(opened, WORDS).add(DOCUMENTS)
        with pytest.raises(ValueError, match=message):
            faces.indexer(opened, splitter).sync(DOCUMENTS, dry_run=dry_run)
        assert opened.schema.splitter == WORDS
        assert faces.indexer(opened).sync(DOCUMENTS).unchanged == 2


def test_a_dry_run_keeps_no_splitter(faces, index):
    with index() as opened:
        faces.indexer(opened, WORDS).add(DOCUMENTS)
        report = faces.indexer(opened, Splitter(5, 0, "words")).sync(DOCUMENTS, dry_run=True)
        assert (report.updated, [note.kind for note in report.notes]) == (2, ["changed"])
        assert opened.schema.splitter == WORDS
    with index() as again:
        assert again.schema.splitter == WORDS


def test_the_splitter_outlives_other_changes_of_the_manifest(faces, index):
    with index() as opened:
        faces.indexer(opened, WORDS).add(DOCUMENTS)
        opened.add_fields({"year": "numeric"})
        assert opened.schema.splitter == WORDS
    with index() as again:
        assert again.schema.splitter == WORDS
        assert dict(again.schema.fields) == {"year": "numeric"}


def test_a_default_splitter_is_the_same_named_or_not(faces, index):
    with index() as opened:
        assert opened.describe().splitter == {"size": "auto", "overlap": "auto", "unit": "tokens", "headings": True}
        faces.indexer(opened).add(DOCUMENTS)
        report = faces.indexer(opened, Splitter()).add(DOCUMENTS)
        assert (report.unchanged, report.notes) == (2, ())


def test_a_manifest_without_a_splitter_loads():
    schema = Schema(embedder="e", dim=2)
    values = json.loads(schema.dumps())
    assert values.pop("splitter") is None
    assert Schema.loads("i", json.dumps(values)) == schema
    with_one = Schema(embedder="e", dim=2, splitter=WORDS)
    assert Schema.loads("i", with_one.dumps()) == with_one
    with pytest.raises(SchemaMismatch):
        Schema.loads("i", json.dumps({**values, "format": 99}))


def test_the_command_keeps_size_overlap_unit_and_headings(redis_url, index_name, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)

    def run(*arguments):
        return run_here([*arguments, "--url", redis_url], "", tmp_path, {}).stdout

    def report(*options):
        return json.loads(run("index", index_name, ".", "--json", *options))

    first = report("--model", "ragknn/hashing-16", "--size", "4", "--unit", "words", "--no-headings")
    assert (first["added"], first["passages"], first["notes"]) == (1, 3, [])
    again = report()
    assert (again["unchanged"], again["notes"]) == (1, [])
    assert json.loads(run("info", index_name, "--json"))["splitter"] == {
        **{"size": 4, "overlap": "auto", "unit": "words", "headings": False}
    }
    other = report("--size", "5")  # of words still
    assert (other["updated"], other["passages"]) == (1, 2)
    assert [note["kind"] for note in other["notes"]] == ["changed"]
    shown = run("index", index_name, ".", "--overlap", "1")
    assert f"changed: {index_name}: the splitter was size 5, overlap auto, unit words" in " ".join(shown.split())
