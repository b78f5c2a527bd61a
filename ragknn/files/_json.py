"""JSON and JSON lines. What is wrong in one row costs this row alone."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ragknn.errors import ReadError
from ragknn.files._bytes import File, defect, encoding_of, lines, read_text
from ragknn.files._rows import TEXT_FIELDS, Fields, Reading, Remark, Row, Rows, Unreadable, find_field

_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_ROWS = re.compile(r'"\s*:\s*(\[)\s*\{')
_LOOKED_AT = 2**16  # characters of an object in which the list of its rows is looked for
_MOST_DIGITS = 4000  # of a whole number; Python itself refuses to read more than 4,300
_MOST_BAD = 1000  # rows that are no JSON, before a list is given up: each costs a look through the file


def read_lines(file: File, reading: Reading) -> Rows:
    """Read a file with a JSON object on each line."""
    encoding, _ = encoding_of(file, reading)
    decoder = _Decoder(reading.limits.depth)
    blank = True
    for number, line in enumerate(lines(file, reading, encoding, "\n"), start=1):
        if not line.strip():
            continue
        blank = False
        place = f":{number}"
        if found := defect(line, "the line"):
            yield Unreadable(found, place)
            continue
        try:
            values = decoder.whole(line)
            problem = decoder.problem(values)
        except ValueError as error:
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        if problem is None:
            yield Row(values, place=place)
        else:
            got = reprlib.repr(line.strip())
            yield Unreadable(f"expected a JSON object, got {got} ({problem}); correct the line", place)
    if blank:
        yield Remark("empty", "no JSON object in it, only blank lines")


def read(file: File, reading: Reading) -> Rows:
    """Read a file of one JSON value: rows in a list, or in an object around one, or by id; or one object."""
    text, _ = read_text(file, reading)
    begin = _end(_SPACE, text, 0)
    decoder = _Decoder(reading.limits.depth)
    if text[begin : begin + 1] == "[":
        yield from _list(text, begin, decoder)
        return
    try:
        value = decoder.whole(text)
    except json.JSONDecodeError as error:
        rows_at = _rows_at(text, error.pos)
        if error.msg == "Extra data" and "\n" not in text[begin : error.pos].strip():
            yield from read_lines(file, reading)  # JSON lines under another suffix
        elif rows_at is not None:
            yield from _list(text, rows_at, decoder)
        else:
            yield Unreadable(_bad_json(text, error), f":{error.lineno}")
        return
    except ValueError as error:
        raise ReadError(f"expected JSON, got {error}; correct the file") from error
    rows = _rows_in(value, reading.fields)
    if isinstance(rows, list):
        for position, row in enumerate(rows, start=1):
            yield _row(row, f"#{position}", decoder)
        if not rows:
            yield Remark("empty", "the list in it is empty")
    elif rows is not value:
        for name, row in rows.items():
            yield _row({"id": name, **row} if isinstance(row, dict) else row, f"#{name}", decoder)
    else:
        yield _row(value, "", decoder)


def _list(text: str, begin: int, decoder: _Decoder) -> Rows:
    """Read the rows of a list one by one; behind one that is no JSON go on with the next that begins like it."""
    at, line, position, bad = _end(_SPACE, text, begin + 1), 1, 0, 0
    counted = 0  # the line breaks before this offset are in `line`
    closed = text[at : at + 1] == "]"
    if closed:
        yield Remark("empty", "the list in it is empty")
        at += 1
    while not closed:
        position += 1
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = decoder.value_at(text, at)
            mark = _NEXT.match(text, end)
            if mark is None:
                raise json.JSONDecodeError("Expecting ',' delimiter", text, _end(_SPACE, text, end))
        except json.JSONDecodeError as error:
            following = _next_like(text, at, error.pos) if bad < _MOST_BAD else None
            lost = "" if following is not None else "; what follows was not read"
            yield Unreadable(_bad_json(text, error) + lost, f":{error.lineno}")
            if following is None:
                return
            at, bad = following, bad + 1
        except ValueError as error:
            raise ReadError(f"expected JSON, got {error}; correct the file") from error
        else:
            yield _row(value, f"#{position}", decoder, f" (line {line})")
            at, closed = mark.end(), mark[1] == "]"
    if text[at:].strip() and not text[:begin].strip():
        got = reprlib.repr(text[at:].strip())
        yield Unreadable(
            f"expected nothing behind the list, got {got}; correct it", f":{text.count(chr(10), 0, at) + 1}"
        )


def _rows_at(text: str, error: int) -> int | None:
    """Find the list of objects in the outermost object in which there is an error."""
    found = _ROWS.search(text, 0, min(error, _LOOKED_AT))
    if found is None:
        return None
    before = _STRING.sub("", text[: found.start(1)])
    opened = before.count("{") - before.count("}") + before.count("[") - before.count("]")
    return found.start(1) if opened == 1 else None


def _next_like(text: str, begin: int, error: int) -> int | None:
    """Find the next row behind an error, if each row begins a line with the same white space before it."""
    indent = text[text.rfind("\n", 0, begin) + 1 : begin].replace("[", " ").replace(",", " ")
    if indent.strip() or text[begin : begin + 1] != "{":
        return None
    following = re.compile("^" + indent + r"(?=\{)", re.MULTILINE).search(text, max(error, begin + 1))
    return None if following is None else following.end()


def _row(value: Any, place: str, decoder: _Decoder, where: str = "") -> Row | Unreadable:
    problem = decoder.problem(value)
    if problem is None:
        return Row(value, place=place)
    return Unreadable(f"expected a JSON object, got one with {problem}{where}; correct it", place)


def _rows_in(value: Any, fields: Fields) -> Any:
    """Find the rows in an object around them: the only list of objects, or objects by their ids; else the value."""
    within = value
    while isinstance(within, dict) and within:
        text_key = find_field(within, fields.text, TEXT_FIELDS)
        if isinstance(within.get(text_key or ""), str):
            return value if within is value else [within]
        lists = [each for each in within.values() if isinstance(each, list)]
        rows = [each for each in lists if each and all(isinstance(one, dict | _Flaw) for one in each)]
        some = [each for each in lists if not each or any(isinstance(one, dict | _Flaw) for one in each)]
        if len(rows) == 1 or len(some) == 1:
            return (rows or some)[0]
        inner = [each for each in within.values() if isinstance(each, dict | _Flaw)]
        if len(inner) == len(within) and all(
            isinstance(each, _Flaw) or find_field(each, fields.text, TEXT_FIELDS) for each in inner
        ):
            return dict(within)  # not the value itself: it is no row
        if len(inner) != 1 or isinstance(inner[0], _Flaw):
            return value
        [within] = inner
    return value


def _bad_json(text: str, error: json.JSONDecodeError) -> str:
    comment = next((mark for mark in ("//", "/*", "#") if text.startswith(mark, error.pos)), None)
    problem = error.msg.removesuffix(" at") if comment is None else f"a comment ({comment}), which JSON does not have,"
    return f"expected JSON, got {problem} at column {error.colno}; correct it"


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands in a value for a part of it that JSON should not have."""

    what: str
    why: str = ""
    key: str | None = None

    def __str__(self) -> str:
        return self.what + ("" if self.key is None else f" as {self.key!r}") + self.why


@contextmanager
def _depth_told() -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error


class _Decoder:
    """Decodes JSON; a flaw within a value is kept in its place, so that it costs its row and not the file."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._flawed = False
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._number,
            parse_float=self._number,
            parse_int=self._integer,
        )

    def whole(self, text: str) -> Any:
        """Return the only value in a text.

        Raises:
            ValueError: it is no JSON, or nested deeper than Python can go.
        """
        with _depth_told():
            return self._decoder.decode(text)

    def value_at(self, text: str, start: int) -> tuple[Any, int]:
        """Return the value that begins at an offset, and the offset behind it; raises as `whole`."""
        with _depth_told():
            return self._decoder.raw_decode(text, start)

    def problem(self, value: Any) -> str | None:
        """Say what is wrong in a value: a flaw in it, or that it is nested too deeply."""
        level = [value]
        for _ in range(self._depth):
            if self._flawed and (flaw := next((one for one in level if isinstance(one, _Flaw)), None)):
                return str(flaw)
            inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
            if not inner:
                return None
            level = [one for each in inner for one in each]
        return f"values nested more than {self._depth} levels deep"

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        values: dict[str, Any] = dict(pairs)
        if len(values) < len(pairs):
            [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
            return self._flaw(f"the key {name!r} twice")
        if self._flawed:
            for name, value in pairs:
                if isinstance(value, _Flaw) and value.key is None:
                    values[name] = replace(value, key=name)
        return values

    def _number(self, digits: str) -> Any:
        number = float(digits)
        return number if math.isfinite(number) else self._flaw(digits[:40], ", which is not a finite number")

    def _integer(self, digits: str) -> Any:
        if len(digits) <= _MOST_DIGITS:
            return int(digits)
        return self._flaw(f"a number of {len(digits)} digits")

    def _flaw(self, what: str, why: str = "") -> _Flaw:
        self._flawed = True
        return _Flaw(what, why)
