"""Records as lines of text, shortened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ragknn._display.inert import visible

if TYPE_CHECKING:
    from ragknn.records import Label, Neighbor, Retrieval, Vote

# The heads of the columns, and the rows, each with as many cells.
Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]


def brief(text: str, width: int) -> str:
    """Return the text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def aligned(table: Table) -> list[str]:
    """Return the table as lines of text, each column as wide as its widest cell."""
    heads, *rows = [[visible(cell) for cell in row] for row in (table[0], *table[1])]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]


def label_text(label: Label | None) -> str:
    """Return a label as text, a float with four digits that count; None as nothing."""
    if label is None:
        return ""
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def retrieval_text(retrieval: Retrieval) -> str:
    """Return a retrieval as a line for each neighbor, below one for the query."""
    incomplete = "" if retrieval.complete else ", incomplete"
    lines = (f"  {_figures(one)}  {one.passage.id}  {brief(one.passage.text, 80)}" for one in retrieval)
    return visible("\n".join([f"Retrieval({retrieval.query!r}, {len(retrieval)} neighbors{incomplete})", *lines]))


def _figures(neighbor: Neighbor) -> str:
    score = "" if neighbor.score is None else f"{neighbor.score:.4f}  "
    return f"{score}{_distance(neighbor)}".rstrip()


def _distance(neighbor: Neighbor) -> str:
    return "" if math.isnan(neighbor.distance) else f"{neighbor.distance:.4f}"


def vote_text(vote: Vote) -> str:
    """Return a vote as a line for each neighbor that voted, below one for the label."""
    shares = ", ".join(f"{label}: {share:.2f}" for label, share in vote.shares.items())
    head = f"Vote({vote.label!r}, {{{shares}}}{f', abstained: {vote.reason}' * vote.abstained})"
    lines = (
        f"  {weight:.2f}  {_distance(one):6}  {one.passage.label!s:24} {one.passage.document_id}"
        for one, weight in zip(vote.neighbors, vote.weights, strict=True)
    )
    return visible("\n".join([head, *lines]))
