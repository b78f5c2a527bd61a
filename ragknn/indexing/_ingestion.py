"""How documents become stored passages: the one body behind `Indexer` and `AsyncIndexer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_call, check_choice, check_flag, check_unicode, check_whole, shown
from ragknn._display.bars import bar_in_notebook
from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import matching_ids, stored_ids
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.layout import Details, not_everywhere, passage_fields, record_fields
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.schema import OnBadField, Schema
from ragknn._protocol.vectors import as_vectors, find_faults, to_bytes
from ragknn._protocol.writing import Change, Replacement, delete_documents, stored_hashes, write_documents
from ragknn.errors import InvalidVectors
from ragknn.indexing._drafts import Draft, Drafting, ReadyDocument
from ragknn.records import Document, Passage
from ragknn.reports import Failure, IngestReport, Note

# Documents looked up, and written, in one round trip: enough to keep the model's batches full, few enough that
# a progress bar moves and a crash costs little.
DOCUMENTS_PER_BATCH = 64
# Passages embedded in one call: eight batches of the model, which sorts them by length to waste less padding.
PASSAGES_PER_CALL = 256
# Times that a document is looked up again because another writer changed it meanwhile.
ATTEMPTS = 3

CHANGED_MEANWHILE = (
    "expected a document that no other writer changes meanwhile, got it changed; try again, and if that fails too, add "
    "the document again: some of its passages are gone from the server"
)

Progress: TypeAlias = Callable[[IngestReport], None]
OnExisting: TypeAlias = Literal["replace", "skip", "fail"]
OnRepeated: TypeAlias = Literal["first", "last"]
Embedding: TypeAlias = Callable[[Sequence[str]], Any]


class IngestOptions(TypedDict, total=False):
    """What can be said of adding documents; explained at `Indexer.add`."""

    on_existing: OnExisting
    on_repeated: OnRepeated
    on_bad_field: OnBadField
    batch_size: int
    progress: Progress | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """The options of an ingest, checked."""

    on_existing: OnExisting = "replace"
    on_repeated: OnRepeated = "first"
    on_bad_field: OnBadField = "fail"
    batch_size: int = DOCUMENTS_PER_BATCH
    progress: Progress | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("on_existing", OnExisting), ("on_repeated", OnRepeated), ("on_bad_field", OnBadField)):
            check_choice(name, getattr(self, name), get_args(choices))
        check_whole("batch_size", self.batch_size)
        check_flag("dry_run", self.dry_run)
        if self.progress is not None:
            check_call("progress", self.progress, "print")


@dataclass(slots=True)
class _Tally:
    """The counts of an ingest under way."""

    started: float
    dry_run: bool
    seen: dict[str, str] = field(default_factory=dict)  # ids, and where the first of each was read
    written: dict[str, tuple[str, str]] = field(default_factory=dict)  # ids and hashes; in a dry run, of what would be
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: int = 0
    passages: int = 0
    kept: int = 0
    failed: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def failure(self, document_id: str, reason: str) -> Failure:
        return Failure(self.seen.get(document_id) or document_id, reason, document_id)

    def fail(self, document_id: str, reason: str) -> None:
        self.failed.append(self.failure(document_id, reason))

    def report(self, *, final: bool = False) -> IngestReport:
        ids = {"added": self.added, "updated": self.updated, "deleted": self.deleted}
        return IngestReport(
            added=len(self.added),
            updated=len(self.updated),
            unchanged=self.unchanged,
            deleted=len(self.deleted),
            passages=self.passages,
            failed=tuple(self.failed),
            kept=self.kept,
            skipped=self.skipped,
            left_out=tuple(self.left_out),
            notes=tuple(self.notes),
            ids={name: tuple(some) for name, some in ids.items()} if final else {},
            dry_run=self.dry_run,
            seconds=time.monotonic() - self.started,
        )


@dataclass(slots=True)
class _Pending:
    """A document that differs from what is stored of it.

    Attributes:
        draft: what is to be stored.
        stored: its text hash and details hash as stored, or None if it is new.
        details: labels, metadata and fields: once for all passages, or one for each.
        left_out: fields that were left out, and why.
        passages: cut, or empty where only details differ.
    """

    draft: Draft
    stored: tuple[str, str] | None
    details: Sequence[Details]
    left_out: Sequence[str]
    passages: Sequence[Passage]


def ingest(
    place: Place,
    items: Iterable[Any],
    draft: Drafting,
    embed: Embedding,
    policy: Policy,
    prune: Fragment | None = None,
) -> Flow[IngestReport]:
    """Bring documents into the index.

    Args:
        place: the index.
        items: documents or what else `draft` takes, read a batch at a time; a failure among them goes into the report.
        draft: makes a draft of an item.
        embed: makes one vector of each of n texts, shape (n, dim).
        policy: what to do with repeated, existing and unfit documents.
        prune: among which documents to remove those that the input does not have; None: none at all. Nothing is
            removed if part of the input could not be read, since the missing documents may be in it.
    """
    tally = _Tally(time.monotonic(), policy.dry_run)
    refused_before = (yield from index_info(place.keys)).failures
    source = iter(items)
    total = len(items) if isinstance(items, Sized) else 0
    told = None if policy.progress is None else _reporting(policy.progress, tally)
    with bar_in_notebook("documents", told) as tell:
        while batch := (yield Work(lambda: list(islice(source, policy.batch_size)))):
            left = list(_each_id_once(batch, policy, tally))
            for _ in range(ATTEMPTS):
                if left:
                    left = yield from _bring_in(place, left, draft, embed, policy, tally)
            for item in left:
                tally.fail(item.id, CHANGED_MEANWHILE)
            tell(tally.report().documents, total)
    if prune is not None:
        yield from _remove_missing(place, prune, tally)
    elif policy.on_existing == "replace" and place.schema.required_filter is None:
        yield from _remove_emptied(place, tally)
    info = yield from index_info(place.keys)
    if info.failures > refused_before:
        reason, key = info.last_failure
        tally.failed.append(
            Failure(key, f"the server left {info.failures - refused_before} passages out of the index: {reason}")
        )
    return tally.report(final=True)


def all_new(items: Iterable[Any]) -> IngestReport:
    """Return what a dry run of documents would report of an index that is not there yet."""
    tally = _Tally(time.monotonic(), dry_run=True)
    tally.added += [item.id for item in _each_id_once(list(items), Policy(), tally)]
    return tally.report(final=True)


def _reporting(progress: Progress, tally: _Tally) -> Callable[[int, int], None]:
    return lambda done, total: progress(tally.report())


def _bring_in(
    place: Place, items: Sequence[Any], draft: Drafting, embed: Embedding, policy: Policy, tally: _Tally
) -> Flow[list[Any]]:
    """Bring a batch in; return the documents that another writer changed meanwhile."""
    known = yield from stored_hashes(place, [item.id for item in items])
    if policy.dry_run:
        known = [tally.written.get(item.id, stored) for item, stored in zip(items, known, strict=True)]
    pending = yield Work(lambda: list(_pending(items, known, draft, policy, tally)))
    if policy.dry_run:
        for one in pending:
            _count(one, tally)
        return []
    vectors = yield from _embedded(pending, embed, place.schema.dim)
    writes = dict(_writes(place.schema, pending, vectors, policy, tally))
    outcomes = yield from write_documents(place, list(writes.values()))
    by_id = {one.draft.id: one for one in pending}
    changed: set[str] = set()
    for document_id, outcome in zip(writes, outcomes, strict=True):
        if outcome is True:
            _count(by_id[document_id], tally)
        elif outcome is not False:
            tally.fail(document_id, outcome)
        else:
            changed.add(document_id)
    return [item for item in items if item.id in changed]


def _count(one: _Pending, tally: _Tally) -> None:
    if one.draft.id not in tally.written:  # not an earlier one of the same id in this call
        (tally.added if one.stored is None else tally.updated).append(one.draft.id)
    tally.written[one.draft.id] = (one.draft.text_hash, one.draft.details_hash)
    tally.passages += len(one.passages)
    tally.left_out += [tally.failure(one.draft.id, reason) for reason in one.left_out]


def _each_id_once(batch: Sequence[Any], policy: Policy, tally: _Tally) -> Iterator[Any]:
    last: dict[str, Any] = {}
    for item in batch:
        if isinstance(item, Note):
            tally.notes.append(item)
            if item.kind == "passed over" and item.document_id is not None:
                tally.seen.setdefault(item.document_id, item.source)
        elif isinstance(item, Failure):
            tally.failed.append(item)
            if item.document_id is not None:
                tally.seen.setdefault(item.document_id, item.source)
        elif not isinstance(item, Document | ReadyDocument):
            raise TypeError(f"expected documents, got {shown(item)} of type {type(item).__name__}")
        elif reason := _fault_of_id(item.id):
            tally.fail(item.id, reason)
        elif item.id in tally.seen and policy.on_repeated == "first":
            tally.failed.append(_repeated(item, tally.seen[item.id]))
        else:
            tally.seen[item.id] = item.source
            last[item.id] = item
    yield from last.values()


def _fault_of_id(document_id: str) -> str:
    try:
        check_unicode(document_id, "the id")
    except ValueError as error:
        return str(error)
    return ""


def _repeated(item: Any, first: str) -> Failure:
    taken = f"only the first, in {first}, was taken" if first else "only the first was taken"
    return Failure(item.source or item.id, f"expected each id once, got it a second time; {taken}", item.id)


def _pending(
    items: Sequence[Any], known: Sequence[tuple[str, str] | None], draft: Drafting, policy: Policy, tally: _Tally
) -> Iterator[_Pending]:
    for item, stored in zip(items, known, strict=True):
        if stored and item.id not in tally.written and policy.on_existing != "replace":
            if policy.on_existing == "skip":
                tally.skipped += 1
            else:
                tally.fail(item.id, "expected a new document, got an id that the index has already")
            continue
        try:
            drafted = draft(item, policy.on_bad_field).as_stored(stored[0] if stored else "")
            if stored == (drafted.text_hash, drafted.details_hash):
                tally.unchanged += item.id not in tally.written
                continue
            details, left_out = drafted.details()
            same_text = stored is not None and stored[0] == drafted.text_hash
            passages = [] if same_text else drafted.cut()
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            tally.fail(item.id, "expected plain metadata, got it nested too deeply; flatten it" if deep else str(error))
            continue
        if passages or same_text:
            yield _Pending(drafted, stored, details, left_out, passages)
        else:
            tally.fail(item.id, "expected text, got none or only white space")


def _embedded(pending: Sequence[_Pending], embed: Embedding, dim: int) -> Flow[list[list[NDArray[Any] | None]]]:
    """Return for each document the vectors of its passages, None where one is to stay without."""
    vectors = [[passage.vector for passage in one.passages] for one in pending]
    missing = [
        (row, number)
        for row, one in enumerate(pending)
        for number, passage in enumerate(one.passages)
        if one.draft.embeds and passage.vector is None
    ]
    for start in range(0, len(missing), PASSAGES_PER_CALL):
        block = missing[start : start + PASSAGES_PER_CALL]
        texts = [pending[row].draft.embedded_text(pending[row].passages[number]) for row, number in block]
        made = yield Work(lambda texts=texts: embed(texts))  # type: ignore[misc]
        rows = as_vectors(made, dim)
        if len(rows) != len(block):
            raise InvalidVectors(f"expected one vector for each of {len(block)} passages, got {len(rows)}")
        for (row, number), vector in zip(block, rows, strict=True):
            vectors[row][number] = vector
    return vectors


def _writes(
    schema: Schema,
    pending: Sequence[_Pending],
    vectors: Sequence[Sequence[NDArray[Any] | None]],
    policy: Policy,
    tally: _Tally,
) -> Iterator[tuple[str, Replacement | Change]]:
    blobs, faults = _as_blobs(schema, vectors)
    for row, one in enumerate(pending):
        draft = one.draft
        if one.stored is not None and not one.passages:
            groups = [each.as_fields() for each in one.details]
            removed = not_everywhere(schema.fields, one.details)
            yield draft.id, Change(draft.id, draft.text_hash, "", draft.details_hash, removed, groups)
        elif row in faults:
            tally.fail(draft.id, f"expected finite vectors with a direction, got {faults[row]}")
        else:
            details = one.details if len(one.details) > 1 else [*one.details] * len(one.passages)
            triples = zip(one.passages, blobs[row], details, strict=True)
            passages = [passage_fields(schema, *triple) for triple in triples]
            gaps = draft.gaps(one.passages)
            record = record_fields(draft.text_hash, draft.details_hash, len(passages), gaps, draft.page_starts)
            only_new = policy.on_existing != "replace" and draft.id not in tally.written
            yield draft.id, Replacement(draft.id, record, passages, only_new, seems_new=one.stored is None)


def _as_blobs(
    schema: Schema, vectors: Sequence[Sequence[NDArray[Any] | None]]
) -> tuple[list[list[bytes | None]], dict[int, str]]:
    """Return the vectors as bytes, and for each document with a vector that has no distance the first reason why."""
    blobs: list[list[bytes | None]] = [[None] * len(own) for own in vectors]
    places = [(row, n) for row, own in enumerate(vectors) for n, vector in enumerate(own) if vector is not None]
    if not places:
        return blobs, {}
    rows = [np.asarray(vectors[row][number]) for row, number in places]
    matrix = np.concatenate(rows).reshape(len(rows), -1)  # quicker than np.stack
    faulty = find_faults(matrix, schema.metric, schema.dtype)
    faults: dict[int, str] = {}
    for position, reason in faulty.items():
        faults.setdefault(places[position][0], reason)
    matrix[list(faulty)] = 1  # they are not stored, and some of them do not fit the dtype
    for (row, number), blob in zip(places, to_bytes(matrix, schema.dtype), strict=True):
        blobs[row][number] = blob
    return blobs, faults


def _remove_emptied(place: Place, tally: _Tally) -> Flow[None]:
    """Remove what the index has of files that hold no text any more."""
    empty = [note.document_id for note in tally.notes if note.kind == "empty" and note.document_id is not None]
    emptied = [document_id for document_id in empty if document_id not in tally.seen]
    if not emptied:
        return
    known = yield from stored_hashes(place, emptied)
    stored = [document_id for document_id, hashes in zip(emptied, known, strict=True) if hashes is not None]
    tally.deleted = stored if tally.dry_run else (yield from delete_documents(place.keys, stored))


def _remove_missing(place: Place, among: Fragment, tally: _Tally) -> Flow[None]:
    keys = place.keys
    stored = yield from (stored_ids(keys) if among == EVERYTHING else matching_ids(keys, among))
    missing = sorted(document_id for document_id in stored if document_id not in tally.seen)
    if any(failure.document_id is None for failure in tally.failed):
        tally.kept = len(missing)
    elif tally.dry_run:
        tally.deleted = missing
    else:
        tally.deleted = yield from delete_documents(keys, missing)
