"""From a question to the passages that answer it, and on to the text of a prompt.

Here are the retriever with its options, the ways to fuse, rerank and diversify what it finds, and the context of a
prompt. What neighbors say of a label is in `ragknn.voting`.
"""

from ragknn._protocol.place import Bulk, OnIncomplete
from ragknn.retrieval._excerpts import Order, Source
from ragknn.retrieval.context import Context, Template, abuild_context, build_context, numbered
from ragknn.retrieval.fusion import Fusion, Ranking, ReciprocalRank, WeightedScores
from ragknn.retrieval.options import Mode, Options, SearchOptions
from ragknn.retrieval.reranking import CrossEncoderReranker, EmbeddingReranker, Reranker
from ragknn.retrieval.retriever import AsyncRetriever, Retriever

__all__ = [
    "AsyncRetriever",
    "Bulk",
    "Context",
    "CrossEncoderReranker",
    "EmbeddingReranker",
    "Fusion",
    "Mode",
    "OnIncomplete",
    "Options",
    "Order",
    "Ranking",
    "ReciprocalRank",
    "Reranker",
    "Retriever",
    "SearchOptions",
    "Source",
    "Template",
    "WeightedScores",
    "abuild_context",
    "build_context",
    "numbered",
]
