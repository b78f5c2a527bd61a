import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from made_files import bare, failure, notes, only, outcomes, write

from ragknn.errors import ReadError
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import DocumentSource, Failure

NUL = "binary content? convert or remove it"


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = write(tmp_path, "notes.txt", "Bring the key.\r\n\r\nThen lock it.\n")
    assert outcomes(path) == [Document("notes.txt", "Bring the key.\n\nThen lock it.\n")]


def test_fields_can_be_named(tmp_path: Path) -> None:
    row = {"id": 1, "doc": "d1", "text": "no", "review": "Fine", "label": "no", "stars": 5}
    path = write(tmp_path, "r.jsonl", json.dumps(row))
    expected = [Document("d1", "Fine", 5, {"id": 1, "text": "no", "label": "no"})]
    assert outcomes(path, text_field="review", id_field="doc", label_field="stars") == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Müller 👍"),
        ("a.jsonl", '{"id": "a.txt", "text": "Müller 👍"}\n'),
        ("a.json", '{"id": "a.txt", "text": "Müller 👍"}'),
        ("a.csv", "id,text\na.txt,Müller 👍\n"),
    ],
)
def test_utf_8_and_utf_16_are_read(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    assert outcomes(write(tmp_path, name, content.encode(encoding))) == [Document("a.txt", "Müller 👍")]


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Lost keys", "Call us.", "Lost keys\n\nCall us."),
        ("Lost keys", "\n## LOST Keys\n\nCall us.", "\n## LOST Keys\n\nCall us."),
        ("Cat", "Category theory", "Cat\n\nCategory theory"),
        (" ", "Call us.", "Call us."),
        (1984, "By Orwell", "1984\n\nBy Orwell"),
        ("Only a title", "", "Only a title"),
    ],
)
def test_a_title_goes_before_a_text_that_does_not_begin_with_it(
    tmp_path: Path, title: Any, text: str, expected: str
) -> None:
    path = write(tmp_path, "c.jsonl", json.dumps({"id": "a", "title": title, "text": text}))
    assert outcomes(path) == [Document("a", expected, metadata={"title": title})]


def test_a_folder_is_read_in_order_with_relative_ids(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.md", "a/b/c.txt", "a-b.txt", "B.TXT", "x.xyz", ".hidden.txt", ".git/x.txt", "ü.txt"]:
        write(tmp_path, name, "text")
    write(tmp_path, "a/rows.jsonl", '{"text": "x"}\n{"text": "y"}')
    reader = read_documents(tmp_path)
    ids = ["B.TXT", "a-b.txt", "a/b/c.txt", "a/rows.jsonl#1", "a/rows.jsonl#2", "a/z.md", "b.txt", "ü.txt"]
    assert [document.id for document in reader] == ids
    assert reader.paths()[:3] == [tmp_path / "B.TXT", tmp_path / "a-b.txt", tmp_path / "a/b/c.txt"]
    assert [document.id for document in read_documents(str(tmp_path))] == ids


def test_an_accented_file_name_gives_one_id_however_it_is_written(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "u\u0308.txt", "x")) == [Document("\u00fc.txt", "x")]


def test_a_file_name_that_is_not_utf_8_is_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        write(tmp_path, name, "x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert outcomes(tmp_path) == [Document("caf\\udce9.txt", "x")]


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path, "a/x.txt", "x")
    (tmp_path / "a/back").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [document.id for document in read_documents(tmp_path)] == ["a/x.txt"]


def test_an_evaluation_set_gives_its_corpus_only(tmp_path: Path) -> None:
    write(tmp_path, "set/corpus.jsonl", '{"_id": "d1", "title": "T", "text": "X", "metadata": {"url": "u"}}\n')
    write(tmp_path, "set/queries.jsonl", '{"_id": "q1", "text": "?"}\n')
    write(tmp_path, "set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    write(tmp_path, "set/README.md", "About the set")
    write(tmp_path, "queries.jsonl", '{"_id": "other", "text": "no set here"}\n')
    assert {source for _, source in notes(tmp_path)} == {"set/README.md", "set/qrels/", "set/queries.jsonl"}
    assert outcomes(tmp_path) == [
        Document("other", "no set here"),
        Document("d1", "T\n\nX", metadata={"url": "u", "title": "T"}),
    ]
    assert read_documents(tmp_path / "set").paths() == [tmp_path / "set/corpus.jsonl"]
    assert outcomes(tmp_path / "set/queries.jsonl") == [Document("q1", "?")]


def test_a_reader_reads_the_disk_anew_each_time(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "one")
    reader = read_documents(tmp_path)
    assert isinstance(reader, DocumentSource)
    place = {"path": "a.txt", "folder": ".", "suffix": ".txt"}
    assert list(reader) == list(reader) == [Document("a.txt", "one", None, place)]
    write(tmp_path, "a.txt", "two")
    write(tmp_path, "b.txt", "three")
    assert [(one.id, one.text) for one in reader] == [("a.txt", "two"), ("b.txt", "three")]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x"}\n{broken\n{"text": "y"}\n')
    documents = iter(read_documents(path))
    assert bare(next(documents)) == Document("a.jsonl#1", "x")
    with pytest.raises(ReadError, match=r"^a\.jsonl:2: expected a JSON object, got '\{broken'"):
        next(documents)
    first, second, third = outcomes(path)
    assert (first, third) == (Document("a.jsonl#1", "x"), Document("a.jsonl#3", "y"))
    assert isinstance(second, Failure)


def test_a_path_with_nothing_to_read_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.xyz", "x")
    for path, message in [
        (tmp_path / "none.txt", "expected a file or folder, got nothing there; check the path"),
        (tmp_path / "sub/a.xyz", "expected a file ending in one of .txt .md .markdown "),
        (tmp_path / "sub", "expected files ending in one of .txt .md .markdown "),
    ]:
        with pytest.raises(ReadError, match=f"^{re.escape(f'{path}: {message}')}"):
            read_documents(path)


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".pdf", ".json", ".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("content", ["", " \n", "\ufeff"])
def test_a_file_without_text_is_no_document_and_no_failure(tmp_path: Path, suffix: str, content: str) -> None:
    path = write(tmp_path, f"a{suffix}", content)
    if suffix in (".pdf", ".json") and content:
        assert failure(path).source.startswith(f"a{suffix}")
    else:
        assert (outcomes(path), notes(path)) == ([], [("empty", f"a{suffix}")])
        assert list(read_documents(path)) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.txt",
            b"x" * 123 + b"\xe9t\xe9",
            "expected UTF-8, found byte 0xE9 at offset 123 of the file; convert it to UTF-8, or name its encoding",
        ),
        (
            "a.html",
            "\ufeffü".encode() + b"\xe9",
            "expected UTF-8, found byte 0xE9 at offset 5 of the file; convert it to UTF-8, or name its encoding",
        ),
        ("a.txt", b"GIF\0\0", f"expected text, found a NUL byte at offset 3 of the file: {NUL}"),
        (
            "a.txt",
            b"\xff\xfea",
            "expected UTF-16 after its byte order mark, got 'utf-16-le' codec can't decode byte 0x61 "
            "in position 2: truncated data; convert it to UTF-8",
        ),
    ],
)
def test_what_is_no_text_is_reported(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    assert failure(write(tmp_path, name, content)) == Failure(name, expected, name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_broken_utf_16_ends_a_file_of_rows(tmp_path: Path, name: str) -> None:
    bad = failure(write(tmp_path, name, "\ufeff\udc00\n".encode("utf-16-le", "surrogatepass")))
    assert bad.reason.startswith("expected UTF-")


def test_a_file_that_vanishes_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    for name in ["a.txt", "b.txt", "c.txt"]:
        write(tmp_path, name, "text")
    reading = read_documents(tmp_path).outcomes()
    assert bare(next(reading)) == Document("a.txt", "text")
    (tmp_path / "b.txt").unlink()
    reason = "expected a readable file, got No such file or directory; check it and its permissions"
    assert [bare(one) for one in reading] == [Failure("b.txt", reason, "b.txt"), Document("c.txt", "text")]


def test_a_folder_that_vanishes_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "sub/a.txt", "text")
    reader = read_documents(path.parent)
    path.unlink()
    path.parent.rmdir()
    [outcome] = reader.outcomes()
    assert isinstance(outcome, Failure)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything, so a test that root runs becomes somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_reported_and_the_others_are_read() -> None:
    with TemporaryDirectory() as name:  # not tmp_path, into which nobody but its owner may look
        folder = Path(name)
        folder.chmod(0o755)
        write(folder, "a.txt", "text").chmod(0)
        write(folder, "b/c.txt", "text").parent.chmod(0)
        write(folder, "d.txt", "text")
        with ordinary_user():
            found = outcomes(folder)
        (folder / "b").chmod(0o700)
    assert found == [
        Failure("a.txt", "expected a readable file, got Permission denied; check it and its permissions", "a.txt"),
        Failure("b", "expected a readable folder, got Permission denied; check its permissions"),
        Document("d.txt", "text"),
    ]


def test_a_pipe_and_a_broken_link_are_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "none")
    (tmp_path / "c.txt").symlink_to("c.txt")
    assert [(type(outcome), getattr(outcome, "source", None)) for outcome in outcomes(tmp_path)] == [
        (Failure, "a.txt"),
        (Failure, "b.txt"),
        (Failure, "c.txt"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a.py", "# -*- coding: latin-1 -*-\nname = 'café'\n", "latin-1"),
        ("a.py", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nprice = '5 €'\n", "cp1252"),
        ("a.xml", '<?xml version="1.0" encoding="ISO-8859-2"?>\n<a>Żółw</a>\n', "iso-8859-2"),
        ("a.py", "# coding: klingon\n'é'\n", "utf-8"),
        ("a.txt", "a\nb\n# coding: cp1252\n'é'\n", "utf-8"),
    ],
)
def test_source_code_and_xml_may_declare_their_encoding(tmp_path: Path, name: str, content: str, encoding: str) -> None:
    assert outcomes(write(tmp_path, name, content.encode(encoding)), as_text=True) == [Document(name, content)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", "# coding: rot13\nx = 1\n"),
        ("a.txt", "# Content encoding: base64\nwords\n"),
        ("a.html", "<meta charset='undefined'><p>words</p>"),
    ],
)
def test_an_encoding_that_is_none_of_text_counts_as_not_declared(tmp_path: Path, name: str, content: str) -> None:
    assert only(write(tmp_path, name, content)).text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", "Café"), ("a.csv", "text\nCafé\n"), ("a.html", "<p>Café"), ("a.json", '[{"text": "Café"}]')],
)
def test_utf_16_shows_without_a_mark(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    assert only(write(tmp_path, name, content.encode(encoding))).text == "Café"


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(ReadError, match="got an empty path"):
        read_documents("")
