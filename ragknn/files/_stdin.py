"""Standard input as a file, since files are read more than once."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import weakref
import zlib
from pathlib import Path
from tempfile import mkdtemp

from ragknn.files._formats import BY_NAME
from ragknn.files._selection import GZIP

STDIN = "-"

_PACKED = b"\x1f\x8b"  # how a file that gzip has packed begins
_LOOKED_AT = 65_536  # bytes in which the format is looked for


class Spooled:
    """Standard input, read to its end, in a temporary file that lives as long as this object.

    Args:
        format_: its format; None: found in how it begins.
    """

    def __init__(self, format_: str | None) -> None:
        folder = Path(mkdtemp(prefix="ragknn-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = folder / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        packed = _head(path).startswith(_PACKED)
        suffix = BY_NAME[format_ or _format_in(_head(path, packed=packed))].suffixes[0]
        self.path = path.rename(path.with_suffix(suffix + GZIP * packed))


def _head(path: Path, *, packed: bool = False) -> bytes:
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(_LOOKED_AT)
    except (EOFError, OSError, zlib.error):  # broken: told when it is read
        return b""


def _format_in(begin: bytes) -> str:
    """Tell JSON lines, JSON, HTML and PDF by how they begin; all else is text."""
    head = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"%PDF-"):
        return "pdf"
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if not head.startswith((b"{", b"[")):
        return "text"
    try:
        return "jsonl" if isinstance(json.loads(head.partition(b"\n")[0]), dict) else "json"
    except (ValueError, RecursionError):
        return "json"
