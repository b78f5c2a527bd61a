"""From a query of LlamaIndex's vector stores to a retrieval, and from its neighbors to a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode, VectorStoreQueryResult

from ragknn import Mode, Neighbor, Passage, WeightedScores, Where
from ragknn.integrations._steps import Steps
from ragknn.integrations.llama_index._filters import Condition, all_of, as_where
from ragknn.integrations.llama_index._nodes import is_of_text, node_of

# A text search that is sparse in LlamaIndex's words is BM25 in ours.
_MODES: Mapping[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "vector",
    VectorStoreQueryMode.MMR: "vector",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "text",
    VectorStoreQueryMode.SPARSE: "text",
}
_MMR_THRESHOLD = 0.5  # where none is named, as in LlamaIndex's own store


@dataclass(frozen=True, slots=True)
class Wanted:
    """A query as ragknn puts it.

    Attributes:
        text: its words; empty where there are none.
        vector: its embedding, where it has one that the mode needs.
        k: number of nodes.
        options: of a retrieval, without the filter.
    """

    text: str
    vector: Sequence[float] | None
    k: int
    options: Mapping[str, Any]

    @property
    def finds_nothing(self) -> bool:
        """Whether no node can answer it."""
        return self.k == 0 or (self.options["mode"] == "text" and not self.text)

    def asking(self, k: int, where: Where | None) -> Callable[[Any], Any]:
        """Return the step that asks for k neighbors, in a list of one retrieval."""
        options: dict[str, Any] = {**self.options, "where": where}
        if self.text:
            vectors = None if self.vector is None else [self.vector]
            return lambda face: face.retriever.retrieve_many([self.text], k, vectors=vectors, **options)
        del options["mode"]  # without words there is one only
        options.pop("fusion", None)
        return lambda face: face.retriever.kneighbors([self.vector], k, **options)


def wanted_of(query: VectorStoreQuery, options: Mapping[str, Any]) -> Wanted:
    """Return a query as ragknn puts it.

    Args:
        query: as LlamaIndex puts it.
        options: of a retrieval; and for MMR `mmr_threshold` and `mmr_prefetch_k` or `mmr_prefetch_factor`.

    Raises:
        ValueError: a mode that there is not, or neither words nor an embedding.
    """
    mode = VectorStoreQueryMode(query.mode)
    if mode not in _MODES:
        known = ", ".join(one.name for one in _MODES)
        raise ValueError(f"expected a query mode that ragknn has, {known}, got {mode.name}")
    chosen = {"mode": _MODES[mode], **options}
    k = query.similarity_top_k
    if mode == VectorStoreQueryMode.HYBRID:
        k = k if query.hybrid_top_k is None else query.hybrid_top_k
        if query.alpha is not None:
            chosen.setdefault("fusion", WeightedScores(query.alpha))
    elif mode == VectorStoreQueryMode.SPARSE:
        k = k if query.sparse_top_k is None else query.sparse_top_k
    elif mode == VectorStoreQueryMode.MMR:
        _add_diversity(chosen, query.mmr_threshold, k)
    text = query.query_str or ""
    wanted = Wanted(
        text if text.strip() else "", None if chosen["mode"] == "text" else query.query_embedding, k, chosen
    )
    if not wanted.text and wanted.vector is None and not wanted.finds_nothing:
        raise ValueError("expected a query with words or an embedding, got neither")
    return wanted


def _add_diversity(options: dict[str, Any], threshold: float | None, k: int) -> None:
    named = options.pop("mmr_threshold", threshold)
    options.setdefault("diversity", 1 - (_MMR_THRESHOLD if named is None else named))
    factor, prefetched = options.pop("mmr_prefetch_factor", None), options.pop("mmr_prefetch_k", None)
    if factor is not None and prefetched is not None:
        raise ValueError(f"expected either mmr_prefetch_factor or mmr_prefetch_k, got both: {factor}, {prefetched}")
    if factor is not None or prefetched is not None:
        options.setdefault("candidates", max(k, prefetched or int(factor * k)))


def retrieving(wanted: Wanted, where: Condition, node_ids: Sequence[str] | None) -> Steps[Sequence[Neighbor]]:
    """Return the neighbors that a query finds.

    Args:
        wanted: the query.
        where: which passages to look among.
        node_ids: which of these; none: all. A `VectorStoreIndex` lists here what it keeps itself, which are nodes of
            images and of other indexes; where all are such, they are no restriction.
    """
    if where is False or wanted.finds_nothing:
        return ()
    found: Sequence[Neighbor]
    allowed: Sequence[Passage] = ()
    among = as_where(where)
    if node_ids:
        allowed = yield lambda face: face.index.passages(node_ids, where=among)
    if not node_ids or (len(allowed) == len(node_ids) and not any(map(is_of_text, allowed))):
        [found] = yield wanted.asking(wanted.k, among)
        return found
    if not allowed:
        return ()
    # There is no filter on single passages: all those of their documents are asked for.
    documents = sorted({passage.document_id for passage in allowed})
    own = as_where(all_of([where, {"document_id": {"$in": documents}}]))
    most = yield lambda face: face.index.count(own)
    ids = {passage.id for passage in allowed}
    [found] = yield wanted.asking(max(most, wanted.k), own)
    return [neighbor for neighbor in found if neighbor.passage.id in ids][: wanted.k]


def result_of(neighbors: Sequence[Neighbor], options: Mapping[str, Any]) -> VectorStoreQueryResult:
    """Return neighbors as LlamaIndex hands them on."""
    nodes = [node_of(neighbor.passage) for neighbor in neighbors]
    similarities = [similarity_of(neighbor, options) for neighbor in neighbors]
    return VectorStoreQueryResult(nodes=nodes, similarities=similarities, ids=[node.node_id for node in nodes])


def similarity_of(neighbor: Neighbor, options: Mapping[str, Any]) -> float:
    """Return how well a neighbor answers, from 0 to 1; of reranked ones, the score that the reranker gave.

    Of neighbors by vectors it is `Neighbor.similarity`, of hybrid ones their score, and of neighbors by words, whose
    scores have no upper end, score / (1 + score).
    """
    score = neighbor.score
    if score is None or (options.get("rerank") is None and options.get("mode", "vector") == "vector"):
        return neighbor.similarity
    if options.get("rerank") is not None:
        return score
    return score / (1 + score) if options["mode"] == "text" else min(max(score, 0.0), 1.0)
