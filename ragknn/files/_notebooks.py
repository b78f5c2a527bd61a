"""Notebooks of Jupyter, by nbformat: what their authors wrote, in Markdown and code, and plain outputs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

from ragknn.errors import ReadError
from ragknn.files._bytes import File, read_text
from ragknn.files._rows import Reading, Row, Rows, folded

_LONGEST_OUTPUT = 2000  # characters of one cell's printed lines; more is a log


def read(file: File, reading: Reading) -> Rows:
    """Read a notebook: its cells as Markdown, with the code in fences."""
    import nbformat  # optional

    text, _ = read_text(file, reading)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    except (json.JSONDecodeError, nbformat.reader.NotJSONError, AttributeError, KeyError, TypeError) as error:
        raise ReadError(f"expected a notebook, got {folded(str(error))[:200]}; save it again") from error
    language = notebook.metadata.get("language_info", {}).get("name", "")
    yield Row({}, "\n\n".join(part for cell in notebook.cells for part in _parts(cell, language)))


def _parts(cell: Any, language: str) -> Iterator[str]:
    source = "".join(cell.get("source", "")).strip()
    if cell.get("cell_type") != "code":
        yield from [source] if source else []
        return
    if source:
        yield f"```{language}\n{source}\n```"
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = "".join(output.get("text", "") or data.get("text/plain", "")).strip()
        if text and len(text) <= _LONGEST_OUTPUT:
            yield f"```\n{text}\n```"
