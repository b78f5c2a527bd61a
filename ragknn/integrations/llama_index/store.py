"""The vector store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr, model_serializer
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from ragknn import AsyncIndex, Embedder, FieldType, Index, Where
from ragknn.integrations._steps import arun, run
from ragknn.integrations.llama_index import _operations as operations
from ragknn.integrations.llama_index._home import Home


class RagKNNVectorStore(BasePydanticVectorStore):
    """An index of ragknn as a vector store of LlamaIndex.

    A node is a passage of the document that it was cut from (`ref_doc_id`), so that what ragknn does for each document,
    such as `per_document` and votes, has its meaning. Each document changes in one step. A node comes back as it was
    stored, but for what its own class keeps out of a dump, such as the bytes of an image.

    Nothing connects before the first call. Sync and async methods have a connection each, and no threads. Where there
    is no index yet, `add` makes it, for embeddings of the size of the first ones; until then nothing is found.

    Filters work on every entry of the metadata. Equality is looked up; order (`>`) and parts of a text (`text_match`)
    are too where the entry is declared in `fields`, and otherwise the index is first asked for all values of the entry.
    A field that is declared as text is matched by whole words. `doc_id`, `document_id` and `ref_doc_id` are the
    document of a node.

    Args:
        name: of the index, as for `ragknn.Index`.
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server. A password in it is left
            out of what is serialized; whoever reads that takes it from `RAGKNN_PASSWORD`.
        client: a client of redis-py for the sync methods instead of a URL; not closed, and not serialized.
        async_client: one of `redis.asyncio` for the async methods.
        embed_model: the model that embeds the nodes, of LlamaIndex or of ragknn. With it, its name is kept with a new
            index, and an index of another model is refused. None: embeddings are not asked where they come from.
        fields: entries of the metadata to compare or to look for words in, each "tag", "numeric" or "text".
        where: holds for all that this store finds, changes and deletes, beside the filters of each call, such as
            `{"tenant": "a"}`; `ragknn.filters` explains it.
        label_key: the entry of the metadata that is the label of a passage, for votes; None for no labels.
        create: whether `add` makes the index where there is none. With False, that is an error for all methods.
        settings: others of `ragknn.Index`: `metric`, `algorithm`, `dtype`, `any_field`, `text_search`, `language`,
            `required_filter`, `timeout` and so on. A new index has `any_field`, unless False is passed.

    Raises:
        TypeError: a setting that there is not, or an argument of a wrong type.
        ValueError: an invalid name or choice.
    """

    stores_text: bool = True
    name: str
    url: str | None = None
    fields: dict[str, FieldType] | None = None
    where: dict[str, Any] | None = None
    label_key: str | None = "label"
    create: bool = True
    settings: dict[str, Any] = Field(default_factory=dict)

    _home: Home = PrivateAttr()

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        client: Any = None,
        async_client: Any = None,
        embed_model: BaseEmbedding | Embedder | None = None,
        fields: Mapping[str, FieldType] | None = None,
        where: Where | None = None,
        label_key: str | None = "label",
        create: bool = True,
        stores_text: bool = True,
        is_embedding_query: bool = True,
        **settings: Any,
    ) -> None:
        clients: dict[type, Any] = {Index: client, AsyncIndex: async_client}
        arguments = {"fields": fields, **settings}
        choices: dict[str, Any] = {"where": where, "label_key": label_key, "create": create}
        self._begin(Home.named(name, url, clients, embed_model, arguments, **choices), fields, settings)

    def _begin(self, home: Home, fields: Mapping[str, FieldType] | None, settings: Mapping[str, Any]) -> None:
        super().__init__(
            stores_text=True,
            name=home.name,
            url=home.url,
            fields=None if fields is None else dict(fields),
            where=None if home.where is None else dict(home.where),
            label_key=home.label_key,
            create=home.create,
            settings=dict(settings),
        )
        self._home = home

    @classmethod
    def from_index(
        cls, index: Index | AsyncIndex, *, where: Where | None = None, label_key: str | None = "label"
    ) -> Self:
        """Return a store of an index that ragknn may have built itself: its passages are nodes of text.

        A node has the metadata of its passage, and with them its label, page and headings, if it has some.

        Args:
            index: open or not; the methods of the other kind, sync or async, connect by themselves.
            where: as for the class.
            label_key: as for the class.

        Raises:
            TypeError: something else than an index.
        """
        store = cls.__new__(cls)
        store._begin(Home.of(index, where=where, label_key=label_key), None, {})
        return store

    @classmethod
    def class_name(cls) -> str:
        """Name of the class in what is serialized."""
        return "RagKNNVectorStore"

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: Any, info: Any) -> dict[str, Any]:
        """Return what makes an equal store, without secrets and connections."""
        data = super().custom_model_dump(handler, info)
        settings = data.pop("settings", {})
        return {**data, **settings}

    def __getstate__(self) -> dict[str, Any]:
        return {"home": self._home, "fields": self.fields, "settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state["home"], state["fields"], state["settings"])

    @property
    def client(self) -> Any:
        """The client of the sync methods; None before the first call."""
        return self._home.sync.index.client

    @property
    def index(self) -> Index:
        """The index of the sync methods: opened by the first call, or by `open()`."""
        return self._home.sync.index  # type: ignore[return-value]

    @property
    def async_index(self) -> AsyncIndex:
        """The index of the async methods."""
        return self._home.asynchronous.index  # type: ignore[return-value]

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Store nodes with embeddings, beside those that are there of their documents; return their ids.

        A node whose id is there takes the place of that one, also if it is of another document now.

        Raises:
            ValueError: a node without an embedding, embeddings of several sizes, an id twice; nothing is stored then.
            IngestFailed: some documents could not be stored, such as those with embeddings of another size than the
                index has; the error lists them.
            SchemaMismatch: the index was built with another model or other settings.
            ServerError: the server cannot be reached or refuses a command.
        """
        return run(operations.adding(self._home, nodes, kwargs), self._home.sync)

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Async twin of `add`."""
        steps = operations.adding(self._home, nodes, kwargs)
        return await arun(steps, self._home.asynchronous)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove all nodes of a document; one that is not there is no error."""
        run(operations.deleting(self._home, ref_doc_id, delete_kwargs), self._home.sync)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Async twin of `delete`."""
        steps = operations.deleting(self._home, ref_doc_id, delete_kwargs)
        await arun(steps, self._home.asynchronous)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Remove nodes: those of these ids, those that the filters find, or with both those that are both.

        Raises:
            ValueError: neither ids nor filters, or a filter without meaning.
        """
        steps = operations.deleting_nodes(self._home, node_ids, filters, delete_kwargs)
        run(steps, self._home.sync)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Async twin of `delete_nodes`."""
        steps = operations.deleting_nodes(self._home, node_ids, filters, delete_kwargs)
        await arun(steps, self._home.asynchronous)

    def clear(self) -> None:
        """Remove all nodes; the index stays."""
        run(operations.clearing(self._home), self._home.sync)

    async def aclear(self) -> None:
        """Async twin of `clear`."""
        await arun(operations.clearing(self._home), self._home.asynchronous)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes, without their embeddings: those of these ids in their order, those that filters find, or all.

        Raises:
            ValueError: a filter without meaning.
        """
        return run(operations.reading(self._home, node_ids, filters), self._home.sync)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Async twin of `get_nodes`."""
        steps = operations.reading(self._home, node_ids, filters)
        return await arun(steps, self._home.asynchronous)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes that answer a query best, each with a similarity from 0 to 1.

        The modes are DEFAULT, MMR, HYBRID (`alpha`: the share of the vectors, 0.5; `hybrid_top_k`), TEXT_SEARCH and
        SPARSE, which are both BM25.

        Args:
            query: what is asked, with an embedding or, if the index has an embedder, with words alone.
            kwargs: options of `ragknn.Retriever.retrieve`, such as `per_document` or `where`; for MMR `mmr_threshold`
                and `mmr_prefetch_k` or `mmr_prefetch_factor`.

        Raises:
            TypeError: an option that there is not.
            ValueError: another mode, or a filter without meaning.
            InvalidVectors: an embedding of another size than the index has.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached or refuses a command.
        """
        return run(operations.querying(self._home, query, kwargs), self._home.sync)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Async twin of `query`."""
        steps = operations.querying(self._home, query, kwargs)
        return await arun(steps, self._home.asynchronous)

    def close(self) -> None:
        """Close the connections of the sync methods; an index that was handed in stays open."""
        run(self._home.closed(), self._home.sync)

    async def aclose(self) -> None:
        """Async twin of `close`, for the async methods."""
        await arun(self._home.closed(), self._home.asynchronous)
