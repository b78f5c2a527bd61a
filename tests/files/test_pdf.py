import io
import logging
from pathlib import Path

import pypdf
import pytest
from made_files import everything, failure, only, outcomes, pdf, write
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, TextStringObject

from ragknn.files._lines import with_words_joined
from ragknn.records import Document
from ragknn.reports import Failure, Note

BROKEN_PDF = "expected a PDF, got PdfStreamError: Stream has ended unexpectedly; repair or export it again"


def test_a_pdf_is_its_pages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("Bring the key.", "", "Then lock it.", title="Keys"))
    text = "Keys\n\nBring the key.\n\nThen lock it."
    document = Document("a.pdf", text, metadata={"pages": 3, "title": "Keys"}, page_starts=(6, 22, 22))
    assert outcomes(path) == [document]
    assert [document.text[start:][:5] for start in document.page_starts] == ["Bring", "Then ", "Then "]


def encrypted(user_password: str) -> bytes:
    file = io.BytesIO()
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Bring the key.")))
    writer.encrypt(user_password, "owner", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


def test_a_pdf_that_needs_no_password_to_be_read_is_read(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.pdf", encrypted(""))) == [
        Document("a.pdf", "Bring the key.", metadata={"pages": 1}, page_starts=(0,))
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pdf("", ""), "no text on pages 1-2 of 2 (scanned?); run OCR first, e.g. ocrmypdf"),
        (encrypted("secret"), "expected a PDF without a password, got an encrypted one; save it without"),
        (b"no pdf", "expected a PDF, got a file that does not begin as one (%PDF-); look at what it is"),
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


def partial(path: Path) -> str:
    """Return what the only note about a file says is missing."""
    [note] = [one for one in everything(path) if isinstance(one, Note)]
    assert (note.kind, note.source, note.document_id) == ("partial", path.name, path.name)
    return note.reason


def test_pages_without_text_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("One", "", "Three", "", "", ""))
    assert only(path).metadata["pages"] == 6
    assert only(path).page_starts == (0, 5, 5, 10, 10, 10)
    assert partial(path) == "no text on pages 2, 4-6 of 6 (scanned?); run OCR first, e.g. ocrmypdf"


def damaged() -> bytes:
    """Write three pages: the stream of the second one says that it is compressed, and is not."""
    stream = b"BT /F1 12 Tf 14 TL 72 720 Td (Two) Tj ET"
    length = b"/Length %d" % len(stream)
    return pdf("One", "", "Three", streams={2: stream}).replace(length, b"/Filter /FlateDecode " + length)


def missing() -> bytes:
    """Write three pages, of which the second one names a stream that is not there."""
    return pdf("One", "Two", "Three").replace(b"/Contents 7 0 R", b"/Contents 99 0 R")


@pytest.mark.parametrize("content", [damaged(), missing()])
def test_a_damaged_page_is_named_and_the_others_are_read(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, "a.pdf", content)
    assert only(path).text == "One\n\nThree"
    assert partial(path).startswith("page 2 of 3 cannot be read (")


def test_a_page_that_is_not_in_the_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("One", "Two", "Three").replace(b"[4 0 R 6 0 R", b"[4 0 R 99 0 R"))
    assert only(path).text == "One\n\nThree"
    assert partial(path) == "1 of 3 pages cannot be found in the file; repair or export it again"


def form(**values: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("Application")))
    fields = [
        {"/FT": "/Tx", "/T": "Name", "/V": values["name"]},
        {"/FT": "/Ch", "/T": "x7", "/TU": "Country", "/V": values["country"]},
        {"/FT": "/Btn", "/T": "Member", "/V": "/Yes"},
        {"/FT": "/Btn", "/T": "Guest", "/V": "/Off"},
        {"/FT": "/Tx", "/T": "Remarks"},
    ]
    widgets = ArrayObject()
    for field in fields:
        entries = {"/Type": "/Annot", "/Subtype": "/Widget", "/Rect": "", **field}
        named = {
            NameObject(key): (NameObject(value) if value.startswith("/") else TextStringObject(value))
            for key, value in entries.items()
        }
        widgets.append(writer._add_object(DictionaryObject(named)))
    writer.pages[0][NameObject("/Annots")] = widgets
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def test_values_of_forms_are_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", form(name="Zoë Ünal", country="Norway"))
    assert only(path).text == "Application\nName: Zoë Ünal\nCountry: Norway\nMember: Yes"


@pytest.mark.parametrize(
    "title",
    [
        *(
            "Microsoft Word - report final.doc",
            "Microsoft PowerPoint - x",
            "untitled",
            "Untitled-1",
            "Document1",
            "report.docx",
        ),
        *(
            "C:\\\\temp\\\\x",
            "(anonymous)",
            "Slide 1",
            "PowerPoint Presentation",
            "scan0001.tif",
            "book.indd",
            "???",
            "No title",
        ),
    ],
)
def test_titles_that_nobody_gave_are_left_out(tmp_path: Path, title: str) -> None:
    document = only(
        write(tmp_path, "a.pdf", pdf("Bring the key.", title=title.replace("(", "\\(").replace(")", "\\)")))
    )
    assert (document.text, document.metadata) == ("Bring the key.", {"pages": 1})


@pytest.mark.parametrize("title", ["Keys", "Microsoft and others", "Documents of 1848", "The book", "Untitled no more"])
def test_other_titles_stay(tmp_path: Path, title: str) -> None:
    assert only(write(tmp_path, "a.pdf", pdf("Bring the key.", title=title))).metadata["title"] == title


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("gave infor-\nmation on", "gave information on"),
        ("the reim-\nbursement of travel-\nling costs", "the reimbursement of travelling costs"),
        ("for long-\nterm staff", "for long-term staff"),
        ("part of a so-called high-\nlevel meeting", "part of a so-called high-level meeting"),
        ("no longer, no long-\ner", "no longer, no longer"),
        ("new hard-\nware", "new hardware"),
        ("state-of-the-\nart", "state-of-the-art"),
        ("state-\nof-the-art", "state-of-the-art"),
        ("from day-\nto-day", "from day-to-day"),
        ("Haus-\nund Gartenarbeit", "Haus- und Gartenarbeit"),
        ("pre-\nand postwar", "pre- and postwar"),
        ("in Baden-\nWürttemberg", "in Baden-Württemberg"),
        ("COVID-\n19", "COVID-19"),
        ("a data-set and a data-\nset", "a data-set and a data-set"),
        ("a longterm plan for the long-\nterm", "a longterm plan for the longterm"),
        ("IMPOR-\nTANT", "IMPORTANT"),
        ("soft\u00adware and infor\u00ad\nmation", "software and information"),
        ("infor- \n  mation", "information"),
        ("a dash -\nhere", "a dash -\nhere"),
        ("1990-\n1995", "1990-\n1995"),
        ("Arbeits-\nzeit", "Arbeitszeit"),
    ],
)
def test_words_broken_at_the_end_of_a_line_are_joined(lines: str, text: str) -> None:
    assert with_words_joined([lines, "another page"]) == [text, "another page"]


def test_what_a_broken_word_is_another_page_may_say() -> None:
    assert with_words_joined(["a cut-\nout", "the cut-out"]) == ["a cut-out", "the cut-out"]


def test_broken_words_of_a_pdf_are_joined(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", pdf("They gave infor-\nmation, for long-\nterm staff."))
    assert only(path).text == "They gave information, for long-term staff."


def test_ligatures_become_letters(tmp_path: Path) -> None:
    # A font whose second half of codes are ligatures, as its table says.
    table = "1 begincodespacerange <00> <ff> endcodespacerange 2 beginbfchar <80> <FB01> <81> <FB03> endbfchar"
    content = pdf("The \\200nance o\\201ce").replace(
        b"/BaseFont /Helvetica >>", b"/BaseFont /Helvetica /ToUnicode << /Length %d >> >>" % len(table)
    )
    reader = pypdf.PdfReader(io.BytesIO(content))
    writer = pypdf.PdfWriter(clone_from=reader)
    font = writer.pages[0]["/Resources"]["/Font"]["/F1"]
    stream = DecodedStreamObject()
    stream.set_data(table.encode())
    font[NameObject("/ToUnicode")] = writer._add_object(stream)
    file = io.BytesIO()
    writer.write(file)
    assert only(write(tmp_path, "a.pdf", file.getvalue())).text == "The finance office"
