"""What Markdown says of the parts of a text: headings, and blocks that are best kept whole."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ragknn.text._tags import without_tags

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Files in which a line that begins with # is a comment.
_COMMENTED = (
    *(
        ".bash",
        ".cfg",
        ".cmake",
        ".conf",
        ".ex",
        ".exs",
        ".gradle",
        ".ini",
        ".jl",
        ".nim",
        ".php",
        ".pl",
        ".pm",
        ".properties",
    ),
    *(".ps1", ".py", ".pyi", ".pyx", ".r", ".rb", ".sh", ".tcl", ".tf", ".toml", ".yaml", ".yml", ".zsh"),
)

_LONGEST_TITLE = 250  # characters

# Fields above the text, as in YAML. The parser would take the last of them for a heading.
_FIELDS_ABOVE = re.compile(
    r"""
      \A---[^\S\n]*\n
      (?:[^\S\n]*(?:\#.*)?\n)* ["'\w][^\n:]*:(?:[^\S\n][^\n]*)?   # the first field
      (?:\n[^\S\n]*\S[^\n]*)*? \n(?:---|\.\.\.)[^\S\n]*(?=\n|\Z)   # further lines, none of them empty
    """,
    re.VERBOSE,
)
# Other ends of lines, as on old computers and the web; and what cannot be seen before the first word of a line.
_OTHER_BREAK = re.compile("\r(?!\n)|[\x0b\x0c\x85\u2028\u2029]")
_UNSEEN = re.compile("^[\ufeff\u200b]", re.MULTILINE)
# What generators of sites take out of a heading: {#install}, {: .wide }, {/* #install */}.
_ATTRIBUTES = re.compile(r"(?<!\s)\s*\{(?::?\s*[#.]|/\*)[^{}\n]*\}$")

# A text without any of these has neither headings nor blocks, and need not be parsed.
_SIGN = re.compile(r"^\ {0,3}(?:\#|=+[^\S\n]*$|-+[^\S\n]*$)|```|~~~|\|[^\S\n]*:?-|-:?[^\S\n]*\|", re.MULTILINE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")  # as the parser has it
_NOT_SPACE = re.compile(r"\S|\Z")


@dataclass(frozen=True, slots=True)
class Headings:
    """One or more headings between which nothing stands.

    Attributes:
        start: offset of their first character, which may be a mark.
        end: offset of what stands under the last of them.
        level: that of the outermost of them; 1 is the highest, 6 the lowest.
        path: the titles of all headings that what stands under the last one is under, outermost first, without marks.
    """

    start: int
    end: int
    level: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """The parts of a text.

    Attributes:
        headings: in their order.
        blocks: start and end of each fence of code and of each table; the end is where what follows begins.
    """

    headings: Sequence[Headings] = ()
    blocks: Sequence[tuple[int, int]] = ()

    def path(self, start: int) -> tuple[str, ...]:
        """Return the titles of the headings that the first words from an offset stand under, outermost first.

        From an offset at a heading, the first words are those below it and the headings that follow it at once.
        """
        place = bisect_right(self.headings, start, key=lambda headings: headings.start) - 1
        return self.headings[place].path if place >= 0 else ()


def outline(text: str, name: str = "") -> Outline:
    """Return the parts of a text that is Markdown; in any other text there are hardly any.

    Args:
        text: the text.
        name: of the document, if it has one; that of a file of code, such as "setup.py", has no parts.
    """
    source = as_parsed(text)
    if not _SIGN.search(source) or name.lower().endswith(_COMMENTED):
        return Outline()
    lines = [0, *accumulate(len(line) for line in _LINE.findall(source))]

    def span(token: Token) -> tuple[int, int]:
        first, behind = token.map or (0, 0)
        return _words_from(text, lines[first]), _words_from(text, lines[behind])

    headings: list[Headings] = []
    above: list[tuple[int, str]] = []
    blocks: list[tuple[int, int]] = []
    targets: dict[str, Any] = {}  # of links, which may be defined anywhere
    tokens = markdown_parser(inline=False).parse(_FIELDS_ABOVE.sub(_blanked, source), targets)
    for token, content in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and token.level == 0 and content is not None:
            # A paragraph above a line of hyphens is a heading to the parser; one of several lines is none to readers.
            # Nor is one of a hundred words, which each passage below it would carry along.
            odd = "\n" in content.content or len(content.content) > _LONGEST_TITLE
            title = "" if odd else _title(content.content, targets)
            if not title:
                continue
            (start, end), level = span(token), int(token.tag[1])
            above = [outer for outer in above if outer[0] < level] + [(level, title)]
            if headings and headings[-1].end == start:
                last = headings.pop()
                start, level = last.start, min(last.level, level)
            headings.append(Headings(start, end, level, tuple(title for _, title in above)))
        elif token.type in ("fence", "table_open"):
            blocks.append(span(token))
    return Outline(headings, blocks)


def _words_from(text: str, position: int) -> int:
    found = _NOT_SPACE.search(text, position)
    return len(text) if found is None else found.start()


def _blanked(found: re.Match[str]) -> str:
    return re.sub(r"\S", " ", found[0])


def with_plain_breaks(text: str) -> str:
    r"""Return the text with `\n` at the end of each line, or `\r\n`; each character keeps its place."""
    return _OTHER_BREAK.sub("\n", text)


def as_parsed(text: str) -> str:
    """Return the text without what would hide marks of Markdown; each character keeps its place."""
    return _UNSEEN.sub(" ", with_plain_breaks(text))


def without_attributes(heading: str) -> str:
    """Return a heading without what only generators of sites read, such as {#install}."""
    return _ATTRIBUTES.sub("", heading)


def _title(source: str, targets: dict[str, Any]) -> str:
    """Return the words of a heading, without the marks of Markdown."""
    [inline] = markdown_parser().parseInline(without_attributes(source), targets)
    return " ".join("".join(_words_of(inline.children or ())).split())


def _words_of(tokens: Iterable[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("text", "code_inline"):
            yield token.content
        elif token.type == "html_inline":
            yield without_tags(token.content)
        elif token.type.endswith("break"):
            yield " "
        yield from _words_of(token.children or ())


@cache
def markdown_parser(*, inline: bool = True) -> MarkdownIt:
    """Return a parser of Markdown with tables, with or without what is within paragraphs."""
    from markdown_it import MarkdownIt  # late, because many texts need none

    parser = MarkdownIt("commonmark").enable("table")
    if not inline:
        parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
