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
from ragknn._protocol.keys import HEADINGS, PAGE, Keys
from ragknn._protocol.layout import passage_of, whole_text
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment, intersection
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.vectors import from_bytes
from ragknn.records import Document, Label, Passage

# What is read of a passage's hash; the vector on request.
FIELDS = ("id", "text", "start", "end", "label", "metadata", "digest", PAGE, HEADINGS)

_READS = 10  # times that passages which were moved meanwhile are looked for

# Returns a document's record and the hashes of its passages, or nothing where it is not there. KEYS: where the record
# may be. ARGV: the prefix of its passages; the names of the fields to read of each. A script, since how many passages
# there are must be read and used in one step: a writer may be replacing the document.
_READ = """
local head
for _, key in ipairs(KEYS) do
  head = redis.call('HMGET', key, 'passages', 'text_hash', 'details_hash', 'gaps', 'page_starts')
  if head[1] then break end
end
if not head[1] then return false end
local found = {head}
for i = 0, tonumber(head[1]) - 1 do found[i + 2] = redis.call('HMGET', ARGV[1] .. i, unpack(ARGV, 2)) end
return found
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it is stored; what was not read of its passages stays empty.

    Attributes:
        text_hash: digest of what decides its passages and vectors.
        details_hash: digest of their labels and metadata.
        gaps: what of its text is in none of its passages.
        page_starts: offset of each page's first character in its text.
        passages: in their order.
    """

    text_hash: str
    details_hash: str
    gaps: str
    page_starts: tuple[int, ...]
    passages: Sequence[Passage]


def read_stored(place: Place, document_ids: Sequence[str], fields: Sequence[str] = FIELDS) -> Flow[dict[str, Stored]]:
    """Return the documents that are there, by their ids.

    Each is read in one step, so that its passages belong together however often it is replaced.
    """
    found = {}
    for own, (head, *rows) in (yield from read_rows(place, document_ids, fields)).items():
        _, text_hash, details_hash, gaps, page_starts = (as_text(value or b"") for value in head)
        passages = [_passage(place, own, number, fields, row) for number, row in enumerate(rows)]
        pages = tuple(json.loads(page_starts or "[]"))
        found[own] = Stored(text_hash, details_hash, gaps, pages, passages)
    return found


def read_rows(place: Place, document_ids: Sequence[str], fields: Sequence[str]) -> Flow[dict[str, list[Any]]]:
    """Return of the documents that are there, by their ids, their record and then the fields of each passage, as bytes.

    Of the record: the number of passages, text hash, details hash, gaps and page starts.
    """
    ids = list(dict.fromkeys(document_ids))
    replies = yield [(*_reading(place, own), *fields) for own in ids]
    rows = zip(ids, map(checked, replies), strict=True)
    return {own: hashes for own, hashes in rows if hashes is not None}


def _reading(place: Place, document_id: str) -> Command:
    records = place.records(document_id)
    return ("EVAL_RO", _READ, str(len(records)), *records, place.keys.passages(document_id))


def _passage(place: Place, document_id: str, number: int, fields: Sequence[str], row: Sequence[Any]) -> Passage:
    values = {name: value for name, value in zip(fields, row, strict=True) if value is not None}
    blob = values.pop("vector", None)
    texts = {name: as_text(value) for name, value in values.items()}
    passage = passage_of(place.keys, place.keys.passage(document_id, number), texts)
    return passage if blob is None else replace(passage, vector=from_bytes(blob, place.schema.dtype))


def read_documents(
    place: Place, document_ids: Sequence[str], among: Fragment, *, vectors: bool = False
) -> Flow[list[Document]]:
    """Return the documents of these ids that are there and that the filter finds, in the order of the ids."""
    ids = yield from matching(place, document_ids, among)
    found = yield from read_stored(place, ids, (*FIELDS, "vector") if vectors else FIELDS)
    return [document_of(document_id, found[document_id]) for document_id in ids if document_id in found]


def matching(place: Place, document_ids: Sequence[str], among: Fragment) -> Flow[Sequence[str]]:
    """Return those of the ids whose documents the filter finds; with no filter, all, be they there or not."""
    if among == EVERYTHING:
        return document_ids
    found = {document_id for document_id, _ in (yield from spots_of(place, document_ids, among))}
    return [document_id for document_id in document_ids if document_id in found]


def document_of(document_id: str, stored: Stored) -> Document:
    """Return a document as its passages tell it."""
    first, *others = stored.passages
    return Document(
        document_id,
        whole_text(stored.passages, stored.gaps),
        first.label if all(_same_label(first.label, one.label) for one in others) else None,
        _shared([one.metadata for one in stored.passages]),
        _stacked([one.vector for one in stored.passages]),
        page_starts=stored.page_starts,
    )


def _same_label(one: Label | None, other: Label | None) -> bool:
    return one == other and type(one) is type(other)


def _stacked(vectors: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    there = [vector for vector in vectors if vector is not None]
    if not there:
        return None
    missing = np.full_like(there[0], np.nan)
    return np.stack([missing if vector is None else vector for vector in vectors])


def _shared(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries that all passages of a document have alike."""
    first, *others = several
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def read_passages(
    place: Place, passage_ids: Sequence[str], among: Fragment, *, vectors: bool = False
) -> Flow[list[Passage]]:
    """Return the passages of these ids that are there and that the filter finds, in the order of the ids."""
    spots = {one: spot for one in passage_ids if (spot := split_id(one))}
    found: dict[str, Passage] = {}
    for passage in (yield from read_at(place, list(spots.values()), among, vectors=vectors)):
        found[passage.id] = passage
    # A passage that has an id of its own is not found by its place; and that changes when others are removed before it.
    for _ in range(_READS):
        rest = [one for one in dict.fromkeys(passage_ids) if one not in found]
        if not rest:
            break
        own = yield from spots_with(place, "passage_id", rest, among)
        there = yield from read_at(place, own, EVERYTHING, vectors=vectors)
        found.update((passage.id, passage) for passage in there)
        if len(there) == len(own) and {passage.id for passage in there} <= {*rest}:
            break
    return [found[one] for one in passage_ids if one in found]


def read_at(
    place: Place, spots: Sequence[tuple[str, int]], among: Fragment, *, vectors: bool = False
) -> Flow[list[Passage]]:
    """Return the passages at these places, document id and number, that are there and that the filter finds."""
    if among != EVERYTHING:
        own = list(dict.fromkeys(document_id for document_id, _ in spots))
        match = set((yield from spots_of(place, own, among)))
        spots = [spot for spot in spots if spot in match]
    fields = (*FIELDS, "vector") if vectors else FIELDS
    replies = yield [("HMGET", place.keys.passage(*spot), *fields) for spot in spots]
    rows = zip(spots, map(checked, replies), strict=True)
    return [_passage(place, *spot, fields, row) for spot, row in rows if any(value is not None for value in row)]


def spots_in(place: Place, document_ids: Sequence[str], among: Fragment) -> Flow[list[tuple[str, int]]]:
    """Return document id and number of all passages of these documents that the filter finds, sorted."""
    if among != EVERYTHING:
        return sorted((yield from spots_of(place, document_ids, among)))
    counts = yield from passage_counts(place, sorted(document_ids))
    return [(own, number) for own, count in zip(sorted(document_ids), counts, strict=True) for number in range(count)]


@dataclass(frozen=True, slots=True)
class StoredVector:
    """A labelled passage as it is stored.

    Attributes:
        document_id: the document that it is cut from.
        label: the document's label.
        digest: equal for passages of the same text.
        vector: shape (dim,), in the dtype of the index.
    """

    document_id: str
    label: Label
    digest: str
    vector: NDArray[Any]


def labelled_vectors(place: Place, among: Fragment = EVERYTHING) -> Flow[list[StoredVector]]:
    """Return all passages with a label that the fragment finds, sorted by their keys."""
    keys, schema = place.keys, place.schema
    passages = yield from matching_passages(place, intersection(among, LABELLED))
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
    place: Place, numbers: Mapping[str, Sequence[int]], window: int, among: Fragment = EVERYTHING
) -> Flow[dict[tuple[str, int], Passage]]:
    """Return passages and those before and after them, with text and offsets only, by document id and number.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    Missing passages are left out.

    Args:
        place: the index.
        numbers: for each document the numbers of passages in it.
        window: passages before and after each.
        among: which passages to look among.
    """
    if not numbers:
        return {}
    keys = place.keys
    match = None if among == EVERYTHING else set((yield from spots_of(place, list(numbers), among)))
    counts = yield from passage_counts(place, list(numbers))
    wanted: dict[str, list[int]] = {}
    for (document_id, centers), count in zip(numbers.items(), counts, strict=True):
        near = {n for center in centers for n in range(max(0, center - window), min(count, center + window + 1))}
        near = near if match is None else {n for n in near if (document_id, n) in match}
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


def passage_counts(place: Place, document_ids: Sequence[str]) -> Flow[list[int]]:
    """Return the number of passages of each document, 0 for one that is not there."""
    records = [place.records(document_id) for document_id in document_ids]
    replies = iter((yield [("HGET", key, "passages") for keys in records for key in keys]))
    found = [[checked(next(replies)) for _ in keys] for keys in records]
    return [int(next((count for count in counts if count is not None), 0)) for counts in found]
