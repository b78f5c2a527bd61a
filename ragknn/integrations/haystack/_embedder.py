"""What the components that embed share: their model, and how they are written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

from haystack import default_from_dict, default_to_dict

from ragknn import SentenceEmbedder
from ragknn.embedding import Backend

logger = logging.getLogger(__name__)


class BaseEmbedder:
    """A component that embeds, without what it embeds.

    Args:
        model: as for `ragknn.SentenceEmbedder`; None: its default.
        backend: as there.
        device: as there.
        truncate_dim: as there.
        embeds: what is done with texts: `embed_queries` or `embed_documents` of `ragknn.embedding`.
        own: arguments of the component alone.

    Raises:
        TypeError: an argument of another type.
        ValueError: an invalid one.
    """

    def __init__(
        self,
        model: str | None,
        backend: Backend,
        device: str | None,
        truncate_dim: int | None,
        embeds: Any,
        **own: Any,
    ) -> None:
        self._embeds = embeds
        self._arguments = {"model": model, "backend": backend, "device": device, "truncate_dim": truncate_dim}
        self._own = own
        self.embedder = _embedder_of(**self._arguments)

    def warm_up(self) -> None:
        """Load the model, which the first call does otherwise."""
        self._embed(["warm up"])

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the component, for `from_dict`."""
        return default_to_dict(self, **self._arguments, **self._own)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the component that `to_dict` told of; its model is not loaded."""
        return default_from_dict(cls, data)

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        if not texts:
            return []
        vectors, notes = self._embeds(self.embedder, texts)
        for note in (note for of_one in notes for note in of_one):
            logger.info("%s", note)
        embeddings: list[list[float]] = vectors.tolist()
        return embeddings

    async def _embed_async(self, texts: Sequence[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._embed, texts)


@lru_cache(maxsize=8)
def _embedder_of(model: str | None, **options: Any) -> SentenceEmbedder:
    """Return the embedder of a model, which is loaded once for all components that name it alike."""
    return SentenceEmbedder(**options) if model is None else SentenceEmbedder(model, **options)
