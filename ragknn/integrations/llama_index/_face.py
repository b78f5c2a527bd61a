"""An index with what writes to it and searches it, of sync code or of async code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ragknn import AsyncIndex, AsyncIndexer, AsyncRetriever, Index, Indexer, Retriever


@dataclass(frozen=True, slots=True)
class Face:
    """An index with what writes to it and searches it: all of sync code, or all of async code."""

    index: Index | AsyncIndex
    indexer: Indexer | AsyncIndexer
    retriever: Retriever | AsyncRetriever

    @classmethod
    def of(cls, index: Index | AsyncIndex) -> Self:
        """Return the face of an index."""
        if isinstance(index, Index):
            return cls(index, Indexer(index), Retriever(index))
        return cls(index, AsyncIndexer(index), AsyncRetriever(index))
