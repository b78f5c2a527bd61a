"""The rows of a fitted estimator in Redis: reading and searching them."""

# ruff: noqa: N803  # X is the usual name

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragknn._ids import passage_id
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.place import Bulk
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment
from ragknn._protocol.replies import as_text
from ragknn._protocol.schema import Schema
from ragknn._protocol.version import Version
from ragknn.errors import ConnectionFailed, IncompleteRetrieval, IndexNotFound, RagKNNError, SchemaMismatch
from ragknn.estimators._removal import Address, remove_with
from ragknn.estimators._rows import Spot, fetch_rows, read_mark, store_rows
from ragknn.estimators._sweeping import own_name
from ragknn.indexing.index import Index
from ragknn.records import Retrieval
from ragknn.retrieval._asking import near
from ragknn.retrieval._bulk import Nearest, find_in_memory
from ragknn.retrieval._commands import IDS
from ragknn.retrieval._pipeline import select
from ragknn.retrieval._plan import make_plan
from ragknn.retrieval.options import Options

T = TypeVar("T")

# A cosine distance below this is rounding, and counts as 0: the server's distance of a vector to itself is up to
# 2.4e-7 in float32, and 5.6e-15 in float64 (200 random vectors each of 1 to 4,096 values).
COSINE_ZERO = {"float64": 1e-13}
COSINE_ZERO_ELSEWHERE = 5e-7


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit stored, kept to store it again.

    Attributes:
        X: the rows, shape (n_samples, n_features).
        built: arguments of the index that they are stored in.
    """

    X: NDArray[Any]
    built: Mapping[str, Any]


class Rows:
    """The rows of a fitted estimator: an index that is opened on first use, in a pickled copy too.

    Estimators of one name replace each other's rows: clones in a `BaggingClassifier`, or in processes that fit at the
    same time. Each fit leaves its mark in the index; whoever finds another there stores the own rows anew, in an index
    that is removed with it.

    Args:
        name: name of the index.
        url: Redis to use, or None.
        client: the user's client, or None.
        size: number of rows.
        spots: place of each row; None: row n is the document "n", as `fit` stores it.
        mark: mark of the fit whose rows they are; None: of an index that was filled by other means.
        kept: the rows, to store them anew where they are no longer there; None: that is an error.
        lasting: whether the index is there until it is dropped, so that it is an error if it is gone.
    """

    def __init__(
        self,
        name: str,
        url: str | None,
        client: Any,
        size: int,
        spots: list[Spot] | None = None,
        *,
        mark: str | None = None,
        kept: Fitted | None = None,
        lasting: bool = True,
    ) -> None:
        self.name = name
        self.size = size
        self.spots = spots
        self.mark = mark
        self._kept = kept
        self._lasting = lasting
        self._url = url
        self._client = client
        self._index: Index | None = None
        self._stand_in: Rows | None = None
        self._known: tuple[Version, NDArray[np.intp]] | None = None
        self._row_at = None if spots is None else {spot: row for row, spot in enumerate(spots)}

    def __getstate__(self) -> dict[str, Any]:
        client = None if self._client is None else Address(self._client)
        kept = {name: value for name, value in self.__dict__.items() if name != "_row_keys"}
        return {**kept, "_index": None, "_client": client, "_stand_in": None, "_known": None}

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

    @property
    def schema(self) -> Schema:
        """The schema of the index."""
        return self._answered(lambda rows: rows.index.schema) if self._index is None else self._index.schema

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
        remove_with(self, self.index.client, self.name, self.size)

    def vectors(self) -> NDArray[Any]:
        """Return all rows, shape (n_samples_fit, n_features), in the index's dtype."""
        return self._answered(lambda rows: rows._vectors())

    def nearest(
        self, X: NDArray[Any], k: int, ef_runtime: int | None, bulk: Bulk
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the distances and numbers of the k nearest rows of each row of X, shape (n_queries, n_features).

        Both of shape (n_queries, k), sorted by distance and then by row.
        """
        return self._answered(lambda rows: rows._nearest(X, k, ef_runtime, bulk))

    def within(self, X: NDArray[Any], radius: float) -> list[Retrieval]:
        """Return all rows within the radius of each row of X, shape (n_queries, n_features)."""
        return self._answered(lambda rows: rows._retrieve(X, None, {"max_distance": radius}))

    def _answered(self, ask: Callable[[Rows], T]) -> T:
        """Ask these rows; where another fit has replaced them, before or meanwhile, ask the same rows stored anew."""
        if (stand_in := self._stand_in) is None:
            try:
                answer = ask(self)
            except ConnectionFailed:
                raise
            except RagKNNError:
                if self._are_mine():
                    raise
            else:
                if self._are_mine():
                    return answer
            self._stand_in = stand_in = self._stored_anew()
        return ask(stand_in)

    def _are_mine(self) -> bool:
        """Tell whether the index holds the rows of this fit; if not, they can be stored anew.

        Raises:
            IndexNotFound: the index is gone.
            SchemaMismatch: it holds others, and these were not kept.
        """
        try:
            index = self.index
            mark = index._run(read_mark(index._keys))
        except IndexNotFound:
            if self._lasting or self._kept is None:
                raise
            return False
        if mark != self.mark and self._kept is None:
            raise SchemaMismatch(self.name, {"rows": ("those that were there", "those of a later fit")})
        return mark == self.mark

    def _stored_anew(self) -> Rows:
        if self._kept is None:
            raise SchemaMismatch(self.name, {"rows": ("those that were fitted", "others")})
        name = own_name()
        rows = Rows(name, self._url, self._client, self.size, mark=name)
        index = rows.attach(Index(name, url=self._url, client=self._client, **self._kept.built))
        rows.remove_with_me()
        index._run(store_rows(index._keys, index.schema, self._kept.X, None, name, False))
        return rows

    def _vectors(self) -> NDArray[Any]:
        spots = self.spots or [(str(row), 0) for row in range(self.size)]
        index = self.index
        return index._run(_fetching(index, spots))

    def _nearest(
        self, X: NDArray[Any], k: int, ef_runtime: int | None, bulk: Bulk
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        index = self.index
        those = index._run(_finding_in_memory(index, bulk, X, k, self._among, self._row_keys))
        if those is not None and those.rows.shape[1] == k:
            return self._in_order(those.distances, self._numbers_of(those))
        retrievals = self._retrieve(X, k, {"ef_runtime": ef_runtime})
        for retrieval in retrievals:
            if len(retrieval) < k:
                self._explain(retrieval, k)
        pairs = [self.as_arrays(retrieval) for retrieval in retrievals]
        distances, rows = (np.stack(column) for column in zip(*pairs, strict=True))
        return distances, rows

    @cached_property
    def _row_keys(self) -> Sequence[bytes]:
        """The keys of all rows, in their order, where row n is the document "n"; none where the index has others."""
        keys = self.index._keys
        return [keys.record(str(row)).encode() for row in range(self.size)] if self.spots is None else ()

    @property
    def _among(self) -> Fragment:
        return EVERYTHING if self.spots is None else LABELLED

    def _retrieve(self, X: NDArray[Any], k: int | None, options: Options) -> list[Retrieval]:
        return self.index._run(_finding(self.index, X, k, self._among, options))

    def _explain(self, retrieval: Retrieval, k: int) -> None:
        found = self.index.count()
        if found < self.size:
            raise SchemaMismatch(self.name, {"rows": (self.size, found)})
        reason = f"the hnsw graph led to {len(retrieval)} of {k} neighbors; raise ef_runtime"
        raise IncompleteRetrieval(Retrieval(retrieval.neighbors, complete=False, warnings=[reason]))

    def as_arrays(self, retrieval: Retrieval) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return the distances and rows of the neighbors, sorted by distance and then by row."""
        distances = np.array(retrieval.distances, dtype=np.float64)
        rows = [self._row(passage.document_id, passage.number or 0) for passage in retrieval.passages]
        return self._in_order(distances, np.array(rows, dtype=np.intp))

    def _numbers_of(self, those: Nearest) -> NDArray[np.intp]:
        """Return which rows they are; what was found once need not be read again from its key."""
        pulled, known = those.pulled, self._known
        if pulled.keys is self._row_keys:
            return those.rows
        if known is None or known[0] != pulled.version:
            self._known = known = pulled.version, np.full(len(pulled.keys), -1)
        keys, (_, numbers) = self.index._keys, known
        for place in np.unique(those.rows[numbers[those.rows] < 0]).tolist():
            numbers[place] = self._row(*keys.split_passage(as_text(pulled.keys[place])))
        return numbers[those.rows]

    def _in_order(
        self, distances: NDArray[np.float64], rows: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return neighbors, shape (k,) or (n_queries, k), sorted by distance and then by row."""
        if self.schema.metric == "cosine":
            distances[distances < self.cosine_zero] = 0.0
        order = np.lexsort((rows, distances))
        return np.take_along_axis(distances, order, axis=-1), np.take_along_axis(rows, order, axis=-1)

    @property
    def cosine_zero(self) -> float:
        """Limit below which a cosine distance is rounding; 0 for other metrics."""
        schema = self.schema
        return COSINE_ZERO.get(schema.dtype, COSINE_ZERO_ELSEWHERE) if schema.metric == "cosine" else 0.0

    def _row(self, document_id: str, number: int) -> int:
        if self._row_at is not None:
            row = self._row_at.get((document_id, number), -1)
        else:
            row = int(document_id) if document_id.isdecimal() and number == 0 else -1
        if not 0 <= row < self.size:
            there = f"passage {passage_id(document_id, number)}"
            raise SchemaMismatch(self.name, {"rows": (f"the {self.size} that were fitted", there)})
        return row


@repeatable
def _fetching(index: Index, spots: Sequence[Spot]) -> Flow[NDArray[Any]]:
    return (yield from fetch_rows(index._keys, index.schema, spots))


@repeatable
def _finding_in_memory(
    index: Index, bulk: Bulk, X: NDArray[Any], k: int, among: Fragment, known: Sequence[bytes]
) -> Flow[Nearest | None]:
    index._check_ready()
    return (yield from find_in_memory(index._place(bulk=bulk), X, k, among, known))


@repeatable
def _finding(index: Index, X: NDArray[Any], k: int | None, among: Fragment, options: Options) -> Flow[list[Retrieval]]:
    index._check_ready()
    plan = replace(make_plan(index.schema, among, k, options), returned=IDS)
    return (yield from select(index._place(), near(index.schema, X), plan))
