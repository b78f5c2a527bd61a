"""Word and Excel files: .docx by python-docx, .xlsx by openpyxl."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time, timedelta
from itertools import chain, repeat
from typing import Any

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._packed import archive
from ragknn.files._rows import TEXT_FIELDS, Fields, Reading, Remark, Row, Rows, Step, folded

# Parts of a text that its reader does not see: what was taken out while changes are tracked, older forms of pictures.
_UNSEEN = frozenset(("del", "moveFrom", "Fallback", "pPr", "rPr"))
_WRITTEN = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read_docx(file: File, reading: Reading) -> Rows:
    """Read a text of Word: headings, paragraphs, and one line for each row of a table."""
    import docx  # optional

    with archive(file, reading) as (_, stream):
        document = docx.Document(stream)
        blocks = list(filter(None, _blocks(document)))
        title = document.core_properties.title
    yield Row({"title": folded(title or "") or None}, "\n\n".join(blocks))


def _blocks(document: Any) -> Iterator[str]:
    from docx.text.paragraph import Paragraph

    for name, block in _parts(document.element.body, "p", "tbl"):
        if name == "tbl":
            rows = ([folded(_text(cell)) for _, cell in _parts(row, "tc")] for _, row in _parts(block, "tr"))
            yield "\n".join(" ".join(row).strip() for row in rows)
            continue
        style = Paragraph(block, document).style
        text = _text(block).strip()
        if level := _level(style):
            yield f"{'#' * level} {folded(text)}" if text else ""
        elif not _is_contents(style):
            yield text


def _parts(node: Any, *wanted: str) -> Iterator[tuple[str, Any]]:
    """Yield the elements with one of the names below a node, also those in content controls and tracked changes."""
    for child in node.iterchildren("*"):
        name = child.tag.rpartition("}")[2]
        if name in wanted:
            yield name, child
        elif name not in _UNSEEN:
            yield from _parts(child, *wanted)


def _text(node: Any) -> str:
    """Return what is written below a node, also in links, fields, content controls, text boxes, tracked changes."""
    found = []
    for name, part in _parts(node, "t", "p", *_WRITTEN):
        found.append(f"\n{_text(part)}\n" if name == "p" else part.text or "" if name == "t" else _WRITTEN[name])
    return "".join(found)


def _level(style: Any) -> int:
    """Return the level of a heading, 0 for another paragraph."""
    name = "" if style is None else style.name or ""
    if name == "Title":
        return 1
    number = name.removeprefix("Heading ")
    return min(int(number), 6) if name.startswith("Heading ") and number.isdecimal() else 0


def _is_contents(style: Any) -> bool:
    """Whether a paragraph is a line of the table of contents."""
    return style is not None and (style.name or "").casefold().startswith("toc ")


def read_xlsx(file: File, reading: Reading) -> Rows:
    """Read a workbook: each sheet with a text column as rows, each other one as a text of its lines."""
    import openpyxl  # optional

    found = False
    with archive(file, reading) as (_, stream):
        book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        several = len(book.worksheets) > 1
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what the file says of its size may be wrong
            for row in _sheet(sheet, f"#{sheet.title}" if several else "", reading.fields):
                found = found or isinstance(row, Row)
                yield row
    if not found:
        yield Remark("empty", "no rows in it")


def _sheet(sheet: Any, place: str, fields: Fields) -> Rows:
    wanted = set(TEXT_FIELDS if fields.text is None else [fields.text])
    rows = (
        (number, [_value(cell) for cell in cells]) for number, cells in enumerate(sheet.iter_rows(values_only=True), 1)
    )
    filled = ((number, cells) for number, cells in rows if any(cell is not None for cell in cells))
    _, first = next(filled, (0, []))
    header = [folded(str(cell)) if cell is not None else "" for cell in first]
    if wanted & set(header):
        names = [name for name in header if name]
        if len(set(names)) < len(names):
            raise ReadError(f"expected a name of its own for each column, got {', '.join(names)}; rename them")
        for number, cells in filled:
            # Empty cells at the end of a row may be missing.
            values = {name: cell for name, cell in zip(header, chain(cells, repeat(None)), strict=False) if name}
            yield Row(values, place=f"{place}#{number}")
        return
    if fields.text is not None:
        raise ReadError(f"expected a column {fields.text!r}, got {', '.join(header)}; correct text_field")
    lines = []
    for _, cells in ((0, first), *filled) if first else ():
        lines.append(" ".join(folded(str(cell)) for cell in cells if cell is not None))
        yield Step()
    if lines:
        yield Row({"title": sheet.title}, "\n".join(lines), place)


def _value(cell: Any) -> Any:
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # Excel has one kind of number
    return None if isinstance(cell, str) and not cell.strip() else cell
