"""Embedders by name: for a new index, and for an index whose manifest has the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragknn.embedding._loading import DEFAULT_MODEL
from ragknn.embedding._names import FUNCTION, HASHING_PREFIX
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.errors import EmbeddingError

# The only model_kwargs that are taken from a manifest without the user's consent. Others can fetch and run code, or
# load pickles, and anyone who can write to Redis could set them.
HARMLESS_MODEL_KWARGS = frozenset({"dtype", "torch_dtype"})


def default_embedder(model: str | None = None, device: str | None = None) -> Embedder:
    """Return the default embedder, for a new index or a transformer.

    Args:
        model: name of a model, usually from the settings; None: all-MiniLM-L6-v2.
        device: torch device; None: the best one available.
    """
    return embedder_named(model or DEFAULT_MODEL, {}, device)


def embedder_named(name: str, identity: Mapping[str, Any], device: str | None = None) -> Embedder:
    """Return the embedder with the name and identity from an index's manifest.

    Raises:
        EmbeddingError: the embedder must be passed, since it is made of functions or loading it may run code.
    """
    if name.startswith(HASHING_PREFIX):
        return HashingEmbedder(int(name.removeprefix(HASHING_PREFIX)))
    if identity.get("kind") == FUNCTION:
        raise EmbeddingError(
            f"expected the embedder {name!r}, which is made of functions, to be passed: "
            f"Index(..., embedder=FunctionEmbedder({name!r}, ...))"
        )
    model_kwargs = identity.get("model_kwargs") or {}
    risky = sorted(model_kwargs.keys() - HARMLESS_MODEL_KWARGS)
    if identity.get("trust_remote_code") or risky:
        what = ", ".join([*["trust_remote_code"] * bool(identity.get("trust_remote_code")), *risky])
        raise EmbeddingError(
            f"expected the embedder {name!r} to be passed, since it is loaded with {what}, which may run code, and "
            f"an index alone must not allow that: Index(..., embedder=SentenceEmbedder({name!r}, ...))"
        )
    return SentenceEmbedder(
        name,
        device=device,
        query_prompt=identity.get("query_prompt"),
        document_prompt=identity.get("document_prompt"),
        revision=identity.get("revision"),
        truncate_dim=identity.get("truncate_dim"),
        model_kwargs=model_kwargs,
    )
