"""Stores as the frameworks ask them: many questions at the same time on one retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import redis
import redis.asyncio

from benchmarks.measuring.data import DIM, Documents
from benchmarks.stores.shapes import Shape
from benchmarks.stores.with_redisvl import schema

Ready: TypeAlias = Mapping[str, Sequence[float]]
Ask: TypeAlias = Callable[[str], Awaitable[Any]]


def lookup(documents: Documents, questions: Sequence[str], vectors: Any) -> Ready:
    """Return ready vectors by their texts, which stand for the model, so that none is timed."""
    return dict(zip([*documents.texts, *questions], [*documents.vectors.tolist(), *vectors.tolist()], strict=True))


# ---- LangChain -------------------------------------------------------------------------------------------------


def _embeddings(ready: Ready) -> Any:
    from langchain_core.embeddings import Embeddings

    class Made(Embeddings):
        model = "ready vectors of the benchmark"

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [list(ready[text]) for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return list(ready[text])

    return Made()


@contextmanager
def langchain(url: str, documents: Documents, ready: Ready, k: int) -> Iterator[Any]:
    """Give the retriever of ragknn's store, filled."""
    from ragknn.integrations.langchain import LangChainEmbedder, RagKNNVectorStore

    store = RagKNNVectorStore("ours", LangChainEmbedder(_embeddings(ready), dim=DIM), url=url)
    store.add_texts(documents.texts, documents.metadata, ids=documents.ids)
    yield store.as_retriever(search_kwargs={"k": k})
    store.index.drop()


@contextmanager
def langchain_redis(url: str, documents: Documents, ready: Ready, k: int) -> Iterator[Any]:
    """Give the retriever of langchain-redis, filled."""
    from langchain_redis import RedisConfig, RedisVectorStore

    with redis.Redis.from_url(url) as client:
        config = RedisConfig(index_name="theirs", redis_client=client, embedding_dimensions=DIM)
        store = RedisVectorStore(_embeddings(ready), config)
        store.add_texts(documents.texts, documents.metadata, keys=documents.ids)
        yield store.as_retriever(search_kwargs={"k": k})
        store.index.delete(drop=True)


# ---- LlamaIndex ------------------------------------------------------------------------------------------------


@contextmanager
def llama_index(url: str, documents: Documents, ready: Ready, k: int) -> Iterator[Any]:
    """Give a retriever over ragknn's store, filled; its `vector_store` is the store."""
    from ragknn.integrations.llama_index import RagKNNVectorStore

    store = RagKNNVectorStore("ours", url=url)
    store.add(_nodes(documents))
    yield _retriever(store, ready, k)
    store.index.drop()


@contextmanager
def llama_index_redis(url: str, documents: Documents, ready: Ready, k: int) -> Iterator[Any]:
    """Give a retriever over llama-index-vector-stores-redis, filled."""
    from llama_index.vector_stores.redis import RedisVectorStore
    from redisvl.schema import IndexSchema

    own = tuple({"name": name, "type": "tag"} for name in ("id", "doc_id"))
    with redis.Redis.from_url(url) as client:
        store = RedisVectorStore(
            schema=IndexSchema.from_dict(schema("llama", Shape("flat", words=True, dim=DIM), more=own)),
            redis_client=client,
            redis_client_async=redis.asyncio.Redis.from_url(url),
        )
        store.add(_nodes(documents))
        yield _retriever(store, ready, k)
        store.delete_index()


def _nodes(documents: Documents) -> list[Any]:
    from llama_index.core.schema import TextNode

    rows = zip(documents.ids, documents.vectors.tolist(), documents.texts, documents.metadata, strict=True)
    return [TextNode(id_=name, text=text, embedding=vector, metadata=metadata) for name, vector, text, metadata in rows]


def _retriever(store: Any, ready: Ready, k: int) -> Any:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding

    class Made(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return list(ready[query])

        def _get_text_embedding(self, text: str) -> list[float]:
            return list(ready[text])

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return list(ready[query])

    index = VectorStoreIndex.from_vector_store(store, embed_model=Made(model_name="ready vectors of the benchmark"))
    return index.as_retriever(similarity_top_k=k)


class Asking:
    """Asks questions at the same time, under one event loop that stays."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._questions, self._stack = questions, ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def all_by(self, ask: Ask) -> list[Any]:
        """Return what each question finds by a function."""

        async def together() -> list[Any]:
            return await asyncio.gather(*map(ask, self._questions))

        return self._runner.run(together())
