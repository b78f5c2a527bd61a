"""Parsers, one for each format, from a path to rows of fields. They do not know documents."""

from __future__ import annotations

import codecs
import csv
import json
import logging
import math
import re
import reprlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import yaml

from ragknn.errors import ReadError

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString, Tag

# The default fields for the text of a row; the first one present is used.
TEXT_FIELDS = ("text", "content", "body")
_DROPPED_TAGS = ("script", "style", "nav", "template", "noscript", "title")
_BLOCK_TAG = re.compile(
    "address|article|aside|blockquote|body|caption|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|footer|form|"
    "h[1-6]|header|hgroup|hr|legend|li|main|ol|option|p|pre|section|summary|table|tr|ul"
)

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")

# pypdf logs its repairs, and the log goes to stderr if logging is not set up.
_SILENCE = logging.NullHandler()

# Held while the field size limit is changed, which the csv module keeps for the whole process.
_FIELD_LIMIT = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of a row that hold its text, id and label; None: the usual ones."""

    text: str | None = None
    id: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The data of one document in a file, not yet checked.

    Attributes:
        values: the fields by name, if the row is valid.
        body: the text, if it is not a field.
        place: position in a file of several documents: ":" and the line, or "#" and the position from 1.
    """

    values: Any
    body: str | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An invalid row and the reason; the rest of the file is still read."""

    reason: str
    place: str


Rows: TypeAlias = Iterator[Row | Unreadable]


# Files of one document


def _read_plain(path: Path, fields: Fields) -> Rows:
    yield Row({}, _text_of(path))


def _read_markdown(path: Path, fields: Fields) -> Rows:
    text = _text_of(path)
    front = _FRONT_MATTER.match(text)
    if front is None:
        yield Row({}, text)
        return
    try:
        # Through JSON and back, to refuse values that JSON cannot hold (NaN, bytes, an object that contains itself).
        values = json.loads(json.dumps(yaml.safe_load(front[1]), default=_iso, allow_nan=False))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{2 if mark is None else mark.line + 2}"
        problem = _folded(getattr(error, "problem", None) or str(error))
        yield Unreadable(f"expected YAML between the --- lines, got {problem}; correct it", place)
        return
    if isinstance(values, dict | None):
        yield Row(values or {}, text[front.end() :])
    else:
        got = reprlib.repr(values)
        yield Unreadable(f"expected `name: value` lines between the --- lines, got {got}; correct them", ":2")


def _iso(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a value of type {type(value).__name__}")


def _read_html(path: Path, fields: Fields) -> Rows:
    import bs4  # slow to import, and most folders have no HTML

    text = _text_of(path)
    with warnings.catch_warnings():
        # bs4 warns if a page looks like XML, or like a file name.
        warnings.simplefilter("ignore")
        soup = bs4.BeautifulSoup(text, "html.parser")
    title = "" if soup.title is None else _folded(soup.title.get_text())
    for tag in soup.find_all(_DROPPED_TAGS):
        tag.decompose()
    yield Row({"title": title or None}, _html_text(soup))


def _html_text(soup: BeautifulSoup) -> str:
    # NUL marks a line break here: files that contain NUL were refused before.
    for line_break in soup.find_all("br"):
        line_break.replace_with("\0")
    for cell in soup.find_all(("td", "th")):
        cell.append(" ")
    blocks = []
    for _, strings in groupby(soup.strings, key=lambda string: id(_block_around(string))):
        inside = list(strings)
        lines = "".join(inside).split("\0")
        block = _block_around(inside[0])
        if block is not None and block.name == "pre":
            blocks.append("\n".join(lines).strip("\n"))
        else:
            blocks.append("\n".join(map(_folded, lines)).strip())
    return "\n\n".join(filter(None, blocks))


def _block_around(string: NavigableString) -> Tag | None:
    return next((parent for parent in string.parents if _BLOCK_TAG.fullmatch(parent.name)), None)


def _folded(text: str) -> str:
    return " ".join(text.split())


def _read_pdf(path: Path, fields: Fields) -> Rows:
    import pypdf  # slow to import, and most folders have no PDF

    logging.getLogger("pypdf").addHandler(_SILENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = pypdf.PdfReader(path)
            pages = [_mended(page.extract_text()).strip() for page in reader.pages]
            title = reader.metadata.title if reader.metadata else None
    except OSError:
        raise
    except pypdf.errors.FileNotDecryptedError as error:
        raise ReadError("expected a PDF without a password, got an encrypted one; save it without") from error
    except pypdf.errors.DependencyError as error:
        raise ReadError(
            "expected a PDF without AES encryption; save it without, or pip install cryptography"
        ) from error
    except Exception as error:  # pypdf may raise any error for a broken PDF
        problem = _folded(f"{type(error).__name__}: {error}")
        raise ReadError(f"expected a PDF, got {problem}; repair or export it again") from error
    if not any(pages):
        raise ReadError(f"expected text, got none in {len(pages)} pages (scanned?); run OCR first, e.g. ocrmypdf")
    yield Row({"pages": len(pages), "title": _mended(title or "") or None}, "\n\n".join(filter(None, pages)))


def _mended(text: str) -> str:
    # pypdf leaves NUL, and splits characters beyond U+FFFF into two halves, if a font's table has them so.
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# Files of several documents


def _read_json_lines(path: Path, fields: Fields) -> Rows:
    blank = True
    with _open(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            blank = False
            place = f":{number}"
            if defect := _defect(line, "the line"):
                yield Unreadable(defect, place)
                continue
            try:
                values = _load_json(line)
            except (ValueError, RecursionError) as error:
                problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                got = reprlib.repr(line.strip())
                yield Unreadable(f"expected a JSON object, got {got} ({problem}); correct the line", place)
            else:
                yield Row(values, place=place)
    if blank:
        raise ReadError("expected a JSON object on each line, got only blank lines; fill or remove the file")


def _read_json(path: Path, fields: Fields) -> Rows:
    text = _text_of(path)
    try:
        value = _load_json(text)
    except json.JSONDecodeError as error:
        yield Unreadable(f"expected JSON, got {error.msg} at column {error.colno}; correct it", f":{error.lineno}")
        return
    except (ValueError, RecursionError) as error:
        raise ReadError(f"expected JSON, got {error}; correct the file") from error
    rows = value
    if isinstance(value, dict):
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        text_key = find_field(value, fields.text, TEXT_FIELDS)
        if len(lists) == 1 and (text_key is None or value[text_key] is lists[0]):
            rows = lists[0]
    if not isinstance(rows, list):
        yield Row(value)
        return
    if not rows:
        raise ReadError("expected a list of JSON objects, but the list is empty; fill or remove the file")
    for position, row in enumerate(rows, start=1):
        yield Row(row, place=f"#{position}")


def _load_json(text: str) -> Any:
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits}, which is not a finite number")
    return number


def _read_table(path: Path, fields: Fields) -> Rows:
    header: list[str] | None = None
    empty = True
    for line, cells in _table_rows(path, "\t" if path.suffix.lower() == ".tsv" else ","):
        if header is None:
            header = _header(cells, fields)
            continue
        empty = False
        place = f":{line}"
        if isinstance(cells, csv.Error):
            yield Unreadable(f"expected a row of {len(header)} cells, got {cells}; correct its quotes", place)
        elif len(cells) != len(header):
            reason = f"expected {len(header)} cells as in the header, got {len(cells)}; quote cells with delimiters"
            yield Unreadable(reason, place)
        elif defect := next(filter(None, map(_defect, cells, map("column {!r}".format, header))), None):
            yield Unreadable(defect, place)
        else:
            yield Row({column: cell or None for column, cell in zip(header, cells, strict=True)}, place=place)
    if empty:
        raise ReadError("expected a header and rows below it, got no rows; fill or remove the file")


def _table_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the first line of each row, and its cells or the error in them; skip blank lines."""
    with _open(path, newline="") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            line = rows.line_num + 1
            cells: list[str] | csv.Error | None
            with _FIELD_LIMIT:
                limit = csv.field_size_limit(sys.maxsize)
                try:
                    cells = next(rows, None)
                except csv.Error as error:
                    cells = error
                finally:
                    csv.field_size_limit(limit)
            if cells is None:
                return
            if cells != []:
                yield line, cells


def _header(cells: list[str] | csv.Error, fields: Fields) -> list[str]:
    if isinstance(cells, csv.Error):
        raise ReadError(f"expected a header, got {cells}; correct its quotes")
    for column in cells:
        if defect := _defect(column, "the header"):
            raise ReadError(defect)
    columns = ", ".join(map(repr, cells))
    if "" in cells or len(set(cells)) < len(cells):
        raise ReadError(f"expected a header with a name for each column, got {columns}; name each column once")
    for given, option in ((fields.text, "text"), (fields.id, "id"), (fields.label, "label")):
        if given is not None and given not in cells:
            raise ReadError(f"expected a column {given!r}, got {columns}; correct {option}_field")
    if fields.text is None and not set(TEXT_FIELDS) & set(cells):
        raise ReadError(f"expected a header with a column 'text', got {columns}; add one or name it with text_field")
    return cells


# Text from bytes


def _text_of(path: Path) -> str:
    data = path.read_bytes()
    text = data.decode("utf-16") if _is_utf_16(data) else data.decode("utf-8", "surrogateescape")
    if defect := _defect(text, "the file"):
        raise ReadError(defect)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _open(path: Path, newline: str) -> TextIO:
    with path.open("rb") as file:
        encoding = "utf-16" if _is_utf_16(file.read(2)) else "utf-8-sig"
    return path.open(encoding=encoding, errors="surrogateescape", newline=newline)


def _is_utf_16(data: bytes) -> bool:
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def _defect(text: str, where: str) -> str | None:
    """Describe the error in a text decoded with "surrogateescape", with its offset in bytes; None if it is valid."""
    bad = _NOT_TEXT.search(text)
    if bad is None:
        return None
    offset = len(text[: bad.start()].encode("utf-8", "surrogateescape"))
    if bad[0] == "\0":
        return f"expected text, found a NUL byte at offset {offset} of {where}: binary content? convert or remove it"
    # The byte that is not UTF-8 was decoded to U+DC00 plus its value.
    byte = ord(bad[0]) - 0xDC00
    return f"expected UTF-8, found byte 0x{byte:02X} at offset {offset} of {where}; convert it to UTF-8"


PARSERS: dict[str, Callable[[Path, Fields], Rows]] = {
    ".txt": _read_plain,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}


def find_field(row: Mapping[str, Any], given: str | None, usual: Sequence[str]) -> str | None:
    """Find the field with a value: the given one, or the first of the usual ones."""
    return next((key for key in (usual if given is None else (given,)) if row.get(key) is not None), None)
