"""Classifiers: the nearest rows vote."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._protocol.place import Bulk
from ragknn.estimators._neighbors import KNeighborsMixin, RadiusNeighborsMixin, padded
from ragknn.estimators._supervised import ZERO_WEIGHTS, Classifying, Supervised
from ragknn.records import Label
from ragknn.voting._arithmetic import class_shares, winners


class KNeighborsClassifier(KNeighborsMixin, Classifying):
    """Classify by a vote of the k nearest rows, which Redis finds.

    Equally near rows are in the order of X, so that answers depend only on the data. If classes have equal shares,
    the first in sorted order wins.

    Args:
        n_neighbors: number of rows that vote.
        weights: "uniform", "distance" (1/d; rows at distance 0 outvote all others), or a callable that turns
            distances into weights, shape (n_queries, n_neighbors), none below 0; rows of infinite weight outvote all
            others too.
        algorithm: "auto", "flat" and "brute" look at every row and are exact; "hnsw" searches a graph and is
            approximate.
        metric: "euclidean" (the same as "l2", and as "minkowski" with p=2) or "cosine", which refuses zero vectors.
        url: Redis to use; None: `RAGKNN_URL`, or the embedded server if that is not set. A printed estimator shows
            the password in the URL.
        client: a client of redis-py to use instead of a URL. Clones share it; a pickled copy creates its own.
        index: name of the index that `fit` fills. The index stays, and a later `fit` of any estimator replaces its
            rows. An estimator with a name therefore keeps its rows, in pickles too: where another fit has replaced
            them, it stores them anew in an index that is removed with it. None: each fit creates an index that is
            removed with the estimator, even if copies by pickle or clone still exist; only copies that come from a
            worker process, such as those of `n_jobs`, bring their rows along.
        ef_runtime: hnsw only: candidates that a search keeps; None: 100, or twice n_neighbors if that is more.
        bulk: whether many queries at once may be searched in memory, as `ragknn.Retriever` explains: "auto", "always"
            or "never".

    Attributes:
        classes_: sorted classes, shape (n_classes,); a list of arrays for several outputs.
        outputs_2d_: whether y has several outputs.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns, if X has names.
        n_samples_fit_: number of rows.
        effective_metric_: "euclidean" or "cosine"; "ip" on an index with that metric.
        ids_: passage ids of the rows; only after `from_index`.

    Example:
        >>> model = KNeighborsClassifier(n_neighbors=3).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
        >>> model.predict([[1.1]])
        array([0])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Supervised._parameter_constraints,
        **KNeighborsMixin._neighbors_constraints,
    }

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

    def _shares(self, X: ArrayLike | None) -> list[NDArray[np.float64]]:
        distances, rows = self._find_k(X)
        weights = self._weigh(distances, np.ones_like(distances, dtype=bool))
        if (weights == 0).all(axis=1).any():
            raise ValueError(ZERO_WEIGHTS)
        return [class_shares(codes[rows], weights, len(classes)) for codes, classes in self._outputs]

    def predict(self, X: ArrayLike | None) -> NDArray[Any]:
        """Return the class of each query.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each voted on by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs).

        Raises:
            ValueError: invalid input, or votes whose weights are all 0.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        shares = self._shares(X)
        return self._as_y([classes[winners(s)] for s, (_, classes) in zip(shares, self._outputs, strict=True)])


class RadiusNeighborsClassifier(RadiusNeighborsMixin, Classifying):
    """Classify by a vote of all rows within a radius, which Redis finds.

    Args:
        radius: largest distance, inclusive.
        weights: as for `KNeighborsClassifier`, like the arguments without an explanation. A callable is called for
            each query, with shape (1, n_neighbors of the query), if queries have different numbers of neighbors.
        algorithm: "hnsw" may miss rows within the radius.
        metric: "euclidean", "minkowski", "l2" or "cosine".
        outlier_label: class of a query without neighbors: one for all outputs, a list with one for each output, or
            "most_frequent"; None: such a query is an error.
        url: Redis to use.
        client: a client of redis-py to use.
        index: name of the index.

    Attributes:
        outlier_label_: class of a query without neighbors for each output, or None.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Supervised._parameter_constraints,
        **RadiusNeighborsMixin._neighbors_constraints,
        "outlier_label": [Integral, str, "array-like", None],
    }
    del _parameter_constraints["ef_runtime"]
    ef_runtime = None

    def __init__(
        self,
        radius: float = 1.0,
        *,
        weights: Any = "uniform",
        algorithm: str = "auto",
        metric: str = "euclidean",
        outlier_label: Any = None,
        url: str | None = None,
        client: Any = None,
        index: str | None = None,
    ) -> None:
        self.radius = radius
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.outlier_label = outlier_label
        self.url = url
        self.client = client
        self.index = index

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        labels = super()._take_targets(y)
        self.outlier_label_ = self._outlier_labels()
        return labels

    def _outlier_labels(self) -> list[Any] | None:
        if self.outlier_label is None:
            return None
        if isinstance(self.outlier_label, str) and self.outlier_label == "most_frequent":
            return [classes[np.bincount(codes).argmax()] for codes, classes in self._outputs]
        several = not isinstance(self.outlier_label, str) and np.ndim(self.outlier_label) > 0
        labels = list(self.outlier_label) if several else [self.outlier_label] * len(self._outputs)
        if len(labels) != len(self._outputs):
            raise ValueError(
                f"The length of outlier_label: {self.outlier_label} is inconsistent with the output length: "
                f"{len(self._outputs)}"
            )
        for (_, classes), label in zip(self._outputs, labels, strict=True):
            if np.ndim(label) > 0:
                raise TypeError(f"The outlier_label of classes {classes} is supposed to be a scalar, got {label}.")
            if np.append(classes, label).dtype != classes.dtype:
                raise TypeError(f"The dtype of outlier_label {label} is inconsistent with classes {classes} in y.")
        return labels

    def _shares(self, X: ArrayLike | None) -> list[NDArray[np.float64]]:
        distances, rows = self._find_within(X)
        outliers = np.flatnonzero([not len(row) for row in rows])
        if outliers.size and self.outlier_label_ is None:
            raise ValueError(
                f"No neighbors found for test samples {outliers!r}, you can try using larger radius, giving a label "
                "for outliers, or considering removing them from your dataset."
            )
        far, present = padded(distances)
        near, _ = padded(rows)
        weights = self._weigh(far, present)
        shares = [class_shares(codes[near], weights, len(classes)) for codes, classes in self._outputs]
        if outliers.size:
            for share, (_, classes), label in zip(shares, self._outputs, self.outlier_label_ or (), strict=True):
                share[outliers] = classes == label
                if label not in classes:
                    warnings.warn(
                        f"Outlier label {label} is not in training classes. All class probabilities of outliers will "
                        "be assigned with 0.",
                        stacklevel=3,
                    )
        return shares

    def predict(self, X: ArrayLike | None) -> NDArray[Any]:
        """Return the class of each query; see `KNeighborsClassifier.predict`.

        Raises:
            ValueError: invalid input, a query without neighbors and no `outlier_label`, or votes whose weights are
                all 0.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        columns = []
        for output, share in enumerate(self._shares(X)):
            column = self._outputs[output][1][winners(share)]
            blank = ~share.any(axis=1)
            if blank.any():
                if self.outlier_label_ is None:
                    raise ValueError(ZERO_WEIGHTS)
                column[blank] = self.outlier_label_[output]
            columns.append(column)
        return self._as_y(columns)
