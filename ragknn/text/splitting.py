"""Cut documents into passages that an embedding model can read whole."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TypeAlias
from unicodedata import category

from ragknn._ids import passage_id
from ragknn.records import Document, Passage
from ragknn.text._markdown import heading_paths

TokenSpans: TypeAlias = Callable[[str], Sequence[tuple[int, int]]]
"""A model's own tokenizer: for each token of a text, special tokens left out, the offset of its first character and
the offset just past its last, in order of start. Spans may be empty, and several tokens may share one."""

# 256 tokens is the limit of the small models. Models with a longer context retrieve better with passages of a few
# hundred tokens than with the longest passages that they can read.
# The other two sizes are about the same length in English: 0.75 words and 4 characters a token.
_DEFAULT_SIZE = {"tokens": 256, "words": 192, "characters": 1024}

# An eighth: one or two sentences, so that a statement across a cut is complete in one of the passages.
_OVERLAP_SHARE = 8

# Version of the algorithm in `Splitter.fingerprint`: raise it when the cuts change.
_VERSION = "1"

# Scripts written without spaces in which each character counts as a word: kana and Han.
_HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"

# A longer run without whitespace is not a word but data (base64, a URL), and counts as several words.
_WORD = re.compile(rf"[{_HAN}]|[^\s{_HAN}]{{1,64}}")
_WORD_START = re.compile(rf"(?<!\S)\S|[{_HAN}]")
_UP_TO_LAST_WORD_END = re.compile(rf".*[\s{_HAN}]", re.DOTALL)
_NOT_SPACE = re.compile(r"\S")

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(r"^[^\S\n]{0,3}(#{1,6}[^\S\n][^\n]*)(?=(\s*))", re.MULTILINE)

# The look-behind and the possessive quantifiers prevent a new attempt at each dot in a run of dots.
_SENTENCE_END = re.compile(
    r"""
      (?<![.!?…])(?P<stop>[.!?…]++)["'”’»)\]]*+\s++
    | [。！？｡]+[」』”’）】]*\s*
    | \n[^\S\n]*(?=(?:[-*+•|]|\d{1,3}[.)])[^\S\n])      # the next entry of a list or row of a table
    """,
    re.VERBOSE,
)
# Text before a full stop that does not end a sentence: the number of a list item, an abbreviation, initials.
_ABBREVIATION = re.compile(
    r"""
      ^[^\S\n]*\d{1,3}\Z
    | (?<![\w'’])(?:
        Dr|Mr|Mrs|Ms|Prof|St|Sr|Jr|vs|etc|cf|ca|al|approx|No|Nos|Nr|Vol|Fig|Eq|Sec|Ch|pp?|ed|eds|Inc|Ltd|Co|Corp
        |Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|bzw|usw|vgl|Abs|Art|Abb
        |(?:[^\W\d_]\.)*[^\W\d_]
      )\Z
    """,
    re.VERBOSE | re.MULTILINE,
)
_LONGEST_ABBREVIATION = 12


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut documents at paragraphs, else at sentences, else at words.

    A passage is as long as `size` allows, and begins a little before the end of the previous one.
    A Markdown heading stays with what follows it.

    Args:
        size: maximum units in a passage. None: 256 tokens, or the model's limit if that is less; 192 words;
            1024 characters.
        overlap: maximum units that a passage repeats from the previous one. None: an eighth of the size.
        unit: unit of both. "tokens" are the model's own; a "word" is a run without whitespace of at most 64
            characters, or one Han or kana character; "characters" are code points.

    Raises:
        ValueError: the size is below 1, the overlap negative or not below the size, or the unit unknown.
    """

    size: int | None = None
    overlap: int | None = None
    unit: Literal["tokens", "words", "characters"] = "tokens"

    def __post_init__(self) -> None:
        if self.unit not in _DEFAULT_SIZE:
            raise ValueError(f"expected unit to be one of {', '.join(_DEFAULT_SIZE)}, got {self.unit!r}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"expected size >= 1, got {self.size}")
        if self.overlap is not None and self.overlap < 0:
            raise ValueError(f"expected overlap >= 0, got {self.overlap}")
        if self.size is not None:
            self._overlap_within(self.size)

    @property
    def fingerprint(self) -> str:
        """The settings as a short string: with the same model, equal strings mean equal cuts."""
        size = "auto" if self.size is None else self.size
        overlap = "auto" if self.overlap is None else self.overlap
        return f"{_VERSION}:{self.unit}:{size}:{overlap}"

    def split(
        self, document: Document, token_spans: TokenSpans | None = None, max_tokens: int | None = None
    ) -> list[Passage]:
        """Cut one document.

        Every character of the document that is not whitespace is in at least one passage. The tokens of each passage
        are counted again without the rest of the text, as the model sees it; if there are more, the passage is cut
        shorter. A single character is never cut, even if it has more tokens than allowed.

        Args:
            document: document to cut.
            token_spans: the model's tokenizer. Without one, words are counted instead of tokens.
            max_tokens: the model's limit in tokens, special tokens and prompt not counted. No passage has more,
                whatever the unit, if `token_spans` is given. Without `token_spans` the default size is half of
                the limit, in words, since a word rarely has more than two tokens.

        Returns:
            The passages in order of start; an empty list for a document without text.

        Raises:
            ValueError: the size is above `max_tokens`, with the unit "tokens".
        """
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"expected max_tokens >= 1, got {max_tokens}")
        size = self._size_for(max_tokens, counted=token_spans is not None)
        overlap = self._overlap_within(size)
        text = document.text.strip()
        if not text:
            return []
        measures = [_measure(text, self.unit, size, token_spans)]
        if self.unit != "tokens" and token_spans is not None and max_tokens is not None:
            measures.append(_measure(text, "tokens", max_tokens, token_spans))
        offset = len(document.text) - len(document.text.lstrip())
        spans = [(offset + start, offset + end) for start, end in _cut(text, measures, overlap)]
        return [
            Passage(
                id=passage_id(document.id, number),
                document_id=document.id,
                text=document.text[start:end],
                start=start,
                end=end,
                label=document.label,
                metadata=document.metadata,
                page=max(1, bisect_right(document.page_starts, start)) if document.page_starts else None,
                headings=path,
                number=number,
            )
            for number, ((start, end), path) in enumerate(
                zip(spans, heading_paths(document.text, [start for start, _ in spans]), strict=True)
            )
        ]

    def _size_for(self, max_tokens: int | None, counted: bool) -> int:
        if self.unit != "tokens" or max_tokens is None:
            return self.size or _DEFAULT_SIZE[self.unit]
        if self.size is None:
            return min(_DEFAULT_SIZE["tokens"], max_tokens if counted else max(1, max_tokens // 2))
        if self.size > max_tokens:
            raise ValueError(
                f"expected size <= {max_tokens}, the model's limit in tokens, got {self.size}: "
                "the rest of each passage would be cut silently. Lower the size or choose another model."
            )
        return self.size

    def _overlap_within(self, size: int) -> int:
        if self.overlap is None:
            return size // _OVERLAP_SHARE
        if self.overlap >= size:
            raise ValueError(f"expected overlap < size, got overlap {self.overlap} and size {size}")
        return self.overlap


@dataclass(frozen=True, slots=True)
class _Measure:
    """The positions of the units in a text, and the maximum number in a passage.

    Attributes:
        limit: maximum units in a passage.
        starts: position of each unit's first character, ascending.
        ends: position just past each unit and all units before it, ascending.
        count: function that counts the units of a text.
    """

    limit: int
    starts: Sequence[int]
    ends: Sequence[int]
    count: Callable[[str], int]

    def reach(self, start: int) -> int | None:
        """Latest possible end of a passage from `start`; None if all the rest fits."""
        beyond = bisect_right(self.ends, start) + self.limit
        return self.starts[beyond] if beyond < len(self.starts) else None

    def back(self, end: int, units: int) -> int:
        """First position with at most `units` units (one or more) between it and `end`."""
        first = bisect_left(self.starts, end) - units
        return max(self.starts[first], self.ends[first - 1]) if first > 0 else 0


def _measure(text: str, unit: str, limit: int, token_spans: TokenSpans | None) -> _Measure:
    if unit == "characters":
        return _Measure(limit, range(len(text)), range(1, len(text) + 1), len)
    spans_of = token_spans if unit == "tokens" and token_spans is not None else _word_spans
    spans = spans_of(text)
    ends = list(accumulate((end for _, end in spans), max))
    return _Measure(limit, [start for start, _ in spans], ends, lambda passage: len(spans_of(passage)))


def _word_spans(text: str) -> list[tuple[int, int]]:
    return [word.span() for word in _WORD.finditer(text)]


def _cut(text: str, measures: Sequence[_Measure], overlap: int) -> list[tuple[int, int]]:
    """Return (start, end) of each passage; the text neither begins nor ends with whitespace."""
    paragraphs, sentences = _boundaries(text)
    passages: list[tuple[int, int]] = []
    start = covered = 0
    while covered < len(text):
        cut = _next_cut(text, measures, (paragraphs, sentences), start, covered)
        if cut is None:
            # The overlap leaves no room for new text.
            start = covered
            continue
        passages.append((start, start + len(text[start:cut].rstrip())))
        covered = cut
        start = _resume(text, measures[0], sentences, start + 1, cut, overlap)
    return passages


def _next_cut(
    text: str, measures: Sequence[_Measure], boundaries: Sequence[Sequence[int]], start: int, covered: int
) -> int | None:
    """Find the end of the passage from `start`; None if it cannot end after `covered`."""
    reached = [end for measure in measures if (end := measure.reach(start)) is not None]
    limit = min(reached, default=len(text))
    while True:
        limit = max(limit, start + 1)
        if limit <= covered:
            return None
        cut = _best_cut(text, measures[-1].starts, boundaries, start, covered, limit)
        passage = text[start:cut].rstrip()
        # A passage may have more tokens than the same characters have inside the whole text.
        room = min(len(passage) * measure.limit // max(measure.count(passage), 1) for measure in measures)
        if room >= len(passage) or len(passage) == 1:
            return cut
        limit = start + room


def _best_cut(
    text: str, units: Sequence[int], boundaries: Sequence[Sequence[int]], start: int, covered: int, limit: int
) -> int:
    """Choose a position in (covered, limit] where the next passage begins; whitespace at the limit is not counted."""
    rest = _NOT_SPACE.search(text, limit)
    if rest is None:
        return len(text)
    limit = rest.start()
    early = max(covered, start + (limit - start) // 2)
    for positions in boundaries:
        last = bisect_right(positions, limit) - 1
        if last >= 0 and positions[last] > early:
            return positions[last]
    if words := _UP_TO_LAST_WORD_END.match(text, covered, limit):
        return words.end()
    last = bisect_right(units, limit) - 1
    cut = units[last] if last >= 0 and units[last] > covered else limit
    whole = cut
    while whole > covered and _continues_character(text, whole):
        whole -= 1
    return whole if whole > covered else cut


def _resume(text: str, measure: _Measure, sentences: Sequence[int], first: int, cut: int, overlap: int) -> int:
    """Find the start of the next passage: at `first` or later, and at most `overlap` units before `cut`."""
    if overlap == 0:
        return cut
    first = max(first, measure.back(cut, overlap))
    following = bisect_left(sentences, first)
    if following < len(sentences) and sentences[following] < cut:
        return sentences[following]
    word = _WORD_START.search(text, first, cut)
    return word.start() if word else cut


def sentence_starts(text: str) -> list[int]:
    """Return the offsets where a sentence or a paragraph begins, ascending; the first one may be left out."""
    return _boundaries(text)[1]


def _boundaries(text: str) -> tuple[list[int], list[int]]:
    """Return the starts of paragraphs and the starts of sentences, each ascending."""
    headings = [(heading.start(1), heading.end(2)) for heading in _HEADING.finditer(text)]
    below_headings = {below for _, below in headings}
    paragraphs = {blank.end() for blank in _BLANK_LINE.finditer(text)}
    paragraphs.update(start for start, _ in headings)
    sentences = paragraphs | {end.end() for end in _SENTENCE_END.finditer(text) if _ends_sentence(text, end)}
    return sorted(paragraphs - below_headings), sorted(sentences - below_headings)


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    if end["stop"] is None:
        return True
    if end.end() < len(text) and text[end.end()].islower():
        return False
    stop = end.start()
    return end["stop"] != "." or not _ABBREVIATION.search(text, max(0, stop - _LONGEST_ABBREVIATION), stop)


def _continues_character(text: str, position: int) -> bool:
    """Whether a visible character continues at the position: marks, joined emoji, skin tones."""
    here = text[position]
    joiner = "\u200d"
    return (
        here == joiner
        or text[position - 1] == joiner
        or category(here)[0] == "M"
        or "\U0001f3fb" <= here <= "\U0001f3ff"
    )
