"""Estimators that learn from targets: fitting, attaching to an index, and turning votes into predictions."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, RegressorMixin, is_regressor
from sklearn.exceptions import DataConversionWarning
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from ragknn._checks import check_type
from ragknn._ids import passage_id
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.reading import stored_labels
from ragknn.estimators._neighbors import NeighborsBase, checked_data
from ragknn.estimators._rows import Spot, read_mark
from ragknn.estimators._rowstore import Rows
from ragknn.indexing.index import Index
from ragknn.records import Label
from ragknn.voting._arithmetic import neighbor_weights
from ragknn.voting._ballots import sorted_labels

ZERO_WEIGHTS = (
    "All neighbors of some sample is getting zero weights. Please modify 'weights' to avoid this case if you are "
    "using a user-defined function."
)


class Supervised(NeighborsBase):
    """Fitting with targets, or with the labels in an index."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NeighborsBase._parameter_constraints,
        "weights": [StrOptions({"uniform", "distance"}), callable, None],
    }

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Store the rows of X in Redis, and remember y.

        Args:
            X: shape (n_samples, n_features); float32 is stored as float32, everything else as float64.
            y: targets, shape (n_samples,) or (n_samples, n_outputs).

        Raises:
            ValueError: invalid parameters or input.
            SchemaMismatch: `index` names an index that was built with different settings, or not by `fit`.
            ServerError: the server cannot be reached, started or used.
        """
        self._validate_params()
        checked = {"dtype": [np.float64, np.float32], "order": "C", "y_numeric": is_regressor(self)}
        rows, targets = checked_data(self, X, y, multi_output=True, **checked)
        labels = self._take_targets(targets)
        self._store(rows, labels)
        return self

    @classmethod
    def from_index(cls, name: str, *, url: str | None = None, client: Any = None, **params: Any) -> Self:
        """Return an estimator fitted on the labelled passages of an index, without `fit`.

        The rows are the passages with a label, sorted by the length of their ids and then by id; `ids_` holds the
        ids. The labels are read once: call this again when the index has changed.

        Args:
            name: name of the index, which is not changed.
            url: Redis to use; None: `RAGKNN_URL`, or the embedded server if that is not set.
            client: a client of redis-py to use instead of a URL.
            params: other parameters of the estimator, except `metric` and `algorithm`, which are the index's.

        Raises:
            TypeError: not a name, or a parameter that the index has.
            IndexNotFound: no index of that name.
            ValueError: the index has no labels, or labels that this estimator cannot learn.
            ServerError: the server cannot be reached, started or used.
        """
        check_type("name", name, str, "pass index.name, and url= where it is not that of the settings")
        if fixed := sorted(params.keys() & {"metric", "algorithm", "index"}):
            raise TypeError(
                f"expected no {' and no '.join(fixed)}, which the index has itself: leave out what was given"
            )
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
        if schema.required_filter is not None:
            raise ValueError(
                f"Expected an index without a required filter, but index {index.name!r} requires one on "
                f"{schema.required_filter!r}: vote with ragknn.LabelVoter(..., where=...)"
            )
        mark = index._run(read_mark(index._keys))  # first: of a fit meanwhile the labels are not these
        labels = index._run(_reading_labels(index))
        schema = index.schema
        if not labels:
            raise ValueError(f"Expected labelled passages in index {index.name!r}, but none has a label")
        sorted_labels(labels.values())  # refuses strings among numbers
        spots = sorted(labels, key=lambda spot: (len(name := passage_id(*spot)), name))
        y = np.array([labels[spot] for spot in spots])
        if is_regressor(self) and y.dtype.kind not in "biuf":
            raise ValueError(
                f"Expected numbers as labels in index {index.name!r}, but got {labels[spots[0]]!r}: use a classifier"
            )
        self._take_targets(y)
        rows = Rows(index.name, self.url, self.client, len(spots), spots, mark=mark)
        rows.attach(index)
        self._rows = rows
        self.metric = {"l2": "euclidean"}.get(schema.metric, schema.metric)
        self.algorithm = schema.algorithm
        self.ids_ = np.array([passage_id(*spot) for spot in spots])
        self.n_features_in_ = schema.dim
        self._describe(len(spots))

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        """Remember the targets; return them as labels if they can be stored."""
        raise NotImplementedError

    def _weigh(self, distances: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
        return neighbor_weights(distances, present, "uniform" if self.weights is None else self.weights)


@repeatable
def _reading_labels(index: Index) -> Flow[dict[Spot, Label]]:
    return (yield from stored_labels(index._keys))


class Classifying(ClassifierMixin, Supervised):  # type: ignore[misc]  # scikit-learn has no types
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
        """Class codes of the rows and the classes, for each output."""
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
            Shape (n_queries, n_classes), dtype float64, classes as in `classes_`; for several outputs a list of arrays.

        Raises:
            ValueError: invalid input, or votes whose weights are all 0.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        shares = self._shares(X)
        return shares if self.outputs_2d_ else shares[0]


class Averaging(RegressorMixin, Supervised):  # type: ignore[misc]  # scikit-learn has no types
    """From weights to averages."""

    def _take_targets(self, y: NDArray[Any]) -> list[Label] | None:
        self._y = y if y.dtype.kind in "biuf" else y.astype(np.float64)
        return _as_labels(y)


def _as_labels(y: NDArray[Any]) -> list[Label] | None:
    if y.dtype.kind in "mM":  # in some units their lists hold bare counts
        return None
    labels = y.tolist()
    return labels if y.ndim == 1 and all(isinstance(label, str | int | float) for label in labels) else None
