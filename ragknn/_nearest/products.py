"""Products of queries and rows, a block at a time."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.matrix import ROWS_PER_BLOCK, Matrix

# Queries of a block: enough for the processor's best speed, and few enough for the block to stay in its cache.
QUERIES_PER_BLOCK = 512

# The largest relative error of rounding to float32.
ROUNDING = 2.0**-24


class Products(Protocol):
    """A way to multiply queries with the rows of a matrix."""

    def take(self, queries: NDArray[np.float32]) -> tuple[Any, NDArray[np.float64]]:
        """Return queries, as factors, in the form for `block`, and the largest error of a product of each."""

    def block(self, queries: Any, start: int, groups: int) -> NDArray[np.float32]:
        """Return the products with the rows from `start` on, shape (n_queries, width, groups).

        That of row `start + i * groups + j` is at [:, i, j], until the next block begins. `ROWS_PER_BLOCK` is a
        multiple of the groups; where the matrix ends before, there are products smaller than any.
        """


class NumPyProducts:
    """Products by NumPy in float32, in memory that is used again for each block."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._room = np.empty((QUERIES_PER_BLOCK, ROWS_PER_BLOCK), dtype=np.float32)

    def take(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the queries as they are."""
        return queries, error_of_sums(queries, self._matrix.longest)

    def block(self, queries: NDArray[np.float32], start: int, groups: int) -> NDArray[np.float32]:
        """Multiply."""
        rows = self._matrix.factors[start : start + ROWS_PER_BLOCK]
        width = -(-len(rows) // groups)
        room = self._room[: len(queries)]
        np.matmul(queries, rows.T, out=room[:, : len(rows)])
        room[:, len(rows) : width * groups] = -np.inf
        return room[:, : width * groups].reshape(len(queries), width, groups)


def error_of_sums(queries: NDArray[np.float32], longest: float) -> NDArray[np.float64]:
    """Return the largest error of a product that is added up in float32, for each query, shape (n_queries,).

    By the usual bound of a sum of products (Higham 2002, section 3.1), and for the rounding of the factors.

    Args:
        queries: factors, shape (n_queries, dim + 1).
        longest: length of the longest row.
    """
    bound: NDArray[np.float64] = (queries.shape[1] + 4) * ROUNDING * (lengths(queries) * longest + longest**2 / 2)
    return bound


def lengths(factors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the lengths of factors without the last column, shape (n,)."""
    own: NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", factors[:, :-1], factors[:, :-1], dtype=np.float64))
    return own
