"""The base of the scikit-learn estimators: rows stored in Redis, found by k or by radius.

Names and errors are those of `sklearn.neighbors`.
"""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

from numbers import Integral, Real
from operator import index as as_integer
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, csr_matrix  # type: ignore[import-untyped]
from sklearn import get_config
from sklearn.base import BaseEstimator, MultiOutputMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ragknn._checks import check_number
from ragknn._protocol.finding import stored_ids
from ragknn._protocol.place import Bulk
from ragknn._protocol.schema import Algorithm
from ragknn._protocol.vectors import find_faults
from ragknn._secrets import guarded_url
from ragknn.embedding._names import READY_VECTORS
from ragknn.errors import IndexNotFound, SchemaMismatch
from ragknn.estimators._removal import Address, is_worker
from ragknn.estimators._rows import read_mark, store_rows
from ragknn.estimators._rowstore import Fitted, Rows
from ragknn.estimators._sweeping import own_name, sweep
from ragknn.indexing.index import Index
from ragknn.records import Label, Metric

Mode: TypeAlias = Literal["connectivity", "distance"]

METRICS: dict[str, Metric] = {"euclidean": "l2", "minkowski": "l2", "l2": "l2", "cosine": "cosine"}
ALGORITHMS: dict[str, Algorithm] = {"auto": "flat", "flat": "flat", "brute": "flat", "hnsw": "hnsw"}


class NeighborsBase(MultiOutputMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fitting, pickling and cloning."""

    weights: Any
    algorithm: str
    metric: str
    client: Any
    index: str | None
    ef_runtime: int | None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "metric": [StrOptions(set(METRICS))],
        "url": [str, None],
        "client": "no_validation",
        "index": [str, None],
        "ef_runtime": [Interval(Integral, 1, None, closed="left"), None],
    }

    _rows: Rows

    @property
    def url(self) -> str | None:
        """The parameter `url`, whose password no representation shows and no pickle holds."""
        url: str | None = self.__dict__["url"]
        return url

    @url.setter
    def url(self, url: str | None) -> None:
        self.__dict__["url"] = guarded_url(url)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.algorithm == "hnsw"
        return tags

    def __sklearn_clone__(self) -> Self:
        twin: Self = clone_sharing(self, "client")
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return state if self.client is None else {**state, "client": Address(self.client)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(address := state["client"], Address):
            state = {**state, "client": address.client()}
        super().__setstate__(state)

    def _store(self, X: NDArray[Any], labels: list[Label] | None = None) -> None:
        """Store the checked rows, shape (n_samples, n_features), in an index of their own."""
        algorithm, metric = ALGORITHMS[self.algorithm], METRICS[self.metric]
        if self.ef_runtime is not None and algorithm != "hnsw":
            raise ValueError(
                f"Expected ef_runtime with algorithm='hnsw' only, but ef_runtime = {self.ef_runtime}, "
                f"algorithm = {self.algorithm!r}, which is exact"
            )
        dtype: Literal["float32", "float64"] = "float32" if X.dtype == np.float32 else "float64"
        self._refuse_faults(X, metric, dtype)
        built = {"dim": X.shape[1], "metric": metric, "algorithm": algorithm, "dtype": dtype, "text_search": False}
        mark = own_name()
        name = mark if self.index is None else self.index
        if self.index is not None:
            self._check_replaceable(name, built)
        # A copy from a process that only fitted comes back without the original, which took its index with it.
        kept = Fitted(np.array(X), built) if self.index is not None or is_worker() else None
        lasting = self.index is not None
        rows = Rows(name, self.url, self.client, len(X), mark=mark, kept=kept, lasting=lasting)
        index = rows.attach(Index(name, url=self.url, client=self.client, **built))
        if not lasting:
            rows.remove_with_me()
            index._run(sweep())
        kept_labels = labels if lasting else None
        index._run(store_rows(index._keys, index.schema, X, kept_labels, mark, lasting))
        self._rows = rows
        self._describe(X.shape[0])

    def _check_replaceable(self, name: str, built: dict[str, Any]) -> None:
        """Refuse to fill an index that no fit has filled, or one that was built otherwise by another estimator."""
        mine = getattr(self, "_rows", None)
        try:
            index = Index(name, url=self.url, client=self.client, create=False).open()
        except IndexNotFound:
            return
        try:
            mark = index._run(read_mark(index._keys))
            if mark is not None and isinstance(mine, Rows) and mine.mark == mark:
                if any(getattr(index.schema, key) != value for key, value in built.items()):
                    index.drop()
                return
            index.schema.check(name, {"embedder": READY_VECTORS, **built})
            ids = set(index._run(stored_ids(index._keys)))
            # Where fits follow each other at once, some rows may be gone or not there yet.
            if not (all(map(str.isdecimal, ids)) if mark else ids == {str(row) for row in range(len(ids))}):
                raise SchemaMismatch(name, {"document ids": ("0 to n - 1, as fit stores them", "others")})
        finally:
            index.close()

    def _describe(self, n_samples_fit: int) -> None:
        self.n_samples_fit_ = n_samples_fit
        self.effective_metric_ = {"l2": "euclidean"}.get(metric := self._rows.schema.metric, metric)
        self.effective_metric_params_: dict[str, Any] = {}

    @staticmethod
    def _refuse_faults(X: NDArray[Any], metric: Metric, dtype: Any) -> None:
        for row, reason in find_faults(X, metric, dtype).items():
            raise ValueError(f"Input X contains a row without a distance for metric={metric!r}: row {row} has {reason}")

    def _queries(self, X: ArrayLike) -> NDArray[Any]:
        """Return the queries in a form for the server, shape (n_queries, n_features)."""
        queries: NDArray[Any] = checked_data(self, X, dtype=[np.float64, np.float32], order="C", reset=False)
        schema = self._rows.schema
        self._refuse_faults(queries, schema.metric, schema.dtype)
        return queries

    def _graph(self, data: NDArray[np.float64], rows: NDArray[np.intp], ends: NDArray[np.intp]) -> Any:
        indptr = np.concatenate(([0], ends))
        kind = csr_array if get_config().get("sparse_interface") == "sparray" else csr_matrix
        return kind((data, rows, indptr), shape=(len(ends), self.n_samples_fit_))


def checked_data(estimator: Any, *arrays: Any, **options: Any) -> Any:
    """Return what scikit-learn's `validate_data` returns.

    Raises:
        ValueError: invalid input; here also numbers that no float holds.
    """
    try:
        return validate_data(estimator, *arrays, **options)
    except ArithmeticError as error:
        raise ValueError(f"Input contains a number that no float holds: {error}") from error


def clone_sharing(estimator: Any, shared: str) -> Any:
    """Return an unfitted clone that shares one parameter's object, which cannot or should not be copied."""
    bare = type(estimator)(**{**estimator.get_params(deep=False), shared: None})
    for name in ("_sklearn_output_config", "_metadata_request"):
        if name in vars(estimator):
            setattr(bare, name, vars(estimator)[name])
    twin = BaseEstimator.__sklearn_clone__(bare)
    setattr(twin, shared, getattr(estimator, shared))
    return twin


class KNeighborsMixin:
    """Searching for k neighbors."""

    n_neighbors: int
    ef_runtime: int | None
    bulk: Bulk
    n_samples_fit_: int
    _rows: Rows
    _queries: Any
    _graph: Any

    _neighbors_constraints: ClassVar[dict[str, Any]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "bulk": [StrOptions(set(get_args(Bulk)))],
    }

    def kneighbors(
        self, X: ArrayLike | None = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]] | NDArray[np.intp]:
        """Find the nearest fitted rows, nearest first; equally near rows are in the order of X.

        Args:
            X: queries, shape (n_queries, n_features); None: the fitted rows, where no row is its own neighbor.
            n_neighbors: number of neighbors; None: the estimator's parameter.
            return_distance: whether to return the distances too.

        Returns:
            Distances, shape (n_queries, n_neighbors), dtype float64, unless left out; and the rows' numbers, the
            same shape, dtype intp.

        Raises:
            ValueError: invalid input, or more neighbors than there are rows.
            NotFittedError: not fitted yet.
            SchemaMismatch: the stored rows are no longer those that were fitted.
            IncompleteRetrieval: the server stopped early, or the hnsw graph led to too few rows.
            ServerError: the server cannot be reached, or refuses.
        """
        distances, rows = self._find_k(X, n_neighbors)
        return (distances, rows) if return_distance else rows

    def _find_k(
        self, X: ArrayLike | None, n_neighbors: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        check_is_fitted(self)
        n_neighbors = self.n_neighbors if n_neighbors is None else n_neighbors
        if not isinstance(n_neighbors, Integral):
            raise TypeError(f"n_neighbors does not take {type(n_neighbors)} value, enter integer value")
        if n_neighbors <= 0:
            raise ValueError(f"Expected n_neighbors > 0. Got {n_neighbors}")
        queries = None if X is None else self._queries(X)
        k = as_integer(n_neighbors) + (X is None)
        if k > self.n_samples_fit_:
            n_samples = self.n_samples_fit_ if queries is None else len(queries)
            raise ValueError(
                f"Expected n_neighbors {'<' if X is None else '<='} n_samples_fit, but n_neighbors = {n_neighbors}, "
                f"n_samples_fit = {self.n_samples_fit_}, n_samples = {n_samples}"
            )
        asked = self._rows.vectors() if queries is None else queries
        distances, rows = self._rows.nearest(asked, k, self.ef_runtime, self.bulk)
        if queries is not None:
            return distances, rows
        others = rows != np.arange(len(rows))[:, np.newaxis]
        others[others.all(axis=1), -1] = False  # too many duplicates: the row itself is not among the first k
        return distances[others].reshape(-1, k - 1), rows[others].reshape(-1, k - 1)

    def kneighbors_graph(
        self, X: ArrayLike | None = None, n_neighbors: int | None = None, mode: Mode = "connectivity"
    ) -> Any:
        """Return the neighbors as a sparse graph; see `kneighbors` for the errors.

        Args:
            X: as for `kneighbors`.
            n_neighbors: as for `kneighbors`.
            mode: "connectivity" for ones, "distance" for the distances.

        Returns:
            CSR, shape (n_queries, n_samples_fit), dtype float64; each row sorted by distance.
        """
        _check_mode(mode)
        distances, rows = self._find_k(X, n_neighbors)
        data = distances.ravel() if mode == "distance" else np.ones(rows.size)
        return self._graph(data, rows.ravel(), np.arange(1, len(rows) + 1) * rows.shape[1])


class RadiusNeighborsMixin:
    """Searching for all neighbors within a radius."""

    radius: float
    _rows: Rows
    _queries: Any
    _graph: Any

    _neighbors_constraints: ClassVar[dict[str, Any]] = {"radius": [Interval(Real, 0, None, closed="both")]}

    def radius_neighbors(
        self,
        X: ArrayLike | None = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]] | NDArray[np.object_]:
        """Find all fitted rows within the radius, inclusive.

        Args:
            X: queries, shape (n_queries, n_features); None: the fitted rows, where no row is its own neighbor.
            radius: largest distance; None: the estimator's parameter.
            return_distance: whether to return the distances too.
            sort_results: ignored: neighbors are always sorted by distance, equally near ones in the order of X.

        Returns:
            Distances, unless left out, and the rows' numbers: object arrays of shape (n_queries,), with one array
            for each query, dtypes float64 and intp.

        Raises:
            ValueError: invalid input.
            NotFittedError: not fitted yet.
            SchemaMismatch: the stored rows are no longer those that were fitted.
            IncompleteRetrieval: the server stopped early.
            ServerError: the server cannot be reached, or refuses.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        found = self._find_within(X, radius)
        distances, rows = (as_objects(column) for column in found)
        return (distances, rows) if return_distance else rows

    def _find_within(
        self, X: ArrayLike | None, radius: float | None = None
    ) -> tuple[list[NDArray[np.float64]], list[NDArray[np.intp]]]:
        check_is_fitted(self)
        radius = check_number("radius", self.radius if radius is None else radius)
        queries = self._rows.vectors() if X is None else self._queries(X)
        distances, rows = [], []
        for number, retrieval in enumerate(self._rows.within(queries, radius + self._rows.cosine_zero)):
            far, row = self._rows.as_arrays(retrieval)
            kept = (far <= radius) & ((row != number) | (X is not None))
            distances.append(far[kept])
            rows.append(row[kept])
        return distances, rows

    def radius_neighbors_graph(
        self,
        X: ArrayLike | None = None,
        radius: float | None = None,
        mode: Mode = "connectivity",
        sort_results: bool = False,
    ) -> Any:
        """Return the neighbors within the radius as a sparse graph; see `radius_neighbors` for the errors.

        Args:
            X: as for `radius_neighbors`.
            radius: as for `radius_neighbors`.
            mode: "connectivity" for ones, "distance" for the distances.
            sort_results: ignored: rows are always sorted by distance.

        Returns:
            CSR, shape (n_queries, n_samples_fit), dtype float64.
        """
        _check_mode(mode)
        distances, rows = self._find_within(X, radius)
        data = np.concatenate(distances)
        return self._graph(
            data if mode == "distance" else np.ones_like(data), np.concatenate(rows), np.cumsum(list(map(len, rows)))
        )


def _check_mode(mode: str) -> None:
    if mode not in ("connectivity", "distance"):
        raise ValueError(f'Unsupported mode, must be one of "connectivity", or "distance" but got "{mode}" instead')


def as_objects(arrays: list[NDArray[Any]]) -> NDArray[np.object_]:
    """Return the arrays, which may differ in length, as an object array of shape (len(arrays),)."""
    objects = np.empty(len(arrays), dtype=object)
    for position, array in enumerate(arrays):
        objects[position] = array
    return objects


def padded(arrays: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the arrays as rows of one array, padded with zeros, and a mask of the values that are not padding."""
    lengths = np.array([len(array) for array in arrays], dtype=np.intp)
    present = np.arange(lengths.max(initial=0)) < lengths[:, np.newaxis]
    values = np.zeros(present.shape, dtype=arrays[0].dtype if arrays else np.float64)
    values[present] = np.concatenate(arrays)
    return values, present
