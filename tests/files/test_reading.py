import csv
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn.errors import ReadError
from ragknn.files.reader import read_documents
from ragknn.records import Document, DocumentSource, Failure


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def outcomes(path: Path, **fields: str) -> list[Document | Failure]:
    return list(read_documents(path, **fields).outcomes())


def failure(path: Path, **fields: str) -> Failure:
    [outcome] = outcomes(path, **fields)
    assert isinstance(outcome, Failure)
    assert "\n" not in str(outcome)
    return outcome


def pdf(*pages: str, title: str | None = None) -> bytes:
    """Write a PDF by hand: a page with one line of text each."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET" if page else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< /Title ({title}) >>" if title else "<< >>")
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info {size - 1} 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


# Each format


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = write(tmp_path, "notes.txt", "Bring the key.\r\n\r\nThen lock it.\n")
    assert outcomes(path) == [Document("notes.txt", "Bring the key.\n\nThen lock it.\n")]


def test_a_markdown_file_keeps_its_source(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md", "# Key\n\n*Bring* it.\n\n---\n\nEnd\n")
    assert outcomes(path) == [Document("a.md", "# Key\n\n*Bring* it.\n\n---\n\nEnd\n")]


def test_markdown_front_matter_gives_title_label_id_and_metadata(tmp_path: Path) -> None:
    front = "title: Keys\nlabel: 3\nid: 7\ndate: 2024-05-01\nat: 2024-05-01 10:30:00\ntags: [a, b]\nempty:\n1: x"
    path = write(tmp_path, "a.markdown", f"---\n{front}\n---\n# keys\nBring it.\n")
    metadata = {"title": "Keys", "date": "2024-05-01", "at": "2024-05-01T10:30:00", "tags": ["a", "b"], "1": "x"}
    assert outcomes(path) == [Document("7", "# keys\nBring it.\n", 3, metadata)]


def test_a_rule_at_the_top_of_markdown_is_no_front_matter(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.md", "---\nBring it.\n")) == [Document("a.md", "---\nBring it.\n")]
    assert outcomes(write(tmp_path, "b.md", "---\n---\nBring it.\n")) == [Document("b.md", "Bring it.\n")]


def test_html_becomes_blocks_of_text(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>All &amp;
      keys</title><style>p { color: red }</style></head><body>
      <nav><a>Home</a></nav><script>run()</script><noscript>No script</noscript><template>T</template><!-- c -->
      <h1>Lost   key</h1><p>Call <b>us</b> at&nbsp;once:<br>0800&ndash;1.</p>
      <ul><li>One</li><li>Two</li></ul><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
      <pre>  if x:\n      y &lt; 1\n</pre><div>End<p>of</p>page</div>
    </body></html>"""
    blocks = ["All & keys", "Lost key", "Call us at once:\n0800–1.", "One", "Two", "a b", "c", "  if x:\n      y < 1"]
    text = "\n\n".join([*blocks, "End", "of", "page"])
    assert outcomes(write(tmp_path, "a.html", page)) == [Document("a.html", text, metadata={"title": "All & keys"})]


@pytest.mark.parametrize("page", ["notes.txt", "<?xml version='1.0'?><html><body>notes.txt</body></html>"])
def test_html_that_looks_like_something_else_gives_no_warning(tmp_path: Path, page: str) -> None:
    assert outcomes(write(tmp_path, "a.htm", page)) == [Document("a.htm", "notes.txt")]


def test_deeply_nested_html_is_read(tmp_path: Path) -> None:
    [document] = outcomes(write(tmp_path, "a.html", "<div>a" * 5000))
    assert isinstance(document, Document)
    assert document.text == "\n\n".join("a" * 5000)


def test_a_pdf_is_its_pages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("Bring the key.", "", "Then lock it.", title="Keys"))
    text = "Keys\n\nBring the key.\n\nThen lock it."
    assert outcomes(path) == [Document("a.pdf", text, metadata={"pages": 3, "title": "Keys"})]


def test_json_lines_are_a_document_each(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "One", "label": "x", "year": 2024, "metadata": {"source": "web", "year": 1}},
        {"_id": 7, "title": "Two", "text": "2", "label": 1.5, "score": None},
        {"content": "Three", "target": True, "tags": ["a", {"b": None}]},
    ]
    path = write(tmp_path, "c.jsonl", "\ufeff" + json.dumps(rows[0]) + "\n\n" + "\r\n".join(map(json.dumps, rows[1:])))
    assert outcomes(path) == [
        Document("a", "One", "x", {"source": "web", "year": 2024}),
        Document("7", "Two\n\n2", 1.5, {"title": "Two"}),
        Document("c.jsonl#4", "Three", True, {"tags": ["a", {"b": None}]}),
    ]
    labels = [document.label for document in read_documents(path)]
    assert [type(label) for label in labels] == [str, float, bool]


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ([{"text": "x"}, {"text": "y", "id": "b"}], ["a.json#1", "b"]),
        ({"version": 1, "data": [{"text": "x"}, {"text": "y"}]}, ["a.json#1", "a.json#2"]),
        ({"content": [{"text": "x"}]}, ["a.json#1"]),
        ({"text": "x", "tags": ["p", "q"]}, ["a.json"]),
    ],
)
def test_json_is_a_list_an_object_around_one_or_one_object(tmp_path: Path, content: Any, ids: list[str]) -> None:
    documents = list(read_documents(write(tmp_path, "a.json", json.dumps(content))))
    assert [document.id for document in documents] == ids
    assert documents[0].text == "x"


def test_csv_values_are_strings_and_empty_cells_absent(tmp_path: Path) -> None:
    path = write(tmp_path, "c.csv", 'id,text,label,year\n7,"One, ""two""\nthree",1,\n\n,Four,,2024\n')
    assert outcomes(path) == [
        Document("7", 'One, "two"\nthree', "1"),
        Document("c.csv#5", "Four", None, {"year": "2024"}),
    ]


def test_tsv_is_split_at_tabs(tmp_path: Path) -> None:
    path = write(tmp_path, "c.tsv", 'text\ttarget\nHe said "no", twice\tx\n')
    assert outcomes(path) == [Document("c.tsv#2", 'He said "no", twice', "x")]


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


# Round trips

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
filled = st.text(characters, min_size=1)
texts = filled.filter(lambda text: bool(text.strip()))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | filled,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(filled, inner, max_size=3),
    max_leaves=5,
)
roles = {"id", "_id", "text", "content", "body", "title", "label", "target", "metadata"}
metadata = st.dictionaries(filled.filter(lambda key: key not in roles), values.filter(lambda value: value is not None))
documents = st.builds(
    Document, filled, texts, st.none() | filled | st.integers(-(2**60), 2**60) | st.booleans(), metadata
)
string_columns = {"label": filled, "year": filled, "author name": filled}


@settings(deadline=None)
@given(rows=st.lists(documents, min_size=1, max_size=5))
def test_documents_written_as_json_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Document]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    objects = [{"id": row.id, "text": row.text, "label": row.label, **row.metadata} for row in rows]
    lines = "\n".join(json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(objects))
    assert list(read_documents(write(folder, "a.jsonl", lines))) == rows
    assert list(read_documents(write(folder, "a.json", json.dumps(objects)))) == rows


@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
@settings(deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries({"id": filled, "text": texts}, optional=string_columns), min_size=1, max_size=5)
)
def test_rows_written_as_csv_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, dialect: str, rows: list[dict[str, str]]
) -> None:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, ["id", "text", *string_columns], dialect=dialect)
    table.writeheader()
    table.writerows(rows)
    path = write(tmp_path_factory.mktemp("rows"), name, file.getvalue())
    assert list(read_documents(path)) == [
        Document(row.pop("id"), row.pop("text"), row.pop("label", None), row) for row in map(dict, rows)
    ]


def test_a_cell_may_be_long_and_the_limit_of_the_csv_module_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    text = "word " * 100_000
    assert outcomes(write(tmp_path, "a.csv", f"text\n{text}\n")) == [Document("a.csv#2", text)]
    assert csv.field_size_limit() == before


# Folders


def test_a_folder_is_read_in_order_with_relative_ids(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.md", "a/b/c.txt", "a-b.txt", "B.TXT", "x.docx", ".hidden.txt", ".git/x.txt", "ü.txt"]:
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
    assert list(reader) == list(reader) == [Document("a.txt", "one")]
    write(tmp_path, "a.txt", "two")
    write(tmp_path, "b.txt", "three")
    assert list(reader) == [Document("a.txt", "two"), Document("b.txt", "three")]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x"}\n{broken\n{"text": "y"}\n')
    documents = iter(read_documents(path))
    assert next(documents) == Document("a.jsonl#1", "x")
    with pytest.raises(ReadError, match=r"^a\.jsonl:2: expected a JSON object, got '\{broken'"):
        next(documents)
    first, second, third = outcomes(path)
    assert (first, third) == (Document("a.jsonl#1", "x"), Document("a.jsonl#3", "y"))
    assert isinstance(second, Failure)


# What cannot be read

OTHER_TEXT = "correct it, or name another field with text_field"
OTHER_ID = "correct it, or name another field with id_field"
OTHER_LABEL = "correct it, or name another field with label_field"
ID = "a string, not empty, or an integer"
LABEL = "a string, number or boolean"
HALF = "; write or remove the whole character"
ONE_NAME = "expected a header with a name for each column"
YAML = "expected YAML between the --- lines"
PROPERTY = "Expecting property name enclosed in double quotes"
BROKEN_PDF = "expected a PDF, got PdfStreamError: Stream has ended unexpectedly; repair or export it again"
NUL = "binary content? convert or remove it"


def test_a_path_with_nothing_to_read_is_refused_at_once(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.docx", "x")
    suffixes = ".txt .md .markdown .jsonl .ndjson .json .csv .tsv .html .htm .pdf"
    for path, message in [
        (tmp_path / "none.txt", "expected a file or folder, got nothing there; check the path"),
        (tmp_path / "sub/a.docx", f"expected a file ending in one of {suffixes}, got '.docx'; convert it"),
        (tmp_path / "sub", f"expected files ending in one of {suffixes}, got none in this folder; add one"),
    ]:
        with pytest.raises(ReadError, match=f"^{re.escape(f'{path}: {message}')}$"):
            read_documents(path)


@pytest.mark.parametrize(
    ("line", "reason", "document_id"),
    [
        ("{broken", f"expected a JSON object, got '{{broken' ({PROPERTY} at column 2); correct the line", None),
        ("[1, 2]", "expected a JSON object, got [1, 2]; correct it", None),
        ('{"id": "a"}', f"expected 'text' as a string, got only the fields ['id']; {OTHER_TEXT}", "a"),
        ('{"text": null}', f"expected 'text' as a string, got only the fields ['text']; {OTHER_TEXT}", "a.jsonl#2"),
        ('{"body": ["x"]}', f"expected 'body' as a string, got ['x']; {OTHER_TEXT}", "a.jsonl#2"),
        ('{"id": 3, "text": " \\n"}', "expected text, got nothing but whitespace; fill or remove it", "3"),
        ('{"id": 1.5, "text": "x"}', f"expected 'id' as {ID}, got 1.5; {OTHER_ID}", None),
        ('{"_id": true, "text": "x"}', f"expected '_id' as {ID}, got True; {OTHER_ID}", None),
        ('{"id": "", "text": "x"}', f"expected 'id' as {ID}, got ''; {OTHER_ID}", None),
        ('{"text": "x", "label": ["a"]}', f"expected 'label' as {LABEL}, got ['a']; {OTHER_LABEL}", "a.jsonl#2"),
        ('{"text": "x", "title": ["a"]}', "expected 'title' as a string, got ['a']; correct it", "a.jsonl#2"),
        (
            '{"text": "x", "n": NaN}',
            'expected a JSON object, got \'{"text": "x", "n": NaN}\' '
            "(NaN, which is not a finite number); correct the line",
            None,
        ),
        ('{"text": "x", "n": -Infinity}', "(-Infinity, which is not a finite number); correct the line", None),
        ('{"text": "x", "n": 1e999}', "(1e999, which is not a finite number); correct the line", None),
        ('{"id": "a", "text": "\\ud800"}', f"expected Unicode text, got half a character, \\ud800{HALF}", "a"),
        (
            '{"id": "a", "text": "x", "m": {"\\udc01": 1}}',
            f"expected Unicode text, got half a character, \\udc01{HALF}",
            "a",
        ),
        ('{"id": "\\ud800", "text": "x"}', f"expected Unicode text, got half a character, \\ud800{HALF}", None),
        (b'{"text": "caf\xe9"}', "expected UTF-8, found byte 0xE9 at offset 13 of the line; convert it to UTF-8", None),
        (b'{"text": "\0"}', f"expected text, found a NUL byte at offset 10 of the line: {NUL}", None),
    ],
)
def test_a_bad_json_line_is_reported_and_the_next_is_read(
    tmp_path: Path, line: str | bytes, reason: str, document_id: str | None
) -> None:
    content = b'{"text": "one"}\n%b\n{"text": "three"}\n' % (line if isinstance(line, bytes) else line.encode())
    one, bad, three = outcomes(write(tmp_path, "a.jsonl", content))
    assert (one, three) == (Document("a.jsonl#1", "one"), Document("a.jsonl#3", "three"))
    assert isinstance(bad, Failure)
    assert (bad.source, bad.document_id) == ("a.jsonl:2", document_id)
    assert bad.reason.endswith(reason)
    assert "\n" not in bad.reason


@pytest.mark.parametrize("depth", [100_000, sys.getrecursionlimit(), *range(800, 1000, 10)])
def test_json_nested_too_deeply_is_reported(tmp_path: Path, depth: int) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "x", "m": ' + "[" * depth + "]" * depth + '}\n{"text": "y"}')
    deep, plain = outcomes(path)
    # Where the limit lies is up to the interpreter and how deep the caller stands; beyond it there is no crash.
    assert isinstance(deep, Failure) or depth < 1000
    assert plain == Document("a.jsonl#2", "y")


def test_a_row_without_a_field_that_was_named_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": 1, "text": "x"}')
    assert failure(path, id_field="key") == Failure(
        "a.jsonl:1", f"expected 'key' as {ID}, got only the fields ['id', 'text']; {OTHER_ID}"
    )
    assert "expected 'review' as a string, got only the fields" in failure(path, text_field="review").reason
    assert outcomes(path, label_field="stars") == [Document("1", "x")]


def test_a_bad_entry_of_a_json_list_is_reported_by_position(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.json", '[{"text": "x"}, 3]')) == [
        Document("a.json#1", "x"),
        Failure("a.json#2", "expected a JSON object, got 3; correct it"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[{]", f"a.json:1: expected JSON, got {PROPERTY} at column 3; correct it"),
        ('[\n{"text": }]', "a.json:2: expected JSON, got Expecting value at column 10; correct it"),
        ("[NaN]", "a.json: expected JSON, got NaN, which is not a finite number; correct the file"),
        ("[]", "a.json: expected a list of JSON objects, but the list is empty; fill or remove the file"),
        ("3", "a.json: expected a JSON object, got 3; correct it"),
        ('{"x": 1}', f"a.json: expected 'text' as a string, got only the fields ['x']; {OTHER_TEXT}"),
    ],
)
def test_bad_json_is_reported(tmp_path: Path, content: str, expected: str) -> None:
    assert str(failure(write(tmp_path, "a.json", content))) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,text\n1,x,y\n", "a.csv:2: expected 2 cells as in the header, got 3; quote cells with delimiters"),
        ("id,text\n1\n", "a.csv:2: expected 2 cells as in the header, got 1; quote cells with delimiters"),
        ('text\n"a"b\n', "a.csv:2: expected a row of 1 cells, got ',' expected after '\"'; correct its quotes"),
        ('text\n"a\nb', "a.csv:2: expected a row of 1 cells, got unexpected end of data; correct its quotes"),
        ("id,text\n1,\n", f"a.csv:2: expected 'text' as a string, got only the fields ['id', 'text']; {OTHER_TEXT}"),
        (
            b"id,text\n1,caf\xe9\n",
            "a.csv:2: expected UTF-8, found byte 0xE9 at offset 3 of column 'text'; convert it to UTF-8",
        ),
        (b"id,text\n1,\0\n", f"a.csv:2: expected text, found a NUL byte at offset 0 of column 'text': {NUL}"),
        ("id,text\n", "a.csv: expected a header and rows below it, got no rows; fill or remove the file"),
        ("\n\n", "a.csv: expected a header and rows below it, got no rows; fill or remove the file"),
        (
            "1,Bring it\n",
            "a.csv: expected a header with a column 'text', got '1', 'Bring it'; add one or name it with text_field",
        ),
        ("text,text\na,b\n", f"a.csv: {ONE_NAME}, got 'text', 'text'; name each column once"),
        ("text,\na,b\n", f"a.csv: {ONE_NAME}, got 'text', ''; name each column once"),
        ('"text"x\na\n', "a.csv: expected a header, got ',' expected after '\"'; correct its quotes"),
        (
            b"caf\xe9,text\na,b\n",
            "a.csv: expected UTF-8, found byte 0xE9 at offset 3 of the header; convert it to UTF-8",
        ),
    ],
)
def test_a_bad_table_is_reported(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert str(failure(write(tmp_path, "a.csv", content))) == expected


def test_rows_behind_a_bad_one_are_read_under_their_own_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,n\n"two\nlines",1\n"a"b,2\n\nx,3\n')
    places = [outcome.id if isinstance(outcome, Document) else outcome.source for outcome in outcomes(path)]
    assert places == ["a.csv#2", "a.csv:4", "a.csv#6"]


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,text\n1,x\n")
    for option in ("text_field", "id_field", "label_field"):
        reason = f"expected a column 'stars', got 'id', 'text'; correct {option}"
        assert failure(path, **{option: "stars"}) == Failure("a.csv", reason)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: [\n", f"a.md:4: {YAML}, got expected the node content, but found '<stream end>'; correct it"),
        ("a: b: c\n", f"a.md:2: {YAML}, got mapping values are not allowed here; correct it"),
        ("a: \a\n", f"a.md:2: {YAML}, got unacceptable character #x0007: special characters are not allowed in"),
        ("- a\n", "a.md:2: expected `name: value` lines between the --- lines, got ['a']; correct them"),
        ("Some words\n", "a.md:2: expected `name: value` lines between the --- lines, got 'Some words'; correct them"),
        ("a: .nan\n", f"a.md:2: {YAML}, got Out of range float values are not JSON compliant; correct it"),
        ("a: !!binary aGk=\n", f"a.md:2: {YAML}, got a value of type bytes; correct it"),
        ("a: &x [*x]\n", f"a.md:2: {YAML}, got Circular reference detected; correct it"),
        ("a: 2024-13-45\n", f"a.md:2: {YAML}, got month must be in 1..12; correct it"),
        (
            "a: !!python/name:os.system\n",
            f"a.md:2: {YAML}, got could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'; correct it",
        ),
        ("label: [a]\n", f"a.md: expected 'label' as {LABEL}, got ['a']; {OTHER_LABEL}"),
    ],
)
def test_bad_front_matter_is_reported_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    bad = failure(write(tmp_path, "a.md", f"---\n{content}---\nText\n"))
    # Some releases of Python add the value to the end of its own message.
    assert str(bad).startswith(expected.removesuffix("; correct it"))


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".pdf", ".json", ".jsonl", ".csv", ".tsv"])
def test_an_empty_file_is_reported(tmp_path: Path, suffix: str) -> None:
    bad = failure(write(tmp_path, f"a{suffix}", ""))
    assert str(bad) == f"a{suffix}: expected text, but the file is empty; fill or remove it"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"\xef\xbb\xbf", "expected text, got nothing but whitespace; fill or remove it"),
        ("a.html", b"<p> </p>", "expected text, got nothing but whitespace; fill or remove it"),
        (
            "a.txt",
            b"x" * 123 + b"\xe9t\xe9",
            "expected UTF-8, found byte 0xE9 at offset 123 of the file; convert it to UTF-8",
        ),
        (
            "a.html",
            "\ufeffü".encode() + b"\xe9",
            "expected UTF-8, found byte 0xE9 at offset 5 of the file; convert it to UTF-8",
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


def test_a_file_of_blank_lines_is_reported(tmp_path: Path) -> None:
    expected = "a.jsonl: expected a JSON object on each line, got only blank lines; fill or remove the file"
    assert str(failure(write(tmp_path, "a.jsonl", "\n \n"))) == expected


def encrypted(user_password: str) -> bytes:
    file = io.BytesIO()
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Bring the key.")))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


def test_a_pdf_that_needs_no_password_to_be_read_is_read(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.pdf", encrypted(""))) == [
        Document("a.pdf", "Bring the key.", metadata={"pages": 1})
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pdf("", ""), "expected text, got none in 2 pages (scanned?); run OCR first, e.g. ocrmypdf"),
        (encrypted("secret"), "expected a PDF without a password, got an encrypted one; save it without"),
        (b"no pdf", BROKEN_PDF),
        (pdf("Bring the key.")[:200], BROKEN_PDF),
    ],
)
def test_a_pdf_without_text_to_be_had_is_reported_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, expected: str
) -> None:
    handlers, logging.root.handlers = logging.root.handlers, []
    try:
        assert failure(write(tmp_path, "a.pdf", content)) == Failure("a.pdf", expected, "a.pdf")
    finally:
        logging.root.handlers = handlers
    assert capfd.readouterr() == ("", "")


def test_a_file_that_vanishes_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    for name in ["a.txt", "b.txt", "c.txt"]:
        write(tmp_path, name, "text")
    reading = read_documents(tmp_path).outcomes()
    assert next(reading) == Document("a.txt", "text")
    (tmp_path / "b.txt").unlink()
    reason = "expected a readable file, got No such file or directory; check it and its permissions"
    assert list(reading) == [Failure("b.txt", reason, "b.txt"), Document("c.txt", "text")]


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
