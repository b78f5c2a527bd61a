"""The rows of a fitted estimator in Redis: reading, searching, and removing them with the estimator."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import weakref
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.keys import Keys
from ragknn._protocol.query import EVERYTHING, LABELLED
from ragknn.errors import ConnectionFailed, IncompleteRetrieval, IndexNotFound, RagKNNError, SchemaMismatch
from ragknn.estimators._rows import Spot, fetch_rows, remove_rows
from ragknn.indexing.index import Index
from ragknn.records import Passage, Retrieval
from ragknn.retrieval._asking import near
from ragknn.retrieval._commands import IDS
from ragknn.retrieval._pipeline import select
from ragknn.retrieval._plan import make_plan
from ragknn.retrieval.options import Options
from ragknn.server._connection import run

logger = logging.getLogger(__name__)

# A cosine distance below this is rounding, and counts as 0: the server's distance of a vector to itself is up to
# 2.4e-7 in float32, and 5.6e-15 in float64 (200 random vectors each of 1 to 4,096 values).
COSINE_ZERO = {"float64": 1e-13}
COSINE_ZERO_ELSEWHERE = 5e-7


class Address:
    """The connection settings of a client, to reach its server from another process or after the client is gone."""

    def __init__(self, client: Any) -> None:
        pool = client.connection_pool
        self._classes = type(client), type(pool), pool.connection_class
        plain = str | bytes | int | float | None
        options = pool.connection_kwargs.items()
        self._options = {key: value for key, value in options if isinstance(value, plain) or key == "retry"}

    def client(self) -> Any:
        """Return a new client; it connects on first use."""
        client_class, pool_class, connection_class = self._classes
        return client_class.from_pool(pool_class(connection_class=connection_class, **self._options))


class Rows:
    """The rows of a fitted estimator: an index that is opened on first use, in a pickled copy too.

    Args:
        name: name of the index.
        url: Redis to use, or None.
        client: the user's client, or None.
        size: number of rows.
        spots: place of each row; None: row n is the document "n", as `fit` stores it.
    """

    def __init__(self, name: str, url: str | None, client: Any, size: int, spots: list[Spot] | None = None) -> None:
        self.name = name
        self.size = size
        self.spots = spots
        self._url = url
        self._client = client
        self._index: Index | None = None
        self._finalizer: Any = None
        self._row_at = None if spots is None else {spot: row for row, spot in enumerate(spots)}

    def __getstate__(self) -> dict[str, Any]:
        client = None if self._client is None else Address(self._client)
        return {**self.__dict__, "_index": None, "_client": client, "_finalizer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._client is not None:
            self._client = self._client.client()

    @property
    def index(self) -> Index:
        """The index, open."""
        if self._index is None:
            return self.attach(Index(self.name, url=self._url, client=self._client, create=False))
        return self._index

    def attach(self, index: Index) -> Index:
        """Use this index; open it if necessary."""
        try:
            self._index = index.__enter__()
            return self._index
        except IndexNotFound as error:
            raise IndexNotFound(
                f"expected the index {self.name!r} of a fitted estimator, got none: an index that you did not name is "
                "removed with the estimator that was fitted. Name it (index=...) to use it from copies in other "
                "processes, or fit again"
            ) from error

    def remove_with_me(self) -> None:
        """Remove the index when this object is garbage-collected, and at the end of the process."""
        arguments = (Address(self.index.client), Keys(self.name), self.size, os.getpid())
        self._finalizer = weakref.finalize(self, _remove, *arguments)
        self._finalizer.atexit = False  # `_remove_all` does it at exit, while the server still runs
        _owned.add(self)
        # The last registered function runs first, and the embedded server may have been registered just now.
        atexit.unregister(_remove_all)
        atexit.register(_remove_all)
        if multiprocessing.parent_process() is not None:
            _remove_at_end_of_worker(os.getpid())

    def remove(self) -> None:
        """Remove the index now, if it is removed with this object."""
        if self._finalizer is not None:
            self._finalizer()

    def vectors(self) -> NDArray[Any]:
        """Return all rows, shape (n_samples_fit, n_features), in the index's dtype."""
        spots = self.spots or [(str(row), 0) for row in range(self.size)]
        index = self.index
        return index._run(fetch_rows(index._keys, index.schema, spots))

    def nearest(self, X: NDArray[Any], k: int, ef_runtime: int | None) -> list[Retrieval]:
        """Return the k nearest rows of each row of X, shape (n_queries, n_features)."""
        retrievals = self._retrieve(X, k, {"ef_runtime": ef_runtime})
        for retrieval in retrievals:
            if len(retrieval) < k:
                self._explain(retrieval, k)
        return retrievals

    def within(self, X: NDArray[Any], radius: float) -> list[Retrieval]:
        """Return all rows within the radius of each row of X, shape (n_queries, n_features)."""
        return self._retrieve(X, None, {"max_distance": radius})

    def _retrieve(self, X: NDArray[Any], k: int | None, options: Options) -> list[Retrieval]:
        index = self.index
        among = EVERYTHING if self.spots is None else LABELLED
        plan = replace(make_plan(index.schema, among, k, options), returned=IDS)
        return index._run(select(index._place(), near(index, X), plan))

    def _explain(self, retrieval: Retrieval, k: int) -> None:
        found = self.index.count()
        if found < self.size:
            raise SchemaMismatch(self.name, {"rows": (self.size, found)})
        reason = f"the hnsw graph led to {len(retrieval)} of {k} neighbors; raise ef_runtime"
        raise IncompleteRetrieval(Retrieval(retrieval.neighbors, complete=False, warnings=[reason]))

    def as_arrays(self, retrieval: Retrieval) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the distances and rows of the neighbors, sorted by distance and then by row."""
        distances = np.array(retrieval.distances, dtype=np.float64)
        if self.index.schema.metric == "cosine":
            distances[distances < self.cosine_zero] = 0.0
        rows = np.array([self._row(passage) for passage in retrieval.passages], dtype=np.intp)
        order = np.lexsort((rows, distances))
        return distances[order], rows[order]

    @property
    def cosine_zero(self) -> float:
        """Limit below which a cosine distance is rounding; 0 for other metrics."""
        schema = self.index.schema
        return COSINE_ZERO.get(schema.dtype, COSINE_ZERO_ELSEWHERE) if schema.metric == "cosine" else 0.0

    def _row(self, passage: Passage) -> int:
        document_id, number = passage.document_id, passage.number
        if self._row_at is not None:
            row = self._row_at.get((document_id, number or 0), -1)
        else:
            row = int(document_id) if document_id.isdecimal() and number == 0 else -1
        if not 0 <= row < self.size:
            raise SchemaMismatch(self.name, {"rows": (f"the {self.size} that were fitted", f"passage {passage.id}")})
        return row


_owned: weakref.WeakSet[Rows] = weakref.WeakSet()


def _remove(address: Address, keys: Keys, size: int, pid: int) -> None:
    if os.getpid() != pid:  # in a forked child: the index belongs to the parent
        return
    client = address.client()
    try:
        run(client, remove_rows(keys, size))
    except RagKNNError as error:
        # A server that has stopped, as at the end of a test, does not need a warning.
        level = logging.INFO if isinstance(error, ConnectionFailed) else logging.WARNING
        logger.log(level, "could not remove index %r of an estimator: %s", keys.name, error)
    finally:
        client.close()


def _remove_all() -> None:
    for rows in list(_owned):
        rows.remove()


@cache
def _remove_at_end_of_worker(pid: int) -> None:
    # A process that multiprocessing has forked ends without atexit, but runs these finalizers, by descending priority.
    from multiprocessing import util  # late: only a worker needs it

    util.Finalize(None, _remove_all, exitpriority=1)
