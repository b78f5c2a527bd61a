"""Which documents and passages there are: by a look through the keys, or by a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragknn._protocol.encoding import encode_tag, is_storable
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import FIRST, Keys
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment, intersection, params
from ragknn._protocol.replies import as_text, checked, parse_complete
from ragknn._protocol.whole import aggregate_by_parts, count_found, search_whole

KEYS_PER_ROUND = 1_000  # keys looked for or removed in one round trip


def scan(prefix: str, cursor: int, ending: str = "") -> Flow[tuple[int, list[str]]]:
    """Return the next cursor, 0 at the end, and some of the keys with prefix and ending; a key may come twice."""
    [reply] = yield [("SCAN", str(cursor), "MATCH", f"{prefix}*{ending}", "COUNT", str(KEYS_PER_ROUND))]
    following, found = checked(reply)
    return int(following), [as_text(key) for key in found]


def stored_ids(keys: Keys) -> Flow[list[str]]:
    """Return the ids of all documents in the index, in no order."""
    ids: set[str] = set()  # a scan may show a key twice
    cursor = 0
    while True:
        cursor, found = yield from scan(keys.passage_prefix, cursor, FIRST)
        ids.update(keys.split_passage(key)[0] for key in found)
        if not cursor:
            return list(ids)


def existing_documents(keys: Keys, document_ids: Sequence[str]) -> Flow[list[bool]]:
    """Return for each document whether it is in the index."""
    there: list[bool] = []
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        replies = yield [("EXISTS", keys.record(one)) for one in document_ids[start : start + KEYS_PER_ROUND]]
        there += [bool(checked(reply)) for reply in replies]
    return there


def matching_passages(place: Place, among: Fragment) -> Flow[list[str]]:
    """Return the keys of all passages that the fragment finds, sorted."""
    command = ("FT.AGGREGATE", place.keys.searched, among.query, *params(among.params), "LOAD", "1", "@__key")
    return sorted({row["__key"] for row in (yield from aggregate_by_parts(place, command, KEYS_PER_ROUND))})


def matching_ids(place: Place, among: Fragment) -> Flow[list[str]]:
    """Return the ids of all documents that the fragment finds, sorted."""
    found = yield from matching_passages(place, among)
    return sorted({place.keys.split_passage(key)[0] for key in found})


def all_ids(place: Place, among: Fragment) -> Flow[list[str]]:
    """Return the ids of all documents that the filter finds, sorted."""
    return sorted({document_id for document_id, _ in (yield from all_spots(place, among))})


def all_spots(place: Place, among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of all passages that the filter finds, sorted."""
    keys = place.keys
    if among != EVERYTHING:
        return sorted(keys.split_passage(key) for key in (yield from matching_passages(place, among)))
    found: set[tuple[str, int]] = set()  # a scan may show a key twice
    cursor = 0
    while True:
        cursor, some = yield from scan(keys.passage_prefix, cursor)
        found.update(map(keys.split_passage, some))
        if not cursor:
            return sorted(found)


def spots_of(place: Place, document_ids: Sequence[str], among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of the passages of these documents that the filter finds."""
    return (yield from spots_with(place, "document_id", document_ids, among))


def spots_with(place: Place, field: str, values: Sequence[str], among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of the passages that the filter finds and whose tag is one of the values."""
    named = {f"i{number}": encode_tag(value) for number, value in enumerate(values) if is_storable(value)}
    if not named:
        return []
    fragment = intersection(Fragment(f"(@{field}:{{{'|'.join(f'${name}' for name in named)}}})", named), among)
    query = ("FT.SEARCH", place.keys.searched, fragment.query, *params(fragment.params))
    total = yield from count_found(place, query)
    if not total:
        return []
    [reply] = yield from search_whole(place, (*query, "NOCONTENT", "LIMIT", "0", str(total)))
    return [place.keys.split_passage(key) for key in _keys_of(reply)]


def searchable_keys(place: Place, passage_keys: Sequence[str]) -> Flow[set[str]]:
    """Return those of the keys that a search for everything finds."""
    found: set[str] = set()
    for start in range(0, len(passage_keys), KEYS_PER_ROUND):
        part = passage_keys[start : start + KEYS_PER_ROUND]
        among = ("INKEYS", str(len(part)), *part)
        command = (
            "FT.SEARCH",
            place.keys.searched,
            EVERYTHING.query,
            *among,
            "NOCONTENT",
            "LIMIT",
            "0",
            str(len(part)),
        )
        [reply] = yield from search_whole(place, command)
        found.update(_keys_of(reply))
    return found


def _keys_of(reply: Any) -> list[str]:
    if isinstance(checked(reply), Mapping):
        return [as_text(key) for key, _, _ in parse_complete(reply).rows]
    return [as_text(key) for key in reply[1:]]  # RESP2: the number of all, and their keys
