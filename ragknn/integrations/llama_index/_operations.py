"""What a store does: each operation written once, for sync code and for async code."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery, VectorStoreQueryResult

from ragknn import IndexNotFound, Passage, Schema
from ragknn.integrations._steps import Steps
from ragknn.integrations.llama_index._filters import Condition, all_of, as_where, equal, translating
from ragknn.integrations.llama_index._home import Home
from ragknn.integrations.llama_index._nodes import in_dtype, node_of, passages_of
from ragknn.integrations.llama_index._queries import result_of, retrieving, wanted_of

logger = logging.getLogger(__name__)


def adding(home: Home, nodes: Sequence[BaseNode], options: Mapping[str, Any]) -> Steps[list[str]]:
    """Store nodes, and return their ids; `options` are those of `Indexer.add_passages`."""
    nodes = list(nodes)
    passages = passages_of(nodes, home.label_key)
    if not passages:
        return []
    dim = len(nodes[0].get_embedding())
    try:
        schema = (yield from home.opened()) or (yield from home.made(dim))
        yield from _store(home, passages, schema, options)
    except IndexNotFound:  # it was dropped since it was opened
        if not home.create:
            raise
        yield from _store(home, passages, (yield from home.made(dim)), options)
    return [node.node_id for node in nodes]


def _store(home: Home, passages: Sequence[Passage], schema: Schema, options: Mapping[str, Any]) -> Steps[None]:
    ready = in_dtype(passages, schema.dtype)
    yield from _remove_moved(home, ready)
    report = yield lambda face: face.indexer.add_passages(ready, embed=False, keep_others=True, **options)
    report.raise_for_failures()


def _remove_moved(home: Home, passages: Sequence[Passage]) -> Steps[None]:
    """Remove nodes that the index has under these ids in other documents."""
    document_of = {passage.id: passage.document_id for passage in passages}
    there = yield lambda face: face.index.passages(document_of, where=home.where)
    moved = [passage.id for passage in there if passage.document_id != document_of[passage.id]]
    if moved:
        yield lambda face: face.indexer.delete_passages(moved, where=home.where)


def deleting(home: Home, ref_doc_id: str, options: Mapping[str, Any]) -> Steps[None]:
    """Remove all nodes of a document."""
    _refuse(options)
    if (yield from home.opened()):
        yield lambda face: face.indexer.delete([ref_doc_id], where=home.where)


def deleting_nodes(
    home: Home, node_ids: Sequence[str] | None, filters: MetadataFilters | None, options: Mapping[str, Any]
) -> Steps[None]:
    """Remove the nodes of these ids, those that the filters find, or that are both."""
    _refuse(options)
    if node_ids is None and (filters is None or not filters.filters):
        raise ValueError("expected node ids, filters or both, got neither; clear() removes everything")
    passages = yield from _passages(home, node_ids, filters)
    if passages:
        yield lambda face: face.indexer.delete_passages([one.id for one in passages], where=home.where)


def _refuse(options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"expected no more options of a deletion, got {', '.join(sorted(options))}")


def clearing(home: Home) -> Steps[None]:
    """Remove all nodes that are the store's."""
    if (yield from home.opened()):
        if home.where:
            yield lambda face: face.indexer.delete_where(home.where)
        else:
            yield lambda face: face.indexer.clear()


def reading(home: Home, node_ids: Sequence[str] | None, filters: MetadataFilters | None) -> Steps[list[BaseNode]]:
    """Return the nodes of these ids, those that the filters find, or that are both."""
    return [node_of(passage) for passage in (yield from _passages(home, node_ids, filters))]


def _passages(home: Home, node_ids: Sequence[str] | None, filters: MetadataFilters | None) -> Steps[list[Passage]]:
    schema = yield from home.opened()
    if schema is None:
        return []
    where = yield from _among(home, schema, filters, [])
    if where is False:
        return []
    passages: list[Passage] = yield lambda face: face.index.passages(node_ids, where=as_where(where))
    return passages


def querying(home: Home, query: VectorStoreQuery, options: Mapping[str, Any]) -> Steps[VectorStoreQueryResult]:
    """Return the nodes that answer a query best."""
    options = dict(options)
    beside = [own for own in (options.pop("where", None),) if own]
    wanted = wanted_of(query, options)
    schema = yield from home.opened()
    if schema is None:
        logger.warning("index %r is not there yet: nothing is found", home.name)
        return result_of([], wanted.options)
    if query.doc_ids is not None:
        beside.append(equal("document_id", query.doc_ids))
    where = yield from _among(home, schema, query.filters, beside)
    return result_of((yield from retrieving(wanted, where, query.node_ids)), wanted.options)


def _among(
    home: Home, schema: Schema, filters: MetadataFilters | None, beside: Sequence[Condition]
) -> Steps[Condition]:
    """Return which passages are meant."""
    own = all_of([*([home.where] if home.where else []), *beside])
    if filters is None:
        return own
    return all_of([own, (yield from translating(filters, schema, home.label_key, own))])
