"""The counts of an ingest under way, and which of its documents are the first of their ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ragknn._checks import check_unicode, shown
from ragknn.indexing._policy import Policy
from ragknn.indexing._ready import ReadyDocument, StoredDocument
from ragknn.records import Document
from ragknn.reports import Failure, IngestReport, Note, Verification

_DAMAGE = (
    "its passages on the server were not those of the document: some had expired, were evicted, or deleted by others, "
    "or were lost when the server stopped; it is stored anew"
)
_SENT_AGAIN = (
    "{} documents were sent again when the connection broke, and are stored as they should be; they count as added, "
    "though some may have been there before"
)

_TO_BE_STORED = (Document, ReadyDocument, StoredDocument)

# Why a document is updated.
_REASONS = ("damaged", "settings", "text", "label", "metadata")

# Kinds of documents that are in the input.
_OF_INPUT = ("added", "updated", "unchanged", "skipped")


class Tally:
    """What became of the documents so far.

    What it keeps of each document is its id, about 100 bytes in all: a later document of the same id must be known, and
    `sync` removes what was not seen.
    """

    def __init__(self, policy: Policy) -> None:
        self._started = time.monotonic()
        self.dry_run = policy.dry_run
        self._takes_first = policy.on_repeated == "first"
        self.seen: dict[str, str] = {}  # ids, and where the first of each was read
        self._put_off: set[str] = set()  # those of them that come again
        # Of documents that may come again, or whose state is only told: ids and hashes.
        self.written: dict[str, tuple[str, str]] = {}
        self._doubted: dict[str, bool | None] = {}
        self._assumed: list[str] = []
        self.added: list[str] = []
        self.updated: list[str] = []
        self.deleted: list[str] = []
        self.unchanged: list[str] = []
        self.skipped: list[str] = []
        self.passages = 0
        self.expected = 0  # passages that the documents have that are stored or unchanged, if each came once
        self.embedded = 0
        self.under_way = 0.0
        self.kept: list[str] = []
        self.reasons: dict[str, tuple[str, ...]] = {}  # why documents are updated
        self.verification: Verification | None = None
        self.left_unindexed: set[str] = set()  # documents that are stored, and not found
        self.failed: list[Failure] = []
        self.left_out: list[Failure] = []
        self.notes: list[Note] = []

    @property
    def settled(self) -> int:
        """Number of documents that are counted or have failed."""
        return len(self.added) + len(self.updated) + len(self.unchanged) + len(self.skipped) + len(self.failed)

    def failure(self, document_id: str, reason: str) -> Failure:
        """Return a failure of a document, under the place that it was read from."""
        return Failure(self.seen.get(document_id) or document_id, reason, document_id)

    def fail(self, document_id: str, reason: str) -> None:
        """Count a document that cannot be stored."""
        self.failed.append(self.failure(document_id, reason))

    def note_damage(self, document_id: str) -> None:
        """Note that a document was not whole on the server, and is stored anew."""
        source = self.seen.get(document_id) or document_id
        self.notes.append(Note("damaged", source, _DAMAGE, document_id))

    def note_reasons(self, document_id: str, *reasons: str) -> None:
        """Note why a document is updated, beside what was noted of it before in this call."""
        noted = {*self.reasons.get(document_id, ()), *reasons}
        self.reasons[document_id] = tuple(sorted(noted, key=_REASONS.index))  # in whatever order they were found out

    def store(
        self, document_id: str, hashes: tuple[str, str], passages: int, left_out: Sequence[str], *, new: bool
    ) -> None:
        """Count a document that was stored, or in a dry run would be."""
        if document_id not in self.written:  # not an earlier one of the same id in this call
            (self.added if new else self.updated).append(document_id)
        if self.dry_run or not self._takes_first:
            self.written[document_id] = hashes
        self.passages += passages
        self.expected += passages
        self.left_out += [self.failure(document_id, reason) for reason in left_out]

    def see(self, documents: Sequence[Document | ReadyDocument | StoredDocument]) -> None:
        """Take note of documents whose ids come once."""
        self.seen.update((one.id, one.source) for one in documents)

    def put_off(self, document: Document) -> None:
        """Let a document that was seen come once more."""
        self._put_off.add(document.id)

    def store_new(self, documents: Sequence[Document]) -> None:
        """Count documents of one passage that were new, and were stored."""
        self.added += [one.id for one in documents]
        self.passages += len(documents)
        self.expected += len(documents)

    def doubt(self, document_id: str, *, was_new: bool | None) -> None:
        """Note that a document may be there, as it should be, by a sending after which it is sent again.

        Args:
            document_id: the document.
            was_new: whether it was not there before its first sending; None: that is not known.
        """
        self._doubted[document_id] = was_new

    def is_to_be_told(self, document_id: str) -> bool:
        """Whether a document that is there, as it should be, may be something else than unchanged."""
        return document_id in self._doubted or document_id in self.written

    def is_doubted(self, document_id: str) -> bool:
        """Whether it is not known if a document that is there, as it should be, was stored by this call."""
        return document_id in self._doubted

    def resolve(self, document_id: str, hashes: tuple[str, str], passages: int, left_out: Sequence[str]) -> None:
        """Count a document of which that is not known as stored by this call."""
        was_new = self._doubted.pop(document_id)
        if was_new is None:
            self._assumed.append(document_id)
        self.store(document_id, hashes, passages, left_out, new=was_new is not False)

    def each_id_once(self, batch: Sequence[Any]) -> Iterator[Any]:
        """Yield the documents of a batch of outcomes that are to be stored; count all else.

        Raises:
            TypeError: something that is no outcome of reading.
        """
        last: dict[str, Any] = {}
        for item in batch:
            if isinstance(item, _TO_BE_STORED):
                own = item.id
                if not own.isascii() and (reason := _fault_of_id(own)):
                    self.fail(own, reason)
                elif own not in self.seen:
                    self.seen[own] = item.source
                    last[own] = item
                elif self._takes_first and own not in self._put_off:
                    self.failed.append(_repeated(item, self.seen[own]))
                else:
                    self._put_off.discard(own)
                    self.seen[own] = item.source
                    last[own] = item
            elif isinstance(item, Note):
                self.notes.append(item)
                if item.kind == "passed over" and item.document_id is not None:
                    self.seen.setdefault(item.document_id, item.source)
            elif isinstance(item, Failure):
                self.failed.append(item)
                if item.document_id is not None:
                    self.seen.setdefault(item.document_id, item.source)
            else:
                raise TypeError(f"expected documents, got {shown(item)} of type {type(item).__name__}")
        yield from last.values()

    def report(self, *, final: bool = False) -> IngestReport:
        """Return the counts; at the end with the ids, in the order of the input."""
        left_out, ids, reasons = self.left_out, {}, {}
        if final:
            if self._assumed:
                self.notes.append(Note("assumed", self._assumed[0], _SENT_AGAIN.format(len(self._assumed))))
            place = {document_id: number for number, document_id in enumerate(self.seen)}
            left_out = sorted(left_out, key=lambda failure: place[failure.document_id or ""])
            settled = {what: sorted(getattr(self, what), key=place.__getitem__) for what in _OF_INPUT}
            ids = {what: tuple(settled.get(what) or getattr(self, what)) for what in IngestReport.KINDS}
            reasons = {document_id: self.reasons.get(document_id, ()) for document_id in ids["updated"]}
        return IngestReport(
            added=len(self.added),
            updated=len(self.updated),
            unchanged=len(self.unchanged),
            deleted=len(self.deleted),
            passages=self.passages,
            embedded=self.embedded,
            under_way=0.0 if final else self.under_way,
            failed=tuple(self.failed),
            kept=len(self.kept),
            skipped=len(self.skipped),
            left_out=tuple(left_out),
            notes=tuple(self.notes),
            ids=ids,
            dry_run=self.dry_run,
            seconds=time.monotonic() - self._started,
            reasons=reasons,
            verification=self.verification,
        )


def _fault_of_id(document_id: str) -> str:
    try:
        check_unicode(document_id, "the id")
    except ValueError as error:
        return str(error)
    return ""


def _repeated(item: Any, first: str) -> Failure:
    taken = f"only the first, in {first}, was taken" if first else "only the first was taken"
    return Failure(item.source or item.id, f"expected each id once, got it a second time; {taken}", item.id)
