"""An index for sync and for async code: whichever is used is opened then."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any

from ragknn import AsyncIndex, AsyncIndexer, AsyncRetriever, Index, Indexer, IndexNotOpen, Retriever


class Indexes:
    """One index in both worlds, with what asks it and writes to it.

    Args:
        index: an `Index` or an `AsyncIndex`; that of the other kind is made like it when it is first used.
        owned: whether it is closed with the others.
        options: those of `Retriever`.

    Raises:
        TypeError: something else than an index.
    """

    def __init__(self, index: Index | AsyncIndex, *, owned: bool, **options: Any) -> None:
        if not isinstance(index, Index | AsyncIndex):
            raise TypeError(
                f"expected the name of an index, an Index or an AsyncIndex, got one of type {type(index).__name__}"
            )
        self.given, self._owned, self._options = index, owned, options

    @cached_property
    def index(self) -> Index:
        """The index in sync code."""
        return self.given if isinstance(self.given, Index) else Index.like(self.given)

    @cached_property
    def async_index(self) -> AsyncIndex:
        """The index in async code."""
        return self.given if isinstance(self.given, AsyncIndex) else AsyncIndex.like(self.given)

    @cached_property
    def retriever(self) -> Retriever:
        """What asks it in sync code."""
        return Retriever(self.index, **self._options)

    @cached_property
    def async_retriever(self) -> AsyncRetriever:
        """What asks it in async code."""
        return AsyncRetriever(self.async_index, **self._options)

    @cached_property
    def indexer(self) -> Indexer:
        """What writes to it in sync code."""
        return Indexer(self.index)

    @cached_property
    def async_indexer(self) -> AsyncIndexer:
        """What writes to it in async code."""
        return AsyncIndexer(self.async_index)

    @property
    def model(self) -> str | None:
        """Name of the model that it is built with, or "ready vectors"; None while it is not open."""
        for index in (self.given, vars(self).get("index"), vars(self).get("async_index")):
            with suppress(AttributeError, IndexNotOpen):
                return index.schema.embedder  # type: ignore[union-attr]  # None, until it is used
        return None

    def close(self) -> None:
        """Close the index of sync code, unless it was handed in."""
        if "index" in vars(self) and (self._owned or self.index is not self.given):
            self.index.close()

    async def aclose(self) -> None:
        """Close the index of both worlds, each unless it was handed in."""
        self.close()
        if "async_index" in vars(self) and (self._owned or self.async_index is not self.given):
            await self.async_index.close()
