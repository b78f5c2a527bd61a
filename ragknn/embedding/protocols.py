"""What an embedder is, and what it may tell of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """What turns texts into vectors. Any object with these five members will do."""

    @property
    def name(self) -> str:
        """Name of the model: vectors of equally named embedders can be compared."""
        ...

    @property
    def dim(self) -> int:
        """Number of values in a vector."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that the model reads, special tokens not counted; None for no limit."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to be found, shape (n, dim)."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to search with, shape (n, dim)."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """An embedder that shows how its model counts: passages are then measured in its tokens."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        ...


@runtime_checkable
class Identified(Protocol):
    """An embedder whose vectors depend on more than its name."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What else changes the vectors (prompts, normalization); kept with the index and compared on opening."""
        ...
