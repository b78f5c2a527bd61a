"""langchain-redis."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import redis
from numpy.typing import NDArray

from benchmarks.measuring.data import Documents
from benchmarks.measuring.racing import Kind
from benchmarks.stores.shapes import Found, Shape, Unfit
from benchmarks.stores.with_redisvl import schema


class LangChain:
    """A vector store of langchain-redis; its embeddings hand out the ready vectors."""

    name: ClassVar[str] = "langchain-redis"
    kind: ClassVar[Kind] = "peer"

    def __init__(self, url: str, shape: Shape) -> None:
        from langchain_core.embeddings import Embeddings
        from langchain_redis import RedisConfig, RedisVectorStore
        from redisvl.schema import IndexSchema

        if not shape.words:
            raise Unfit("it always indexes the words")

        class Ready(Embeddings):
            vectors: NDArray[np.float32]

            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return list(self.vectors)  # its rows, which it packs faster than lists of floats

            def embed_query(self, text: str) -> list[float]:
                raise NotImplementedError("queries are ready vectors")

        self._client = redis.Redis.from_url(url)
        self._ready = Ready()
        # The fields of its own default schema, with the same effort as the others.
        texts = tuple({"name": name, "type": "text"} for name in ("_index_name", "_metadata_json"))
        made = IndexSchema.from_dict(schema("langchain", shape, vector="embedding", more=texts))
        config = RedisConfig(
            schema=made,
            redis_client=self._client,
            embedding_dimensions=shape.dim,
            metadata_schema=None,
            legacy_key_format=False,
        )
        self._store = RedisVectorStore(self._ready, config)

    def store(self, documents: Documents) -> None:
        """Add the texts with their metadata."""
        self._ready.vectors = documents.vectors
        self._store.add_texts(documents.texts, documents.metadata, keys=documents.ids)

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents."""
        found = self._store.similarity_search_with_score_by_vector(vector, k)
        return [(document.page_content, document.metadata) for document, _ in found]

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector, asked one after the other."""
        return [[text for text, _ in self.search(vector, k)] for vector in vectors]

    def close(self) -> None:
        """Delete the index with its documents."""
        self._store.index.delete(drop=True)
        self._client.close()
