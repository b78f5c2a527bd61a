"""Embeddings in both directions: ragknn's in LangChain, and LangChain's in ragknn."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.embeddings import Embeddings

from ragknn import Embedder, FunctionEmbedder, Index, IndexNotOpen
from ragknn.embedding import LongTexts, embed_documents, embed_queries
from ragknn.text import TokenSpans

# Under which names LangChain's embeddings keep the name of their model, and what they wrap.
_NAMES = ("model", "model_name", "model_id", "deployment", "azure_deployment", "repo_id", "endpoint_name", "model_path")
_WRAPPED = ("underlying_embeddings", "bound", "embeddings")


class RagKNNEmbeddings(Embeddings):
    """An embedder of ragknn as LangChain's `Embeddings`.

    Texts are embedded as an index does it.

    Args:
        embedder: the embedder; or an `Index`, for the one that it has been built with, which is opened when it is first
            needed.
        long_texts: what to do with a text that has more tokens than the model reads: the "mean" of the vectors of its
            pieces represents it, or the vector of its beginning ("cut"); "fail" raises `TextTooLong`.

    Raises:
        TypeError: something else than an embedder or an index.
    """

    def __init__(self, embedder: Embedder | Index, *, long_texts: LongTexts = "mean") -> None:
        if not isinstance(embedder, Index) and not hasattr(embedder, "embed_queries"):
            raise TypeError(f"expected an embedder of ragknn, or an Index, got one of type {type(embedder).__name__}")
        self._source = embedder
        self.long_texts = long_texts

    def __repr__(self) -> str:
        return f"RagKNNEmbeddings({self._source!r})"

    @property
    def embedder(self) -> Embedder:
        """The embedder.

        Raises:
            ValueError: of an index of ready vectors.
            ServerError: the server of an index cannot be reached.
        """
        if not isinstance(self._source, Index):
            return self._source
        try:
            return self._source.embedder
        except IndexNotOpen:
            return self._source.open().embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each passage.

        Raises:
            TextTooLong: a text is too long, and `long_texts` is "fail".
            EmbeddingError: the model failed.
        """
        vectors, _ = embed_documents(self.embedder, texts, self.long_texts)
        return vectors.tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query; see `embed_documents`."""
        vectors, _ = embed_queries(self.embedder, [text], self.long_texts)
        return vectors[0].tolist()  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Async twin of `embed_documents`: the model computes in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Async twin of `embed_query`: the model computes in a thread."""
        return await asyncio.to_thread(self.embed_query, text)


class LangChainEmbedder(FunctionEmbedder):
    """LangChain's `Embeddings` as an embedder of ragknn.

    An index that is built with it keeps the name of the model, and refuses another one, also where its vectors are of
    the same size.

    Args:
        embeddings: such as `OpenAIEmbeddings()`.
        name: name of the model, with its version; None: that which the embeddings have as `model`, `model_name` or the
            like.
        dim: number of values in a vector; None: one text is embedded to find out.
        max_tokens: the model's limit in tokens; None for no limit.
        token_spans: as for `FunctionEmbedder`.

    Raises:
        TypeError: something else than embeddings.
        ValueError: they do not tell the name of their model, and none is given.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        name: str | None = None,
        dim: int | None = None,
        max_tokens: int | None = None,
        token_spans: TokenSpans | None = None,
    ) -> None:
        if not isinstance(embeddings, Embeddings):
            raise TypeError(f"expected LangChain's Embeddings, got one of type {type(embeddings).__name__}")
        self.embeddings = embeddings
        super().__init__(
            _name_of(embeddings) if name is None else name,
            embeddings.embed_documents,
            lambda texts: [embeddings.embed_query(text) for text in texts],
            dim=dim,
            max_tokens=max_tokens,
            token_spans=token_spans,
        )

    def __repr__(self) -> str:
        return f"LangChainEmbedder({self.name!r})"


def _name_of(embeddings: Any) -> str:
    """Return the name of the model behind embeddings, or behind those that they wrap."""
    one, seen = embeddings, 0
    while one is not None and seen < 5:  # wrappers within each other
        for attribute in _NAMES:
            name = getattr(one, attribute, None)
            if isinstance(name, str) and name.strip():
                return name
        one = next((inner for name in _WRAPPED if isinstance(inner := getattr(one, name, None), Embeddings)), None)
        seen += 1
    raise ValueError(
        f"expected embeddings that tell the name of their model, got {type(embeddings).__name__}, which has none of "
        f"{', '.join(_NAMES)}: pass LangChainEmbedder(embeddings, name='NAME OF THE MODEL')"
    )


def _as_embedder(embedding: Embeddings | Embedder | None) -> Embedder | None:
    """Return what an index takes for embeddings of either world; None for none."""
    if isinstance(embedding, RagKNNEmbeddings):
        return embedding.embedder
    if isinstance(embedding, Embeddings):
        return LangChainEmbedder(embedding)
    return embedding


def _as_embeddings(embedder: Embedder | Index) -> Embeddings:
    """Return what LangChain takes for an embedder, or for that of an index."""
    return embedder.embeddings if isinstance(embedder, LangChainEmbedder) else RagKNNEmbeddings(embedder)
