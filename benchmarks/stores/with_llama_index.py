"""llama-index-vector-stores-redis."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import redis
import redis.asyncio
from numpy.typing import NDArray

from benchmarks.measuring.data import Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import Found, Shape, Unfit
from benchmarks.stores.with_redisvl import schema


class LlamaIndex:
    """A vector store of LlamaIndex."""

    name: ClassVar[str] = "llama-index"
    kind: ClassVar[Kind] = "peer"

    def __init__(self, url: str, shape: Shape) -> None:
        from llama_index.vector_stores.redis import RedisVectorStore
        from redisvl.schema import IndexSchema

        if not shape.words:
            raise Unfit("it always indexes the words")
        self._client = redis.Redis.from_url(url)
        ids = tuple({"name": name, "type": "tag"} for name in ("id", "doc_id"))
        self._store = RedisVectorStore(
            schema=IndexSchema.from_dict(schema("llama", shape, more=ids)),
            redis_client=self._client,
            redis_client_async=redis.asyncio.Redis.from_url(url),
            overwrite=True,
        )

    def store(self, documents: Documents) -> None:
        """Add a node for each document."""
        from llama_index.core.schema import TextNode

        rows = zip(documents.ids, documents.vectors.tolist(), documents.texts, documents.metadata, strict=True)
        self._store.add(
            [
                TextNode(id_=name, text=text, embedding=vector, metadata=metadata)
                for name, vector, text, metadata in rows
            ]
        )

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        from llama_index.core.vector_stores import VectorStoreQuery

        found = self._store.query(VectorStoreQuery(query_embedding=vector.tolist(), similarity_top_k=k))
        return [(node.text, node.metadata) for node in found.nodes]

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector, asked one after the other."""
        return [[text for text, _ in self.search(vector, k)] for vector in vectors]

    def close(self) -> None:
        """Delete the index with its documents."""
        self._store.delete_index()
        self._client.close()
