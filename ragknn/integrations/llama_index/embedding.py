"""Embedders of ragknn for LlamaIndex, and its embedding models for ragknn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from ragknn import Embedder, FunctionEmbedder, SentenceEmbedder
from ragknn.embedding import embed_documents, embed_queries

_UNNAMED = ("", "unknown")  # what a model of LlamaIndex is called that has not been given a name


class RagKNNEmbedding(BaseEmbedding):
    """An embedder of ragknn as an embedding model of LlamaIndex.

    Texts are embedded as an index of ragknn does: one that has more tokens than the model reads is the mean of its
    pieces. In async code the model works in a thread.

    Args:
        embedder: None: sentence-transformers' model of this name, all-MiniLM-L6-v2 if none is named.
        model_name: name of the model; left out, that of the embedder.
        options: as for `BaseEmbedding`, such as `embed_batch_size`.
    """

    _embedder: Embedder = PrivateAttr()

    def __init__(self, embedder: Embedder | None = None, *, model_name: str | None = None, **options: Any) -> None:
        if embedder is None:
            embedder = SentenceEmbedder() if model_name is None else SentenceEmbedder(model_name)
        super().__init__(model_name=model_name or embedder.name, **options)
        self._embedder = embedder

    @classmethod
    def class_name(cls) -> str:
        """Name of the class in what is serialized."""
        return "RagKNNEmbedding"

    @property
    def embedder(self) -> Embedder:
        """The embedder behind it."""
        return self._embedder

    def _get_query_embedding(self, query: str) -> list[float]:
        vectors, _ = embed_queries(self._embedder, [query])
        return vectors[0].tolist()  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors, _ = embed_documents(self._embedder, texts)
        return vectors.tolist()  # type: ignore[no-any-return]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def embedder_from(embed_model: BaseEmbedding, name: str | None = None, *, dim: int | None = None) -> Embedder:
    """Return an embedding model of LlamaIndex as an embedder of ragknn.

    Args:
        embed_model: of a `RagKNNEmbedding`, the embedder that it holds is returned.
        name: of the model: an index that is built with it is opened with a model of this name only. None: the name that
            it has itself.
        dim: values in a vector; None: a text is embedded to find out.

    Raises:
        TypeError: something else than an embedding model.
        ValueError: the model has no name, and none is given.
    """
    if not isinstance(embed_model, BaseEmbedding):
        raise TypeError(
            f"expected an embedding model of LlamaIndex, got {embed_model!r} of type {type(embed_model).__name__}"
        )
    if isinstance(embed_model, RagKNNEmbedding) and name is None:
        return embed_model.embedder
    name = embed_model.model_name if name is None else name
    if name in _UNNAMED:
        raise ValueError(
            f"expected a model with a name, got {type(embed_model).__name__} without one: pass "
            'embedder_from(model, name="...") or set its model_name, so that no other model is mistaken for it'
        )

    def embed_all_queries(texts: Sequence[str]) -> list[list[float]]:
        return [embed_model.get_query_embedding(text) for text in texts]

    return FunctionEmbedder(name, embed_model.get_text_embedding_batch, embed_all_queries, dim=dim)
