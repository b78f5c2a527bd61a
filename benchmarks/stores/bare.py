"""redis-py alone: the commands that a user would write by hand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import redis
from numpy.typing import NDArray

from benchmarks.measuring.data import FIELDS, Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import EF_CONSTRUCTION, EF_RUNTIME, Found, M, Shape, batches

NAME = "bare"
RETURNED = ("text", *FIELDS, "distance")
AT_ONCE = 500  # commands in a pipeline; from 50 to 2,000 it makes no difference


class Bare:
    """Hashes and a search index."""

    name: ClassVar[str] = "redis-py"
    kind: ClassVar[Kind] = "floor"

    def __init__(self, url: str, shape: Shape) -> None:
        self.client = redis.Redis.from_url(url)
        vector: list[Any] = ["TYPE", "FLOAT32", "DIM", shape.dim, "DISTANCE_METRIC", "COSINE"]
        if shape.algorithm == "hnsw":
            vector += ["M", M, "EF_CONSTRUCTION", EF_CONSTRUCTION]
        self._effort = f" EF_RUNTIME {EF_RUNTIME}" if shape.algorithm == "hnsw" else ""
        fields = [part for name, kind in FIELDS.items() for part in (name, kind.upper())]
        words = ["text", "TEXT"] if shape.words else []
        self.client.execute_command(
            *("FT.CREATE", NAME, "PREFIX", 1, f"{NAME}:", "SCHEMA", *fields, *words),
            *("vector", "VECTOR", shape.algorithm.upper(), len(vector), *vector),
        )

    def store(self, documents: Documents) -> None:
        """Set a hash for each document, many in one pipeline."""
        for part in batches(len(documents), AT_ONCE):
            pipeline = self.client.pipeline(transaction=False)
            for name, vector, text, metadata in zip(
                documents.ids[part],
                documents.vectors[part],
                documents.texts[part],
                documents.metadata[part],
                strict=True,
            ):
                pipeline.hset(f"{NAME}:{name}", mapping={"text": text, **metadata, "vector": vector.tobytes()})
            pipeline.execute()

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        return [_found(fields) for fields in _rows(self.client.execute_command(*self._command(vector, k)))]

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector, asked in one pipeline."""
        pipeline = self.client.pipeline(transaction=False)
        for vector in vectors:
            pipeline.execute_command(*self._command(vector, k))
        return [[fields[b"text"].decode() for fields in _rows(reply)] for reply in pipeline.execute()]

    def close(self) -> None:
        """Drop the index with its hashes."""
        self.client.execute_command("FT.DROPINDEX", NAME, "DD")
        self.client.close()

    def _command(self, vector: NDArray[np.float32], k: int) -> tuple[Any, ...]:
        query = f"*=>[KNN $k @vector $vector{self._effort} AS distance]"
        return (
            *("FT.SEARCH", NAME, query, "PARAMS", 4, "k", k, "vector", vector.tobytes()),
            *("SORTBY", "distance", "RETURN", len(RETURNED), *RETURNED, "LIMIT", 0, k, "DIALECT", 2),
        )


def _rows(reply: Any) -> list[dict[bytes, bytes]]:
    if isinstance(reply, dict):  # RESP3
        return [row[b"extra_attributes"] for row in reply[b"results"]]
    return [dict(zip(fields[::2], fields[1::2], strict=True)) for fields in reply[2::2]]


def _found(fields: dict[bytes, bytes]) -> Found:
    values = {name.decode(): value.decode() for name, value in fields.items()}
    return values.pop("text"), values
