"""Where a text is cut into passages."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragknn.text._boundaries import Boundaries
from ragknn.text._measures import Measure

# A passage that ends a section is not shorter than this share of the one before.
_LEFTOVER_SHARE = 8

_NOT_SPACE = re.compile(r"\S")
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Cutter:
    """What decides where a text is cut.

    Attributes:
        text: the text, without whitespace at its end.
        measures: which limits a passage keeps; the overlap is measured by the first.
        overlap: maximum units that a passage repeats from the previous one.
        places: where the text can be cut.
        context: tells what is embedded in front of the passage that begins at an offset, and its units by each measure.
    """

    text: str
    measures: Sequence[Measure]
    overlap: int
    places: Boundaries
    context: Callable[[int], tuple[str, Sequence[int]]]

    def cut(self) -> list[tuple[int, int]]:
        """Return (start, end) of each passage."""
        text = self.text
        passages: list[tuple[int, int]] = []
        start = covered = len(text) - len(text.lstrip())
        while covered < len(text):
            section_end = self.places.section_after(covered, len(text))
            if not passages and not _WORD.search(text, start, section_end):
                section_end = self.places.section_after(section_end, len(text))  # signs alone say nothing
            cut = self._next_cut(start, covered, section_end)
            if cut is None:
                # The overlap leaves no room for new text.
                start = covered
                continue
            following = self._resume(start + 1, cut)
            least = (cut - start) // _LEFTOVER_SHARE
            if cut < section_end and section_end - following < least:
                shorter = self._next_cut(start, covered, section_end - least)
                cut = cut if shorter is None else shorter
                following = self._resume(start + 1, cut)
            passages.append((start, start + len(text[start:cut].rstrip())))
            covered = cut
            start = cut if cut == section_end else following
        return passages

    def _next_cut(self, start: int, covered: int, latest: int) -> int | None:
        """Find the end of the passage from `start`; None if it cannot end after `covered`."""
        context, taken = self.context(start)
        limit = min(latest, self._reach(start, taken))
        while True:
            limit = max(limit, start + 1)
            if limit <= covered:
                return None
            cut = self._best_cut(start, covered, limit)
            if cut is None:
                return None
            passage = self.text[start:cut].rstrip()
            # A passage may have more tokens than the same characters have inside the whole text.
            room = min(
                len(passage) * max(1, measure.limit - used) // max(measure.count(context + passage) - used, 1)
                for measure, used in zip(self.measures, taken, strict=True)
            )
            if room >= len(passage) or len(passage) == 1:
                return cut
            limit = start + room

    def _reach(self, start: int, taken: Sequence[int]) -> int:
        ends = [measure.reach(start, used) for measure, used in zip(self.measures, taken, strict=True)]
        return min((end for end in ends if end is not None), default=len(self.text))

    def _best_cut(self, start: int, covered: int, limit: int) -> int | None:
        """Choose a position in (covered, limit] where the next passage begins; whitespace at the limit is not counted.

        None: the overlap leaves no room for the word, the block or the visible character that begins at `covered`.
        """
        rest = _NOT_SPACE.search(self.text, limit)
        if rest is None:
            return len(self.text)
        limit = rest.start()
        block = self.places.block_around(limit)
        if block and self._fits(block):
            if block[0] > covered:
                limit, block = block[0], None
            elif start < covered == block[0]:
                return None
        early = max(covered, start + (limit - start) // 2)
        *levels, words = self.places.levels
        for positions in levels:
            last = bisect_right(positions, limit) - 1
            # A line of a block is better than a longer passage that ends within one.
            if last >= 0 and positions[last] > (early if block is None else max(covered, block[0])):
                return positions[last]
        last = bisect_right(words, limit) - 1
        if last >= 0 and words[last] > covered:
            return words[last]
        if start < covered:
            return None
        units = self.measures[-1].starts
        last = bisect_right(units, limit) - 1
        cut = units[last] if last >= 0 and units[last] > covered else limit
        whole = cut
        while whole > covered and whole in self.places.inside:
            whole -= 1
        return whole if whole > covered else cut

    def _fits(self, block: tuple[int, int]) -> bool:
        start, end = block
        _, taken = self.context(start)
        beyond = _NOT_SPACE.search(self.text, self._reach(start, taken))
        return beyond is None or beyond.start() >= end

    def _resume(self, first: int, cut: int) -> int:
        """Find the start of the next passage: at `first` or later, and at most the overlap before `cut`."""
        if self.overlap == 0:
            return cut
        first = max(first, self.measures[0].back(cut, self.overlap))
        _, sentences, words = self.places.levels
        for positions in (sentences, words):
            following = bisect_left(positions, first)
            if following < len(positions) and positions[following] < cut:
                block = self.places.block_around(positions[following])
                return min(cut, block[1]) if block and self._fits(block) else positions[following]
        return cut
