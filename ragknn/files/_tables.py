"""Tables of text, as spreadsheets and pandas write them: .csv and .tsv."""

from __future__ import annotations

import csv
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import chain

from ragknn.errors import ReadError
from ragknn.files._bytes import File, defect, encoding_of, lines
from ragknn.files._rows import TEXT_FIELDS, Fields, Reading, Remark, Row, Rows, Unreadable

DELIMITERS = (",", ";", "\t", "|")

_LOOKED_AT = 2**20  # characters of a header in which the delimiter is looked for
_MOST_COLUMNS = 16_384  # as in Excel

# Excel's own hint above the header, quoted by some.
_HINT = re.compile('"?sep=(.)"?\r?\n?', re.IGNORECASE)

# Held while the field size limit is changed, which the csv module keeps for the whole process.
_FIELD_LIMIT = threading.Lock()


def read(file: File, reading: Reading) -> Rows:
    """Read a table: a header, and a row for each document."""
    encoding, remark = encoding_of(file, reading, guess=True)
    if remark is not None:
        yield remark
    source = lines(file, reading, encoding, "")
    first_line = 1
    start = next(source, "")
    hint = _HINT.fullmatch(start)
    if hint is not None:
        first_line, start = 2, next(source, "")
    while start and not start.strip():
        first_line, start = first_line + 1, next(source, "")
    delimiter = reading.delimiter or (hint[1] if hint else None) or _delimiter(start, reading.fields)
    spaced = re.search(re.escape(delimiter) + ' +"', start) is not None
    cells = _cells(chain([start], source), delimiter, spaced, first_line, reading.limits.text_bytes)
    yield from _rows(cells, reading.fields)


def _delimiter(header: str, fields: Fields) -> str:
    """Return the delimiter that finds the text column in a header, and if several or none does, most columns."""

    def merit(delimiter: str) -> tuple[bool, int]:
        try:
            cells = next(csv.reader([header[:_LOOKED_AT]], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            cells = []
        wanted = set(TEXT_FIELDS if fields.text is None else [fields.text])
        return bool(wanted & {cell.strip() for cell in cells}), len(cells)

    return max(DELIMITERS, key=merit)


def _rows(table: Iterator[tuple[int, list[str] | csv.Error]], fields: Fields) -> Rows:
    header: list[str] = []
    index_first = empty = True
    for line, cells in table:
        if not header:
            header = _header(cells, fields)
            index_first = header[0] == ""
            continue
        empty = False
        place = f":{line}"
        if isinstance(cells, csv.Error):
            yield Unreadable(f"expected a row of {len(header)} cells, got {cells}; correct its quotes", place)
            continue
        if len(cells) > len(header) and not any(cells[len(header) :]):
            cells = cells[: len(header)]  # delimiters to the right of a table that once was wider
        if len(cells) != len(header):
            reason = f"expected {len(header)} cells as in the header, got {len(cells)}; quote cells with delimiters"
            yield Unreadable(reason, place)
        elif found := next(filter(None, map(defect, cells, map("column {!r}".format, header))), None):
            yield Unreadable(found, place)
        else:
            values = {column: cell or None for column, cell in zip(header, cells, strict=True)}
            if index_first:
                # The labels of rows that pandas writes: mostly their numbers, which say nothing.
                label = values.pop("")
                if label is not None and not label.isdecimal():
                    values["column 1"] = label
            yield Row(values, place=place)
    if empty:
        yield Remark("empty", "no rows in it")


def _cells(
    source: Iterator[str], delimiter: str, spaced: bool, first_line: int, limit: int
) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the first line of each row, and its cells or the error in them; skip rows with nothing in them.

    `spaced` tells that a space behind a delimiter is no part of the cell.
    """
    taken = 0

    def counted() -> Iterator[str]:
        nonlocal taken
        for line in source:
            taken += len(line)
            if taken > limit:  # a quote that is never closed takes in all that follows
                reason = f"expected rows of at most {limit} bytes, got more (a quote without its end?)"
                raise ReadError(f"{reason}; correct it, or raise text_bytes of Limits")
            yield line

    rows = csv.reader(counted(), delimiter=delimiter, strict=True, skipinitialspace=spaced)
    while True:
        line, taken = first_line + rows.line_num, 0
        cells: list[str] | csv.Error | None
        with _FIELD_LIMIT:
            before = csv.field_size_limit(sys.maxsize)
            try:
                cells = next(rows, None)
            except csv.Error as error:
                cells = error
            finally:
                csv.field_size_limit(before)
        if cells is None:
            return
        if isinstance(cells, csv.Error) or any(cells):
            yield line, cells


def _header(cells: Sequence[str] | csv.Error, fields: Fields) -> list[str]:
    if isinstance(cells, csv.Error):
        raise ReadError(f"expected a header, got {cells}; correct its quotes")
    if len(cells) > _MOST_COLUMNS:
        raise ReadError(f"expected at most {_MOST_COLUMNS} columns, got {len(cells)}; name the delimiter")
    for column in cells:
        if found := defect(column, "the header"):
            raise ReadError(found)
    names = [column.strip() for column in cells]
    # A column without a name: the first one is the index that pandas writes.
    header = [name or ("" if number == 1 else f"column {number}") for number, name in enumerate(names, start=1)]
    columns = ", ".join(map(repr, cells))
    if len(set(header)) < len(header):
        raise ReadError(f"expected a header with a name for each column, got {columns}; name each column once")
    for given, option in ((fields.text, "text"), (fields.id, "id"), (fields.label, "label")):
        if given is not None and given not in header:
            raise ReadError(f"expected a column {given!r}, got {columns}; correct {option}_field, or the delimiter")
    if fields.text is None and not set(TEXT_FIELDS) & set(header):
        wanted = f"expected a header with a column 'text', got {columns}"
        raise ReadError(f"{wanted}; add one or name it with text_field, or name the delimiter")
    return header
