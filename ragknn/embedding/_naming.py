"""From the name in a manifest to an embedder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragknn.embedding.hashing import HASHING_PREFIX, HashingEmbedder
from ragknn.embedding.protocols import Embedder
from ragknn.embedding.sentence import SentenceEmbedder


def embedder_named(name: str, identity: Mapping[str, Any], device: str | None = None) -> Embedder:
    """Return the embedder whose name and identity stand in an index's manifest."""
    if name.startswith(HASHING_PREFIX):
        return HashingEmbedder(int(name.removeprefix(HASHING_PREFIX)))
    return SentenceEmbedder(
        name,
        device=device,
        query_prompt=identity.get("query_prompt"),
        document_prompt=identity.get("document_prompt"),
    )
