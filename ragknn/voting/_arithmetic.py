"""From the distances and labels of neighbors to shares and averages. Pure NumPy, vectorised over queries.

The rules are those of scikit-learn's nearest neighbors (user guide, section 1.6; Cover and Hart 1967 for the vote,
Dudani 1976 for weights that fall with the distance), so that both give the same answers on the same neighbors.

Every array of neighbors has shape (n_queries, k). A query may have fewer than k: `present` tells which of them are
there; the values of the others are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import shown

Weights: TypeAlias = Literal["uniform", "distance"] | Callable[[NDArray[np.float64]], NDArray[np.float64]]


LARGEST_WEIGHT = 1e300


def check_weights(weights: Any) -> Weights:
    """Return the weights if they are "uniform", "distance" or callable.

    Raises:
        ValueError: they are something else.
    """
    if callable(weights) or (isinstance(weights, str) and weights in ("uniform", "distance")):
        return weights  # type: ignore[no-any-return]
    raise ValueError(f"expected weights to be 'uniform', 'distance' or a callable, got {shown(weights)}")


def neighbor_weights(
    distances: NDArray[np.float64], present: NDArray[np.bool_], weights: Weights
) -> NDArray[np.float64]:
    """Return how much each neighbor's vote weighs; absent neighbors weigh 0.

    "uniform" weighs each with 1, "distance" with 1/d. Neighbors at distance 0 weigh 1 and all
    others of that query 0: the limit of 1/d, as in scikit-learn. A callable is given the distances and returns an
    array of the same shape; infinity means the same from it, so that `lambda d: 1 / d` is "distance". It sees neighbors
    that are there only: where some are absent it is called for each query, with shape (1, n_neighbors of the query).

    Args:
        distances: shape (n_queries, k), not negative for "distance".
        present: shape (n_queries, k).
        weights: the rule.

    Returns:
        Shape (n_queries, k).

    Raises:
        ValueError: "distance" with negative distances, as the metric ip has them; or a callable that returns
            another shape, or what is no number, NaN or negative.
    """
    check_weights(weights)
    if callable(weights):
        return _scaled(_called(weights, distances, present))
    if weights == "uniform":
        return present.astype(np.float64)
    if (distances[present] < 0).any():
        raise ValueError(
            "expected distances >= 0 for weights='distance', got negative ones, as metric 'ip' has them: "
            "use weights='uniform' or a callable"
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _scaled(np.where(present, 1.0 / np.abs(distances), 0.0))  # -0.0 is a distance of 0 too


def _scaled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights so that each row has a finite sum: next to infinite ones all others are 0."""
    boundless = np.isinf(weights)
    largest = weights.max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        # Sums of weights near the largest float would overflow; only the ratios between weights count.
        weights = np.where(largest > LARGEST_WEIGHT, weights / largest, weights)
    return np.where(boundless.any(axis=1, keepdims=True), boundless.astype(np.float64), weights)


def _called(
    weights: Callable[..., Any], distances: NDArray[np.float64], present: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if present.size and present.all():
        return _call(weights, distances)
    given = np.zeros(distances.shape)
    for row in np.flatnonzero(present.any(axis=1)):
        given[row, present[row]] = _call(weights, distances[row : row + 1, present[row]])[0]
    return given


def _call(weights: Callable[..., Any], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):  # 1/d warns of what is meant here, and NaN is refused below
        given = weights(distances + 0.0)  # a copy, in which -0.0 is 0.0 as well
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"expected weights of shape {distances.shape}, got {error} from {weights!r}") from error
    if array.dtype.kind not in "biuf":  # of text NumPy would make numbers, and of None NaN
        raise ValueError(f"expected weights as an array of numbers, got {shown(given)} from {weights!r}")
    if array.shape != distances.shape:
        raise ValueError(f"expected weights of shape {distances.shape}, got {array.shape} from {weights!r}")
    if not (array >= 0).all():
        value, distance = array[~(array >= 0)][0], distances[~(array >= 0)][0]
        raise ValueError(
            f"expected weights >= 0, got {value} at distance {distance} from {weights!r}: return 0 for a neighbor that "
            "shall not count, and infinity for one that shall outvote all others"
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float64)


def class_shares(codes: NDArray[np.intp], weights: NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    """Return the share of each class in the votes: its weights divided by all weights of the query.

    Args:
        codes: class of each neighbor, 0 to n_classes - 1, shape (n_queries, k).
        weights: shape (n_queries, k).
        n_classes: number of classes.

    Returns:
        Shape (n_queries, n_classes). Rows sum to 1, or are all 0 where all weights are.
    """
    n_queries = len(codes)
    cells = (np.arange(n_queries)[:, np.newaxis] * n_classes + codes).ravel()
    sums = np.bincount(cells, weights=weights.ravel(), minlength=n_queries * n_classes).reshape(n_queries, n_classes)
    totals = sums.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = sums / np.where(totals == 0, 1.0, totals)
    return shares


def winners(shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the class with the largest share, shape (n_queries,); of equal ones the first in sorted order."""
    best: NDArray[np.intp] = shares.argmax(axis=1)
    return best


def weighted_average(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the average of the neighbors' numbers: sum of w times y, divided by the sum of w.

    Args:
        values: shape (n_queries, k) or (n_queries, k, n_outputs).
        weights: shape (n_queries, k).

    Returns:
        Shape (n_queries,) or (n_queries, n_outputs); NaN where all weights are 0.
    """
    columns = values if values.ndim == 3 else values[:, :, np.newaxis]
    totals = weights.sum(axis=1)[:, np.newaxis]
    sums = np.einsum("qk,qko->qo", weights, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        averages: NDArray[np.float64] = np.where(totals == 0, np.nan, sums / totals)
    return averages if values.ndim == 3 else averages[:, 0]


def correct_priors(shares: NDArray[np.float64], priors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares as they would be if all classes were equally frequent among what can be found.

    Each share is divided by its class's frequency and the row scaled to sum to 1 (Bayes' rule for a change of
    priors; Saerens, Latinne and Decaestecker 2002, equation 2.4).

    Args:
        shares: shape (n_queries, n_classes).
        priors: frequency of each class, shape (n_classes,), positive.

    Returns:
        Shape (n_queries, n_classes); rows of zeros stay so.
    """
    scaled = shares / priors
    totals = scaled.sum(axis=1, keepdims=True)
    corrected: NDArray[np.float64] = scaled / np.where(totals == 0, 1.0, totals)
    return corrected
