"""From a name to an embedder: for a new index, and for one that has its name in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragknn.embedding._loading import DEFAULT_MODEL
from ragknn.embedding._names import FUNCTION, HASHING_PREFIX
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.errors import EmbeddingError

# Of what a manifest says about the loading of a model, all that is followed without the user's word. Others can fetch
# and run code, or load pickles, and whoever writes to Redis could ask for them.
HARMLESS_MODEL_KWARGS = frozenset({"dtype", "torch_dtype"})


def default_embedder(model: str | None = None, device: str | None = None) -> Embedder:
    """Return the embedder of whoever names none: of a new index, of a transformer.

    Args:
        model: name of a model, mostly from the settings; None: all-MiniLM-L6-v2.
        device: torch device; None: the best there is.
    """
    return embedder_named(model or DEFAULT_MODEL, {}, device)


def embedder_named(name: str, identity: Mapping[str, Any], device: str | None = None) -> Embedder:
    """Return the embedder whose name and identity stand in an index's manifest.

    Raises:
        EmbeddingError: it takes more than that to make it, or the user's word that code may run.
    """
    if name.startswith(HASHING_PREFIX):
        return HashingEmbedder(int(name.removeprefix(HASHING_PREFIX)))
    if identity.get("kind") == FUNCTION:
        raise EmbeddingError(
            f"expected the embedder {name!r}, which is made of functions, to be handed in: "
            f"Index(..., embedder=FunctionEmbedder({name!r}, ...))"
        )
    model_kwargs = identity.get("model_kwargs") or {}
    risky = sorted(model_kwargs.keys() - HARMLESS_MODEL_KWARGS)
    if identity.get("trust_remote_code") or risky:
        what = ", ".join([*["trust_remote_code"] * bool(identity.get("trust_remote_code")), *risky])
        raise EmbeddingError(
            f"expected the embedder {name!r} to be handed in, since it is loaded with {what}, which may run code, and "
            f"that is not done because an index says so: Index(..., embedder=SentenceEmbedder({name!r}, ...))"
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
