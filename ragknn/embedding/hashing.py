"""A substitute for a model, which does not know the meaning of texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_whole, checked_texts
from ragknn.embedding._names import HASHING_PREFIX
from ragknn.text._folding import fold, folding


class HashingEmbedder:
    """Embed by hashing words and their letter triples: deterministic, offline, and without meaning.

    For tests and for trying out the library. Two texts are near if they share words or spellings; this is not semantic
    search.

    Args:
        dim: number of values in a vector.

    Raises:
        ValueError: dim < 1.
    """

    max_tokens: int | None = None

    def __init__(self, dim: int = 256) -> None:
        self.dim = check_whole("dim", dim)

    def __repr__(self) -> str:
        return f"HashingEmbedder({self.dim})"

    @property
    def name(self) -> str:
        """Name in the index's manifest."""
        return f"{HASHING_PREFIX}{self.dim}"

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of each word of the text."""
        return list(folding(_word_spans)(text))

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 for each text, shape (n, dim)."""
        read = [fold(text) for text in checked_texts(texts, "text")]
        vectors = np.zeros((len(read), self.dim), dtype=np.float32)
        for row, text in enumerate(read):
            for feature, weight in _features(text):
                digest = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "big")
                vectors[row, (digest >> 1) % self.dim] += weight if digest & 1 else -weight
            if not vectors[row].any():  # no words, or all of them cancelled out
                vectors[row, 0] = 1.0
        norms: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / norms

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the same vectors as `embed_documents`."""
        return self.embed_documents(texts)


_WORD = re.compile(r"\w+")


def _word_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _WORD.finditer(text)]


def _features(text: str) -> list[tuple[str, float]]:
    words = [word.casefold() for word in _WORD.findall(text)]
    triples = [f"^{word}$"[i : i + 3] for word in words for i in range(len(word))]
    return [(word, 1.0) for word in words] + [(triple, 0.3) for triple in triples]
