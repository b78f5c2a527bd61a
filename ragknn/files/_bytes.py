"""From a file to bytes and to text: packed or not, in whatever encoding, never more than a limit."""

from __future__ import annotations

import codecs
import gzip
import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from ragknn.errors import ReadError
from ragknn.files._rows import Reading, Remark

FALLBACK = "windows-1252"  # what Excel and old web pages mean where they say nothing

_CHUNK = 2**16
_MOST_PACKED = (
    100  # times that a file of rows may be larger when unpacked; text packs to a tenth, bombs to a thousandth
)
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_PAIRS = 8  # bytes in which UTF-16 without a mark shows
_NO_LETTER = re.compile(rb"[^\t\n\r\x20-\x7e\xa0-\xff]")
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, decoded with "surrogateescape"
# What a text in the fallback does not have: characters in UTF-8, bytes that mean nothing in it, NUL.
_NOT_FALLBACK = re.compile("[\0\x80-\ud7ff\ue000-\U0010ffff\udc81\udc8d\udc8f\udc90\udc9d]")


@dataclass(frozen=True, slots=True)
class File:
    """A file to read.

    Attributes:
        path: where it is.
        name: how ids and messages call it.
        packed: whether it is packed with gzip.
    """

    path: Path
    name: str
    packed: bool = False

    def open(self) -> BinaryIO:
        """Open it to read its content, unpacked."""
        return cast(BinaryIO, gzip.open(self.path, "rb")) if self.packed else self.path.open("rb")

    @contextmanager
    def seekable(self, limit: int, option: str) -> Iterator[BinaryIO]:
        """Open its content to read parts of it; raises as `read`."""
        if self.packed:
            yield io.BytesIO(self.read(limit, option))
        elif (size := self.path.stat().st_size) > limit:
            raise _too_large(limit, f"{size}", option)
        else:
            with self.path.open("rb") as stream:
                yield stream

    def read(self, limit: int, option: str) -> bytes:
        """Return its content.

        Raises:
            ReadError: it has more bytes than the limit, which is called `option` in `Limits`.
        """
        with self.open() as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise _too_large(limit, "more", option)
        return data


def _too_large(limit: int, got: str, option: str) -> ReadError:
    return ReadError(f"expected at most {limit} bytes, got {got}; split the file, or raise {option} of Limits")


def read_text(
    file: File, reading: Reading, declared: Callable[[bytes], str | None] = lambda data: None, *, guess: bool = False
) -> tuple[str, Remark | None]:
    r"""Return the text of a file with its line ends as "\n", and what was assumed to decode it.

    Args:
        file: the file.
        reading: names the encoding, if it is known, and limits the size.
        declared: finds the encoding that the bytes themselves name.
        guess: whether a file that is not UTF-8 is taken as windows-1252.

    Raises:
        ReadError: it is too large, or cannot be decoded.
    """
    data = file.read(reading.limits.text_bytes, "text_bytes")
    remark = None
    encoding = _marked(data) or reading.encoding or declared(data)
    if encoding is None:
        found = _Utf8Test()
        found.take(data)
        encoding, remark = found.verdict() if guess else ("utf-8", None)
    text = _decoded(data, encoding)
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), remark


def _decoded(data: bytes, encoding: str) -> str:
    is_utf_8 = codecs.lookup(encoding).name.removesuffix("-sig") == "utf-8"
    try:
        text = data.decode("utf-8" if is_utf_8 else encoding, "surrogateescape" if is_utf_8 else "strict")
    except UnicodeDecodeError as error:
        raise ReadError(f"expected {_in_words(encoding)}, got {error}; convert it to UTF-8") from error
    if found := defect(text, "the file"):
        raise ReadError(found)
    return text


def _in_words(encoding: str) -> str:
    return "UTF-16 after its byte order mark" if encoding == "utf-16" else encoding


def encoding_of(file: File, reading: Reading, *, guess: bool = False) -> tuple[str, Remark | None]:
    """Return the encoding of a file that is read line by line, and what was assumed; see `read_text`.

    To guess, as much of the file is looked at as a text may be long.
    """
    with file.open() as stream:
        head = stream.read(_CHUNK)
        if encoding := _marked(head) or reading.encoding:
            return encoding, None
        if not guess:
            return "utf-8", None
        test, looked_at = _Utf8Test(), 0
        while head and looked_at < reading.limits.text_bytes and not test.settled:
            test.take(head)
            looked_at += len(head)
            head = stream.read(_CHUNK)
    return test.verdict()


class _Utf8Test:
    """Tells UTF-8, even with some bad bytes in it, from text in which no byte beyond ASCII is UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._foreign = False
        self.settled = False  # it is not text in the fallback, whatever follows

    def take(self, data: bytes, *, final: bool = False) -> None:
        text = self._decoder.decode(data, final)
        self._foreign = self._foreign or bool(_ESCAPED.search(text))
        self.settled = self.settled or bool(_NOT_FALLBACK.search(text))

    def verdict(self) -> tuple[str, Remark | None]:
        self.take(b"", final=True)
        if self.settled or not self._foreign:
            return "utf-8", None
        reason = f"read as {FALLBACK}, since it is not UTF-8; if it is something else, name its encoding"
        return FALLBACK, Remark("assumed", reason)


def lines(file: File, reading: Reading, encoding: str, newline: str) -> Iterator[str]:
    """Yield the lines of a file, with their ends; bytes that are not UTF-8 become surrogates, see `defect`.

    Raises:
        ReadError: a line is longer than a text may be, or cannot be decoded, or a packed file unpacks to far more.
    """
    limit, taken = reading.limits.text_bytes, 0
    whole = max(reading.limits.file_bytes, _MOST_PACKED * file.path.stat().st_size) if file.packed else math.inf
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    with file.open() as binary, io.TextIOWrapper(binary, encoding, errors, newline) as stream:
        while True:
            try:
                line = stream.readline(limit + 1)
            except UnicodeDecodeError as error:
                raise ReadError(f"expected {_in_words(encoding)}, got {error}; convert it to UTF-8") from error
            if not line:
                return
            if len(line) > limit:
                raise ReadError(f"expected lines of at most {limit} bytes, got more; raise text_bytes of Limits")
            taken += len(line)
            if taken > whole:
                raise _too_large(int(whole), "more", "file_bytes")
            yield line


def known_encoding(name: str) -> str | None:
    """Return Python's name for an encoding of text; None if it knows none of this name."""
    try:
        "".encode(name)  # refuses what does not turn text into bytes, such as rot13 and base64
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        return None


def _marked(data: bytes) -> str | None:
    """Return the encoding that a byte order mark tells, or Latin letters of two bytes each at the beginning."""
    if marked := next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None):
        return marked
    first, second = data[:_PAIRS:2], data[1:_PAIRS:2]
    for characters, others, encoding in ((first, second, "utf-16-le"), (second, first, "utf-16-be")):
        if len(characters) > 1 and not any(others) and not _NO_LETTER.search(characters):
            return encoding
    return None


def defect(text: str, where: str) -> str | None:
    """Describe the error in a text decoded with "surrogateescape", with its offset in bytes; None if it is valid."""
    bad = _NOT_TEXT.search(text)
    if bad is None:
        return None
    offset = len(text[: bad.start()].encode("utf-8", "surrogateescape"))
    if bad[0] == "\0":
        return f"expected text, found a NUL byte at offset {offset} of {where}: binary content? convert or remove it"
    # The byte that is not UTF-8 was decoded to U+DC00 plus its value.
    byte = ord(bad[0]) - 0xDC00
    found = f"found byte 0x{byte:02X} at offset {offset} of {where}"
    return f"expected UTF-8, {found}; convert it to UTF-8, or name its encoding"
