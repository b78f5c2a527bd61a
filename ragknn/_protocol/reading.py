"""Reading documents and passages back: by ids, by a filter, or all of them, a part at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ragknn._protocol.counting import COUNT_TIMEOUT
from ragknn._protocol.encoding import encode_tag
from ragknn._protocol.fetching import matching_passages, scan
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import passage_of, whole_text
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment, intersection, params
from ragknn._protocol.replies import as_text, checked, parse_search
from ragknn._protocol.vectors import from_bytes
from ragknn.records import Document, Passage, split_id

# What is read of a passage's hash, in this order; the vector on request.
_FIELDS = ("id", "text", "start", "end", "label", "metadata", "digest")

# Times that a document is read again because a writer replaced it meanwhile.
ATTEMPTS = 5


def all_ids(place: Place, among: Fragment) -> Flow[list[str]]:
    """Return the ids of all documents that the filter finds, sorted."""
    return sorted({document_id for document_id, _ in (yield from all_spots(place, among))})


def all_spots(place: Place, among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of all passages that the filter finds, sorted."""
    keys = place.keys
    if among != EVERYTHING:
        return sorted(keys.split_passage(key) for key in (yield from matching_passages(keys, among)))
    found: set[tuple[str, int]] = set()  # a scan may show a key twice
    cursor = 0
    while True:
        cursor, some = yield from scan(keys.passage_prefix, cursor)
        found.update(map(keys.split_passage, some))
        if not cursor:
            return sorted(found)


def read_documents(
    place: Place, document_ids: Sequence[str], among: Fragment, *, vectors: bool = False
) -> Flow[list[Document]]:
    """Return the documents of these ids that are there and that the filter finds, in the order of the ids.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    """
    ids = list(dict.fromkeys(document_ids))
    if among != EVERYTHING:
        matching = {document_id for document_id, _ in (yield from _spots_of(place, ids, among))}
        ids = [document_id for document_id in ids if document_id in matching]
    found: dict[str, Document] = {}
    left = ids
    for _ in range(ATTEMPTS):
        if not left:
            break
        whole = yield from _read_whole(place.keys, left, vectors=vectors)
        found.update({own: _document(place, own, *parts) for own, parts in whole.items() if parts is not None})
        left = [document_id for document_id in left if document_id in whole and whole[document_id] is None]
    return [found[document_id] for document_id in ids if document_id in found]


def read_details(keys: Keys, document_ids: Sequence[str]) -> Flow[dict[str, tuple[str, str, list[Passage]]]]:
    """Return text hash, details hash and passages, without vectors, of the documents that are there, by their ids."""
    found: dict[str, tuple[str, str, list[Passage]]] = {}
    for document_id, parts in (yield from _read_whole(keys, document_ids)).items():
        if parts is not None:
            head, rows = parts
            passages = [passage_of(keys, keys.passage(document_id, n), row) for n, (row, _) in enumerate(rows)]
            found[document_id] = (head["text_hash"], head["details_hash"], passages)
    return found


def _read_whole(
    keys: Keys, document_ids: Sequence[str], *, vectors: bool = False
) -> Flow[dict[str, tuple[dict[str, str], list[tuple[dict[str, str], bytes | None]]] | None]]:
    """Return the hash of each document and those of its passages; None where it was replaced on the way."""
    counts = yield [("HMGET", keys.document(document_id), "passages", "text_hash") for document_id in document_ids]
    expected = {
        document_id: int(count)
        for document_id, (count, _) in zip(document_ids, map(checked, counts), strict=True)
        if count is not None
    }
    fields = (*_FIELDS, "vector") if vectors else _FIELDS
    commands: list[Command] = []
    for document_id, count in expected.items():
        reads = [("HMGET", keys.passage(document_id, number), *fields) for number in range(count)]
        head: Command = ("HMGET", keys.document(document_id), "passages", "text_hash", "details_hash", "gaps")
        commands += [("MULTI",), head, *reads, ("EXEC",)]
    replies = iter((yield commands) if commands else ())
    found: dict[str, tuple[dict[str, str], list[tuple[dict[str, str], bytes | None]]] | None] = {}
    for document_id, count in expected.items():
        # The first error says what was wrong; EXEC itself then only says that it did nothing.
        *_, (head_row, *rows) = [checked(next(replies)) for _ in range(count + 3)]
        head_values = _named(("passages", "text_hash", "details_hash", "gaps"), checked(head_row))
        if not head_values:
            continue  # removed meanwhile
        hashes = [_split(fields, checked(row)) for row in rows]
        if int(head_values["passages"]) != count:
            found[document_id] = None
        else:
            found[document_id] = head_values, hashes
    return found


def _split(fields: Sequence[str], row: Sequence[Any]) -> tuple[dict[str, str], bytes | None]:
    values = dict(zip(fields, row, strict=True))
    vector = values.pop("vector", None)
    return _named(tuple(values), tuple(values.values())), vector


def _named(names: Sequence[str], values: Sequence[Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in zip(names, values, strict=True) if value is not None}


def _document(
    place: Place, document_id: str, head: Mapping[str, str], rows: Sequence[tuple[dict[str, str], bytes | None]]
) -> Document:
    keys = place.keys
    passages = [passage_of(keys, keys.passage(document_id, number), row) for number, (row, _) in enumerate(rows)]
    blobs = [blob for _, blob in rows]
    labels = {row.get("label") for row, _ in rows}
    vectors = None
    if any(blob is not None for blob in blobs):
        missing = np.full(place.schema.dim, np.nan)
        vectors = np.stack([missing if blob is None else from_bytes(blob, place.schema.dtype) for blob in blobs])
    return Document(
        document_id,
        whole_text(passages, head.get("gaps", "")),
        passages[0].label if passages and len(labels) == 1 else None,
        _shared([row.get("metadata", "{}") for row, _ in rows]),
        vectors,
    )


def _shared(dumped: Sequence[str]) -> dict[str, Any]:
    """Return the entries that all passages of a document have alike."""
    first, *others = [json.loads(text) for text in dict.fromkeys(dumped)] or [{}]
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def read_passages(
    place: Place, passage_ids: Sequence[str], among: Fragment, *, vectors: bool = False
) -> Flow[list[Passage]]:
    """Return the passages of these ids that are there and that the filter finds, in the order of the ids."""
    ids = list(dict.fromkeys(passage_ids))
    found: dict[str, Passage] = {}
    usual = {spot: one for one in ids if (spot := split_id(one))}
    for spot, passage in (yield from _read_spots(place, list(usual), among, vectors=vectors)).items():
        if passage.id == usual[spot]:  # a passage with an id of its own is not found by its place
            found[passage.id] = passage
    if rest := [one for one in ids if one not in found]:
        spots = yield from _spots_with(place, "passage_id", rest, among)
        for passage in (yield from _read_spots(place, spots, EVERYTHING, vectors=vectors)).values():
            found.setdefault(passage.id, passage)
    return [found[one] for one in ids if one in found]


def read_at(place: Place, spots: Sequence[tuple[str, int]], *, vectors: bool = False) -> Flow[list[Passage]]:
    """Return the passages at these places, document id and number, that are there."""
    found = yield from _read_spots(place, spots, EVERYTHING, vectors=vectors)
    return [found[spot] for spot in spots if spot in found]


def _read_spots(
    place: Place, spots: Sequence[tuple[str, int]], among: Fragment, *, vectors: bool
) -> Flow[dict[tuple[str, int], Passage]]:
    keys = place.keys
    if among != EVERYTHING:
        matching = set((yield from _spots_of(place, list(dict.fromkeys(own for own, _ in spots)), among)))
        spots = [spot for spot in spots if spot in matching]
    fields = (*_FIELDS, "vector") if vectors else _FIELDS
    replies = yield [("HMGET", keys.passage(*spot), *fields) for spot in spots]
    found: dict[tuple[str, int], Passage] = {}
    for spot, reply in zip(spots, replies, strict=True):
        row, blob = _split(fields, checked(reply))
        if row:
            passage = passage_of(keys, keys.passage(*spot), row)
            vector = None if blob is None else from_bytes(blob, place.schema.dtype)
            found[spot] = replace(passage, vector=vector) if vectors else passage
    return found


def _spots_of(place: Place, document_ids: Sequence[str], among: Fragment) -> Flow[list[tuple[str, int]]]:
    return (yield from _spots_with(place, "document_id", document_ids, among))


def _spots_with(place: Place, field: str, values: Sequence[str], among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of the passages whose tag in a field is one of the values."""
    if not values:
        return []
    named = {f"i{number}": encode_tag(value) for number, value in enumerate(values)}
    fragment = intersection(Fragment(f"(@{field}:{{{'|'.join(f'${name}' for name in named)}}})", named), among)
    query = ("FT.SEARCH", place.keys.alias, fragment.query, *params(fragment.params))
    ending = ("TIMEOUT", str(COUNT_TIMEOUT), "DIALECT", "2")
    [counted] = yield [(*query, "LIMIT", "0", "0", *ending)]
    total = parse_search(counted).total
    if not total:
        return []
    [reply] = yield [(*query, "NOCONTENT", "LIMIT", "0", str(total), *ending)]
    return [place.keys.split_passage(key) for key in _keys_of(reply)]


def _keys_of(reply: Any) -> list[str]:
    if isinstance(checked(reply), Mapping):
        return [row.key for row in parse_search(reply).rows]
    return [as_text(key) for key in reply[1:]]
