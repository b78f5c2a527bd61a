"""The retriever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from ragknn import AsyncIndex, Index, Options, Retrieval
from ragknn.integrations._steps import Steps, arun, run
from ragknn.integrations.llama_index._filters import all_of, as_where, translating
from ragknn.integrations.llama_index._home import Home
from ragknn.integrations.llama_index._nodes import node_of
from ragknn.integrations.llama_index._queries import similarity_of
from ragknn.integrations.llama_index.store import RagKNNVectorStore


def _home_of(index: Index | AsyncIndex | RagKNNVectorStore) -> Home:
    return index._home if isinstance(index, RagKNNVectorStore) else Home.of(index, where=None, label_key="label")


class RagKNNRetriever(BaseRetriever):
    """What `ragknn.Retriever` does, as a retriever of LlamaIndex: with every option of it.

    A question is embedded by `embed_model`, or else by the index. One with other texts to embed than its own, such as
    the possible answers of a `HyDEQueryTransform`, is asked by `retrieve_like`.

    Args:
        index: an index of ragknn, or a store of one.
        k: number of nodes; None, with `max_distance`: all that are near.
        embed_model: for an index that has no embedder, the model that its vectors come from.
        filters: look only among nodes that they find; beside `where`.
        callback_manager: as for `BaseRetriever`.
        object_map: likewise.
        objects: likewise.
        verbose: likewise.
        options: of `ragknn.Retriever.retrieve`, such as `mode`, `per_document`, `diversity` or `rerank`.

    Raises:
        TypeError: something else than an index or a store.
    """

    def __init__(
        self,
        index: Index | AsyncIndex | RagKNNVectorStore,
        k: int | None = 5,
        *,
        embed_model: BaseEmbedding | None = None,
        filters: MetadataFilters | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self._home = _home_of(index)
        self._k = k
        self._embed_model = embed_model
        self._filters = filters
        self._options: dict[str, Any] = dict(options)
        self._where = self._options.pop("where", None)
        super().__init__(callback_manager, object_map, objects, verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        model, texts, vector = self._embed_model, query_bundle.embedding_strs, query_bundle.embedding
        if vector is None and model is not None and self._needs_vector:
            vector = model.get_agg_embedding_from_queries(texts)
        return run(self._retrieving(query_bundle.query_str, texts, vector), self._home.sync)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        model, texts, vector = self._embed_model, query_bundle.embedding_strs, query_bundle.embedding
        if vector is None and model is not None and self._needs_vector:
            vector = await model.aget_agg_embedding_from_queries(texts)
        return await arun(self._retrieving(query_bundle.query_str, texts, vector), self._home.asynchronous)

    @property
    def _needs_vector(self) -> bool:
        return self._options.get("mode", "vector") != "text" or self._options.get("max_distance") is not None

    def _retrieving(self, text: str, texts: Sequence[str], vector: list[float] | None) -> Steps[list[NodeWithScore]]:
        where = all_of([one for one in (self._home.where, self._where) if one])
        if self._filters is not None:
            schema = yield from self._home.opened()
            if schema is not None:
                beside = yield from translating(self._filters, schema, self._home.label_key, where)
                where = all_of([where, beside])
        if where is False or not text.strip():
            return []
        found = yield self._asking(text, texts, vector, {**self._options, "where": as_where(where)})
        return [NodeWithScore(node=node_of(one.passage), score=similarity_of(one, self._options)) for one in found]

    def _asking(
        self, text: str, texts: Sequence[str], vector: list[float] | None, options: dict[str, Any]
    ) -> Callable[[Any], Retrieval]:
        answers = [one for one in texts if one != text and one.strip()]
        if vector is None and answers and self._needs_vector:
            return lambda face: face.retriever.retrieve_like(text, answers, self._k, **options)
        return lambda face: face.retriever.retrieve(text, self._k, vector=vector, **options)
