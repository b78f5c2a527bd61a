"""Reading documents and passages back: by ids, by a filter, or all of them, a part at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._ids import split_id
from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.finding import KEYS_PER_ROUND, matching_passages, scan, spots_of, spots_with
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import passage_of, whole_text
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment, intersection
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import from_bytes
from ragknn.records import Document, Label, Passage

# What is read of a passage's hash, in this order; the vector on request.
_FIELDS = ("id", "text", "start", "end", "label", "metadata", "digest")

# Times that a document is read again because a writer replaced it meanwhile.
ATTEMPTS = 5


def read_documents(
    place: Place, document_ids: Sequence[str], among: Fragment, *, vectors: bool = False
) -> Flow[list[Document]]:
    """Return the documents of these ids that are there and that the filter finds, in the order of the ids.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    """
    ids = list(dict.fromkeys(document_ids))
    if among != EVERYTHING:
        matching = {document_id for document_id, _ in (yield from spots_of(place, ids, among))}
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
        spots = yield from spots_with(place, "passage_id", rest, among)
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
        matching = set((yield from spots_of(place, list(dict.fromkeys(own for own, _ in spots)), among)))
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


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A labelled passage as it is stored.

    Attributes:
        document_id: the document that it is cut from.
        label: the document's label.
        digest: equal for passages of the same text.
        vector: in the dtype of the index, shape (dim,).
    """

    document_id: str
    label: Label
    digest: str
    vector: NDArray[Any]


def labelled_vectors(keys: Keys, schema: Schema, among: Fragment = EVERYTHING) -> Flow[list[StoredVector]]:
    """Return all passages with a label that the fragment finds, sorted by their keys."""
    passages = yield from matching_passages(keys, intersection(among, LABELLED))
    found: list[StoredVector] = []
    for start in range(0, len(passages), KEYS_PER_ROUND):
        part = passages[start : start + KEYS_PER_ROUND]
        replies = yield [("HMGET", key, "label", "digest", "vector") for key in part]
        for key, reply in zip(part, replies, strict=True):
            label, digest_, blob = checked(reply)
            if label is not None and blob is not None:
                document_id, _ = keys.split_passage(key)
                vector = from_bytes(blob, schema.dtype)
                found.append(StoredVector(document_id, decode_tag(as_text(label)), as_text(digest_), vector))
    return found


def stored_labels(keys: Keys) -> Flow[dict[tuple[str, int], Label]]:
    """Return the label of each passage with a label and a vector, by its document's id and its number, in no order."""
    labels: dict[tuple[str, int], Label] = {}
    cursor = 0
    while True:
        cursor, passages = yield from scan(keys.passage_prefix, cursor)
        replies = yield [part for key in passages for part in (("HGET", key, "label"), ("HEXISTS", key, "vector"))]
        for key, label, has_vector in zip(passages, replies[::2], replies[1::2], strict=True):
            if checked(label) is not None and checked(has_vector):
                labels[keys.split_passage(key)] = decode_tag(as_text(label))
        if not cursor:
            return labels


def passages_around(
    keys: Keys, numbers: Mapping[str, Sequence[int]], window: int
) -> Flow[dict[tuple[str, int], Passage]]:
    """Return passages and those before and after them, with text and offsets only, by document id and number.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    What is not there is left out.

    Args:
        keys: the index's keys.
        numbers: for each document the numbers of passages in it.
        window: passages before and after each.
    """
    if not numbers:
        return {}
    counts = yield [("HGET", keys.document(document_id), "passages") for document_id in numbers]
    wanted: dict[str, list[int]] = {}
    for (document_id, centers), count in zip(numbers.items(), counts, strict=True):
        end = int(checked(count) or 0)
        near = {n for center in centers for n in range(max(0, center - window), min(end, center + window + 1))}
        if near:
            wanted[document_id] = sorted(near)
    fields = ("id", "text", "start", "end")
    commands: list[Command] = []
    for document_id, near_numbers in wanted.items():
        reads: list[Command] = [("HMGET", keys.passage(document_id, number), *fields) for number in near_numbers]
        commands += [("MULTI",), *reads, ("EXEC",)]
    replies = iter((yield commands) if commands else ())
    found: dict[tuple[str, int], Passage] = {}
    for document_id, near_numbers in wanted.items():
        # The first error says what was wrong; EXEC itself then only says that it did nothing.
        *_, rows = [checked(next(replies)) for _ in range(len(near_numbers) + 2)]
        for number, row in zip(near_numbers, rows, strict=True):
            pairs = zip(fields, checked(row), strict=True)
            values = {name: as_text(value) for name, value in pairs if value is not None}
            if "text" in values:
                found[document_id, number] = passage_of(keys, keys.passage(document_id, number), values)
    return found
