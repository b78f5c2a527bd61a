"""scikit-learn estimators whose neighbors come from Redis, and whose answers are those of `sklearn.neighbors`.

    from ragknn.estimators import KNeighborsClassifier

    model = KNeighborsClassifier(n_neighbors=3).fit(X, y)    # no Redis named: an embedded one is started
    model.predict(X_new)

scikit-learn is optional: `pip install 'ragknn[sklearn]'`.
"""

# ruff: noqa: N803  # X is the word of the field

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn.ballot import sorted_labels
from ragknn.commands import stored_labels
from ragknn.connection import run
from ragknn.embedding import DEFAULT_MODEL, Embedder, SentenceEmbedder
from ragknn.errors import MissingDependency
from ragknn.index import Index
from ragknn.records import Label
from ragknn.rowstore import Rows
from ragknn.settings import load_settings
from ragknn.voting import class_shares, neighbor_weights, weighted_average, winners

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        RegressorMixin,
        TransformerMixin,
        is_regressor,
    )
    from sklearn.exceptions import DataConversionWarning
    from sklearn.utils._param_validation import StrOptions
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    raise MissingDependency("scikit-learn", "ragknn.estimators", "sklearn") from error

from ragknn.neighbors import KNeighborsMixin, NeighborsBase, RadiusNeighborsMixin, clone_sharing, padded

__all__ = [
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "RadiusNeighborsClassifier",
    "RadiusNeighborsRegressor",
    "TextEmbedder",
]


class _Supervised(NeighborsBase):
    """Fitting with targets, or with the labels that an index holds already."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NeighborsBase._parameter_constraints,
        "weights": [StrOptions({"uniform", "distance"}), callable, None],
    }

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Store the rows of X in Redis, and keep y.

        Args:
            X: shape (n_samples, n_features); float32 is stored as float32, everything else as float64.
            y: targets, shape (n_samples,) or (n_samples, n_outputs).

        Raises:
            ValueError: parameters or input that cannot be.
            SchemaMismatch: `index` names one that was built otherwise, or that no `fit` has filled.
            ServerError: the server cannot be reached, started or used.
        """
        self._validate_params()
        checked = {"dtype": [np.float64, np.float32], "order": "C", "y_numeric": is_regressor(self)}
        rows, targets = validate_data(self, X, y, multi_output=True, **checked)
        labels = self._take_targets(targets)
        self._store(rows, labels)
        return self

    @classmethod
    def from_index(cls, name: str, *, url: str | None = None, client: Any = None, **params: Any) -> Self:
        """Return an estimator on the labelled passages of an index, fitted without `fit`.

        The rows are the passages with a label, sorted by the length of their ids and then by these; `ids_` holds
        them. The labels are read once: attach again when the index has changed.

        Args:
            name: of the index; it stays as it is.
            url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.
            client: a client of redis-py to use instead of a URL.
            params: others of the estimator, but for `metric` and `algorithm`, which are those of the index.

        Raises:
            IndexNotFound: there is none of that name.
            ValueError: it holds no labels, or not such as this estimator can learn.
        """
        estimator = cls(index=name, url=url, client=client, metric="euclidean", algorithm="auto", **params)
        estimator._validate_params()
        index = Index(name, url=url, client=client, create=False).open()
        try:
            estimator._attach(index)
        except BaseException:
            index.close()
            raise
        return estimator

    def _attach(self, index: Index) -> None:
        schema = index.schema
        labels = run(index.client, stored_labels(index.keys))
        if not labels:
            raise ValueError(f"Expected labelled passages in index {index.name!r}, but none has a label")
        sorted_labels(labels.values())  # refuses strings among numbers
        ids = sorted(labels, key=lambda passage_id: (len(passage_id), passage_id))
        y = np.array([labels[passage_id] for passage_id in ids])
        if is_regressor(self) and y.dtype.kind not in "biuf":
            raise ValueError(
                f"Expected numbers as labels in index {index.name!r}, but got {labels[ids[0]]!r}: use a classifier"
            )
        self._take_targets(y)
        rows = Rows(index.name, self.url, self.client, len(ids), ids)
        rows.attach(index)
        self._rows = rows
        self.metric = {"l2": "euclidean"}.get(schema.metric, schema.metric)
        self.algorithm = schema.algorithm
        self.ids_ = np.array(ids)
        self.n_features_in_ = schema.dim
        self._describe(len(ids))

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        """Keep the targets; return them as labels if they can be stored as such."""
        raise NotImplementedError

    def _weigh(self, distances: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        return neighbor_weights(distances, present, "uniform" if self.weights is None else self.weights)


class _Classifying(ClassifierMixin, _Supervised):  # type: ignore[misc]  # scikit-learn has no types
    """From shares to classes."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                "(n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=3,
            )
            y = y.ravel()
        check_classification_targets(y)
        self.outputs_2d_ = y.ndim == 2
        columns = [np.unique(column, return_inverse=True) for column in (y.T if self.outputs_2d_ else [y])]
        classes = [values for values, _ in columns]
        codes = [np.asarray(inverse, dtype=np.intp).ravel() for _, inverse in columns]
        self.classes_ = classes if self.outputs_2d_ else classes[0]
        self._y = np.stack(codes, axis=1) if self.outputs_2d_ else codes[0]
        return _as_labels(y)

    @property
    def _outputs(self) -> list[tuple[NDArray[np.intp], NDArray[Any]]]:
        """For each output the class codes of the rows, and the classes."""
        if isinstance(self.classes_, list):
            return [(self._y[:, output], classes) for output, classes in enumerate(self.classes_)]
        return [(self._y, self.classes_)]

    def _shares(self, X: ArrayLike | None) -> list[NDArray[np.float64]]:
        raise NotImplementedError

    def _as_y(self, columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(columns, axis=1) if self.outputs_2d_ else columns[0]

    def predict_proba(self, X: ArrayLike | None) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Return the share of each class in the votes.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each voted on by the others.

        Returns:
            Shape (n_queries, n_classes), dtype float64, classes as in `classes_`; for several outputs a list of such.

        Raises:
            ValueError: wrong input, or votes that all weigh 0.
            NotFittedError: not fitted yet.
        """
        shares = self._shares(X)
        return shares if self.outputs_2d_ else shares[0]


class _Averaging(RegressorMixin, _Supervised):  # type: ignore[misc]  # scikit-learn has no types
    """From weights to averages."""

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        self._y = y
        return _as_labels(y)


class KNeighborsClassifier(KNeighborsMixin, _Classifying):
    """Classify by a vote of the k nearest rows, which Redis finds.

    Of equally near rows the first come first, so that answers do not depend on anything but the data; of classes
    with equal shares the first in sorted order wins.

    Args:
        n_neighbors: how many rows vote.
        weights: "uniform", "distance" (1/d; rows at distance 0 outvote all others), or a callable that makes
            weights of distances, shape (n_queries, n_neighbors).
        algorithm: "auto", "flat" and "brute" look at every row and are exact; "hnsw" walks a graph and is
            approximate.
        metric: "euclidean" (the same as "l2", and as "minkowski" with p=2) or "cosine", which refuses zero vectors.
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server. A password in it shows
            where the estimator is printed.
        client: a client of redis-py to use instead of a URL. Clones share it; a pickled copy makes its own.
        index: name of the index that `fit` fills. It stays, and a later `fit` replaces what an earlier one left
            under the name. None: an index of its own for each fit, removed with the estimator. Copies made by pickle
            or clone do not keep it alive.
        ef_runtime: hnsw only: candidates that a search keeps; None: 100, or twice n_neighbors where that is more.

    Attributes:
        classes_: sorted classes, shape (n_classes,); a list of such for several outputs.
        outputs_2d_: whether y has several outputs.
        n_features_in_: columns of X.
        feature_names_in_: their names, where X has some.
        n_samples_fit_: number of rows.
        effective_metric_: "euclidean" or "cosine"; "ip" on an index with that metric.
        ids_: after `from_index`: the passage ids of the rows.

    Example:
        >>> model = KNeighborsClassifier(n_neighbors=3).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
        >>> model.predict([[1.1]])
        array([0])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Supervised._parameter_constraints,
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
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index
        self.ef_runtime = ef_runtime

    def _shares(self, X: ArrayLike | None) -> list[NDArray[np.float64]]:
        distances, rows = self._find_k(X)
        weights = self._weigh(distances, np.ones_like(distances, dtype=bool))
        if (weights == 0).all(axis=1).any():
            raise ValueError(_ZERO_WEIGHTS)
        return [class_shares(codes[rows], weights, len(classes)) for codes, classes in self._outputs]

    def predict(self, X: ArrayLike | None) -> NDArray[Any]:
        """Return the class of each query.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each voted on by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs).

        Raises:
            ValueError: wrong input, or votes that all weigh 0.
            NotFittedError: not fitted yet.
        """
        shares = self._shares(X)
        return self._as_y([classes[winners(s)] for s, (_, classes) in zip(shares, self._outputs, strict=True)])


class KNeighborsRegressor(KNeighborsMixin, _Averaging):
    """Predict the average of the k nearest rows, which Redis finds. For the arguments see `KNeighborsClassifier`."""

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
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index
        self.ef_runtime = ef_runtime

    def predict(self, X: ArrayLike | None) -> NDArray[np.float64]:
        """Return the average of the neighbors' numbers for each query.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each predicted by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs), dtype float64; NaN where all weights are 0.

        Raises:
            ValueError: wrong input.
            NotFittedError: not fitted yet.
        """
        distances, rows = self._find_k(X)
        return weighted_average(self._y[rows], self._weigh(distances, np.ones_like(distances, dtype=bool)))


class RadiusNeighborsClassifier(RadiusNeighborsMixin, _Classifying):
    """Classify by a vote of all rows within a radius, which Redis finds.

    Args:
        radius: largest distance, inclusive.
        weights: as for `KNeighborsClassifier`, and so on for all others. A callable is called for each query, with
            shape (1, n_neighbors of the query), where queries have different numbers of neighbors.
        algorithm: "hnsw" may miss rows within the radius.
        metric: "euclidean", "minkowski", "l2" or "cosine".
        outlier_label: class of a query without neighbors: one for all outputs, a list of one for each, or
            "most_frequent"; None: such a query is an error.
        url: Redis to use.
        client: a client of redis-py to use.
        index: name of the index.

    Attributes:
        outlier_label_: for each output the class of a query without neighbors, or None.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Supervised._parameter_constraints,
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
            ValueError: wrong input, a query without neighbors and no `outlier_label`, or votes that all weigh 0.
            NotFittedError: not fitted yet.
        """
        columns = []
        for output, share in enumerate(self._shares(X)):
            column = self._outputs[output][1][winners(share)]
            blank = ~share.any(axis=1)
            if blank.any():
                if self.outlier_label_ is None:
                    raise ValueError(_ZERO_WEIGHTS)
                column[blank] = self.outlier_label_[output]
            columns.append(column)
        return self._as_y(columns)


class RadiusNeighborsRegressor(RadiusNeighborsMixin, _Averaging):
    """Predict the average of all rows within a radius. For the arguments see `RadiusNeighborsClassifier`."""

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
        """Return the average of the neighbors' numbers for each query, NaN and a warning where it has none.

        Args:
            X: shape (n_queries, n_features); None: the fitted rows, each predicted by the others.

        Returns:
            Shape (n_queries,) or (n_queries, n_outputs), dtype float64.
        """
        distances, rows = self._find_within(X)
        far, present = padded(distances)
        near, _ = padded(rows)
        if not present.any(axis=1).all():
            warnings.warn(
                "One or more samples have no neighbors within specified radius; predicting NaN.", stacklevel=2
            )
        return weighted_average(self._y[near], self._weigh(far, present))


class KNeighborsTransformer(KNeighborsMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeighborsBase):  # type: ignore[misc]
    """Turn rows into the graph of their nearest neighbors, for `metric="precomputed"`.

    Args:
        mode: "distance" for distances, with one neighbor more, since a fitted row is its own first neighbor;
            "connectivity" for ones.
        n_neighbors: how many.
        algorithm: as for `KNeighborsClassifier`, and so on for all others.
        metric: "euclidean", "minkowski", "l2" or "cosine".
        url: Redis to use.
        client: a client of redis-py to use.
        index: name of the index.
        ef_runtime: hnsw only: candidates that a search keeps.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NeighborsBase._parameter_constraints,
        **KNeighborsMixin._neighbors_constraints,
        "mode": [StrOptions({"distance", "connectivity"})],
    }

    def __init__(
        self,
        *,
        mode: Literal["distance", "connectivity"] = "distance",
        n_neighbors: int = 5,
        algorithm: str = "auto",
        metric: str = "euclidean",
        url: str | None = None,
        client: Any = None,
        index: str | None = None,
        ef_runtime: int | None = None,
    ) -> None:
        self.mode = mode
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index
        self.ef_runtime = ef_runtime

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Store the rows of X, shape (n_samples, n_features), in Redis; y does not matter."""
        self._validate_params()
        self._store(validate_data(self, X, dtype=[np.float64, np.float32], order="C"))
        self._n_features_out = self.n_samples_fit_
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the graph of the neighbors of X: CSR, shape (n_queries, n_samples_fit), rows sorted by distance."""
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"), self.mode)


class TextEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # as above
    """Turn texts into vectors, as the first step of a `Pipeline`.

    Every text is embedded as a document, in `fit` and afterwards, so that the same text has the same vector.

    Args:
        embedder: what embeds; None: the sentence-transformers model of the settings, loaded once a process. Clones
            share it.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> model = make_pipeline(TextEmbedder(), KNeighborsClassifier(metric="cosine"))
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.embedder = embedder

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_clone__(self) -> Self:
        twin: Self = clone_sharing(self, "embedder")
        return twin

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def _n_features_out(self) -> int:
        return self._embedder.dim

    @property
    def _embedder(self) -> Embedder:
        if self.embedder is not None:
            return self.embedder
        settings = load_settings()
        return _default_embedder(settings.model or DEFAULT_MODEL, settings.device)

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Check the texts; there is nothing to learn, and y does not matter."""
        _check_texts(X)
        return self

    def transform(self, X: Iterable[str]) -> NDArray[np.float32]:
        """Return one vector for each text, shape (n_samples, dim), dtype float32.

        Raises:
            ValueError: not an iterable of texts.
            EmbeddingError: the model is missing, or cannot embed one of them.
        """
        return self._embedder.embed_documents(_check_texts(X))


@cache
def _default_embedder(model: str, device: str | None) -> SentenceEmbedder:
    return SentenceEmbedder(model, device=device)


def _check_texts(X: Iterable[str]) -> list[str]:
    if isinstance(X, str):
        raise ValueError("Iterable over raw text documents expected, string object received.")  # noqa: TRY004  # as scikit-learn
    texts = list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            what = type(text).__name__
            raise ValueError(f"Iterable over raw text documents expected, got {what} in row {row}.")  # noqa: TRY004
    return [str(text) for text in texts]  # the strings of NumPy are not Python's


def _as_labels(y: NDArray[Any]) -> list[Label] | None:
    labels = y.tolist()
    return labels if y.ndim == 1 and all(isinstance(label, str | int | float) for label in labels) else None


_ZERO_WEIGHTS = (
    "All neighbors of some sample is getting zero weights. Please modify 'weights' to avoid this case if you are "
    "using a user-defined function."
)
