"""Texts as people read them: Markdown without its marks, lines that were broken to fit a page joined again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal
from unicodedata import category, east_asian_width

from ragknn.text._markdown import as_parsed, markdown_parser, without_attributes
from ragknn.text._tags import without_tags

if TYPE_CHECKING:
    from markdown_it.token import Token

_MARKDOWN_FILES = frozenset({".md", ".markdown", ".mdx", ".qmd", ".rmd", ".ipynb"})
# Files whose texts are rows or messages, and may be of either kind.
_ROW_FILES = frozenset({"", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".xlsx"})
# A heading, a fence, bold words, a link, the line below the head of a table.
_MARKS = re.compile(r"^#{1,6} \S|^```|\*\*\w[^*\n]*\*\*|\]\([^\s()]+\)|^\|[-:| ]*-{3}[-:| ]*\|?$", re.MULTILINE)

_ABSOLUTE = re.compile(r"(?:https?|ftp|mailto):", re.IGNORECASE)

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"#{1,6} +(\S.*?)[ #]*")
_LIST_ENTRY = re.compile(r"(?:[-*+•|>]|\d{1,3}[.)])\s|\||\s")
# Lines of these lengths are taken for prose that was broken to fit a page.
_BROKEN_LINE = range(45, 131)
_ROW = re.compile(r"\|.*\|\s*")
_BELOW_HEAD = re.compile(r"\|?[ :|-]*-[ :|-]*$", re.MULTILINE)
_BAR_OF_TABLE = re.compile(r"(?<!\\)\|")
_WIDEST_TABLE = 76  # characters; cells of a wider table are not aligned


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, or what stands like one.

    Attributes:
        kind: "code" and "table" keep their lines; the others may be broken anew where there is a space.
        text: without marks; a line break in it is meant.
        lead: stands before the first line, such as the bullet of a list; further lines are indented as far.
    """

    kind: Literal["heading", "text", "code", "table"]
    text: str
    lead: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines, with what stands before them."""
        further = " " * len(self.lead)
        return [(further if number else self.lead) + line for number, line in enumerate(self.text.split("\n"))]


def is_markdown(document_id: str, text: str) -> bool:
    """Tell whether a text is Markdown: by the name of its file, or else by the marks in it."""
    suffix = PurePosixPath(document_id.removesuffix(".gz")).suffix.lower()
    if suffix in _MARKDOWN_FILES:
        return True
    is_file = suffix not in _ROW_FILES and re.fullmatch(r"\.[a-z][a-z0-9]{0,7}", suffix) is not None
    return not is_file and _MARKS.search(text) is not None


def readable_blocks(text: str, *, markdown: bool) -> list[Block]:
    """Return the paragraphs, headings, list items, tables and code of a text, in order, without Markdown's marks."""
    return (markdown and list(_rendered(text))) or list(_paragraphs(text))


def readable(text: str, *, markdown: bool) -> str:
    """Return the text as lines for people, without Markdown's marks."""
    return "\n".join(line for block in readable_blocks(text, markdown=markdown) for line in block.lines)


def _paragraphs(text: str) -> Iterator[Block]:
    for paragraph in _BLANK_LINES.split(text.expandtabs(4).strip()):
        # Documents of Word and others are read with headings as Markdown has them, and with nothing else of it.
        if heading := _HEADING.fullmatch(paragraph):
            yield Block("heading", heading[1])
            continue
        lines = [line.rstrip() for line in paragraph.split("\n")]
        if len(lines) > 1 and _is_broken_prose(lines):
            lines = [" ".join(lines)]
        if any(lines):
            yield Block("text", "\n".join(lines))


def _is_broken_prose(lines: Sequence[str]) -> bool:
    return all(len(line) in _BROKEN_LINE for line in lines[:-1]) and not any(map(_LIST_ENTRY.match, lines))


# ---- Markdown --------------------------------------------------------------------------------------------------


class _Leads:
    """What stands before a block: the bullets and quotation bars that it is in, each only once."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._new: list[bool] = []

    def push(self, lead: str) -> None:
        self._open.append(lead)
        self._new.append(True)

    def pop(self) -> None:
        self._open.pop()
        self._new.pop()

    def take(self) -> str:
        lead = "".join(
            one if new or one == _BAR else " " * len(one) for one, new in zip(self._open, self._new, strict=True)
        )
        self._new = [False] * len(self._new)
        return lead


_BAR = "│ "


def _rendered(text: str) -> Iterator[Block]:
    leads = _Leads()
    numbers: list[int | None] = []  # of the next entry of each list that is open; None: it has bullets
    rows: list[list[str]] | None = None  # of the table that is open
    kind: Literal["heading", "text"] = "text"
    for token in markdown_parser().parse(_with_head(as_parsed(text))):
        match token.type:
            case "bullet_list_open":
                numbers.append(None)
            case "ordered_list_open":
                numbers.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                numbers.pop()
            case "list_item_open":
                number = numbers[-1]
                leads.push("• " if number is None else f"{number}. ")
                numbers[-1] = None if number is None else number + 1
            case "blockquote_open":
                leads.push(_BAR)
            case "list_item_close" | "blockquote_close":
                leads.pop()
            case "heading_open":
                kind = "heading"
            case "heading_close" | "paragraph_open":
                kind = "text"
            case "table_open":
                rows = []
            case "tr_open" if rows is not None:
                rows.append([])
            case "table_close" if rows is not None:
                if any(map(any, rows)):
                    yield Block("table", _aligned(rows), leads.take())
                rows = None
            case "inline":
                words = _inline(token.children or ())
                if kind == "heading":
                    words = without_attributes(words)
                if rows is not None:
                    rows[-1].append(words.replace("\n", " "))
                elif words:
                    yield Block(kind, words, leads.take())
            case "fence" | "code_block":
                if token.content.strip():
                    yield Block("code", token.content.strip("\n").rstrip().expandtabs(4), leads.take())
            case "html_block":
                if words := without_tags(token.content).strip():
                    yield Block("text", words, leads.take())


def _with_head(text: str) -> str:
    """Put an empty head above rows of a table whose head is in an earlier passage: without one they are no table."""
    first, _, rest = text.partition("\n")
    if _ROW.fullmatch(first) and not _BELOW_HEAD.match(rest):
        columns = len(_BAR_OF_TABLE.findall(first)) - 1
        below = "" if _BELOW_HEAD.fullmatch(first) else "|---" * columns + "|\n"
        return f"{'| ' * columns}|\n{below}{text}"
    return text


def _inline(tokens: Iterable[Token]) -> str:
    parts: list[str] = []
    links: list[tuple[int, str]] = []  # where the words of a link begin, and where it leads
    for token in tokens:
        match token.type:
            case "softbreak":
                parts.append(" ")
            case "hardbreak":
                parts.append("\n")
            case "link_open":
                links.append((len(parts), str(token.attrs.get("href", ""))))
            case "link_close":
                start, target = links.pop()
                words = "".join(parts[start:])
                if _ABSOLUTE.match(target) and target.partition(":")[2].strip("/") not in words:
                    parts.append(f" ({target})")
            case "html_inline":
                parts.append(without_tags(token.content))
            case _:  # text, code and pictures; those that only open or close emphasis are empty
                parts.append(token.content)
    return "".join(parts).strip()


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    rows = [row for row in rows if any(row)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > _WIDEST_TABLE:
        return "\n".join(" · ".join(filter(None, row)) for row in rows)
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: a character of Chinese two, a mark none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if category(character) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(character) in "WF")
        for character in text
    )
