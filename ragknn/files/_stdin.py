"""Standard input as a file, since files are read more than once."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ragknn.files._formats import BY_NAME

STDIN = "-"

_LOOKED_AT = 65_536  # bytes in which the format is looked for


@dataclass(frozen=True, slots=True)
class Spooled:
    """Standard input in a temporary file, which lives as long as this object."""

    path: Path
    _folder: TemporaryDirectory[str]

    @classmethod
    def of_stdin(cls, format_: str | None) -> Spooled:
        """Read all of standard input; its format is found in its beginning if it is not given."""
        folder = TemporaryDirectory(prefix="ragknn-")
        path = Path(folder.name) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        suffix = BY_NAME[format_ or _format_in(path)].suffixes[0]
        return cls(path.rename(path.with_suffix(suffix)), folder)


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
