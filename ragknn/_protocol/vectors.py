"""Vectors on their way to the server and distances on their way back: checks, bytes, square roots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._nearest.rounding import from_bfloat16, to_bfloat16
from ragknn.errors import InvalidVectors
from ragknn.records import Metric

DType: TypeAlias = Literal["float32", "float16", "bfloat16", "float64"]
BYTES_PER_VALUE: Mapping[DType, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}

LARGEST_VALUE: Mapping[DType, float] = {
    "float32": float(np.finfo(np.float32).max),
    "float16": float(np.finfo(np.float16).max),
    "bfloat16": 3.3895313892515355e38,
    "float64": float(np.finfo(np.float64).max),
}
# A vector without a value as large as this has no cosine distance: the dtype rounds it to zeros, or the server
# finds that its squares, added up in float32 (float64 for float64), are zero.
SMALLEST_VALUE: Mapping[DType, float] = {
    "float32": float(np.finfo(np.float32).tiny),
    "float16": float(np.finfo(np.float16).smallest_subnormal),
    "bfloat16": math.sqrt(np.finfo(np.float32).tiny),
    "float64": math.sqrt(np.finfo(np.float64).tiny),
}

# As the server keeps a value, which NumPy does not know as a bfloat16.
_STORED: Mapping[DType, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float64": np.dtype("<f8"),
}


def as_vectors(values: ArrayLike, dim: int) -> NDArray[Any]:
    """Return the values as a float array of shape (n, dim); one vector of shape (dim,) becomes (1, dim).

    Raises:
        InvalidVectors: the values are no numbers, or their shape is another.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "cmMSU":  # NumPy would make numbers of them
            raise TypeError(f"their dtype is {array.dtype}")
        if array.dtype.kind != "f":
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidVectors(f"expected vectors of {dim} numbers, got values that are no numbers: {error}") from error
    if array.ndim == 1 and array.size:
        array = array[np.newaxis, :]
    if array.ndim != 2 or array.shape[1] != dim:
        raise InvalidVectors(
            f"expected vectors of shape (n, {dim}), got {array.shape}: "
            "embed with the model that the index was built with"
        )
    return array


def find_faults(vectors: NDArray[Any], metric: Metric, dtype: DType) -> dict[int, str]:
    """Return the reason for each row that has no distance.

    The server stores such rows without complaint and then answers `nan`, or leaves them out.

    Args:
        vectors: shape (n, dim).
        metric: metric of the index; only cosine has no distance to the zero vector.
        dtype: dtype of the stored vectors; float16 overflows beyond 65,504.
    """
    if vectors.dtype.itemsize >= 4 and _are_ordinary(vectors):
        return {}
    with np.errstate(invalid="ignore", over="ignore"):
        # As float64, because the limits are infinite in a shorter dtype.
        largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float64)
    faults: dict[int, str] = {}
    for row in np.flatnonzero(~(largest <= LARGEST_VALUE[dtype])):
        if np.isfinite(largest[row]):
            faults[int(row)] = f"a value of {largest[row]:.6g} does not fit {dtype}; store the index as float32"
        else:
            faults[int(row)] = "NaN or infinite values; look at what the embedder makes of this text"
    if metric == "cosine":
        for row in np.flatnonzero(largest < SMALLEST_VALUE[dtype]):
            too_small = f"no value above {largest[row]:.6g}, which is too little for {dtype}"
            what = too_small if largest[row] else "only zeros"
            faults[int(row)] = f"{what}: a vector without direction has no cosine distance"
    return dict(sorted(faults.items()))


def _are_ordinary(vectors: NDArray[Any]) -> bool:
    """Tell whether the sums of the squares of rows leave no doubt that each row has a distance.

    No value is larger than the root of the sum, and the largest is no smaller than the root of the mean; NaN is not
    between any two numbers. Both roots are then far within what every dtype holds.
    """
    least, most = vectors.shape[1] * 1e-8, 1e8
    if len(vectors) == 1:  # a single question, for which all else in NumPy takes several times as long
        return bool(least <= float(np.vdot(vectors, vectors)) <= most)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    return bool(len(squares)) and bool(least <= squares.min() and squares.max() <= most)


def check_vectors(values: ArrayLike, dim: int, metric: Metric, dtype: DType) -> NDArray[Any]:
    """Return the values as an array of shape (n, dim) of which every row has a distance.

    Raises:
        InvalidVectors: a wrong shape, or a row without a distance; the message names the first such row.
    """
    vectors = as_vectors(values, dim)
    for row, reason in find_faults(vectors, metric, dtype).items():
        raise InvalidVectors(f"expected finite vectors with a direction, got in row {row}: {reason}")
    return vectors


def to_bytes(vectors: NDArray[Any], dtype: DType) -> list[bytes]:
    """Return each row of `vectors`, shape (n, dim), as the little-endian bytes that the server stores."""
    if dtype == "bfloat16":
        vectors = to_bfloat16(vectors)
    rows = vectors.astype(_STORED[dtype], copy=False)
    return [rows.tobytes()] if len(rows) == 1 else [row.tobytes() for row in rows]


def from_bytes(blob: bytes, dtype: DType) -> NDArray[Any]:
    """Return the vector, shape (dim,), that `to_bytes` made a blob of; bfloat16 comes back as float32."""
    if dtype == "bfloat16":
        return from_bfloat16(np.frombuffer(blob, dtype=_STORED[dtype]))
    return np.frombuffer(blob, dtype=_STORED[dtype])


def as_stored(vectors: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """Return vectors, shape (n, dim), rounded as they are when they are stored."""
    return from_bytes(b"".join(to_bytes(vectors, dtype)), dtype).reshape(vectors.shape)


def rows_from_bytes(blobs: Sequence[bytes], dtype: DType, dim: int) -> NDArray[Any] | None:
    """Return the vectors, shape (n, dim), that `to_bytes` made blobs of; None where one has another size."""
    rows = from_bytes(b"".join(blobs), dtype)
    return rows.reshape(len(blobs), dim) if len(rows) == len(blobs) * dim else None


def true_distance(answered: float, metric: Metric) -> float:
    """Return the distance behind the number that the server answers.

    The server leaves out the root of L2, and rounding takes the cosine of equal vectors to about -1e-7.
    """
    if metric == "l2":
        return math.sqrt(max(answered, 0.0))
    if metric == "cosine":
        return min(max(answered, 0.0), 2.0)
    return answered


def true_distances(answered: Iterable[bytes], metric: Metric) -> list[float]:
    """Return the distances behind the numbers that the server answers, in digits."""
    if metric == "cosine":
        return [one if 0.0 <= one <= 2.0 else true_distance(one, metric) for one in map(float, answered)]
    return [true_distance(float(one), metric) for one in answered]


def distances_to(query: NDArray[Any], vectors: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Return the distance of each row of `vectors`, shape (n, dim), to the query, shape (dim,): shape (n,).

    The same as `true_distance` of what the server answers, but for rounding.
    """
    rows, target = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((rows - target) ** 2).sum(axis=1))  # type: ignore[no-any-return]
    products: NDArray[np.float64] = np.einsum(
        "ij,j->i", rows, target
    )  # of each row the same, whatever rows are beside it
    if metric == "ip":
        return 1 - products
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(target)
    return np.clip(1 - products / lengths, 0.0, 2.0)  # type: ignore[no-any-return]
