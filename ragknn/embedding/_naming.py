"""Embedders by name: for a new index, and for an index whose manifest has the name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragknn.embedding._loading import DEFAULT_MODEL
from ragknn.embedding._models import folder_of
from ragknn.embedding._names import FUNCTION, HASHING_PREFIX, SERVICE
from ragknn.embedding.hashing import HashingEmbedder
from ragknn.embedding.protocols import Embedder
from ragknn.embedding.sentence import SentenceEmbedder
from ragknn.errors import EmbeddingError, ModelNotFound

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


def _place_of(name: str, content: str | None, model: str | None) -> str:
    """Return the name of a model on the hub, or the path of the folder that has the model."""
    if content is None and (folder_of(name) or not Path(name).is_absolute()):
        return name
    found = [folder for folder in (folder_of(name), folder_of(model or "")) if folder]
    same = [folder for folder in found if content is not None and SentenceEmbedder(folder).content == content]
    if same:
        return same[0]
    got = "another one there" if folder_of(name) else "no such folder"
    named = "" if content else f", name={name!r}"
    raise ModelNotFound(
        f"expected the model of this index in {name}, got {got}: pass the folder in which it lies now, "
        f"Index(..., embedder=SentenceEmbedder(FOLDER{named})){', or set RAGKNN_MODEL to it' if content else ''}"
    )


def embedder_named(
    name: str,
    identity: Mapping[str, Any],
    device: str | None = None,
    *,
    content: str | None = None,
    model: str | None = None,
) -> Embedder:
    """Return the embedder with the name and identity from an index's manifest.

    Args:
        name: name of a model, or path of a folder.
        identity: what else the vectors depend on.
        device: torch device; None: the best one available.
        content: digest of the files of a model in a folder.
        model: where a model in a folder may lie as well, usually from the settings.

    Raises:
        EmbeddingError: the embedder must be passed, since it is made of functions or loading it may run code.
        ModelNotFound: the model's folder is gone, or holds another model now.
    """
    if name.startswith(HASHING_PREFIX):
        dim = name.removeprefix(HASHING_PREFIX)
        if not dim.isdecimal():
            raise ValueError(f"expected a number of values after {HASHING_PREFIX}, such as 256, got {name!r}")
        return HashingEmbedder(int(dim))
    if identity.get("kind") == FUNCTION:
        raise EmbeddingError(
            f"expected the embedder {name!r}, which is made of functions, to be passed: "
            f"Index(..., embedder=FunctionEmbedder({name!r}, ...))"
        )
    if identity.get("kind") == SERVICE:
        raise EmbeddingError(
            f"expected the embedder {name!r}, which asks a service, to be passed, since an index alone must not decide "
            f"where texts are sent: Index(..., embedder=OpenAIEmbedder({name!r}, ...)), or in the command --embedder "
            "ragknn:OpenAIEmbedder"
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
        _place_of(name, content, model),
        device=device,
        query_prompt=identity.get("query_prompt"),
        document_prompt=identity.get("document_prompt"),
        revision=identity.get("revision"),
        truncate_dim=identity.get("truncate_dim"),
        model_kwargs=model_kwargs,
    )
