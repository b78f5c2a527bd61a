"""Stores as a framework's chains ask them: many `ainvoke` at the same time on one retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import redis

from benchmarks.measuring.data import DIM, Documents

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever

Opened: TypeAlias = Iterator[Any]


def lookup(documents: Documents, questions: Sequence[str], vectors: Any) -> Any:
    """Return LangChain's embeddings that hand out ready vectors, so that no model is timed."""
    from langchain_core.embeddings import Embeddings

    ready = dict(zip([*documents.texts, *questions], [*documents.vectors.tolist(), *vectors.tolist()], strict=True))

    class Ready(Embeddings):
        model = "ready vectors of the benchmark"

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [ready[text] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return ready[text]

    return Ready()


@contextmanager
def ours(url: str, documents: Documents, embeddings: Any, k: int) -> Opened:
    """Give the retriever of ragknn's store, filled."""
    from ragknn.integrations.langchain import LangChainEmbedder, RagKNNVectorStore

    store = RagKNNVectorStore("ours", LangChainEmbedder(embeddings, dim=DIM), url=url)
    store.add_texts(documents.texts, documents.metadata, ids=documents.ids)
    yield store.as_retriever(search_kwargs={"k": k})
    store.index.drop()


@contextmanager
def langchain_redis(url: str, documents: Documents, embeddings: Any, k: int) -> Opened:
    """Give the retriever of langchain-redis, filled."""
    from langchain_redis import RedisConfig, RedisVectorStore

    with redis.Redis.from_url(url) as client:
        config = RedisConfig(index_name="theirs", redis_client=client, embedding_dimensions=DIM)
        store = RedisVectorStore(embeddings, config)
        store.add_texts(documents.texts, documents.metadata, keys=documents.ids)
        yield store.as_retriever(search_kwargs={"k": k})
        store.index.delete(drop=True)


class Asking:
    """Asks questions at the same time, under one event loop that stays."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._questions, self._stack = questions, ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def texts(self, retriever: BaseRetriever) -> list[list[str]]:
        """Return the texts that each question finds."""
        return [[one.page_content for one in found] for found in self.all_by(retriever.ainvoke)]

    def all_by(self, ask: Callable[[str], Awaitable[Any]]) -> list[Any]:
        """Return what each question finds by a function."""

        async def together() -> list[Any]:
            return await asyncio.gather(*map(ask, self._questions))

        return self._runner.run(together())
