"""How documents become stored passages: the one body behind `Indexer` and `AsyncIndexer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.counting import index_info
from ragknn._protocol.encoding import content_hash, dump_metadata
from ragknn._protocol.fetching import matching_ids, stored_ids
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.keys import Keys
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import as_vectors, find_faults, to_bytes
from ragknn._protocol.writing import Prepared, content_hashes, delete_documents, replace_documents
from ragknn.errors import InvalidVectors
from ragknn.records import Document, Failure, IngestReport, Passage

# Documents looked up, and written, in one round trip: enough to keep the model's batches full, few enough that
# a progress bar moves and a crash costs little.
DOCUMENTS_PER_BATCH = 64
# Passages embedded in one call: eight batches of the model, which sorts them by length to waste less padding.
PASSAGES_PER_CALL = 256

Progress: TypeAlias = Callable[[IngestReport], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a document is cut and where the vectors of its passages come from.

    Attributes:
        fingerprint: of the way of cutting; another one makes a document count as changed.
        cut: the passages of a document.
        embed: one vector for each passage, shape (n, dim).
        vector_bytes: what else decides whether a document has changed: the ready vector, where there is one.
    """

    fingerprint: str
    cut: Callable[[Document], Sequence[Passage]]
    embed: Callable[[Sequence[Passage]], NDArray[Any]]
    vector_bytes: Callable[[Document], bytes] = field(default=lambda document: b"")


@dataclass(slots=True)
class _Tally:
    """The counts of an ingest under way."""

    started: float
    seen: set[str] = field(default_factory=set)
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    kept: int = 0
    failed: list[Failure] = field(default_factory=list)

    def fail(self, document_id: str, reason: str) -> None:
        self.failed.append(Failure(document_id, reason, document_id))

    def report(self) -> IngestReport:
        return IngestReport(
            added=self.added,
            updated=self.updated,
            unchanged=self.unchanged,
            deleted=self.deleted,
            passages=self.passages,
            failed=tuple(self.failed),
            kept=self.kept,
            seconds=time.monotonic() - self.started,
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """A document that differs from what is stored of it."""

    document: Document
    content_hash: str
    is_new: bool
    passages: Sequence[Passage]
    fields: Mapping[str, str]


def ingest(
    keys: Keys,
    schema: Schema,
    documents: Iterable[Document | Failure],
    recipe: Recipe,
    *,
    prune: Fragment | None,
    progress: Progress | None,
) -> Flow[IngestReport]:
    """Bring the documents into the index.

    Args:
        keys: of the index.
        schema: of the index.
        documents: taken a batch at a time; a failure among them goes into the report.
        recipe: how they are cut and embedded.
        prune: among which documents to remove those that the input does not have; None: none at all. Nothing is
            removed if part of the input could not be read, since what is missing may stand there.
        progress: called with the report so far after each batch.
    """
    tally = _Tally(time.monotonic())
    refused_before = (yield from index_info(keys)).failures
    source = iter(documents)
    while batch := (yield Work(lambda: list(islice(source, DOCUMENTS_PER_BATCH)))):
        yield from _bring_in(keys, schema, batch, recipe, tally)
        if progress:
            progress(tally.report())
    if prune is not None:
        yield from _remove_missing(keys, prune, tally)
    info = yield from index_info(keys)
    if info.failures > refused_before:
        reason, key = info.last_failure
        tally.failed.append(
            Failure(key, f"the server left {info.failures - refused_before} passages out of the index: {reason}")
        )
    return tally.report()


def _bring_in(
    keys: Keys, schema: Schema, batch: Sequence[Document | Failure], recipe: Recipe, tally: _Tally
) -> Flow[None]:
    documents = list(_first_of_each_id(batch, tally))
    known = yield from content_hashes(keys, [document.id for document in documents])
    changes = yield Work(lambda: list(_changes(schema, documents, known, recipe, tally)))
    passages = [passage for change in changes for passage in change.passages]
    blocks = []
    for start in range(0, len(passages), PASSAGES_PER_CALL):
        block = passages[start : start + PASSAGES_PER_CALL]
        vectors = yield Work(lambda block=block: recipe.embed(block))  # type: ignore[misc]
        rows = as_vectors(vectors, schema.dim)
        if len(rows) != len(block):
            raise InvalidVectors(f"expected one vector for each of {len(block)} passages, got {len(rows)}")
        blocks.append(rows)
    if not blocks:
        return
    prepared = list(_prepare(schema, changes, np.concatenate(blocks), tally))
    refusals = yield from replace_documents(keys, [document for document, _ in prepared])
    for (document, is_new), refusal in zip(prepared, refusals, strict=True):
        if refusal:
            tally.fail(document.id, refusal)
        else:
            tally.added += is_new
            tally.updated += not is_new
            tally.passages += len(document.passages)


def _first_of_each_id(batch: Iterable[Document | Failure], tally: _Tally) -> Iterator[Document]:
    for outcome in batch:
        if isinstance(outcome, Failure):
            tally.failed.append(outcome)
            if outcome.document_id is not None:
                tally.seen.add(outcome.document_id)
        elif not isinstance(outcome, Document):
            raise TypeError(f"expected documents, got {outcome!r} of type {type(outcome).__name__}")
        elif not _is_utf8(outcome.id):
            tally.fail(outcome.id, "expected an id that UTF-8 can hold, got a lone surrogate")
        elif outcome.id in tally.seen:
            tally.fail(outcome.id, "expected each id once, got it a second time; only the first was taken")
        else:
            tally.seen.add(outcome.id)
            yield outcome


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _changes(
    schema: Schema, documents: Sequence[Document], known: Sequence[str | None], recipe: Recipe, tally: _Tally
) -> Iterator[_Change]:
    for document, stored in zip(documents, known, strict=True):
        try:
            digest = content_hash(document, recipe.fingerprint, recipe.vector_bytes(document))
            if digest == stored:
                tally.unchanged += 1
                continue
            fields = schema.field_values(document.metadata)
            passages = recipe.cut(document)
        except ValueError as error:
            tally.fail(document.id, str(error))
            continue
        if passages:
            yield _Change(document, digest, stored is None, passages, fields)
        else:
            tally.fail(document.id, "expected text, got none or only white space")


def _prepare(
    schema: Schema, changes: Sequence[_Change], vectors: NDArray[Any], tally: _Tally
) -> Iterator[tuple[Prepared, bool]]:
    faults = find_faults(vectors, schema.metric, schema.dtype)
    start = 0
    for change in changes:
        end = start + len(change.passages)
        faulty = [faults[row] for row in range(start, end) if row in faults]
        if faulty:
            tally.fail(change.document.id, f"expected finite vectors with a direction, got {faulty[0]}")
        else:
            yield (
                Prepared(
                    id=change.document.id,
                    content_hash=change.content_hash,
                    passages=change.passages,
                    vectors=to_bytes(vectors[start:end], schema.dtype),
                    fields=change.fields,
                    metadata=dump_metadata(change.document),
                    text_search=schema.text_search,
                ),
                change.is_new,
            )
        start = end


def _remove_missing(keys: Keys, among: Fragment, tally: _Tally) -> Flow[None]:
    stored = yield from (stored_ids(keys) if among == EVERYTHING else matching_ids(keys, among))
    missing = [document_id for document_id in stored if document_id not in tally.seen]
    if any(failure.document_id is None for failure in tally.failed):
        tally.kept = len(missing)
    else:
        tally.deleted = yield from delete_documents(keys, missing)
