"""Rows laid out for products: one multiplication gives what orders them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ragknn.records import Metric

T = TypeVar("T")
Rounding: TypeAlias = Callable[[NDArray[np.float64]], NDArray[Any]]

# Lengths, of the longest row or query, whose squares float32 holds with room for sums.
SHORTEST, LONGEST = 1e-12, 1e12

# Rows that are multiplied at once.
ROWS_PER_BLOCK = 4096

# Rows that tell where all are.
SAMPLE = 1_000

# Values of rows that are worked on at once: few enough to stay in the cache of a processor, in float64 too.
VALUES_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Rows to search.

    A product of a query and a row, each as `as_factors` and `factors` have it, is larger the nearer they are: the
    cosine, the inner product, or for L2 q.x - |x|^2 / 2, which orders rows as |q - x| does.

    Attributes:
        metric: how near is measured.
        factors: shape (n, dim + 1), float32: the rows, of length 1 for cosine, and a last column that the query's 1 is
            multiplied with; for L2 measured from `center`, where that makes them shorter.
        values: the rows as they are stored, shape (n, dim), float32 or float64; for cosine they may be scaled.
        center: shape (dim,), float64.
        longest: length of the longest row of the factors, without the last column.
        rounded: for cosine, how rows and queries of length 1 are rounded; None: they are not. A server that keeps
            vectors in half precision does so, and has distances that are larger or smaller by the rounding.
    """

    metric: Metric
    factors: NDArray[np.float32]
    values: NDArray[Any]
    center: NDArray[np.float64]
    longest: float
    rounded: Rounding | None = None
    _forms: dict[str, Any] = field(default_factory=dict)

    def kept(self, name: str, make: Callable[[Matrix], T]) -> T:
        """Return another form of the factors, which is made once."""
        if name not in self._forms:
            self._forms[name] = make(self)
        return cast(T, self._forms[name])

    def has(self, name: str) -> bool:
        """Tell whether a form was made."""
        return name in self._forms

    def __len__(self) -> int:
        return len(self.factors)

    def only(self, rows: NDArray[np.intp]) -> Matrix:
        """Return a matrix of some of the rows, a copy."""
        factors = self.factors[rows]
        values = factors[:, :-1] if self._is_shared else self.values[rows]
        return replace(self, factors=factors, values=values, _forms={})

    @property
    def _is_shared(self) -> bool:
        return np.shares_memory(self.factors[:1], self.values[:1])

    def as_factors(self, queries: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return queries, shape (n_queries, dim), as factors, shape (n_queries, dim + 1).

        None where float32 cannot hold what comes of them.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is None
            lengths = np.linalg.norm(rows := self._directed(queries) - self.center, axis=1)
        if not (lengths <= LONGEST).all():
            return None
        last = np.full((len(rows), 1), self.metric == "l2")
        return np.ascontiguousarray(np.concatenate([rows, last], axis=1), dtype=np.float32)

    def distances(self, queries: NDArray[Any], numbers: NDArray[np.intp], rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the distance of pairs, computed in float64 from the rows as they are stored.

        Args:
            queries: shape (n_queries, dim).
            numbers: which query of each pair, shape (n_pairs,).
            rows: which row of each pair, shape (n_pairs,).

        Returns:
            Shape (n_pairs,), float64; equal rows have equal distances.
        """
        found = np.empty(len(rows))
        step = max(1, VALUES_AT_ONCE // self.values.shape[1])
        targets = self._directed(queries)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            near, own = self.values[rows[part]].astype(np.float64), targets[numbers[part]]
            if self.metric == "l2":
                near -= own
                found[part] = np.sqrt(np.einsum("nd,nd->n", near, near))
                continue
            products = np.einsum("nd,nd->n", near, own)
            if self.metric == "cosine" and self.rounded is None:
                products /= np.sqrt(np.einsum("nd,nd->n", near, near))
            found[part] = 1 - products
        return np.clip(found, 0.0, 2.0) if self.metric == "cosine" else found

    def _directed(self, queries: NDArray[Any]) -> NDArray[np.float64]:
        """Return queries in float64, for cosine those of length 1 in their place."""
        targets = np.asarray(queries, dtype=np.float64)
        return _of_length_1(targets, self.rounded) if self.metric == "cosine" else targets


def _of_length_1(rows: NDArray[Any], rounded: Rounding | None) -> NDArray[np.float64]:
    rows = rows.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows if rounded is None else np.asarray(rounded(rows), dtype=np.float64)


def lay_out(
    stored: NDArray[Any], room: NDArray[np.float32], metric: Metric, rounded: Rounding | None = None
) -> Matrix | None:
    """Return rows as a matrix; None where float32 cannot tell which are near.

    Args:
        stored: the rows, shape (n, dim), float32 or float64; float32 ones lie in the room.
        room: shape (n, dim + 1), float32; becomes the factors.
        metric: how near is measured.
        rounded: as `Matrix` has it.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows does not fit
        return _laid_out(stored, room, metric, rounded)


def _laid_out(
    stored: NDArray[Any], room: NDArray[np.float32], metric: Metric, rounded: Rounding | None
) -> Matrix | None:
    values, dim = stored, stored.shape[1]
    center = np.zeros(dim)
    if metric == "l2" and (mean := _mean_far_from_zero(stored)) is not None:
        center, values = mean, np.array(stored)
    longest = 0.0
    step = max(1, VALUES_AT_ONCE // dim)
    for start in range(0, len(stored), step):
        part = slice(start, start + step)
        rows: NDArray[Any] = stored[part]
        if metric == "cosine":
            rows = _of_length_1(rows, rounded)
        elif center.any():
            rows = rows - center
        if not np.may_share_memory(rows, room):
            room[part, :dim] = rows
        squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
        room[part, dim] = -squares / 2 if metric == "l2" else 0.0
        longest = max(longest, float(np.sqrt(squares.max(initial=0.0))))
    fits = longest <= LONGEST and (longest >= SHORTEST or not longest)
    return Matrix(metric, room, values, center, longest, rounded) if fits else None


def _mean_far_from_zero(rows: NDArray[Any]) -> NDArray[np.float64] | None:
    """Return the mean of rows that are nearer to it than to zero: their products lose what tells them apart."""
    sample = rows[:: max(1, len(rows) // SAMPLE)].astype(np.float64)
    if not len(sample):
        return None
    mean: NDArray[np.float64] = sample.mean(axis=0)
    sample -= mean
    return mean if float(mean @ mean) > float(np.mean(np.einsum("nd,nd->n", sample, sample))) else None
