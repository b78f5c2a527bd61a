"""A text as HTML that is pleasant to read: Markdown without its marks, a query's words marked, the rest folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ragknn._display.html import GROUND, MARK, Html, element, escaped, folded, notes

if TYPE_CHECKING:
    from ragknn.text._shown import Block

SHOWN_CHARACTERS = 420
# A rest that is shorter than this is shown as well: to unfold it would be more work than to read it.
SHORT_REST = 120
LONGEST = 20_000  # characters: a whole book in a notebook would only make it slow

_STYLES = {
    "heading": "font-weight:600;margin:.3em 0 .1em",
    "text": "white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0",
    "code": f"white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace;background:{GROUND};"
    "border-radius:.3em;padding:.2em .5em;margin:.3em 0",
    "table": "white-space:pre;overflow-x:auto;font-family:monospace;margin:.3em 0",
}


def prose(text: str, source: str, query: str | None = None, *, shown: int = SHOWN_CHARACTERS) -> Html:
    """Return a text as HTML, of a long one the beginning, and the rest folded.

    Args:
        text: any text.
        source: id of the document that it is taken from, which may tell that it is Markdown.
        query: whose words are marked; None for none.
        shown: number of characters that are not folded.
    """
    # Late, since only a notebook needs them; and the door of `ragknn.text` opens on the records, which show themselves.
    from ragknn.text._shown import is_markdown, readable_blocks

    blocks = readable_blocks(text[:LONGEST], markdown=is_markdown(source, text[:LONGEST]))
    total = sum(len(block.text) for block in blocks)
    shown = total if total - shown < SHORT_REST else _good_cut(blocks, shown)
    first = Html("".join(_parts(blocks, 0, shown, query)))
    if shown >= total:
        return first
    end = notes([f"{len(text) - LONGEST:,} characters more are not shown"]) if len(text) > LONGEST else ""
    rest = Html("".join(_parts(blocks, shown, total, query)))
    found = ", with words of the query" if "<mark" in rest and "<mark" not in first else ""
    return Html(first + folded(f"{total - shown:,} more characters{found}", rest, end))


def _good_cut(blocks: Sequence[Block], shown: int) -> int:
    """Return where to cut: before a block of which only the beginning would be shown, unless it is the first."""
    place = 0
    for block in blocks:
        if place and shown - place < min(SHORT_REST, len(block.text)):
            return place
        place += len(block.text)
        if place >= shown:
            break
    return shown


def headline(text: str, source: str) -> str:
    """Return the heading that a text begins with, without marks; empty if it begins otherwise."""
    from ragknn.text._shown import is_markdown, readable_blocks  # late as above

    first = next(iter(readable_blocks(text, markdown=is_markdown(source, text))), None)
    return first.text if first and first.kind == "heading" else ""


def _parts(blocks: Iterable[Block], start: int, end: int, query: str | None) -> Iterator[Html]:
    """Iterate over the blocks from one character of all their texts to another, as HTML."""
    place = 0
    for block in blocks:
        before, place = place, place + len(block.text)
        first, last = max(start - before, 0), min(end - before, len(block.text))
        if first < last:
            yield _block(block, _end_of_part(block, first), _end_of_part(block, last), query)


def _end_of_part(block: Block, place: int) -> int:
    """Return where the word ends in which a place is, or of code and tables the line."""
    if not place:
        return 0
    ends = "\n" if block.kind in ("code", "table") else " \n\t"
    return next((n for n in range(place, len(block.text)) if block.text[n] in ends), len(block.text))


def _block(block: Block, start: int, end: int, query: str | None) -> Html:
    words = _marked(block.text, start, end, query)
    cut_before, cut_after = "… " * (start > 0), " …" * (end < len(block.text))
    body = element("div", cut_before, words, cut_after, style=_STYLES[block.kind])
    if not block.lead:
        return Html(f'<div dir="auto">{body}</div>')
    lead = element("div", block.lead if not start else " " * len(block.lead), style="white-space:pre;margin:.2em 0")
    return Html(f'<div dir="auto" style="display:flex">{lead}{body}</div>')


def _marked(text: str, start: int, end: int, query: str | None) -> Html:
    from ragknn.text._marks import marked_spans  # late as above

    spans = marked_spans(text, query) if query else []
    within = [(max(first, start), min(last, end)) for first, last in spans if first < end and last > start]
    edges = [start, *chain.from_iterable(within), end]
    # Between the edges stand plain parts and marked ones in turn.
    parts = [Html(escaped(text[edges[n] : edges[n + 1]])) for n in range(len(edges) - 1)]
    return Html("".join(element("mark", part, style=MARK) if n % 2 else part for n, part in enumerate(parts)))
