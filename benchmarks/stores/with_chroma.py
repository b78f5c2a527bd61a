"""Chroma, in this process and in its memory."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.data import Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import EF_CONSTRUCTION, EF_RUNTIME, Found, M, Shape, Unfit, batches


class Chroma:
    """A collection of Chroma."""

    name: ClassVar[str] = "chroma"
    kind: ClassVar[Kind] = "other"

    def __init__(self, url: str, shape: Shape) -> None:
        import chromadb

        if shape.algorithm != "hnsw" or shape.words:
            raise Unfit("it has HNSW without words only")
        self._client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False, allow_reset=True))
        graph = {"space": "cosine", "max_neighbors": M, "ef_construction": EF_CONSTRUCTION, "ef_search": EF_RUNTIME}
        self._collection = self._client.create_collection("chroma", configuration={"hnsw": graph})

    def store(self, documents: Documents) -> None:
        """Add the documents, as many at once as it takes."""
        for part in batches(len(documents), self._client.get_max_batch_size()):
            self._collection.add(
                ids=documents.ids[part],
                embeddings=documents.vectors[part],
                documents=documents.texts[part],
                metadatas=documents.metadata[part],
            )

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        found = self._collection.query(query_embeddings=[vector], n_results=k)
        return list(zip(found["documents"][0], found["metadatas"][0], strict=True))

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector."""
        found = self._collection.query(query_embeddings=list(vectors), n_results=k, include=["documents"])
        return list(found["documents"])

    def close(self) -> None:
        """Delete the collection."""
        self._client.reset()
