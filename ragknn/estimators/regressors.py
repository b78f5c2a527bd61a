"""Regressors: averages of the nearest rows."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._protocol.place import Bulk
from ragknn.estimators._neighbors import KNeighborsMixin, RadiusNeighborsMixin, padded
from ragknn.estimators._supervised import Averaging
from ragknn.estimators.classifiers import KNeighborsClassifier, RadiusNeighborsClassifier
from ragknn.voting._arithmetic import weighted_average


class KNeighborsRegressor(KNeighborsMixin, Averaging):
    """Predict the average of the k nearest rows, which Redis finds. See `KNeighborsClassifier` for the arguments."""

    _parameter_constraints = KNeighborsClassifier._parameter_constraints

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: Any = "uniform",
        algorithm: str = "auto",
        metric: str = "euclidean",
        url: str | None = None,
        client: Any = None,
        index: str | None = None,
        ef_runtime: int | None = None,
        bulk: Bulk = "auto",
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index
        self.ef_runtime = ef_runtime
        self.bulk = bulk

    def predict(self, X: ArrayLike | None) -> NDArray[np.float64]:
        """Return the average of the neighbors' targets for each query.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each predicted by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs), dtype float64; NaN where all weights are 0.

        Raises:
            ValueError: invalid input.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        distances, rows = self._find_k(X)
        return weighted_average(self._y[rows], self._weigh(distances, np.ones_like(distances, dtype=bool)))


class RadiusNeighborsRegressor(RadiusNeighborsMixin, Averaging):
    """Predict the average of all rows within a radius. See `RadiusNeighborsClassifier` for the arguments."""

    _parameter_constraints = {  # noqa: RUF012  # annotated in the base class
        name: constraint
        for name, constraint in RadiusNeighborsClassifier._parameter_constraints.items()
        if name != "outlier_label"
    }
    ef_runtime = None

    def __init__(
        self,
        radius: float = 1.0,
        *,
        weights: Any = "uniform",
        algorithm: str = "auto",
        metric: str = "euclidean",
        url: str | None = None,
        client: Any = None,
        index: str | None = None,
    ) -> None:
        self.radius = radius
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index

    def predict(self, X: ArrayLike | None) -> NDArray[np.float64]:
        """Return the average of the neighbors' targets for each query; NaN and a warning if it has no neighbors.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each predicted by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs), dtype float64.

        Raises:
            ValueError: invalid input.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        distances, rows = self._find_within(X)
        far, present = padded(distances)
        near, _ = padded(rows)
        if not present.any(axis=1).all():
            warnings.warn(
                "One or more samples have no neighbors within specified radius; predicting NaN.", stacklevel=2
            )
        return weighted_average(self._y[near], self._weigh(far, present))
