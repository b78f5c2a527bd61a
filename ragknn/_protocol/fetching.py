"""Reading what is stored: ids, labels, vectors and passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ragknn._protocol.counting import COUNT_TIMEOUT
from ragknn._protocol.encoding import decode_tag
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import passage_of
from ragknn._protocol.query import EVERYTHING, LABELLED, Fragment, intersection, params
from ragknn._protocol.replies import as_text, checked, parse_aggregate
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import from_bytes
from ragknn.records import Label, Passage

KEYS_PER_ROUND = 1_000  # keys looked for or removed in one round trip


def scan(prefix: str, cursor: int) -> Flow[tuple[int, list[str]]]:
    """Return the next cursor, 0 at the end, and some of the keys with the prefix; a key may come twice."""
    [reply] = yield [("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_ROUND)]
    following, found = checked(reply)
    return int(following), [as_text(key) for key in found]


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


def stored_ids(keys: Keys) -> Flow[list[str]]:
    """Return the ids of all documents in the index, in no order."""
    ids: set[str] = set()  # a scan may show a key twice
    cursor = 0
    while True:
        cursor, found = yield from scan(keys.document_prefix, cursor)
        ids.update(keys.document_id(key) for key in found)
        if not cursor:
            return list(ids)


def matching_passages(keys: Keys, among: Fragment) -> Flow[list[str]]:
    """Return the keys of all passages that the fragment finds, sorted."""
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, among.query, *params(among.params), "LOAD", 1, "@__key"),
            *("WITHCURSOR", "COUNT", KEYS_PER_ROUND, "TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    found: set[str] = set()
    while True:
        rows, cursor = checked(reply)
        found.update(row["__key"] for row in parse_aggregate(rows))
        if not int(cursor):
            return sorted(found)
        [reply] = yield [("FT.CURSOR", "READ", keys.alias, cursor, "COUNT", KEYS_PER_ROUND)]


def matching_ids(keys: Keys, among: Fragment) -> Flow[list[str]]:
    """Return the ids of all documents that the fragment finds, sorted."""
    found = yield from matching_passages(keys, among)
    return sorted({keys.split_passage(key)[0] for key in found})


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
