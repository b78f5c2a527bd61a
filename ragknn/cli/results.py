"""Passages that were found, for people: a line of head, then the text with the words of the query marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import dropwhile
from typing import TypeAlias

from rich.text import Text

from ragknn._display.inert import visible
from ragknn._display.lines import brief
from ragknn._protocol.schema import Schema
from ragknn.cli.screen import Screen
from ragknn.records import Label, Neighbor, Passage, Retrieval, Vote
from ragknn.text._marks import marked_spans
from ragknn.text._shown import Block, is_markdown, readable, readable_blocks

Marks: TypeAlias = Callable[[str], Sequence[tuple[int, int]]]  # from a text to the parts of it that are marked

LINES = 4  # of an excerpt, where the end of a line is known
LINES_OF_A_VOTER = 2
BRIEF = 300  # characters of a text beside its label, where the end of a line is not known

_MARK = "bold yellow"
_SAME_BEGINNING = 4  # letters
_FEWEST_COLUMNS = 20  # of a text or of headings, so that something is left of them in the narrowest terminal


def print_retrieval(
    retrieval: Retrieval,
    console: Screen,
    *,
    schema: Schema,
    lines: int | None = LINES,
    with_query: bool = False,
) -> None:
    """Print the neighbors of one query.

    Args:
        retrieval: what was found.
        console: where to print.
        schema: of the index, for the words to mark.
        lines: longest excerpt of a passage, where the end of a line is known; None: all of it.
        with_query: whether to print the query above them.
    """
    marks = _marks(retrieval.query or "", schema)
    if with_query:
        console.print(Text(visible(retrieval.query or ""), style="bold"), soft_wrap=True)
    if not retrieval:
        console.print("nothing found", style="yellow")
    figures = [_figure(neighbor) for neighbor in retrieval]
    for rank, (neighbor, figure) in enumerate(zip(retrieval, figures, strict=True), start=1):
        passage = neighbor.passage
        number = str(rank).rjust(len(str(len(retrieval))))
        head = Text.assemble((number, "bold"), "  ", (figure.rjust(max(map(len, figures))), "green"), "  ")
        print_place(head, passage.document_id, passage, console)
        print_blocks(_below_head(passage), console, marks=marks, indent=len(number) + 2, lines=lines)
        if rank < len(retrieval) or with_query:
            console.print()


def _figure(neighbor: Neighbor) -> str:
    if neighbor.score is not None:
        return f"score {neighbor.score:.3f}"
    return "" if math.isnan(neighbor.distance) else f"distance {neighbor.distance:.3f}"


def _marks(query: str, schema: Schema) -> Marks:
    return partial(marked_spans, query=query, language=schema.language, fold_accents=schema.fold_accents)


def no_marks(text: str) -> Sequence[tuple[int, int]]:
    """Return the parts to mark of a text that nobody has searched for: none."""
    return ()


def print_place(head: Text, name: str, passage: Passage, console: Screen) -> None:
    """Print a head: what it holds already, a name, and where the passage stands.

    Long headings are cut, so that it is one line.
    """
    head.append(visible(name), style="bold cyan")
    page = "" if passage.page is None else f"  p. {passage.page}"
    offsets = f"  {passage.start}–{passage.end}"
    names = [readable(visible(one), markdown=True) for one in passage.headings]
    headings = " › ".join(names)
    if headings and console.is_narrow:
        left = console.width - head.cell_len - len(page) - len(offsets) - 2
        if len(headings) > left and len(names) > 1:  # the innermost tells most
            headings = f"… › {names[-1]}"
        headings = brief(headings, left) if left >= _FEWEST_COLUMNS else ""
    head.append(f"{page}{'  ' * bool(headings)}{headings}{offsets}", style="dim")
    console.print(head, soft_wrap=not console.is_narrow, overflow="fold")


def print_blocks(
    blocks: Sequence[Block],
    console: Screen,
    *,
    marks: Marks = no_marks,
    indent: int = 0,
    lines: int | None = None,
    spaced: bool = False,
) -> None:
    """Print a text.

    Args:
        blocks: the text.
        console: where to print.
        marks: which parts of it to mark.
        indent: spaces before each line.
        lines: longest excerpt, where the end of a line is known; None: all of it.
        spaced: whether paragraphs stand apart.
    """
    width = max(_FEWEST_COLUMNS, console.width - indent) if console.is_narrow else None
    rows: list[Text] = []
    begins: dict[int, Block] = {}  # by the row that each begins with
    for block, above in zip(blocks, [None, *blocks], strict=False):
        if spaced and above is not None and not (block.lead and above.lead):
            rows.append(Text())
        begins[len(rows)] = block
        rows += _rows(block, marks, width, console)
    start, stop = 0, len(rows)
    if width is not None and lines is not None and len(rows) > lines:
        start = _best_start(rows, lines, begins)
        stop = start + lines
        while stop - start > 1 and stop - 1 in begins and begins[stop - 1].kind == "heading":
            stop -= 1  # what stands below it is not shown
    for number, row in enumerate(rows[start:stop]):
        before = " " * indent if number or not start else "… ".rjust(indent)
        after = " …" if number == stop - start - 1 and stop < len(rows) else ""
        console.print(Text.assemble(before, row, after), soft_wrap=True)


def blocks_of(text: str, document_id: str) -> list[Block]:
    """Return a text of a document as blocks that can be shown."""
    return readable_blocks(visible(text), markdown=is_markdown(document_id, text))


def _below_head(passage: Passage) -> Sequence[Block]:
    """Return what to show of a passage: the headings that it begins with stand in the head already."""
    blocks = blocks_of(passage.text, passage.document_id)
    known = {readable(visible(heading), markdown=True) for heading in passage.headings}
    return list(dropwhile(lambda block: block.kind == "heading" and block.text in known, blocks)) or blocks


def _rows(block: Block, marks: Marks, width: int | None, console: Screen) -> Iterator[Text]:
    text = Text(block.text, style="bold" if block.kind == "heading" else "")
    for start, end in marks(block.text):
        text.stylize(_MARK, start, end)
    if width is None:
        lines = text.split("\n", allow_blank=True)
    else:
        # Room for the dots at the end of an excerpt.
        lines = text.wrap(console, max(_FEWEST_COLUMNS, width - 2 - len(block.lead)), overflow="fold")
    for number, line in enumerate(lines):
        line.rstrip()
        yield Text.assemble(" " * len(block.lead) if number else block.lead, line)


def _best_start(rows: Sequence[Text], lines: int, begins: Collection[int]) -> int:
    """Return the first of so many rows that hold most of the marked words, if possible one that a block begins with."""
    # Words that begin alike are taken for forms of one.
    marked = [
        {row.plain[span.start : span.end].lower()[:_SAME_BEGINNING] for span in row.spans if span.style == _MARK}
        for row in rows
    ]

    def worth(start: int) -> tuple[int, bool]:
        return len(set().union(*marked[start : start + lines])), start in begins

    return max(range(len(rows) - lines + 1), key=worth)


# ---- votes -----------------------------------------------------------------------------------------------------


def print_vote(text: str, vote: Vote, explain: bool, console: Screen, *, schema: Schema) -> None:
    """Print the label of a text as one line, and with `explain` the neighbors that voted."""
    shares = ", ".join(f"{shown_label(label)} {share:.0%}" for label, share in vote.shares.items())
    abstained = "yellow" if vote.abstained else "bold"
    head = Text("abstained" if vote.abstained else shown_label(vote.label), style=abstained)
    head.append(f"  {visible(vote.reason or shares)}".rstrip(), style="not bold")
    room = max(_FEWEST_COLUMNS, console.width - head.cell_len - 2) if console.is_narrow else BRIEF
    head.append(f"  {brief(visible(text), room)}", style="dim not bold")
    console.print(head, soft_wrap=True)
    if not explain:
        return
    marks = _marks(text, schema)
    for neighbor, weight in zip(vote.neighbors, vote.weights, strict=True):
        label = shown_label(neighbor.passage.label)
        head = Text.assemble(
            "   ", (f"weight {weight:.2f}", "green"), f"  {_figure(neighbor)}  ", (label, "bold"), "  "
        )
        print_place(head, neighbor.passage.document_id, neighbor.passage, console)
        print_blocks(_below_head(neighbor.passage), console, marks=marks, indent=3, lines=LINES_OF_A_VOTER)


def shown_label(label: Label | None) -> str:
    """Return a label as text, and a number with four digits."""
    return f"{label:.4g}" if isinstance(label, float) else visible(str(label))
