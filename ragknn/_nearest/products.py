"""Products of queries and rows, a block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Shape of a block: large enough for the processor's best speed, small enough to stay in its cache.
QUERIES_PER_BLOCK = 512
ROWS_PER_BLOCK = 4096

# The largest relative error of rounding to float32.
ROUNDING = 2.0**-24


class NumPyProducts:
    """Products by NumPy in float32, in memory that is used again for each block."""

    def __init__(self) -> None:
        self._room = np.empty((QUERIES_PER_BLOCK, ROWS_PER_BLOCK), dtype=np.float32)

    @staticmethod
    def error(queries: NDArray[np.float32], longest: float) -> NDArray[np.float64]:
        """Return the largest error of a product of each query, shape (n_queries,).

        By the usual bound of a sum of products (Higham 2002, section 3.1), and for the rounding of the factors.

        Args:
            queries: factors, shape (n_queries, dim + 1).
            longest: length of the longest row.
        """
        lengths = np.linalg.norm(queries[:, :-1].astype(np.float64), axis=1)
        bound: NDArray[np.float64] = (queries.shape[1] + 4) * ROUNDING * (lengths * longest + longest**2 / 2)
        return bound

    def block(self, queries: NDArray[np.float32], rows: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
        """Return the products, shape (n_queries, width, groups): row number `i * groups + j` is at [:, i, j].

        There are no more rows than `ROWS_PER_BLOCK`, which is a multiple of the groups. Where rows are missing to make
        the groups equal, there is minus infinity.
        """
        width = -(-len(rows) // groups)
        room = self._room[: len(queries)]
        np.matmul(queries, rows.T, out=room[:, : len(rows)])
        room[:, len(rows) : width * groups] = -np.inf
        return room[:, : width * groups].reshape(len(queries), width, groups)
