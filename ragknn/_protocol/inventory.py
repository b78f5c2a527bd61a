"""Which passages there are of which documents: what a look through all keys shows, in a few bytes for each document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ragknn._protocol.finding import matching_passages, scan
from ragknn._protocol.flows import Ahead, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.query import Fragment
from ragknn._protocol.removing import delete_documents, remove_beyond

_NEAR = 1_024  # numbers of passages that are kept as bits


class Inventory:
    """The numbers of the passages of each document, each once however often it was met."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._near: dict[str, int] = {}  # for each document, its numbers as bits
        self._far: dict[str, set[int]] = {}  # and those too large for that

    def take(self, passage_keys: Iterable[str]) -> None:
        """Take note of passages by their keys."""
        near = self._near
        for document_id, number in self._keys.split_passages(passage_keys):
            if number < _NEAR:
                near[document_id] = near.get(document_id, 0) | 1 << number
            else:
                near.setdefault(document_id, 0)
                self._far.setdefault(document_id, set()).add(number)

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._near

    def __len__(self) -> int:
        return len(self._near)

    def __iter__(self) -> Iterator[str]:
        return iter(self._near)

    @property
    def total(self) -> int:
        """How many passages there are."""
        return sum(map(int.bit_count, self._near.values())) + sum(map(len, self._far.values()))

    def passages(self, document_ids: Iterable[str]) -> int:
        """Return how many passages there are of these documents together."""
        return sum(self._near[one].bit_count() + len(self._far.get(one, ())) for one in document_ids)

    def numbers(self, document_id: str) -> list[int]:
        """Return the numbers of the passages of a document, sorted."""
        near = self._near[document_id]
        return [number for number in range(near.bit_length()) if near >> number & 1] + sorted(
            self._far.get(document_id, ())
        )

    def with_holes(self) -> list[str]:
        """Return the documents of which a passage is missing before another one."""
        last = 1 << _NEAR - 1
        holed = [one for one, near in self._near.items() if near & (near + 1) or (one in self._far and near < last)]
        holed += [one for one, some in self._far.items() if max(some) - _NEAR >= len(some)]
        return list(dict.fromkeys(holed))


def look_through(keys: Keys) -> Flow[Inventory]:
    """Return what there is of all documents of the index, those that lost their record too."""
    found = Inventory(keys)
    begun = yield Ahead(scan(keys.passage_prefix, 0))
    while True:
        cursor, some = yield begun
        if cursor:  # the server looks for more while these are noted
            begun = yield Ahead(scan(keys.passage_prefix, cursor))
        found.take(some)
        if not cursor:
            return found


def look_among(place: Place, among: Fragment) -> Flow[Inventory]:
    """Return which passages the filter finds."""
    found = Inventory(place.keys)
    found.take((yield from matching_passages(place, among)))
    return found


def delete_all(keys: Keys, there: Inventory, document_ids: Sequence[str], removed: list[str]) -> Flow[bool]:
    """Do what `delete_documents` does, and remove all passages that were met too."""
    serves = yield from delete_documents(keys, document_ids, removed)
    # Of one that lost its record, nothing tells that there is something behind a hole.
    wanted = set(document_ids)
    yield from remove_beyond(keys, {one: there.numbers(one) for one in there.with_holes() if one in wanted})
    return serves
