"""How records show themselves: shortened in a terminal, as tables and figures in a notebook.

In HTML all text is escaped.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from ragknn.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ragknn.records import Neighbor, Retrieval, Vote

# The heads of the columns, and the rows, each with as many cells.
Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]


def brief(text: str, width: int) -> str:
    """Return the text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def aligned(table: Table) -> list[str]:
    """Return the table as lines of text, each column as wide as its widest cell."""
    heads, rows = table
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def cell(value: object) -> str:
    """Return a value as HTML: None and NaN as nothing, a float with four digits, text escaped."""
    if isinstance(value, Html):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))


def excerpt(text: str, width: int) -> Html:
    """Return a text, shortened, as the cell of a table that is read from the left."""
    return Html(f"<div style='text-align:left;white-space:pre-wrap'>{escape(brief(text, width))}</div>")


def place(document_id: str, start: int, end: int) -> Html:
    """Return where in a document a text stands, as the cell of a table."""
    return Html(f"<code>{escape(document_id)}</code><br>{start}&ndash;{end}")


def html_table(caption: str | None, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; what is not `Html` is escaped."""
    titled = "" if caption is None else f"<caption>{escape(caption)}</caption>"
    head = "".join(f"<th>{cell(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f"<table>{titled}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_notes(notes: Iterable[str], kind: str = "note") -> str:
    """Return a paragraph for each note."""
    return "".join(f"<p><b>{kind}:</b> {escape(note)}</p>" for note in notes)


# ---- records ---------------------------------------------------------------------------------------------------


def retrieval_text(retrieval: Retrieval) -> str:
    """Return a retrieval as a line for each neighbor, below one for the query."""
    incomplete = "" if retrieval.complete else ", incomplete"
    lines = (f"  {_figures(one)}  {one.passage.id}  {brief(one.passage.text, 80)}" for one in retrieval)
    return "\n".join([f"Retrieval({retrieval.query!r}, {len(retrieval)} neighbors{incomplete})", *lines])


def _figures(neighbor: Neighbor) -> str:
    score = "" if neighbor.score is None else f"{neighbor.score:.4f}  "
    return f"{score}{neighbor.distance:.4f}"


def retrieval_html(retrieval: Retrieval) -> str:
    """Return a retrieval as a table with a row for each neighbor."""
    scored = any(neighbor.score is not None for neighbor in retrieval)
    rows = (
        (rank, *[one.score] * scored, one.distance, *_place_and_label(one), excerpt(one.passage.text, 400))
        for rank, one in enumerate(retrieval, start=1)
    )
    heads = ["#", *["score"] * scored, "distance", "document", "label", "passage"]
    notes = html_notes(retrieval.warnings, "note" if retrieval.complete else "incomplete")
    return html_table(retrieval.query, heads, rows) + notes


def _place_and_label(neighbor: Neighbor) -> tuple[object, object]:
    passage = neighbor.passage
    return place(passage.document_id, passage.start, passage.end), passage.label


def vote_text(vote: Vote) -> str:
    """Return a vote as a line for each neighbor that voted, below one for the label."""
    shares = ", ".join(f"{label}: {share:.2f}" for label, share in vote.shares.items())
    head = f"Vote({vote.label!r}, {{{shares}}}{f', abstained: {vote.reason}' * vote.abstained})"
    lines = (
        f"  {weight:.2f}  {one.distance:.4f}  {one.passage.label!s:24} {one.passage.document_id}"
        for one, weight in zip(vote.neighbors, vote.weights, strict=True)
    )
    return "\n".join([head, *lines])


def vote_html(vote: Vote) -> str:
    """Return a vote as a table with a row for each neighbor that voted."""
    shares = ", ".join(f"{escape(str(label))} {share:.0%}" for label, share in vote.shares.items())
    head = f"abstained: {escape(vote.reason)}" if vote.abstained else escape(str(vote.label))
    rows = (
        (f"{weight:.2f}", one.distance, *_place_and_label(one), excerpt(one.passage.text, 200))
        for one, weight in zip(vote.neighbors, vote.weights, strict=True)
    )
    table = html_table(None, ["weight", "distance", "document", "label", "passage"], rows)
    return f"<p><b>{head}</b> {shares}</p>{table}{html_notes(vote.warnings)}"


# ---- figures ---------------------------------------------------------------------------------------------------


@cache
def figure_class() -> type[Figure]:
    """Return the class of figures. pyplot does not know them, so no figure is shown twice or kept in memory.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # optional, and slow to import
    except ImportError as error:
        raise MissingDependency("matplotlib", "plotting", "plot") from error

    class Picture(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Picture
