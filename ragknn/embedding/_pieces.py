"""Cutting a text into pieces that a model can read whole."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil

from ragknn.text import TokenSpans, sentence_starts

# By this share a piece may be shorter or longer than an even one, so that the next begins at a sentence or a word.
SLACK_SHARE = 4  # a quarter
_NOT_SPACE = re.compile(r"\S")


def tokens_beyond(text: str, token_spans: TokenSpans, limit: int) -> int:
    """Return the number of tokens of the text if it is above the limit, else 0."""
    # An ASCII character is at most one token, and some tokenizers add one before the text. Other characters can be
    # several tokens.
    if len(text) < limit and text.isascii():
        return 0
    count = len(token_spans(text))
    return count if count > limit else 0


def cut_evenly(text: str, token_spans: TokenSpans, limit: int) -> list[str]:
    """Cut a text into pieces of at most `limit` tokens: few, of about equal length, in order and without gaps.

    A piece begins at a sentence if one begins nearby, else at a word, else at a token. The tokens of each piece are
    counted again without the rest of the text, as the model sees it. A single character is never cut, even if it has
    more tokens.
    """
    places = _Places.of(text, token_spans)
    pieces: list[str] = []
    first = 0
    while first < len(places.starts):
        left = len(places.starts) - first
        number = ceil(left / limit)
        # With fewer tokens here, the rest would not fit into the other pieces.
        least = left - (number - 1) * limit
        piece, first = places.piece(first, least, ceil(left / number), limit)
        pieces.append(piece)
    return pieces or [text]


def cut_off(text: str, token_spans: TokenSpans, limit: int) -> str:
    """Return the beginning of a text, up to the last word that fits into `limit` tokens."""
    places = _Places.of(text, token_spans, at_sentences=False)  # up to the last sentence would be shorter
    return places.piece(0, 1, limit, limit)[0]


@dataclass(frozen=True, slots=True)
class _Places:
    """Positions where a text can be cut.

    Attributes:
        text: text to cut.
        token_spans: the model's tokenizer.
        starts: start of each token, ascending.
        sentences: starts of sentences.
    """

    text: str
    token_spans: TokenSpans
    starts: Sequence[int]
    sentences: Collection[int]

    @classmethod
    def of(cls, text: str, token_spans: TokenSpans, *, at_sentences: bool = True) -> _Places:
        starts = list(accumulate((start for start, _ in token_spans(text)), max))
        return cls(text, token_spans, starts, frozenset(sentence_starts(text) if at_sentences else ()))

    def piece(self, first: int, least: int, even: int, most: int) -> tuple[str, int]:
        """Return the piece that begins with token `first`, and the first token of the next piece.

        Args:
            first: number of a token.
            least: minimum tokens in the piece; it has fewer if more do not fit.
            even: preferred number of tokens.
            most: maximum number of tokens.
        """
        limit = most
        while True:
            end = self._end(first, least, min(even, most), most)
            begins = self.starts[first] if first else 0
            piece = self.text[begins : self.starts[end] if end < len(self.starts) else len(self.text)]
            count = len(self.token_spans(piece))
            if count <= limit or end == self._next(first):
                return piece, end
            # A piece may have more tokens than the same characters have inside the whole text.
            most = max(1, min(most - 1, (end - first) * limit // count))
            least = min(least, most)

    def _end(self, first: int, least: int, even: int, most: int) -> int:
        if len(self.starts) - first <= min(even, most):
            return len(self.starts)
        slack = even // SLACK_SHARE
        near = range(first + max(least, even - slack, 1), first + min(most, even + slack) + 1)
        best = min(
            (number for number in near if self._is_place(number)),
            key=lambda number: (self._rank(number), abs(number - first - even)),
            default=None,
        )
        if best is not None:
            return best
        below = (number for number in range(first + most, first, -1) if self._is_place(number))
        return next(below, self._next(first))

    def _next(self, first: int) -> int:
        """First token after `first` that a piece can begin with, or the number of all tokens."""
        following = range(first + 1, len(self.starts))
        return next((number for number in following if self._is_place(number)), len(self.starts))

    def _is_place(self, number: int) -> bool:
        # Several tokens may share one character.
        return number < len(self.starts) and self.starts[number - 1] < self.starts[number] < len(self.text)

    def _rank(self, number: int) -> int:
        start = self.starts[number]
        # Some tokenizers include the space before a word.
        word = _NOT_SPACE.search(self.text, start)
        begins = word.start() if word else len(self.text)
        if begins in self.sentences:
            return 0
        return 1 if begins > start or self.text[start - 1].isspace() else 2
