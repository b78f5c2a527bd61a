"""Standard input as a file, since files are read more than once."""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from pathlib import Path
from tempfile import mkdtemp

from ragknn.files._formats import BY_NAME

STDIN = "-"

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
        suffix = BY_NAME[format_ or _format_in(path)].suffixes[0]
        self.path = path.rename(path.with_suffix(suffix))


def _format_in(path: Path) -> str:
    """Tell JSON lines, JSON, HTML and PDF by how they begin; all else is text."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT).removeprefix(b"\xef\xbb\xbf").lstrip()
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
