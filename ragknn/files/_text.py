"""Plain text, and source code: read as they are."""

from __future__ import annotations

from ragknn.files._bytes import File, read_text
from ragknn.files._rows import Reading, Row, Rows


def read(file: File, reading: Reading) -> Rows:
    """Read a file that is one text."""
    text, _ = read_text(file, reading)
    yield Row({}, text)
