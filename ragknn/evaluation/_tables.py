"""Tables as people read them: aligned in plain text, and as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TypeAlias

# The heads of the columns, and the rows, each with as many cells.
Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]


def aligned(table: Table) -> list[str]:
    """Return the table as lines of text, each column as wide as its widest cell."""
    heads, rows = table
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]


def html_table(caption: str, table: Table) -> str:
    """Return the table as HTML, its texts escaped."""
    heads, rows = table
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"
