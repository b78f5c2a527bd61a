"""Documents that differ from what is stored of them: made of drafts, and made into what is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._protocol.layout import Details, Dumped, digest_of, not_everywhere, passage_fields, record_fields
from ragknn._protocol.owners import OF_ANOTHER
from ragknn._protocol.schema import Schema
from ragknn._protocol.stored import DAMAGED
from ragknn._protocol.vectors import find_faults, to_bytes
from ragknn._protocol.writing import Change, Replacement
from ragknn.indexing._drafts import Draft, Drafted, reason_of
from ragknn.indexing._owners import owners_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._tally import Tally
from ragknn.records import Passage

_FAULTY = "expected finite vectors with a direction, got "


class Pending:
    """A document that differs from what is stored of it.

    Attributes:
        item: what came.
        draft: what is to be stored.
        stored: its text hash and details hash as stored, or None if it is new.
        details: labels, metadata and fields: once for all passages, or one for each.
        left_out: fields that were left out, and why.
        passages: cut, or empty where only details differ.
        vectors: of the passages, None for one that has none, or none yet.
        unembedded: numbers of the passages that are to be embedded.
        share: of the passages that have been.
        kept: passages that stay, where only details differ.
    """

    __slots__ = ("details", "draft", "item", "kept", "left_out", "passages", "share", "stored", "unembedded", "vectors")

    def __init__(
        self,
        item: Any,
        draft: Draft,
        stored: tuple[str, str] | None,
        details: Sequence[Details],
        left_out: Sequence[str],
        passages: Sequence[Passage],
    ) -> None:
        self.item = item
        self.draft = draft
        self.stored = stored
        self.details = details
        self.left_out = left_out
        self.passages = passages
        self.vectors: list[NDArray[Any] | None] = [passage.vector for passage in passages]
        self.unembedded = {number for number, vector in enumerate(self.vectors) if draft.embeds and vector is None}
        self.share = 0.0
        self.kept = 0

    def text_of(self, number: int) -> str:
        """Return what is embedded for a passage."""
        return self.draft.embedded_text(self.passages[number])

    def take(self, number: int, vector: NDArray[Any]) -> None:
        """Take the vector of a passage."""
        self.vectors[number] = vector
        self.unembedded.discard(number)
        self.share += 1 / len(self.passages)

    @property
    def size(self) -> int:
        """Bytes that its texts and vectors take, about."""
        size = 0
        for passage, vector in zip(self.passages, self.vectors, strict=True):
            size += len(passage.text) + (0 if vector is None else vector.nbytes)
        return size

    @property
    def has_other_details(self) -> bool:
        """Whether label or metadata are others than those that are stored."""
        return self.stored not in (None, DAMAGED) and self.stored[1] != self.draft.details_hash

    def differences(self, stored: Sequence[Dumped]) -> list[str]:
        """Return which of label and metadata differ from those that were stored, of as many passages as it has."""
        pairs = list(zip(self.details, stored, strict=True))
        differing = {
            "label": any(one.label != label for one, (label, _) in pairs),
            "metadata": any(one.metadata != metadata for one, (_, metadata) in pairs),
        }
        return [reason for reason, differs in differing.items() if differs]

    def count(self, tally: Tally) -> None:
        """Count it as stored."""
        hashes = (self.draft.text_hash, self.draft.details_hash)
        new = self.stored is None
        tally.expected += self.kept
        tally.store(self.draft.id, hashes, len(self.passages), self.left_out, new=new)


def pending_of(
    items: Sequence[Any],
    known: Sequence[tuple[str, str] | None],
    draft_of: Drafted,
    policy: Policy,
    tally: Tally,
    of_others: Collection[str] = (),
) -> Iterator[Pending]:
    """Yield the documents that are to be stored; count all others.

    Args:
        items: the documents.
        known: of each its text hash and details hash as stored, or None.
        draft_of: gives the draft of an item.
        policy: what to do with existing and unfit documents.
        tally: counts.
        of_others: ids that are known to be others'.
    """
    for item, stored in zip(items, known, strict=True):
        if item.id in of_others:
            tally.fail(item.id, OF_ANOTHER)
            continue
        is_to_stay = bool(stored) and item.id not in tally.written and policy.on_existing != "replace"
        if stored == DAMAGED:
            tally.note_damage(item.id)
        elif is_to_stay and not tally.is_doubted(item.id):
            _leave(item.id, policy, tally)
            continue
        drafted = draft_of(item)
        if isinstance(drafted, str):
            tally.fail(item.id, drafted)
            continue
        try:
            drafted = drafted.as_stored(stored[0] if stored else "")
            if stored == (drafted.text_hash, drafted.details_hash):
                if tally.is_doubted(item.id):
                    tally.resolve(item.id, stored, len(drafted.cut()), drafted.details()[1])
                elif item.id not in tally.written:
                    tally.unchanged.append(item.id)
                continue
            if is_to_stay and stored != DAMAGED:
                _leave(item.id, policy, tally)
                continue
            details, left_out = drafted.details()
            same_text = stored is not None and stored[0] == drafted.text_hash
            passages = [] if same_text else drafted.cut()
        except (ValueError, RecursionError) as error:
            tally.fail(item.id, reason_of(error))
            continue
        if passages or same_text:
            if stored == DAMAGED:
                tally.note_reasons(item.id, "damaged")
            elif stored and not same_text:
                tally.note_reasons(item.id, "settings" if stored[0] == drafted.hash_before() else "text")
            yield Pending(item, drafted, stored, details, left_out, passages)
        else:
            tally.fail(item.id, "expected text, got none or only white space")


def _leave(document_id: str, policy: Policy, tally: Tally) -> None:
    """Count a document that is there already, and is to stay as it is."""
    if policy.on_existing == "skip":
        tally.skipped.append(document_id)
    else:
        tally.fail(document_id, "expected a new document, got an id that the index has already")


def storable(schema: Schema, pending: Sequence[Pending], tally: Tally) -> list[Pending]:
    """Return the documents without those that have a vector without a distance, which are failures."""
    _, faults = _as_blobs(schema, [one.vectors for one in pending])
    for row, reason in faults.items():
        tally.fail(pending[row].draft.id, f"{_FAULTY}{reason}")
    return [one for row, one in enumerate(pending) if row not in faults]


def writes_of(schema: Schema, pending: Sequence[Pending], policy: Policy, tally: Tally) -> list[Replacement | Change]:
    """Return what to write of the documents; those with a vector that has no distance are failures."""
    blobs, faults = _as_blobs(schema, [one.vectors for one in pending])
    writes: list[Replacement | Change] = []
    for row, one in enumerate(pending):
        draft, owners = one.draft, owners_of(schema, one.details)
        if one.stored is not None and not one.passages:
            groups = [each.as_fields() for each in one.details]
            removed = not_everywhere(schema.fields, one.details)
            writes.append(Change(draft.id, draft.text_hash, "", draft.details_hash, removed, groups, owners))
        elif row in faults:
            tally.fail(draft.id, f"{_FAULTY}{faults[row]}")
        else:
            details = one.details if len(one.details) > 1 else [*one.details] * len(one.passages)
            triples = zip(one.passages, blobs[row], details, strict=True)
            passages = [passage_fields(schema, *triple) for triple in triples]
            gaps = draft.gaps(one.passages)
            digests = [digest_of(each) for each in passages] if len(passages) > 1 else []
            record = record_fields(draft.text_hash, draft.details_hash, len(passages), gaps, draft.page_starts, digests)
            is_to_be_new = policy.on_existing != "replace" and draft.id not in tally.written
            only_new = is_to_be_new and one.stored != DAMAGED
            writes.append(Replacement(draft.id, record, passages, only_new, one.stored is None, owners))
    return writes


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
