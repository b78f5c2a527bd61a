"""Markdown: its source is the text, and what stands above it in YAML or TOML its fields."""

from __future__ import annotations

import re

from ragknn.files._bytes import File, read_text
from ragknn.files._front_matter import Flawed, toml_fields, yaml_fields
from ragknn.files._rows import Reading, Row, Rows, Unreadable

_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
# The first line of fields, which tells them from a text between two thematic breaks.
_YAML_FIELD = re.compile(r"""(?:[ \t]*(?:#.*)?\n)*["'\w][^\n:]*:(?:\s|\Z)|\s*\Z""")
_TOML_FIELD = re.compile(r"""(?:[ \t]*(?:#.*)?\n)*(?:[ \t]*["'\w][^\n=]*=|\[)|\s*\Z""")


def read(file: File, reading: Reading) -> Rows:
    """Read a file of one text, with or without fields above it."""
    text, _ = read_text(file, reading)
    for whole, first, parse in ((_YAML, _YAML_FIELD, yaml_fields), (_TOML, _TOML_FIELD, toml_fields)):
        front = whole.match(text)
        if front is None or not first.match(front[1]):
            continue
        try:
            values = parse(front[1], reading.limits.depth)
        except Flawed as flaw:
            yield Unreadable(str(flaw), f":{flaw.line + 2}")  # lines from 0, below the first one of the file
        else:
            yield Row(values, text[front.end() :])
        return
    yield Row({}, text)
