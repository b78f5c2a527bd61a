"""The places where a text can be cut, from the best to the last resort."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import regex  # re does not know what belongs to one visible character

from ragknn.text._markdown import Outline, with_plain_breaks
from ragknn.text._measures import HAN
from ragknn.text._sentences import sentence_ends

# A heading of this level or above begins a passage.
SECTION_LEVEL = 2

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_PARAGRAPH_SEPARATOR = re.compile(r"\u2029\s*")
_LINE_BREAK = re.compile(r"\n\s*")
# After a space; and beside Han and kana, though not before a mark such as a comma.
_WORD_START = re.compile(rf"(?<!\S)\S|[{HAN}]|(?<=[{HAN}])[\w(（「『【《〈“]")
_BEYOND_ASCII = re.compile(r"(?<!\S)\S*[^\x00-\x7f\s]\S*")  # the look-behind prevents an attempt at each letter
_CLUSTER = regex.compile(r"\X")
_PIECE = 256  # code points


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The places where a text can be cut.

    Attributes:
        sections: where a passage must begin.
        levels: the starts of paragraphs, sentences and words, each with those before it.
        blocks: start and end of what is kept whole where it fits, with the headings above it.
        inside: the offsets inside a visible character of several code points.
    """

    sections: Sequence[int]
    levels: Sequence[Sequence[int]]
    blocks: Sequence[tuple[int, int]]
    inside: frozenset[int]

    def block_around(self, position: int) -> tuple[int, int] | None:
        """Return start and end of the block that has the position inside."""
        number = bisect_left(self.blocks, position, key=lambda block: block[0]) - 1
        if number >= 0 and position < self.blocks[number][1]:
            return self.blocks[number]
        return None

    def section_after(self, position: int, otherwise: int) -> int:
        """Return where the next section begins."""
        following = bisect_right(self.sections, position)
        return self.sections[following] if following < len(self.sections) else otherwise


def boundaries(text: str, parts: Outline) -> Boundaries:
    """Return the places where a text can be cut."""
    inside = frozenset(_inside_characters(text))
    paragraphs, sentences = _paragraphs_and_sentences(text, parts)
    words = sentences.union(word.start() for word in _WORD_START.finditer(text))
    above = {headings.end: headings.start for headings in parts.headings}
    return Boundaries(
        # A section without text is no section: its heading stands at the end of the one before.
        [one.start for one in parts.headings if one.end < len(text) and one.level <= SECTION_LEVEL],
        [sorted(level - inside) for level in (paragraphs, sentences, words)],
        [(above.get(start, start), end) for start, end in parts.blocks],
        inside,
    )


def sentence_boundaries(text: str, parts: Outline) -> list[int]:
    """Return the offsets where a sentence or a paragraph begins, ascending."""
    return sorted(_paragraphs_and_sentences(text, parts)[1])


def _paragraphs_and_sentences(text: str, parts: Outline) -> tuple[set[int], set[int]]:
    """Return the starts of paragraphs, and those of sentences with them. In a block each line counts as a sentence."""
    plain = with_plain_breaks(text)
    blank_lines = sorted(
        {blank.end() for blank in chain(_BLANK_LINE.finditer(plain), _PARAGRAPH_SEPARATOR.finditer(text))}
    )
    paragraphs = set(_outside(blank_lines, [(one.start, one.end + 1) for one in parts.headings]))
    paragraphs.update(one.start for one in parts.headings)
    paragraphs.update(edge for block in parts.blocks for edge in block)
    sentences = paragraphs.union(_outside(sentence_ends(plain), parts.blocks))
    for start, end in parts.blocks:
        sentences.update(line.end() for line in _LINE_BREAK.finditer(plain, start, end))
    below = {len(text), *(one.end for one in parts.headings)}
    return paragraphs - below, sentences - below


def _outside(positions: Iterable[int], blocks: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Iterate over those of the ascending positions that are inside no block."""
    number = 0
    for position in positions:
        while number < len(blocks) and blocks[number][1] <= position:
            number += 1
        if number == len(blocks) or position <= blocks[number][0]:
            yield position


def _inside_characters(text: str) -> Iterator[int]:
    # A mark or joiner behind a space belongs to the space, but passages have no spaces at their ends.
    for run in _BEYOND_ASCII.finditer(text):
        start, length = run.start(), _PIECE
        while start < run.end():
            # A piece at a time, from the start of a character: in a row of flags, each looks back at all before it.
            ends = [start + found.end() for found in _CLUSTER.finditer(text[start : min(start + length, run.end())])]
            if ends[-1] < run.end():
                ends.pop()  # it may go on behind the piece
            length = _PIECE if ends else 2 * length
            for end in ends:
                yield from range(start + 1, end)
                start = end
