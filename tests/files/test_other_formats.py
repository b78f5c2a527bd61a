"""Word, Excel, EPUB, notebooks and reStructuredText: files made by the libraries of each."""

import datetime
import io
import zipfile
from pathlib import Path
from subprocess import run
from sys import executable

import docx
import nbformat
import openpyxl
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from made_files import everything, failure, notes, only, outcomes, write

from ragknn.embedding.hashing import HashingEmbedder
from ragknn.errors import MissingDependency
from ragknn.files import _formats
from ragknn.files.limits import Limits
from ragknn.files.reader import read_documents
from ragknn.records import Document
from ragknn.reports import Note


def saved(thing) -> bytes:
    file = io.BytesIO()
    thing.save(file)
    return file.getvalue()


# Word


def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_heading("Keys", 1)
    document.add_paragraph("Bring the key.")
    document.add_heading("At night", 2)
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ["Plan", "Price", "Pro", "9\nEUR"], strict=True
    ):
        cell.text = text
    document.add_paragraph("")
    document.add_paragraph("First", style="List Bullet")
    document.add_paragraph("Then lock it.")
    return saved(document)


def test_word_is_headings_paragraphs_and_rows_of_tables(tmp_path: Path) -> None:
    text = "Handbook\n\n# Keys\n\nBring the key.\n\n## At night\n\nPlan Price\nPro 9 EUR\n\nFirst\n\nThen lock it."
    assert outcomes(write(tmp_path, "a.docx", word())) == [Document("a.docx", text, None, {"title": "Handbook"})]


def test_a_word_file_without_text_is_empty(tmp_path: Path) -> None:
    assert notes(write(tmp_path, "a.docx", saved(docx.Document()))) == [("empty", "a.docx")]


def test_what_readers_of_word_see_is_text(tmp_path: Path) -> None:
    def written(text: str) -> str:
        return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'

    inner = (
        f'<w:ins w:id="1" w:author="a">{written(" inserted")}</w:ins>'
        '<w:del w:id="2" w:author="a"><w:r><w:delText> deleted</w:delText></w:r></w:del>'
        f'<w:moveFrom w:id="3" w:author="a">{written(" moved away")}</w:moveFrom>'
        f"<w:hyperlink>{written(' linked')}</w:hyperlink>"
        f"<w:sdt><w:sdtContent>{written(' controlled')}</w:sdtContent></w:sdt>"
        f'<w:fldSimple w:instr="DATE">{written(" dated")}</w:fldSimple>'
    )
    box = f"<w:r><w:pict><w:txbxContent><w:p>{written('boxed')}</w:p></w:txbxContent></w:pict></w:r>"
    cell = f"<w:tc><w:p>{inner}</w:p></w:tc>"
    body = (
        f"<w:p>{written('Before')}{inner}</w:p><w:p>{box}</w:p>"
        f"<w:sdt><w:sdtContent><w:p>{written('Block')}</w:p></w:sdtContent></w:sdt>"
        f"<w:tbl><w:sdt><w:sdtContent><w:tr>{cell}{cell}</w:tr></w:sdtContent></w:sdt></w:tbl>"
    )
    document = docx.Document()
    for element in parse_xml(f"<w:body {nsdecls('w')}>{body}</w:body>").iterchildren("*"):
        document.element.body.insert(-1, element)
    seen = "inserted linked controlled dated"
    assert only(write(tmp_path, "a.docx", saved(document))).text == f"Before {seen}\n\nboxed\n\nBlock\n\n{seen} {seen}"


def test_the_table_of_contents_of_word_is_no_text(tmp_path: Path) -> None:
    document = docx.Document()
    document.styles.add_style("toc 1", WD_STYLE_TYPE.PARAGRAPH)
    document.add_paragraph("Keys 3", style="toc 1")
    document.add_paragraph("Bring the key.")
    assert only(write(tmp_path, "a.docx", saved(document))).text == "Bring the key."


# Excel


def book(**sheets: list[list]) -> bytes:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(workbook)


def test_a_sheet_with_a_text_column_is_rows(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 5, 1, 10, 30)
    rows = [["id", "text", "label", "year", None], [7, "Nine", 3, 2024.0, None], [], [None, "Ten", None, day, "x"]]
    assert outcomes(write(tmp_path, "a.xlsx", book(One=rows))) == [
        Document("7", "Nine", 3, {"year": 2024}),
        Document("a.xlsx#4", "Ten", None, {"year": "2024-05-01T10:30:00"}),
    ]


def test_other_sheets_are_texts(tmp_path: Path) -> None:
    content = book(Rows=[["text"], ["Nine"]], Prices=[["Plan", "EUR"], ["Pro", 9]], Nothing=[])
    assert outcomes(write(tmp_path, "a.xlsx", content)) == [
        Document("a.xlsx#Rows#2", "Nine"),
        Document("a.xlsx#Prices", "Prices\n\nPlan EUR\nPro 9", None, {"title": "Prices"}),
    ]
    assert notes(write(tmp_path, "b.xlsx", book(One=[]))) == [("empty", "b.xlsx")]


def test_a_column_of_a_workbook_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.xlsx", book(One=[["Frage", "Antwort"], ["Wann?", "Um neun."]]))
    assert only(path, text_field="Antwort").text == "Um neun."
    assert "expected a column 'Text'" in failure(path, text_field="Text").reason


# EPUB

CONTAINER = '<container xmlns="urn:c"><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="urn:p" xmlns:dc="urn:dc"><metadata><dc:title>The  Keys</dc:title></metadata><manifest>
<item id="two" href="two.xhtml"/><item id="one" href="text/one%20a.xhtml"/><item id="css" href="a.css"/></manifest>
<spine><itemref idref="one"/><itemref idref="two"/><itemref idref="gone"/></spine></package>"""


def epub(**changed: str) -> bytes:
    head = '<?xml version="1.0" encoding="utf-8"?><html><head><title/></head><body>'
    files = {
        "META-INF/container.xml": CONTAINER,
        "OEBPS/a.opf": PACKAGE,
        "OEBPS/text/one a.xhtml": head + "<h1>One</h1><p>Bring the keÿ.</p></body></html>",
        "OEBPS/two.xhtml": head + "<p><a id='x'/>Then lock it.</p></body></html>",
        **changed,
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_a_book_is_its_chapters_in_order(tmp_path: Path) -> None:
    text = "The Keys\n\nOne\n\nBring the keÿ.\n\nThen lock it."
    assert outcomes(write(tmp_path, "a.epub", epub())) == [Document("a.epub", text, None, {"title": "The Keys"})]


@pytest.mark.parametrize(
    "content", [epub(**{"META-INF/container.xml": "<x"}), epub(**{"OEBPS/a.opf": "<x/>"}), b"PK\3\4"]
)
def test_a_broken_book_is_a_failure_or_empty(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, "a.epub", content)
    [one] = everything(path)
    assert one.reason.startswith("expected a") or one.kind == "empty"


# Notebooks


def notebook() -> bytes:
    outputs = [
        nbformat.v4.new_output("stream", text="9\n"),
        nbformat.v4.new_output("execute_result", {"text/plain": "<Figure>", "image/png": "aGk="}),
        nbformat.v4.new_output("stream", text="x" * 5000),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# Hours\n\nWe open at nine."),
        nbformat.v4.new_code_cell("print(9)", outputs=outputs),
        nbformat.v4.new_code_cell(""),
    ]
    metadata = {"language_info": {"name": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata)).encode()


def test_a_notebook_is_its_cells(tmp_path: Path) -> None:
    text = "# Hours\n\nWe open at nine.\n\n```python\nprint(9)\n```\n\n```\n9\n```\n\n```\n<Figure>\n```"
    assert outcomes(write(tmp_path, "a.ipynb", notebook())) == [Document("a.ipynb", text)]


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"nbformat": 4, "cells": 3}', "no json"])
def test_what_is_no_notebook_is_a_failure(tmp_path: Path, content: str) -> None:
    assert failure(write(tmp_path, "a.ipynb", content)).source == "a.ipynb"


# reStructuredText

RST = """
Keys
====

.. _target:

*Bring* the ``key``, see :ref:`target` and `Site <https://x>`_.

.. a comment

At night
--------

- One
- Two

.. versionadded:: 3.1
   A new thing.

.. note:: Mind the gap.

.. include:: /etc/hostname

.. code-block:: python

   print(1)

===== =====
Plan  Price
===== =====
Pro   9 EUR
===== =====
"""


def test_rst_is_text_with_headings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = only(write(tmp_path, "a.rst", RST)).text
    for part in [
        "# Keys\n\nBring the key, see ",
        "## At night\n\nOne\n\nTwo",
        "A new thing.",
        "Mind the gap.",
        "Pro 9 EUR",
    ]:
        assert part in text
    assert "print(1)" in text
    assert "a comment" not in text
    assert ":ref:`target`" in text
    assert Path("/etc/hostname").read_text().strip() not in text
    assert capfd.readouterr() == ("", "")


# All of them


@pytest.mark.parametrize("suffix", [".docx", ".xlsx", ".epub"])
@pytest.mark.parametrize("content", [b"no archive", b"PK\3\4broken"])
def test_what_is_no_archive_is_a_failure(tmp_path: Path, suffix: str, content: bytes) -> None:
    bad = failure(write(tmp_path, f"a{suffix}", content))
    assert bad.reason.startswith(f"expected a {suffix} file, got ")


@pytest.mark.parametrize("suffix", [".docx", ".xlsx", ".epub"])
def test_archives_of_something_else_are_failures(tmp_path: Path, suffix: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.txt", "x")
    assert failure(write(tmp_path, f"a{suffix}", file.getvalue())).document_id in (f"a{suffix}", None)


def test_each_is_parsed_in_the_other_process_as_in_this_one(tmp_path: Path) -> None:
    for name, content in {
        **{"a.docx": word(), "b.xlsx": book(One=[["text"], ["x"]]), "c.epub": epub()},
        **{"d.ipynb": notebook(), "e.rst": RST, "f.html": "<p>x"},
    }.items():
        write(tmp_path, name, content)
    assert everything(tmp_path, limits=Limits()) == everything(tmp_path)
    assert len(outcomes(tmp_path)) == 6


def test_a_format_whose_library_is_missing_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "a.docx", word())
    write(tmp_path, "b.txt", "x")
    monkeypatch.setattr(_formats, "find_spec", lambda name: None)
    [note] = [one for one in everything(tmp_path) if isinstance(one, Note)]
    assert (note.kind, note.source) == ("passed over", "a.docx")
    assert note.reason == "needs python-docx: pip install 'ragknn[files]'"
    with pytest.raises(MissingDependency, match=r"needs the package python-docx"):
        read_documents(tmp_path / "a.docx")


def test_what_cannot_be_read_without_a_library_stays_in_the_index(
    faces, redis_url: str, index_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.docx", word())
    write(tmp_path, "b.txt", "x")
    write(tmp_path, "d.txt", "y")
    with faces.index(index_name, url=redis_url, embedder=HashingEmbedder(16)) as index:
        indexer = faces.indexer(index)
        assert indexer.sync(read_documents(tmp_path)).added == 3
        monkeypatch.setattr(_formats, "find_spec", lambda name: None)
        report = indexer.sync(read_documents(tmp_path))
        assert (report.unchanged, report.deleted, report.failed) == (2, 0, ())
        write(tmp_path, "c.xlsx", book(One=[["text"], ["x"]]))  # its rows may have any id
        (tmp_path / "b.txt").unlink()
        report = indexer.sync(read_documents(tmp_path))
        assert (report.deleted, report.kept) == (0, 1)
        assert [str(one) for one in report.failed] == [
            "c.xlsx: needs openpyxl: pip install 'ragknn[files]', or exclude it"
        ]
        assert indexer.sync(read_documents(tmp_path, exclude=["*.xlsx"])).deleted == 1
        assert [one.id for one in index.documents()] == ["a.docx", "d.txt"]


def test_importing_the_readers_imports_no_library_of_a_format() -> None:
    script = "import sys, ragknn.files; print({'docx', 'openpyxl', 'pypdf', 'lxml'} & set(sys.modules))"
    done = run([executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_book_with_copy_protection_is_refused(tmp_path: Path) -> None:
    locked = "<e><CipherReference xmlns='x' URI='{}'/></e>"
    book = epub(**{"META-INF/encryption.xml": locked.format("OEBPS/two.xhtml")})
    assert "expected a book without copy protection" in failure(write(tmp_path, "a.epub", book)).reason
    fonts = epub(**{"META-INF/encryption.xml": locked.format("OEBPS/font.otf")})
    assert only(write(tmp_path, "b.epub", fonts)).text.endswith("Then lock it.")


def test_the_table_of_contents_of_a_book_is_no_text(tmp_path: Path) -> None:
    items = '<item id="toc" href="toc.xhtml" properties="nav scripted"/></manifest><spine><itemref idref="toc"/>'
    package = PACKAGE.replace("</manifest>", "").replace("<spine>", items)
    book = epub(**{"OEBPS/a.opf": package, "OEBPS/toc.xhtml": "<nav><ol><li>Contents</li></ol></nav>"})
    assert only(write(tmp_path, "a.epub", book)).text == only(write(tmp_path, "b.epub", epub())).text
