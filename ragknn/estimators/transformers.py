"""Transformers: rows to the graph of their neighbors, and texts to vectors."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ragknn._checks import check_embedder, described, in_order
from ragknn._display.bars import Told, bar_in_notebook
from ragknn._protocol.place import Bulk
from ragknn.embedding._long_texts import LongTexts, checked_choice, embed_documents
from ragknn.embedding._naming import default_embedder
from ragknn.embedding.caching import CachedEmbedder, VectorCache
from ragknn.embedding.protocols import Embedder
from ragknn.estimators._neighbors import KNeighborsMixin, NeighborsBase, checked_data, clone_sharing
from ragknn.settings import load_settings


class KNeighborsTransformer(KNeighborsMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeighborsBase):  # type: ignore[misc]
    """Turn rows into the graph of their nearest neighbors, for `metric="precomputed"`.

    Args:
        mode: "distance" for distances, with one more neighbor, since a fitted row is its own first neighbor;
            "connectivity" for ones.
        n_neighbors: number of neighbors.
        algorithm: as for `KNeighborsClassifier`, like the arguments below.
        metric: "euclidean", "minkowski", "l2" or "cosine".
        url: Redis to use.
        client: a client of redis-py to use.
        index: name of the index.
        ef_runtime: hnsw only: candidates that a search keeps.
        bulk: as for `KNeighborsClassifier`.
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
        bulk: Bulk = "auto",
    ) -> None:
        self.mode = mode
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self.metric = metric
        self.url = url
        self.client = client
        self.index = index
        self.ef_runtime = ef_runtime
        self.bulk = bulk

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Store the rows of X, shape (n_samples, n_features), in Redis; y is ignored.

        Raises:
            ValueError: invalid parameters or input.
            SchemaMismatch: `index` names an index that was built with different settings, or not by `fit`.
            ServerError: the server cannot be reached, started or used.
        """
        self._validate_params()
        self._store(checked_data(self, X, dtype=[np.float64, np.float32], order="C"))
        self._n_features_out = self.n_samples_fit_
        return self

    def transform(self, X: ArrayLike) -> Any:
        """Return the graph of the neighbors of X: CSR, shape (n_queries, n_samples_fit), rows sorted by distance.

        Raises:
            ValueError: invalid input.
            NotFittedError: not fitted yet.
            ServerError: the server cannot be reached, or refuses.
        """
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"), self.mode)


class TextEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # as above
    """Turn texts into vectors, as the first step of a `Pipeline`.

    All texts are embedded as documents, so that a text has the same vector in training and prediction.

    Args:
        embedder: embedder to use; None: the sentence-transformers model of the settings, loaded once per process.
            Clones share it.
        long_texts: what to do with a text that has more tokens than the model reads: "mean" for the mean of the vectors
            of its pieces, "cut" for the vector of its beginning, both with a `UserWarning` that says how many texts are
            too long; "fail" for an error.
        cache: where vectors are kept, so that each text is embedded once, in however many folds of a search over
            parameters it stands: True for the memory of this process, in which all that have the same embedder share
            them; a folder, which processes share (`n_jobs`), and which a later run finds again; False for nowhere.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> model = make_pipeline(TextEmbedder(), KNeighborsClassifier(metric="cosine"))
    """

    def __init__(
        self,
        embedder: Embedder | None = None,
        *,
        long_texts: LongTexts = "mean",
        cache: bool | str | Path = True,
    ) -> None:
        self.embedder = embedder
        self.long_texts = long_texts
        self.cache = cache

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
            check_embedder(self.embedder)
            return self.embedder
        settings = load_settings()
        return _shared_embedder(settings.model, settings.device)

    def _caching(self, progress: Told) -> Embedder:
        embedder = self._embedder
        if self.cache is False:
            return embedder
        if not isinstance(self.cache, bool | str | Path):
            raise TypeError(f"expected cache as True, False or a folder, got {described(self.cache)}")
        return CachedEmbedder(embedder, _shared_cache(embedder, self.cache), progress=progress)

    def fit(self, X: Iterable[str], y: Any = None) -> Self:
        """Check the texts; there is nothing to learn, and y is ignored."""
        checked_choice("long_texts", self.long_texts)
        _check_texts(X)
        return self

    def fit_transform(self, X: Iterable[str], y: Any = None, **fit_params: Any) -> NDArray[np.float32]:
        """Return what `transform` does, after `fit`; texts that can be read only once are read once."""
        texts = list(X) if isinstance(X, Iterator) else X
        vectors: NDArray[np.float32] = super().fit_transform(texts, y, **fit_params)
        return vectors

    def transform(self, X: Iterable[str]) -> NDArray[np.float32]:
        """Return one vector for each text, shape (n_samples, dim), dtype float32.

        Raises:
            TypeError: no cache.
            ValueError: not an iterable of texts, or an unknown `long_texts`.
            EmbeddingError: the model is missing, or cannot embed a text.
        """
        choice = checked_choice("long_texts", self.long_texts)
        with bar_in_notebook("texts") as progress:
            vectors, notes = embed_documents(self._caching(progress), _check_texts(X), choice)
        if told := [note for each in notes for note in each]:
            warnings.warn(f"{len(told)} of {len(notes)} texts are too long for the model; {told[0]}", stacklevel=2)
        return vectors


@cache
def _shared_embedder(model: str | None, device: str | None) -> Embedder:
    return default_embedder(model, device)


# An embedder that is gone leaves no vectors behind.
_CACHES: WeakKeyDictionary[Embedder, dict[str, VectorCache]] = WeakKeyDictionary()


def _shared_cache(embedder: Embedder, place: bool | str | Path) -> VectorCache:
    folder = None if isinstance(place, bool) else str(place)
    try:
        caches = _CACHES.setdefault(embedder, {})
    except TypeError:  # an embedder that can be no key
        caches = {}
    return caches.setdefault(folder or "", VectorCache(folder))


def _check_texts(X: Iterable[str]) -> list[str]:
    if isinstance(X, str):
        raise ValueError("Iterable over raw text documents expected, string object received.")  # noqa: TRY004  # as scikit-learn
    texts = in_order(X, "texts", "put one into a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            what = type(text).__name__
            raise ValueError(f"Iterable over raw text documents expected, got {what} in row {row}.")  # noqa: TRY004
    return texts
