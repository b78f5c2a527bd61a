"""Embedders whose vectors can be told from the text, and so checked by hand."""

from collections.abc import Sequence

import numpy as np


class Plane:
    """Embeds a text that begins with two numbers at that point of the plane; what follows does not matter."""

    name, dim, max_tokens = "tests/plane", 2, None

    def embed_documents(self, texts: Sequence[str]):
        return np.array([[float(word) for word in text.split()[:2]] for text in texts], dtype=np.float32).reshape(-1, 2)

    embed_queries = embed_documents
