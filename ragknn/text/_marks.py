"""Where the words of a query stand in a text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from itertools import groupby, pairwise
from unicodedata import category

from ragknn.text._terms import analyzer
from ragknn.text._words import default_stop_words, words

_ZERO_WIDTH_SPACE = "\u200b"


def marked_spans(
    text: str, query: str, *, language: str = "english", fold_accents: bool = True
) -> list[tuple[int, int]]:
    """Return (start, end) in characters of each part of the text that is a word of the query, in order.

    Words are compared as a search for words does: without case, and by their stems. The words that a language has
    everywhere are marked only if the query has no others.

    Args:
        text: where to look.
        query: whose words.
        language: of both, for the stems.
        fold_accents: whether accents do not matter.
    """
    terms = analyzer(language, (), fold_accents).terms
    asked = set(words(query))
    wanted = set(terms(" ".join(asked.difference(default_stop_words(language)) or asked)))
    return _joined(span for start, end in _pieces(text) for span in _within(text, start, end, wanted, terms))


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Iterate over the parts of a text between spaces and punctuation; a pictograph is one."""
    for kind, places in groupby(range(len(text)), lambda place: _kind(text[place])):
        first, *others = places
        if kind == "word":
            yield first, [first, *others][-1] + 1
        elif kind == "pictograph":
            yield from ((place, place + 1) for place in [first, *others])


def _kind(character: str) -> str:
    kind = category(character)
    if kind[0] in "LMN" or kind == "Pc" or (kind == "Cf" and character != _ZERO_WIDTH_SPACE):
        return "word"
    return "pictograph" if kind == "So" else "other"


def _within(
    text: str, start: int, end: int, wanted: Set[str], terms: Callable[[str], list[str]]
) -> Iterator[tuple[int, int]]:
    found = terms(text[start:end])
    if wanted.isdisjoint(found):
        return
    if len(found) == 1:
        yield start, end
        return
    # A script without spaces: its words are characters and pairs of them, of which pairs tell more.
    pairs = {word for word in wanted if len(word) == 2}
    for place, pair in enumerate(map("".join, pairwise(text[start:end])), start):
        if not pairs.isdisjoint(terms(pair)):
            yield place, place + 2
    if not pairs:
        for place in range(start, end):
            if not wanted.isdisjoint(terms(text[place])):
                yield place, place + 1


def _joined(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
