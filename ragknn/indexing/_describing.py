"""The flow behind `Index.describe`: what an index is made of, and how much it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragknn._protocol.counting import count_documents, count_passages, index_info
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.measured import all_measured
from ragknn._protocol.replies import dotted
from ragknn._protocol.schema import Schema
from ragknn.filters import Where
from ragknn.indexing._splitters import splitter_of
from ragknn.reports import IndexInfo

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index


@repeatable
def describing(index: Index | AsyncIndex, where: Where | None) -> Flow[IndexInfo]:
    """The flow behind `Index.describe`."""
    schema, server = index.schema, index.server
    info = yield from index_info(index._keys)
    share = info.percent_indexed
    is_open = schema.required_filter is None  # else nothing tells how much others have
    measured = (yield from all_measured(index._keys)) if schema.algorithm == "hnsw" and is_open else []
    documents: int | None = None
    passages = info.passages if is_open else None
    if is_open or where is not None:
        among = yield from index._filtering(where)
        place = index._place("return")  # as the description tells how much of the index is there
        documents = yield from count_documents(place, among)
        passages = passages if where is None else (yield from count_passages(place, among))
        share = min(share, place.watch.percent_indexed)
    return IndexInfo(
        name=index.name,
        documents=documents,
        passages=passages,
        embedder=schema.embedder,
        dim=schema.dim,
        metric=schema.metric,
        algorithm=schema.algorithm,
        dtype=schema.dtype,
        fields=schema.fields,
        memory_bytes=info.memory_bytes if is_open else None,
        percent_indexed=share,
        indexing_failures=info.failures,
        redis_version=dotted(server.version),
        search_version=dotted(server.search or ()),
        splitter=splitter_of(schema).settings,
        words=_words_of(schema),
        storage=schema.storage,
        measured_recall={f"@{one.k}": str(one) for one in measured},
        required_filter=schema.required_filter,
    )


def _words_of(schema: Schema) -> dict[str, Any]:
    if not schema.text_search:
        return {}
    stop_words = len(schema.stop_words or ())
    return {"language": schema.language, "fold_accents": schema.fold_accents, "stop_words": stop_words}
