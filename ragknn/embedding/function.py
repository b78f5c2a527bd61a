"""An embedder made of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutine, iscoroutinefunction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_whole, checked_texts, shown
from ragknn.embedding._names import FUNCTION, HASHING_PREFIX, READY_VECTORS
from ragknn.errors import InvalidVectors
from ragknn.text import TokenSpans

EmbedFunction: TypeAlias = Callable[[list[str]], ArrayLike | Iterable[ArrayLike]]
"""A function from n texts to n vectors: an array, a list of lists, or an iterable of vectors."""


_PLAIN = ": the async classes run plain functions in a thread"


class FunctionEmbedder:
    """Embed with your own functions, such as calls of a service.

    Exceptions of the functions are not translated. An index that is built with this embedder must be opened with it.

    Args:
        name: name of the model or service, with its version: vectors of embedders with equal names can be compared.
        embed_documents: function from a list of n passages to n vectors.
        embed_queries: the same for queries; None: `embed_documents`.
        dim: number of values in a vector; None: one text is embedded to find out, when `dim` is first needed.
        max_tokens: the model's limit in tokens, special tokens not counted; None for no limit.
        token_spans: function from a text to (start, end) in characters of each token. Without it, words are counted
            instead of tokens, and the length of queries is not checked.

    Raises:
        TypeError: a function is not callable, or is a coroutine function.
        ValueError: the name is empty or reserved, or a number is below 1.
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
            raise TypeError(f"expected a name of type str, got {shown(name)} of type {type(name).__name__}")
        if not name.strip() or name == READY_VECTORS or name.startswith(HASHING_PREFIX):
            raise ValueError(
                f"expected the name of the model or service, such as 'my-service/v2', got {name!r}, which is empty "
                "or reserved"
            )
        for what, number in (("dim", dim), ("max_tokens", max_tokens)):
            if number is not None:
                check_whole(what, number)
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
            self.token_spans = token_spans  # only then is this embedder `Tokenizing`

    def __repr__(self) -> str:
        return f"FunctionEmbedder({self.name!r})"

    @property
    def dim(self) -> int:
        """Number of values in a vector; embeds a text if the number is not known yet."""
        if self._dim is None:
            self._embed("document", ["dimension"])
        return self._dim or 0

    @property
    def identity(self) -> Mapping[str, Any]:
        """A mark that functions made the vectors, so that no model of this name is looked for."""
        return {"kind": FUNCTION}

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each passage, shape (n, dim).

        Raises:
            InvalidVectors: the function returned something else.
        """
        return self._embed("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each query, shape (n, dim).

        Raises:
            InvalidVectors: the function returned something else.
        """
        return self._embed("query", texts)

    def _embed(self, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
        texts = checked_texts(texts, "text")
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        call = self._calls[role]
        what = f"{self.name}: expected one vector for each of {len(texts)} texts from {_name(call)}"
        made = call(texts)
        if iscoroutine(made):
            made.close()
            raise InvalidVectors(f"{what}, got a coroutine{_PLAIN}")
        rows = _as_rows(made, what)
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
            raise InvalidVectors(f"{what}, shape ({len(texts)}, {self._dim or 'dim'}), got shape {rows.shape}")
        if self._dim is None:
            self._dim = rows.shape[1]
        if rows.shape[1] != self._dim:
            raise InvalidVectors(f"{what}, each of dim={self._dim} values, got {rows.shape[1]} values in each")
        with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and the index refuses it
            return rows.astype(np.float32)


def _check_callable(what: str, call: object) -> None:
    if not callable(call):
        raise TypeError(f"expected {what} to be a function, got {shown(call)} of type {type(call).__name__}")
    if iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__):
        raise TypeError(f"expected {what} to be a plain function, got the coroutine function {_name(call)}{_PLAIN}")


def _name(call: Callable[..., Any]) -> str:
    return getattr(call, "__name__", None) or type(call).__name__


def _as_rows(values: Any, what: str) -> NDArray[Any]:
    if not hasattr(values, "__array__") and not isinstance(values, Sequence) and isinstance(values, Iterable):
        values = list(values)
    try:
        rows = np.asarray(values)
        if rows.dtype.kind in "cmMSU":  # NumPy would convert them to numbers
            raise TypeError(f"their dtype is {rows.dtype}")
        return rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # the last of a tensor that has a gradient
        raise InvalidVectors(f"{what}, got values that are not numeric vectors of one length: {error}") from error
