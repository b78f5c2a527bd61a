"""ragknn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import ragknn
from benchmarks.measuring.data import FIELDS, Documents
from benchmarks.measuring.racing import OURS, Kind
from benchmarks.stores.shapes import EF_CONSTRUCTION, EF_RUNTIME, Found, M, Shape


class RagKNN:
    """An index of ragknn."""

    name: ClassVar[str] = OURS
    kind: ClassVar[Kind] = "ours"

    def __init__(self, url: str, shape: Shape) -> None:
        self.shape = shape
        graph = {"m": M, "ef_construction": EF_CONSTRUCTION} if shape.algorithm == "hnsw" else {}
        self._effort = {"ef_runtime": EF_RUNTIME} if shape.algorithm == "hnsw" else {}
        self.index = ragknn.Index(
            "ours",
            url=url,
            dim=shape.dim,
            algorithm=shape.algorithm,
            text_search=shape.words,
            fields=FIELDS,
            **graph,
        ).open()
        self._indexer = ragknn.Indexer(self.index)
        self.retriever = ragknn.Retriever(self.index)

    def store(self, documents: Documents) -> None:
        """Store the documents."""
        self._indexer.add_vectors(documents.ids, documents.vectors, texts=documents.texts, metadata=documents.metadata)

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        [retrieval] = self.retriever.kneighbors(vector, k, **self._effort)
        return [(one.passage.text, dict(one.passage.metadata)) for one in retrieval]

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector."""
        retrievals = self.retriever.kneighbors(vectors, k, **self._effort)
        return [[one.passage.text for one in retrieval] for retrieval in retrievals]

    def close(self) -> None:
        """Drop the index."""
        self.index.drop()
        self.index.close()
