"""The retriever, with every option of ragknn's."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import ConfigDict, field_validator

from ragknn import AsyncIndex, Index, Mode, Retrieval
from ragknn.integrations.langchain._documents import told_of
from ragknn.integrations.langchain._filters import checked, take_where, within
from ragknn.integrations.langchain._indexes import Indexes

_OWN = ("on_incomplete", "long_queries", "bulk")
_PER_CALL = (
    *("mode", "fusion", "max_distance", "rerank", "candidates", "per_document", "diversity"),
    *("ef_runtime", "recall"),
)


class RagKNNRetriever(BaseRetriever):
    """Find passages for a chain, with every option of `Retriever.retrieve`.

    All options but the first and the last three may be given to `invoke` and `ainvoke` too, as keyword arguments, where
    they count in place of those of the retriever; a filter is added to that of the retriever, and may be called
    `filter` there. It may be used from sync code, and under any number of event loops. An empty query finds nothing.

    The metadata of each document are those that it was stored with, and beside them

        distance      in the index's metric; smaller is nearer
        similarity    the same from 0 to 1; larger is nearer
        score         with modes "text" and "hybrid" and with `rerank`: larger is better
        complete      False if the server stopped before the search was complete (`on_incomplete="return"`)
        document_id   the document that the passage is cut from; and start, end, label, page, headings, where there are

    of which the second group gives way to entries of these names that are stored.

    Attributes:
        index: the name of an index that exists, an `Index` or an `AsyncIndex`.
        k: number of passages; None, with `max_distance`: all that are near.
        where: look only among passages that match; `ragknn.filters` explains it.
        mode: "vector", "text" or "hybrid".
        fusion: hybrid only: how both searches are fused.
        max_distance: leave out passages further away.
        rerank: gives the candidates new scores.
        candidates: passages to fuse, to rerank or to choose diverse ones from.
        per_document: at most so many passages of each document.
        diversity: 0 to 1: how much a passage must differ from those before it.
        ef_runtime: hnsw only: candidates that the server's search keeps.
        recall: hnsw only: share of the true neighbors to find.
        on_incomplete: "raise" `IncompleteRetrieval`, or "return" what was found, as not complete.
        long_queries: "mean", "cut" or "fail", for queries that are longer than the model reads.
        bulk: as for `Retriever`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", ignored_types=(cached_property,))

    index: Any
    k: int | None = 5
    where: Any = None
    mode: Mode = "vector"
    fusion: Any = None
    max_distance: float | None = None
    rerank: Any = None
    candidates: int | None = None
    per_document: int | None = None
    diversity: float = 0.0
    ef_runtime: int | None = None
    recall: float | None = None
    on_incomplete: str = "raise"
    long_queries: str = "mean"
    bulk: str = "auto"

    @field_validator("index")
    @classmethod
    def _open_by_name(cls, index: Any) -> Index | AsyncIndex:
        if isinstance(index, str):
            return Index(index, create=False)
        return Indexes(index, owned=False).given  # refuses what is none

    @field_validator("where")
    @classmethod
    def _is_a_filter(cls, where: Any) -> Any:
        return checked(where)

    @cached_property
    def _indexes(self) -> Indexes:
        return Indexes(self.index, owned=False, **{name: getattr(self, name) for name in _OWN})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        if not query.strip():
            return []
        k = options.pop("k", self.k)
        return _told(self._indexes.retriever.retrieve(query, k, **self._options(options)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        if not query.strip():
            return []
        k = options.pop("k", self.k)
        return _told(await self._indexes.async_retriever.retrieve(query, k, **self._options(options)))

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        where = within(self.where, take_where(given))
        own = {name: getattr(self, name) for name in _PER_CALL}
        if own["fusion"] is None:
            del own["fusion"]
        return {"where": where, **own, **given}

    def _get_ls_params(self, **options: Any) -> LangSmithRetrieverParams:
        """Return what tracing says of the retriever; it opens and loads nothing."""
        params = super()._get_ls_params(**options)
        params["ls_vector_store_provider"] = "ragknn"
        params["ls_embedding_model"] = self._indexes.model
        return params

    def close(self) -> None:
        """Close the connections of sync code; those of an index that was handed in stay open."""
        self._indexes.close()

    async def aclose(self) -> None:
        """Close all connections; those of an index that was handed in stay open."""
        await self._indexes.aclose()


def _told(retrieval: Retrieval) -> list[Document]:
    return [told_of(neighbor, complete=retrieval.complete) for neighbor in retrieval]
