"""How long a part of a text is, in the units of a splitter."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

TokenSpans: TypeAlias = Callable[[str], Sequence[tuple[int, int]]]
"""A model's own tokenizer: for each token of a text, special tokens left out, the offset of its first character and
the offset just past its last, in order of start. Spans may be empty, and several tokens may share one."""

# Scripts written without spaces in which each character counts as a word: kana and Han.
HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"

# A longer run without whitespace is not a word but data (base64, a URL), and counts as several words.
_WORD = re.compile(rf"[{HAN}][\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[^\s{HAN}]{{1,64}}")


@dataclass(frozen=True, slots=True)
class Measure:
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

    def reach(self, start: int, taken: int = 0) -> int | None:
        """Latest possible end of a passage from `start`, of which other text takes so many units; None if all fits."""
        beyond = bisect_right(self.ends, start) + max(1, self.limit - taken)
        return self.starts[beyond] if beyond < len(self.starts) else None

    def back(self, end: int, units: int) -> int:
        """First position with at most `units` units (one or more) between it and `end`."""
        first = bisect_left(self.starts, end) - units
        return max(self.starts[first], self.ends[first - 1]) if first > 0 else 0


def measure(text: str, unit: str, limit: int, token_spans: TokenSpans | None) -> Measure:
    """Return the measure of a text by a unit; without a tokenizer, tokens are words."""
    if unit == "characters":
        return Measure(limit, range(len(text)), range(1, len(text) + 1), len)
    spans_of = token_spans if unit == "tokens" and token_spans is not None else _word_spans
    spans = spans_of(text)
    ends = list(accumulate((end for _, end in spans), max))
    return Measure(limit, [start for start, _ in spans], ends, lambda passage: len(spans_of(passage)))


def _word_spans(text: str) -> list[tuple[int, int]]:
    return [word.span() for word in _WORD.finditer(text)]
