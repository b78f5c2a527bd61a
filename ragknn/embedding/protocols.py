"""Protocols of embedders, required and optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns texts into vectors; any object with these five members.

    Indexes, retrievers, voters and `TextEmbedder` give it folded texts: ligatures, full-width and mathematical letters
    and the like are plain letters, and soft hyphens and other invisible characters are left out.
    """

    @property
    def name(self) -> str:
        """Name of the model: vectors of embedders with equal names can be compared."""
        ...

    @property
    def dim(self) -> int:
        """Number of values in a vector."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """The model's limit in tokens, special tokens not counted; None for no limit."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each passage, shape (n, dim)."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each query, shape (n, dim)."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """An embedder that exposes its tokenizer, so that passages are measured in its tokens."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        ...


@runtime_checkable
class Located(Protocol):
    """An embedder whose model may be the same under another name, such as the path of a folder."""

    @property
    def content(self) -> str | None:
        """Digest of what the model is made of, compared in place of the name; None where the name tells."""
        ...


@runtime_checkable
class Identified(Protocol):
    """An embedder whose vectors depend on more than its name."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What else the vectors depend on (prompts, normalization); stored with the index and compared on opening."""
        ...
