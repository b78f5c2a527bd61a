"""An embedder made of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn.embedding._names import FUNCTION, HASHING_PREFIX, READY_VECTORS
from ragknn.errors import InvalidVectors
from ragknn.text.splitting import TokenSpans

EmbedFunction: TypeAlias = Callable[[list[str]], ArrayLike | Iterable[ArrayLike]]
"""From n texts to n vectors: an array, a list of lists, or what iterates over vectors."""


class FunctionEmbedder:
    """Embed with functions of your own, such as the call of a service.

    What a function raises passes through as it is. An index that is built with this embedder must be opened with it.

    Args:
        name: of what embeds, with version: vectors of equally named embedders are taken to be comparable.
        embed_documents: from a list of n texts to be found to n vectors.
        embed_queries: the same for texts to search with; None: `embed_documents`.
        dim: number of values in a vector; None: one text is embedded to see, when it is first needed.
        max_tokens: tokens of a text that the model reads, special tokens not counted; None for no limit.
        token_spans: from a text to (start, end) in characters of each of its tokens; without it, words are counted in
            place of tokens, and queries are not checked for their length.

    Raises:
        TypeError: something to be called cannot be, or is a coroutine function.
        ValueError: the name is empty or has a meaning of its own, or a number is below 1.
    """

    def __init__(
        self,
        name: str,
        embed_documents: EmbedFunction,
        embed_queries: EmbedFunction | None = None,
        *,
        dim: int | None = None,
        max_tokens: int | None = None,
        token_spans: TokenSpans | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"expected a name of type str, got {name!r} of type {type(name).__name__}")
        if not name.strip() or name == READY_VECTORS or name.startswith(HASHING_PREFIX):
            raise ValueError(
                f"expected the name of what embeds, such as 'my-service/v2', got {name!r}, which says nothing or "
                "means something else"
            )
        for what, number in (("dim", dim), ("max_tokens", max_tokens)):
            if number is not None and number < 1:
                raise ValueError(f"expected {what} >= 1, got {number}")
        for what, call in (
            ("embed_documents", embed_documents),
            ("embed_queries", embed_queries),
            ("token_spans", token_spans),
        ):
            if call is not None or what == "embed_documents":
                _check_callable(what, call)
        self.name = name
        self.max_tokens = max_tokens
        self._dim = dim
        self._calls = {"document": embed_documents, "query": embed_queries or embed_documents}
        if token_spans is not None:
            self.token_spans = token_spans  # only then is this an embedder that shows its tokens

    def __repr__(self) -> str:
        return f"FunctionEmbedder({self.name!r})"

    @property
    def dim(self) -> int:
        """Number of values in a vector; embeds a text if it is not known yet."""
        if self._dim is None:
            self._embed("document", ["dimension"])
        return self._dim or 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """That functions made the vectors, so that nobody looks for a model of this name."""
        return {"kind": FUNCTION}

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to be found, shape (n, dim).

        Raises:
            InvalidVectors: the function returned something else.
        """
        return self._embed("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to search with, shape (n, dim).

        Raises:
            InvalidVectors: the function returned something else.
        """
        return self._embed("query", texts)

    def _embed(self, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
        texts = list(texts)
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        call = self._calls[role]
        what = f"{self.name}: expected one vector for each of {len(texts)} texts from {_name(call)}"
        rows = _as_rows(call(texts), what)
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
            raise InvalidVectors(f"{what}, shape ({len(texts)}, {self._dim or 'dim'}), got shape {rows.shape}")
        if self._dim is None:
            self._dim = rows.shape[1]
        if rows.shape[1] != self._dim:
            raise InvalidVectors(f"{what}, each of dim={self._dim} values, got {rows.shape[1]} values in each")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which the index refuses
            return rows.astype(np.float32)


def _check_callable(what: str, call: object) -> None:
    if not callable(call):
        raise TypeError(f"expected {what} to be a function, got {call!r} of type {type(call).__name__}")
    if iscoroutinefunction(call):
        raise TypeError(
            f"expected {what} to be a plain function, got the coroutine function {_name(call)}: the async classes run "
            "plain functions in a thread"
        )


def _name(call: Callable[..., Any]) -> str:
    return getattr(call, "__name__", None) or type(call).__name__


def _as_rows(values: Any, what: str) -> NDArray[Any]:
    if not hasattr(values, "__array__") and not isinstance(values, Sequence) and isinstance(values, Iterable):
        values = list(values)
    try:
        rows = np.asarray(values)
        if rows.dtype.kind in "cmMSU":  # NumPy would make numbers of them
            raise TypeError(f"their dtype is {rows.dtype}")
        return rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidVectors(f"{what}, got what are not vectors of numbers of one length: {error}") from error
