"""Made documents that behave as real ones do: clusters of very different sizes, words of very different frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIM = 384
CHARACTERS = 800
WORDS_A_TEXT = 160  # more than fit
VOCABULARY = 20_000
COMMON = 100  # words that stand for and, the, of, ..., which are in every text and in no index
YEARS = (1990, 2026)
# Entries of the metadata, as ragknn declares them.
FIELDS = {"topic": "tag", "year": "numeric", "pages": "numeric"}

_CONSONANTS, _VOWELS = "bcdfghklmnprstvz", "aeiou"


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents with ready vectors.

    Attributes:
        ids: n ids.
        vectors: shape (n, dim), float32, of length 1.
        texts: n texts of 800 characters.
        metadata: n mappings with the entries of `FIELDS`.
        topics: the cluster of each, shape (n,).
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    texts: list[str]
    metadata: list[dict[str, Any]]
    topics: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Source:
    """Draws documents and queries: all of one source have the same clusters and vocabulary.

    A cluster's share of the documents falls with its rank, as a word's share of a text does (Zipf). Vectors scatter
    around its center, in some directions far more than in others, as those of language models do.

    Args:
        dim: values in a vector.
        clusters: number of clusters.
        seed: the same seed draws the same.
    """

    def __init__(self, dim: int = DIM, clusters: int = 200, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        spread = np.arange(1, dim + 1) ** -0.5
        self._spread = spread / np.linalg.norm(spread)
        self._centers = _unit(self._random.standard_normal((clusters, dim)))
        self._widths = self._random.uniform(0.6, 1.1, clusters)
        self._words = _vocabulary(self._random)

    def documents(self, n: int, first: int = 0) -> Documents:
        """Draw n documents, numbered from `first` on."""
        vectors, topics = self._points(n)
        years = self._random.integers(*YEARS, n)
        pages = self._random.integers(1, 400, n)
        metadata = [
            {"topic": f"topic {topic}", "year": int(year), "pages": int(number)}
            for topic, year, number in zip(topics, years, pages, strict=True)
        ]
        ids = [f"document-{first + row}" for row in range(n)]
        return Documents(ids, vectors, self.texts(n), metadata, topics)

    def vectors(self, n: int) -> NDArray[np.float32]:
        """Draw n vectors from the same clusters, such as those of queries, shape (n, dim)."""
        return self._points(n)[0]

    def texts(self, n: int, words: int = WORDS_A_TEXT, characters: int = CHARACTERS) -> list[str]:
        """Draw n texts of so many words, cut to so many characters."""
        rows = self._random.choice(len(self._words), (n, words), p=_zipf(len(self._words)))
        return [" ".join(row)[:characters] for row in self._words[rows].tolist()]

    def questions(self, n: int, words: int = 6) -> list[str]:
        """Draw n questions of so many words, none of which is among the most frequent."""
        shares = _zipf(len(self._words))
        shares[:COMMON] = 0
        rows = self._random.choice(len(self._words), (n, words), p=shares / shares.sum())
        return [" ".join(row) for row in self._words[rows].tolist()]

    def _points(self, n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        clusters, dim = self._centers.shape
        topics = self._random.choice(clusters, n, p=_zipf(clusters))
        scatter = self._random.standard_normal((n, dim), dtype=np.float32) * self._spread.astype(np.float32)
        scatter *= self._widths[topics, np.newaxis].astype(np.float32)
        scatter += self._centers[topics]
        return _unit(scatter), topics


def nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the rows of the k nearest vectors of each query by brute force, the nearest first; shape (q, k)."""
    found = np.empty((len(queries), k), dtype=np.int64)
    for row, query in enumerate(queries):
        similarities = vectors @ query
        best = np.argpartition(-similarities, k - 1)[:k]
        found[row] = best[np.argsort(-similarities[best], kind="stable")]
    return found


def recall(found: Sequence[Sequence[str]], truth: NDArray[np.int64], texts: Sequence[str]) -> float:
    """Return the mean share of the true neighbors, rows of `texts`, whose texts were found."""
    hits = [len({texts[row] for row in rows} & set(those)) for rows, those in zip(truth, found, strict=True)]
    return sum(hits) / truth.size


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _zipf(n: int) -> NDArray[np.float64]:
    shares = 1 / np.arange(1, n + 1)
    return shares / shares.sum()


def _vocabulary(random: np.random.Generator) -> NDArray[np.str_]:
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    words = {
        "".join(syllables[place] for place in places[:length])
        for places, length in zip(
            random.integers(len(syllables), size=(2 * VOCABULARY, 5)),
            random.integers(1, 6, 2 * VOCABULARY),
            strict=True,
        )
    }
    return random.permutation(sorted(words))[:VOCABULARY]
