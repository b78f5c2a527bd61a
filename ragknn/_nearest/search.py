"""The k nearest rows of each query, exactly.

Rounded products tell which rows may be among the k nearest, with a margin for their errors; the distances of these
few are computed in float64 and put in order. Most products are looked at in groups only: the largest of a group tells
whether one of it can be near enough, and the k-th largest of all groups' largest is a limit below which none is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.bfloat16 import products_of
from ragknn._nearest.matrix import ROWS_PER_BLOCK, Matrix
from ragknn._nearest.products import QUERIES_PER_BLOCK, Products

# Rows of a block that are looked at together: many, but some groups for each of the k.
LARGEST_GROUP = 64
GROUPS_PER_K = 4

# Rows that may be among the nearest of a block of queries, before it is given up.
MOST_CANDIDATES = 1 << 22
# Nearest rows that are looked for at once.
NEIGHBORS_AT_ONCE = 1 << 22


def nearest(
    matrix: Matrix, queries: NDArray[np.floating], k: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]] | None:
    """Return the distances and the numbers of the k nearest rows of each query, both of shape (n_queries, k).

    Args:
        matrix: the rows; k of them at least.
        queries: shape (n_queries, dim), finite, and for cosine not zero.
        k: at least 1.

    Returns:
        float64 and intp, nearest first, and of equally near rows the one with the smaller number. None where too many
        rows are equally near, or a query is too long for float32: then every row must be looked at.
    """
    distances, rows = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.intp)
    products = products_of(matrix, len(queries))
    for part in _parts(len(queries), k):
        factors = matrix.as_factors(queries[part])
        found = None if factors is None else _candidates(matrix, products, factors, k)
        if found is None:
            return None
        numbers, near = found
        far = matrix.distances(queries[part], numbers, near)
        first = np.lexsort((near, far, numbers))
        starts = np.searchsorted(numbers[first], np.arange(len(distances[part])))
        chosen = first[starts[:, np.newaxis] + np.arange(k)]
        distances[part], rows[part] = far[chosen], near[chosen]
    return distances, rows


def _parts(n_queries: int, k: int) -> Iterator[slice]:
    step = max(1, min(QUERIES_PER_BLOCK, NEIGHBORS_AT_ONCE // k))
    for start in range(0, n_queries, step):
        yield slice(start, start + step)


def _candidates(
    matrix: Matrix, products: Products, queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return pairs of a query and a row, among them the k nearest of each query; None where they are too many."""
    asked, error = products.take(queries)
    margin = (2 * error).astype(np.float32)
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)  # products of k different rows
    limit = best[:, 0]
    found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]] = []
    count = 0
    groups = min(ROWS_PER_BLOCK, _power_of_two(max(ROWS_PER_BLOCK // LARGEST_GROUP, GROUPS_PER_K * k)))
    for start in range(0, len(matrix), ROWS_PER_BLOCK):
        block = products.block(asked, start, groups)
        largest = block.max(axis=1)
        better = np.flatnonzero(largest.max(axis=1) > limit - margin)
        together = np.concatenate([best[better], largest[better]], axis=1)
        best[better] = np.partition(together, -k, axis=1)[:, -k:]
        limit = best.min(axis=1)
        least = (limit - margin)[:, np.newaxis]
        own, group = np.nonzero(largest[better] >= least[better])
        own = better[own]
        values = block[own, :, group]
        pair, place = np.nonzero(values >= least[own])
        found.append((own[pair], start + place * groups + group[pair], values[pair, place]))
        count += len(pair)
        if count > MOST_CANDIDATES:
            found = [_still_near(found, limit - margin)]
            if (count := len(found[0][0])) > MOST_CANDIDATES // 2:
                return None
    numbers, near, _ = _still_near(found, limit - margin)
    return numbers, near


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _still_near(
    found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]], least: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    numbers, near, values = (np.concatenate(column) for column in zip(*found, strict=True))
    kept = values >= least[numbers]
    return numbers[kept], near[kept], values[kept]
