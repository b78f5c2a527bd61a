"""The options of a retrieval; `Retriever.retrieve` explains them."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from ragknn.filters import Where
from ragknn.retrieval.fusion import Fusion
from ragknn.retrieval.reranking import Reranker

Mode: TypeAlias = Literal["vector", "text", "hybrid"]


class SearchOptions(TypedDict, total=False):
    """How candidates are found and ordered: the options that a retrieval and a vote share."""

    where: Where | None
    mode: Mode
    fusion: Fusion
    rerank: Reranker | None
    candidates: int | None
    ef_runtime: int | None
    recall: float | None


class Options(SearchOptions, total=False):
    """All options of a retrieval."""

    max_distance: float | None
    per_document: int | None
    diversity: float
    with_vectors: bool
