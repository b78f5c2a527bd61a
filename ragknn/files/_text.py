"""Plain text, and source code: read as they are."""

from __future__ import annotations

import re

from ragknn.files._bytes import File, known_encoding, read_text
from ragknn.files._rows import Reading, Row, Rows

# In XML, and in the first two lines of source code.
_XML = re.compile(rb"""\s*<\?xml\b[^>]*?encoding=["']([\w.:-]+)""")
_SOURCE = re.compile(rb"(?:[^\n]*\n)?[ \t]*#[^\n]*?coding[:=][ \t]*([\w.-]+)")


def read(file: File, reading: Reading) -> Rows:
    """Read a file that is one text."""
    text, _ = read_text(file, reading, _declared)
    yield Row({}, text)


def _declared(data: bytes) -> str | None:
    found = _XML.match(data[:1024]) or _SOURCE.match(data[:1024])
    # Emacs adds what the line ends are: latin-1-unix.
    return None if found is None else known_encoding(re.sub("-(?:unix|dos|mac)$", "", found[1].decode("ascii")))
