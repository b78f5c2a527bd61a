"""What indexers make of what readers tell: notes, empty files, repeated rows, frames, dry runs."""

import re
from pathlib import Path

import pandas as pd
import pytest
from embedders import CountingEmbedder
from made_files import pdf

from ragknn import Document, documents_from_pandas, read_documents


@pytest.fixture
def counting():
    return CountingEmbedder()


@pytest.fixture
def opened(faces, redis_url, index_name, counting):
    fields = {"path": "tag", "folder": "tag", "suffix": "tag"}
    with faces.index(index_name, url=redis_url, embedder=counting, fields=fields) as index:
        yield index


@pytest.fixture
def indexer(faces, opened):
    return faces.indexer(opened)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["a.txt", "b/c.md", "b/d.xyz"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"the text of {name}")
    return tmp_path


def ids(opened, where=None):
    return sorted(document.id for document in opened.documents(where=where))


def test_the_report_has_the_notes_and_they_are_no_failures(indexer, folder):
    (folder / "empty.txt").write_text("")
    for write in (indexer.add, indexer.sync):
        report = write(read_documents(folder))
        assert [(note.kind, note.source) for note in report.notes] == [
            ("passed over", "b/d.xyz"),
            ("empty", "empty.txt"),
        ]
        assert (report.failed, report.kept) == ((), 0)
        assert report.to_dict()["notes"][0]["reason"] == "no known format: .xyz"
        assert "passed over: 1" in str(report)
        report.raise_for_failures()


def test_the_place_of_a_file_can_be_filtered_on(indexer, opened, folder):
    indexer.add(read_documents(folder))
    assert (
        ids(opened, {"folder": "b"}) == ids(opened, {"suffix": ".md"}) == ids(opened, {"path": "b/c.md"}) == ["b/c.md"]
    )
    assert ids(opened, {"folder": "."}) == ["a.txt"]


@pytest.mark.parametrize("content", ["", " \n"])
def test_a_file_that_was_emptied_is_a_document_without_passages(indexer, opened, folder, content):
    indexer.add(read_documents(folder))
    (folder / "a.txt").write_text(content)
    dry = indexer.add(read_documents(folder), dry_run=True)
    assert (dry.deleted, dry.ids["deleted"], ids(opened)) == (1, ("a.txt",), ["a.txt", "b/c.md"])
    skipping = indexer.add(read_documents(folder), on_existing="skip")
    assert (skipping.deleted, ids(opened)) == (0, ["a.txt", "b/c.md"])
    report = indexer.add(read_documents(folder))
    assert (report.deleted, report.unchanged, ids(opened)) == (1, 1, ["b/c.md"])
    assert indexer.add(read_documents(folder)).deleted == 0


def test_neither_an_empty_nor_an_excluded_file_stops_deletions(indexer, opened, folder):
    indexer.sync(read_documents(folder))
    (folder / "a.txt").unlink()
    (folder / "empty.csv").write_text("text\n")
    (folder / "broken.jsonl").write_text("{\n")
    report = indexer.sync(read_documents(folder, exclude="broken.jsonl"))
    assert (report.deleted, report.kept, report.failed) == (1, 0, ())
    assert ids(opened) == ["b/c.md"]


def test_a_row_whose_id_was_there_already_is_told_with_its_file_and_line(indexer, tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,one\n2,two\n")
    (tmp_path / "b.csv").write_text("id,text\n2,again\n3,three\n")
    [failure] = indexer.add(read_documents(tmp_path)).failed
    assert (failure.source, failure.document_id) == ("b.csv:2", "2")
    assert failure.reason == "expected each id once, got it a second time; only the first, in a.csv:3, was taken"


def test_what_does_not_fit_a_field_is_told_with_its_file_and_line(faces, redis_url, index_name, counting, tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": "x", "text": "one", "year": 1}\n{"id": "y", "text": "two", "year": "soon"}\n'
    )
    with faces.index(index_name, url=redis_url, embedder=counting, fields={"year": "numeric"}) as index:
        [failure] = faces.indexer(index).add(read_documents(tmp_path)).failed
        assert (failure.source, failure.document_id) == ("a.jsonl:2", "y")
        report = faces.indexer(index).add(read_documents(tmp_path), on_bad_field="leave_out")
        assert [one.source for one in report.left_out] == ["a.jsonl:2"]


def test_metadata_nested_too_deeply_costs_its_document(indexer):
    deep: dict = {}
    for _ in range(3000):
        deep = {"in": deep}
    report = indexer.add([Document("a", "one"), Document("b", "two", None, deep), Document("c", "three")])
    assert (report.ids["added"], [one.document_id for one in report.failed]) == (("a", "c"), ["b"])


def test_a_dry_run_of_add_writes_nothing(indexer, opened, counting, folder):
    report = indexer.add(read_documents(folder), dry_run=True)
    assert (report.dry_run, report.added, report.ids["added"]) == (True, 2, ("a.txt", "b/c.md"))
    assert (ids(opened), counting.texts) == ([], [])


def test_each_passage_of_a_pdf_knows_its_page(indexer, opened, tmp_path):
    lines = [
        f"Page {number} is about {word}. " * 100 for number, word in enumerate(["keys", "locks", "lights"], start=1)
    ]
    (tmp_path / "a.pdf").write_bytes(pdf(lines[0], "", lines[1], lines[2], title="Bicycles"))
    report = indexer.add(read_documents(tmp_path))
    assert [note.kind for note in report.notes] == ["partial"]
    pages = {re.search("keys|locks|lights", passage.text)[0]: passage.page for passage in opened.passages()}
    assert pages == {"keys": 1, "locks": 3, "lights": 4}
    assert {passage.metadata["pages"] for passage in opened.passages()} == {4}


def test_a_frame_is_added_by_its_documents(indexer, opened):
    frame = pd.DataFrame({"id": [1, 2], "text": ["one", "two"]})
    assert indexer.add(documents_from_pandas(frame)).added == 2
    assert ids(opened) == ["1", "2"]
    with pytest.raises(TypeError, match=r"got a DataFrame; pass documents_from_pandas\(frame\)"):
        indexer.add(frame)
