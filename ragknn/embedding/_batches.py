"""Which texts go through a model together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def longest_first(texts: Sequence[str]) -> list[int]:
    """Return the rows of the texts, the longest first, so that the texts of a batch need little padding.

    And so that a batch too large for the memory fails at once.
    """
    return sorted(range(len(texts)), key=lambda row: -size_of(texts[row]))


def size_of(text: str) -> int:
    """Return about how many tokens a text has, without a tokenizer: a token is some four bytes, in most scripts."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) // 4 + 2


def batches(sized: Iterable[tuple[T, int]], tokens: int, texts: int | None = None) -> Iterator[list[T]]:
    """Put texts into batches, in order; with the longest first, few tokens are padding.

    Args:
        sized: what stands for each text, and its number of tokens; read as needed.
        tokens: most tokens in a batch, padding counted; a single text may have more.
        texts: texts in a batch instead, whatever their length.
    """
    batch: list[T] = []
    width = 0
    for one, size in sized:
        width = max(width, size)
        full = len(batch) == texts if texts is not None else width * (len(batch) + 1) > tokens
        if batch and full:
            yield batch
            batch, width = [], size
        batch.append(one)
    if batch:
        yield batch


def distinct(texts: Sequence[T]) -> tuple[list[T], list[int]]:
    """Return each of the texts once, and for each of all texts the place of its twin among them."""
    places: dict[T, int] = {}
    rows = [places.setdefault(text, len(places)) for text in texts]
    return list(places), rows


def by_key(keys: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Return each key with the rows that have it."""
    rows = sorted(range(len(keys)), key=keys.__getitem__)
    return [(key, list(own)) for key, own in groupby(rows, key=keys.__getitem__)]
