"""Embedders whose vectors can be told from the text, and so checked by hand."""

from collections.abc import Sequence

import numpy as np

from ragknn import HashingEmbedder


class Plane:
    """Embeds a text that begins with two numbers at that point of the plane; what follows does not matter."""

    name, dim, max_tokens = "tests/plane", 2, None

    def embed_documents(self, texts: Sequence[str]):
        return np.array([[float(word) for word in text.split()[:2]] for text in texts], dtype=np.float32).reshape(-1, 2)

    embed_queries = embed_documents


class CountingEmbedder(HashingEmbedder):
    """Keeps the texts that it was asked to embed; those with a key of `spoiled` in them get that value."""

    def __init__(self, dim=16, spoiled=None):
        super().__init__(dim)
        self.texts = []
        self.spoiled = spoiled or {}

    def embed_documents(self, texts):
        self.texts += texts
        vectors = super().embed_documents(texts)
        for row, text in enumerate(texts):
            for word, value in self.spoiled.items():
                if word in text:
                    vectors[row, 3] = value
        return vectors
