"""faiss: vectors in this process, without a server; texts and metadata in lists beside them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.data import Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import EF_CONSTRUCTION, EF_RUNTIME, Found, M, Shape, Unfit


class Faiss:
    """An index of faiss."""

    name: ClassVar[str] = "faiss"
    kind: ClassVar[Kind] = "other"

    def __init__(self, url: str, shape: Shape) -> None:
        import faiss

        if shape.words:
            raise Unfit("it indexes no words")
        if shape.algorithm == "hnsw":
            self._index = faiss.IndexHNSWFlat(shape.dim, M, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction, self._index.hnsw.efSearch = EF_CONSTRUCTION, EF_RUNTIME
        else:
            self._index = faiss.IndexFlatIP(shape.dim)

    def store(self, documents: Documents) -> None:
        """Add the vectors."""
        self._index.add(documents.vectors)
        self._kept = documents

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        [rows] = self._index.search(vector[np.newaxis], k)[1]
        return [(self._kept.texts[row], self._kept.metadata[row]) for row in rows]

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector."""
        return [[self._kept.texts[row] for row in rows] for rows in self._index.search(vectors, k)[1]]

    def close(self) -> None:
        """Let go of the vectors."""
        self._index.reset()
