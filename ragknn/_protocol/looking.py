"""Which commands looking at an index sends: counts, labels, ids, what matches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ragknn._protocol.flows import Command, Flow, Pause
from ragknn._protocol.replies import SearchIndexInfo, as_text, checked, parse_aggregate, parse_info, parse_search
from ragknn._protocol.schema import Keys, Schema, decode_tag
from ragknn._protocol.vectors import from_bytes
from ragknn.records import Label, Passage
from ragknn.text._words import EVERYTHING, Fragment, intersection

# What finds the passages that have a label.
LABELLED = Fragment("(-ismissing(@label))", {})

KEYS_PER_ROUND = 1_000  # keys looked for or removed in one round trip

COUNT_TIMEOUT = 60_000  # milliseconds; counting documents looks at every passage


def params(values: Mapping[str, str | int | float | bytes]) -> Command:
    """Return the part of a command that hands values to a query; values never become syntax."""
    return ("PARAMS", 2 * len(values), *(part for pair in values.items() for part in pair)) if values else ()


def index_info(keys: Keys) -> Flow[SearchIndexInfo]:
    """Return what the server says of the search index."""
    [reply] = yield [("FT.INFO", keys.alias)]
    return parse_info(reply)


def scan(prefix: str, cursor: int) -> Flow[tuple[int, list[str]]]:
    """Return the next cursor, 0 at the end, and some of the keys with the prefix; a key may come twice."""
    [reply] = yield [("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", KEYS_PER_ROUND)]
    following, found = checked(reply)
    return int(following), [as_text(key) for key in found]


def count_passages(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of passages that the filter finds."""
    [reply] = yield [("FT.SEARCH", keys.alias, among.query, *params(among.params), "LIMIT", 0, 0, "DIALECT", 2)]
    return parse_search(reply).total


def count_documents(keys: Keys, among: Fragment = EVERYTHING) -> Flow[int]:
    """Return the number of documents that the filter finds."""
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, among.query, *params(among.params)),
            *("GROUPBY", 0, "REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n"),
            *("TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    rows = parse_aggregate(reply)
    return int(rows[0]["n"]) if rows else 0


@dataclass(frozen=True, slots=True)
class LabelCensus:
    """The labels in an index.

    Attributes:
        documents: for each label the number of documents that have it.
        labelled: number of passages with a label.
        passages: number of all passages.
    """

    documents: Mapping[Label, int]
    labelled: int
    passages: int


def count_labels(keys: Keys, among: Fragment = EVERYTHING) -> Flow[LabelCensus]:
    """Count the documents of each label, of those that the filter finds."""
    labelled_only = intersection(among, LABELLED)
    [reply] = yield [
        (
            *("FT.AGGREGATE", keys.alias, labelled_only.query, *params(labelled_only.params), "GROUPBY", 1, "@label"),
            *("REDUCE", "COUNT_DISTINCT", 1, "@document_id", "AS", "n", "TIMEOUT", COUNT_TIMEOUT, "DIALECT", 2),
        )
    ]
    counts: Counter[Label] = Counter()
    for row in parse_aggregate(reply):
        counts[decode_tag(row["label"])] += int(row["n"])  # 1 and 1.0 are stored apart, and are one label
    labelled = yield from count_passages(keys, labelled_only)
    return LabelCensus(counts, labelled, (yield from count_passages(keys, among)))


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
                document_id = keys.passage_id(key).rpartition("#")[0]
                vector = from_bytes(blob, schema.dtype)
                found.append(StoredVector(document_id, decode_tag(as_text(label)), as_text(digest_), vector))
    return found


def stored_labels(keys: Keys) -> Flow[dict[str, Label]]:
    """Return the label of each labelled passage by the passage's id, in no order."""
    labels: dict[str, Label] = {}
    cursor = 0
    while True:
        cursor, passages = yield from scan(keys.passage_prefix, cursor)
        replies = yield [("HGET", key, "label") for key in passages]
        for key, reply in zip(passages, replies, strict=True):
            if checked(reply) is not None:
                labels[keys.passage_id(key)] = decode_tag(as_text(reply))
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
    return sorted({keys.passage_id(key).rpartition("#")[0] for key in found})


def passages_around(keys: Keys, numbers: Mapping[str, Sequence[int]], window: int) -> Flow[dict[str, Passage]]:
    """Return passages and those before and after them by their ids, with text and offsets only.

    Each document is read in one transaction, so that its passages belong together however often it is replaced.
    What is not there is left out.

    Args:
        keys: of the index.
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
    commands: list[Command] = []
    for document_id, near_numbers in wanted.items():
        prefix = keys.passages(document_id)
        reads: list[Command] = [("HMGET", f"{prefix}{number}", "text", "start", "end") for number in near_numbers]
        commands += [("MULTI",), *reads, ("EXEC",)]
    replies = iter((yield commands) if commands else ())
    found: dict[str, Passage] = {}
    for document_id, near_numbers in wanted.items():
        # The first error says what was wrong; EXEC itself then only says that it did nothing.
        *_, rows = [checked(next(replies)) for _ in range(len(near_numbers) + 2)]
        for number, row in zip(near_numbers, rows, strict=True):
            text, start, end = checked(row)
            if text is not None:
                passage_id = f"{document_id}#{number}"
                found[passage_id] = Passage(passage_id, document_id, as_text(text), int(start), int(end))
    return found


def wait_until_searchable(keys: Keys, patience: float) -> Flow[None]:
    """Wait until everything stored is indexed.

    Args:
        keys: of the index.
        patience: seconds.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = time.monotonic() + patience
    pause = 0.01
    while True:
        info = yield from index_info(keys)
        if not info.building:
            return
        if time.monotonic() >= deadline:
            raise TimeoutError(
                f"expected index {keys.name!r} to be searchable, got {info.percent_indexed:.0%} of it: "
                "wait longer, the server goes on indexing"
            )
        yield Pause(pause)
        pause = min(2 * pause, 1.0)
