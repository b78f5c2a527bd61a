"""redisvl."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import redis
from numpy.typing import NDArray

from benchmarks.measuring.data import FIELDS, Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import EF_CONSTRUCTION, EF_RUNTIME, Found, M, Shape


class RedisVL:
    """A search index of redisvl."""

    name: ClassVar[str] = "redisvl"
    kind: ClassVar[Kind] = "peer"

    def __init__(self, url: str, shape: Shape) -> None:
        from redisvl.index import SearchIndex

        self._client = redis.Redis.from_url(url)
        self._effort = {"ef_runtime": EF_RUNTIME} if shape.algorithm == "hnsw" else {}
        self._dim = shape.dim
        self.index = SearchIndex.from_dict(schema("redisvl", shape), redis_client=self._client)
        self.index.create(overwrite=True)

    def store(self, documents: Documents) -> None:
        """Load a dict for each document."""
        rows = zip(documents.ids, documents.vectors, documents.texts, documents.metadata, strict=True)
        self.index.load(
            [
                {"id": name, "text": text, "vector": vector.tobytes(), **metadata}
                for name, vector, text, metadata in rows
            ],
            id_field="id",
        )

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        return found_in(self.index.query(self.query(vector, k)))

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector."""
        answers = self.index.batch_query([self.query(vector, k) for vector in vectors], batch_size=len(vectors))
        return [[row["text"] for row in rows] for rows in answers]

    def query(self, vector: NDArray[np.float32], k: int) -> Any:
        """Return a query for the k nearest documents."""
        from redisvl.query import VectorQuery

        return VectorQuery(vector.tobytes(), "vector", return_fields=["text", *FIELDS], num_results=k, **self._effort)

    def close(self) -> None:
        """Delete the index with its documents."""
        self.index.delete(drop=True)
        self._client.close()


def schema(name: str, shape: Shape, *, vector: str = "vector", more: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return an index of redisvl as a dict; other libraries are built on it."""
    graph = {"m": M, "ef_construction": EF_CONSTRUCTION, "ef_runtime": EF_RUNTIME}
    attributes = {"dims": shape.dim, "algorithm": shape.algorithm, "distance_metric": "cosine", "datatype": "float32"}
    words = [{"name": "text", "type": "text"}] if shape.words else []
    return {
        "index": {"name": name, "prefix": name},
        "fields": [
            *more,
            *words,
            *({"name": name, "type": kind} for name, kind in FIELDS.items()),
            {"name": vector, "type": "vector", "attrs": attributes | (graph if shape.algorithm == "hnsw" else {})},
        ],
    }


def found_in(rows: list[dict[str, Any]]) -> list[Found]:
    """Return what redisvl has found."""
    return [(row["text"], {name: row[name] for name in FIELDS}) for row in rows]
