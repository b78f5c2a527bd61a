"""Which texts go through a model together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding._tokens import Tokens

T = TypeVar("T")


class Batch(NamedTuple):
    """Texts that go through a model together.

    Attributes:
        rows: their places among all texts.
        ids: the tokens of each, shape (n,).
    """

    rows: list[int]
    ids: list[NDArray[np.int32]]


def tokenized(
    texts: Sequence[tuple[str, str]],
    tokenizer: Tokens,
    tokens: int,
    texts_per_call: int | None = None,
) -> Iterator[Batch]:
    """Put texts into batches, the longest first; a text is tokenized when its batch is asked for.

    Args:
        texts: a prompt and a text each.
        tokenizer: the model's.
        tokens: as for `batches`.
        texts_per_call: as `texts` of `batches`.
    """
    whole = [prompt + text for prompt, text in texts]
    tokenizer.prepare(whole)
    read = ((row, tokenizer.ids(whole[row])) for row in longest_first(whole))
    for batch in batches(((one, len(one[1])) for one in read), tokens, texts_per_call):
        rows, ids = zip(*batch, strict=True)
        yield Batch(list(rows), list(ids))


def in_order(n: int, found: Sequence[tuple[list[int], NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Return the vectors of all batches as those of the n texts, shape (n, dim)."""
    vectors = np.empty((n, found[0][1].shape[1]), dtype=np.float32)
    for rows, own in found:
        vectors[rows] = own
    return vectors


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
