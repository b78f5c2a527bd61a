"""Vectors as points in a plane: principal components, or UMAP. Pure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn.errors import MissingDependency
from ragknn.records import Metric

Method: TypeAlias = Literal["pca", "umap"]

# Fewer points have no neighborhoods that UMAP could keep.
LEAST_FOR_UMAP = 4
# UMAP's own default, and the number of points from which on its usual start works.
UMAP_NEIGHBORS = 15
SPECTRAL_FROM = 20


@dataclass(frozen=True, slots=True)
class Plane:
    """A way from vectors to points.

    Attributes:
        points: the vectors that it was made of as points, shape (n, 2).
        place: returns other vectors, shape (m, dim), as points, shape (m, 2).
        dim: values in a vector.
        explained: share of the variance along each of the two axes; None for UMAP, whose axes mean nothing.
    """

    points: NDArray[np.float64]
    place: Callable[[NDArray[Any]], NDArray[np.float64]]
    dim: int
    explained: tuple[float, float] | None


def plane_of(vectors: NDArray[Any], metric: Metric, method: Method, seed: int) -> Plane:
    """Return the plane in which these vectors are to be seen.

    Args:
        vectors: shape (n, dim), finite; n may be 0.
        metric: of the index; with cosine only directions count.
        method: "pca" or "umap".
        seed: of UMAP.

    Raises:
        ValueError: too few vectors for UMAP.
        MissingDependency: UMAP is not installed.
    """
    return _principal(vectors, metric) if method == "pca" else _umap(vectors, metric, seed)


def comparable(vectors: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Return vectors that are as near to each other by Euclidean distance as the metric says: unit ones for cosine."""
    values = np.asarray(vectors, dtype=np.float64)
    if metric != "cosine":
        return values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths == 0, 1.0, lengths)


def _principal(vectors: NDArray[Any], metric: Metric) -> Plane:
    values = comparable(vectors, metric)
    count, dim = values.shape
    center = values.mean(axis=0) if count else np.zeros(dim)
    _, sizes, directions = np.linalg.svd(values - center, full_matrices=False)
    axes = np.zeros((2, dim))
    axes[: len(directions)] = directions[:2]
    # A direction and its opposite are as good: of both, the one whose largest value is positive.
    axes *= np.where(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1) < 0, -1.0, 1.0)

    def place(others: NDArray[Any]) -> NDArray[np.float64]:
        points: NDArray[np.float64] = (comparable(others, metric) - center) @ axes.T
        return points

    parts = np.zeros(2)
    parts[: len(sizes)] = sizes[:2] ** 2
    total = float(np.sum(sizes**2))
    # Rounding alone spreads vectors that are equal.
    if total <= 1e-12 * float(np.sum(values**2)):
        return Plane(np.zeros((count, 2)), place, dim, (0.0, 0.0))
    return Plane(place(values), place, dim, (float(parts[0] / total), float(parts[1] / total)))


def _umap(vectors: NDArray[Any], metric: Metric, seed: int) -> Plane:
    count = len(vectors)
    if count < LEAST_FOR_UMAP:
        raise ValueError(f"expected at least {LEAST_FOR_UMAP} passages for UMAP, got {count}: use method='pca'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names libraries that it could use as well, and does not need here
        try:
            from umap import UMAP  # optional, and slow to import
        except ImportError as error:
            raise MissingDependency("umap-learn", "a map by UMAP", "umap") from error
    reducer = UMAP(
        n_neighbors=min(UMAP_NEIGHBORS, count - 1),
        metric="cosine" if metric == "cosine" else "euclidean",
        init="spectral" if count >= SPECTRAL_FROM else "random",
        random_state=seed,
        n_jobs=1,  # more would make it depend on chance
    )

    def fit() -> NDArray[np.float64]:
        return np.asarray(_quietly(reducer.fit_transform, vectors), dtype=np.float64)

    def place(others: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(_quietly(reducer.transform, np.asarray(others, dtype=np.float32)), dtype=np.float64)

    return Plane(fit(), place, vectors.shape[1], None)


def _quietly(compute: Callable[[NDArray[Any]], Any], vectors: NDArray[Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own compilation and its start, of which a map tells nothing
        return compute(vectors)
