"""The body of `Index.map` and its async twin: which passages are on a map, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_choice, check_whole
from ragknn._protocol.finding import all_spots
from ragknn._protocol.flows import Flow, Work, repeatable
from ragknn._protocol.query import WITH_VECTOR, intersection
from ragknn._protocol.reading import read_at, read_passages
from ragknn.embedding.protocols import Embedder
from ragknn.errors import EmbeddingError
from ragknn.filters import Where
from ragknn.indexing._projection import Method, plane_of
from ragknn.indexing._reading import PASSAGES_PER_PART, checked_ids, in_parts, storable
from ragknn.indexing.mapping import IndexMap
from ragknn.records import Passage

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

SAMPLE = 1_000


@repeatable
def mapping(
    index: Index | AsyncIndex, method: Method, where: Where | None, sample: int, include: Iterable[str], seed: int
) -> Flow[IndexMap]:
    """Return a map of the index; `Index.map` explains the arguments."""
    check_choice("method", method, get_args(Method))
    sample, seed = check_whole("sample", sample), check_whole("seed", seed, 0)
    wanted = list(checked_ids(include))
    place = index._place()
    among = intersection((yield from index._filtering(where)), WITH_VECTOR)
    spots = yield from all_spots(place, among)
    passages: list[Passage] = []
    for part in in_parts(_sampled(spots, sample, seed), PASSAGES_PER_PART):
        passages += yield from read_at(place, part, among, vectors=True)
    there = {passage.id for passage in passages}
    for ids in in_parts((one for one in dict.fromkeys(wanted) if one not in there), PASSAGES_PER_PART):
        passages += yield from read_passages(place, storable(ids), among, vectors=True)
    located = [(passage, passage.vector) for passage in passages if passage.vector is not None]
    vectors = _matrix([vector for _, vector in located], index.schema.dim)
    plane = yield Work(lambda: plane_of(vectors, index.schema.metric, method, seed))
    return IndexMap(
        index=index.name,
        method=method,
        metric=index.schema.metric,
        passages=tuple(passage for passage, _ in located),
        coordinates=plane.points,
        total=max(len(spots), len(located)),
        explained=plane.explained,
        plane=plane,
        embedder=_embedder_of(index),
    )


def _sampled(spots: Sequence[tuple[str, int]], sample: int, seed: int) -> list[tuple[str, int]]:
    if len(spots) <= sample:
        return list(spots)
    drawn = np.random.default_rng(seed).choice(len(spots), sample, replace=False)
    return [spots[number] for number in sorted(drawn)]


def _matrix(vectors: Sequence[NDArray[Any]], dim: int) -> NDArray[np.float64]:
    return np.array(vectors, dtype=np.float64).reshape(-1, dim)


def _embedder_of(index: Index | AsyncIndex) -> Embedder | None:
    """Return the embedder for queries on the map; None where there is none, which is no fault of the map."""
    try:
        return index.embedder
    except (ValueError, EmbeddingError):
        return None
