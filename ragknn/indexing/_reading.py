"""The flows behind the reads of `Index` and `AsyncIndex`: a part at a time, so that any number of documents streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from ragknn._checks import check_flag, shown
from ragknn._protocol.encoding import is_storable
from ragknn._protocol.finding import all_ids, all_spots, existing_documents
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.query import EVERYTHING
from ragknn._protocol.reading import matching, read_at, read_documents, read_passages, spots_in
from ragknn.filters import Where
from ragknn.records import Document, Passage

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Read in one part: enough that round trips do not matter, few enough that memory stays small.
DOCUMENTS_PER_PART = 100
PASSAGES_PER_PART = 500

T = TypeVar("T")


def in_parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Iterate over the values, taken when they are needed, in lists of a size."""
    source = iter(values)
    while part := list(islice(source, size)):
        yield part


def in_whole_documents(spots: Iterable[tuple[str, int]], size: int) -> Iterator[list[tuple[str, int]]]:
    """Iterate over places of passages, document id and number, in lists of a size, but for whole documents."""
    part: list[tuple[str, int]] = []
    for _, own in groupby(spots, key=itemgetter(0)):
        some = list(own)
        if part and len(part) + len(some) > size:
            yield part
            part = []
        part += some
    if part:
        yield part


def checked_ids(ids: Iterable[str]) -> Iterator[str]:
    """Return an iterator over the ids.

    Raises:
        TypeError: a str in place of several, or what cannot be iterated over; while iterating, an id that is no str.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise TypeError(f"expected an iterable of ids, got {shown(ids)}; put one id into a list")
    return map(_checked_id, ids)


def _checked_id(one: Any) -> str:
    if not isinstance(one, str):
        raise TypeError(f"expected an id of type str, got {shown(one)} of type {type(one).__name__}")
    return one


def storable(ids: Iterable[str]) -> list[str]:
    """Return the ids without those that nothing can have, which the server would not even take."""
    return [one for one in ids if is_storable(one)]


@repeatable
def reading_ids(index: Index | AsyncIndex, where: Where | None) -> Flow[list[str]]:
    """Return the ids of all documents that match, sorted."""
    return (yield from all_ids(index._place(), (yield from index._filtering(where))))


@repeatable
def reading_spots(index: Index | AsyncIndex, where: Where | None) -> Flow[tuple[list[tuple[str, int]], int]]:
    """Return document id and number of all passages that match, sorted, and in which store these are."""
    place = index._place()
    return (yield from all_spots(place, (yield from index._filtering(where)))), place.keys.store


@repeatable
def reading_documents(
    index: Index | AsyncIndex, ids: Sequence[str], where: Where | None, vectors: bool, *, matched: bool
) -> Flow[list[Document]]:
    """Return the documents of these ids; `matched` says that the filter was asked already."""
    vectors = check_flag("vectors", vectors)
    among = EVERYTHING if matched else (yield from index._filtering(where))
    return (yield from read_documents(index._place(), storable(ids), among, vectors=vectors))


@repeatable
def reading_passages(
    index: Index | AsyncIndex, ids: Sequence[str], where: Where | None, vectors: bool
) -> Flow[list[Passage]]:
    """Return the passages of these ids that match."""
    vectors = check_flag("vectors", vectors)
    among = yield from index._filtering(where)
    return (yield from read_passages(index._place(), storable(ids), among, vectors=vectors))


@repeatable
def reading_at(
    index: Index | AsyncIndex, spots: Sequence[tuple[str, int]], store: int, where: Where | None, vectors: bool
) -> Flow[list[Passage]]:
    """Return the passages at these places of a store, which the filter found already.

    Where another store serves by now, in which documents may be cut at other places, those of the same documents are
    returned that the filter finds there. So the places must be those of whole documents.
    """
    vectors = check_flag("vectors", vectors)
    place = index._place()
    if place.keys.store != store:
        among = yield from index._filtering(where)
        spots = yield from spots_in(place, list(dict.fromkeys(own for own, _ in spots)), among)
    return (yield from read_at(place, spots, EVERYTHING, vectors=vectors))


@repeatable
def finding(index: Index | AsyncIndex, ids: Iterable[str], where: Where | None) -> Flow[list[bool]]:
    """Return for each document id whether it is there and matches."""
    place, among = index._place(), (yield from index._filtering(where))
    wanted = list(checked_ids(ids))
    there: set[str] = set()
    for part in in_parts(dict.fromkeys(wanted), PASSAGES_PER_PART):
        match = yield from matching(place, storable(part), among)
        exist = yield from existing_documents(place.keys, match)
        there.update(one for one, found in zip(match, exist, strict=True) if found)
    return [one in there for one in wanted]
