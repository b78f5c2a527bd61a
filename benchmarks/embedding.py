"""Embedding with the default model: `SentenceEmbedder`, beside `encode` of sentence-transformers.

python -m benchmarks.embedding [--part PART] [--texts N] [--queries N] [--runs N] [--save FOLDER]

The texts are 90 words of the handbook each, and others in each call. "cosine" is the mean of those between the vectors
of ragknn and of `encode`, which computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ragknn
from benchmarks.measuring.program import run
from benchmarks.measuring.racing import OURS, Contender, Facts, Race, race
from ragknn.embedding._loading import find_weights

HANDBOOK = Path(__file__).parent.parent / "corpora" / "handbook"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WORDS = 90
QUERY_WORDS = 9


class Texts:
    """Draws texts that are as long as asked for and begin anywhere in the handbook."""

    def __init__(self, words: int) -> None:
        documents = ragknn.read_documents(HANDBOOK)
        self._known = [word for document in documents for word in document.text.split()]
        self._words = words

    def __call__(self, call: int, n: int) -> list[str]:
        """Return n texts, others for each call."""
        starts = np.random.default_rng(call).integers(len(self._known) - self._words, size=n)
        return [" ".join(self._known[start : start + self._words]) for start in starts]


def many(texts: int, queries: int, runs: int) -> Iterator[Race]:
    """Yield the race for many texts in one call."""
    draw, embedder, encode = Texts(WORDS), ragknn.SentenceEmbedder(), encoder()
    contenders = [
        Contender(
            OURS,
            lambda call: embedder.embed_documents(draw(call, texts)),
            kind="ours",
            facts=lambda: likeness(embedder, encode, draw(runs, texts)),
        ),
        Contender("sentence-transformers", lambda call: encode(draw(call, texts))),
    ]
    yield race(f"embedding {texts} texts of {WORDS} words", contenders, runs=runs, work=texts, unit="texts")


def one(texts: int, queries: int, runs: int) -> Iterator[Race]:
    """Yield the race for one query after the other."""
    draw, embedder, encode = Texts(QUERY_WORDS), ragknn.SentenceEmbedder(), encoder()
    contenders = [
        Contender(OURS, lambda call: embedder.embed_queries(draw(call, 1)), kind="ours"),
        Contender("sentence-transformers", lambda call: encode(draw(call, 1))),
    ]
    yield race("embedding one query", contenders, runs=runs, calls=max(1, queries // runs))


def encoder() -> Callable[[list[str]], Any]:
    """Return `encode` of the default model."""
    from sentence_transformers import SentenceTransformer

    encode: Callable[[list[str]], Any] = SentenceTransformer(str(find_weights(MODEL) or MODEL)).encode
    return encode


def likeness(embedder: ragknn.SentenceEmbedder, encode: Callable[[list[str]], Any], texts: list[str]) -> Facts:
    """Return how near ragknn's vectors are to those of `encode`, and what computes them."""
    engine = embedder.engine
    ours, theirs = embedder.embed_documents(texts), encode(texts)
    cosines = np.sum(ours * theirs, axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return {"cosine": f"{cosines.mean():.6f}", "runs on": f"{engine.backend}, {engine.precision}"}


PARTS = {"many": many, "one": one}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    run("embedding", __doc__, PARTS, arguments, texts=256, queries=200)


if __name__ == "__main__":
    main()
