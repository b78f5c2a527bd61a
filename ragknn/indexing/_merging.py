"""The flow that adds passages to documents, whose other passages stay.

A document is read, put together anew, and stored in one step if nobody has changed it since; else it is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ragknn._checks import check_flag
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.layout import dump_details
from ragknn._protocol.owners import OF_ANOTHER, Owners
from ragknn._protocol.presence import gone
from ragknn._protocol.reading import FIELDS, Stored, read_stored
from ragknn._protocol.vectors import as_vectors
from ragknn._protocol.version import named_birth
from ragknn._protocol.writing import MOVED, Change, Replacement, write_documents
from ragknn.indexing._drafts import Draft, drafted_by, reason_of
from ragknn.indexing._line import CHANGED_MEANWHILE, PASSAGES_PER_CALL, Embedding
from ragknn.indexing._making_again import searched_by_now
from ragknn.indexing._owners import ids_of_others, owners_of
from ragknn.indexing._pending import Pending, pending_of, writes_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._reading import in_parts
from ragknn.indexing._ready import ReadyDocument, by_document, drafting_ready
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import verify
from ragknn.records import Passage
from ragknn.reports import IngestReport

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Documents read whole, with their vectors, at a time.
DOCUMENTS_PER_ROUND = 16
# Times that a document is put together again because another writer was quicker. With each time one of the writers is
# done, so that it takes as many at most as there are writers of one document.
ATTEMPTS = 100


def merging(
    index: Index | AsyncIndex, passages: Iterable[Passage], embed: bool, embedding: Embedding, policy: Policy
) -> Flow[IngestReport]:
    """The flow behind `Indexer.add_passages` with `keep_others`."""
    if policy.on_existing != "replace":
        raise ValueError(
            f"expected on_existing='replace' with keep_others, got {policy.on_existing!r}: what is there is kept anyway"
        )
    check_flag("embed", embed)
    yield from index._modernizing()
    tally = Tally(replace(policy, on_repeated="last"))  # a document may come again
    merger = _Merger(index, embed, embedding, policy)
    before = None if policy.dry_run else (yield from searched_by_now(index._place(), tally))
    yield from merger.begin()
    for batch in in_parts(by_document(passages), min(policy.batch_size, DOCUMENTS_PER_ROUND)):
        tally.see(batch)
        waiting: Sequence[ReadyDocument] = batch
        while waiting:  # of documents that come twice, one after the other
            first = {one.id: one for one in reversed(waiting)}
            yield from merger.bring_in([one for one in waiting if first[one.id] is one], tally)
            waiting = [one for one in waiting if first[one.id] is not one]
        if policy.progress is not None:
            policy.progress(tally.report())
    if before is not None:
        yield from verify(index._place(), before, None, tally)
    return tally.report(final=True)


class _Merger:
    """Adds passages to documents; the arguments are explained at `merging`."""

    def __init__(self, index: Index | AsyncIndex, embed: bool, embedding: Embedding, policy: Policy) -> None:
        self._index, self._policy = index, policy
        self._lenient = replace(policy, on_bad_field="leave_out")  # to what is there already
        self._embeds, self._embedding = embed, embedding
        self._doubted: dict[str, Pending] = {}  # what was sent again, and may have been stored before

    def begin(self) -> Flow[None]:
        """Take the index as it serves now."""
        self._place, self._birth = self._index._place(), ""
        if not self._policy.dry_run:
            self._birth, store = yield from named_birth(self._place.keys, self._place.schema)
            while store != self._place.keys.store:
                yield from self._index._keeping_up_since(self._place.keys)
                self._place = self._index._place()
                self._birth, store = yield from named_birth(self._place.keys, self._place.schema)
        self._draft = drafting_ready(self._place.schema, self._embeds)

    def bring_in(self, documents: Sequence[ReadyDocument], tally: Tally) -> Flow[None]:
        """Store documents of different ids."""
        for _ in range(ATTEMPTS):
            documents = yield from self._try(documents, tally)
            if not documents:
                return
        for one in documents:
            tally.fail(one.id, CHANGED_MEANWHILE)

    def _try(self, documents: Sequence[ReadyDocument], tally: Tally) -> Flow[list[ReadyDocument]]:
        """Store documents; return those that were changed meanwhile, with the vectors that were made."""
        stored = yield from read_stored(self._place, [one.id for one in documents], (*FIELDS, "vector"))
        of_others = yield from ids_of_others(self._place, documents, [stored.get(one.id) for one in documents])
        for one in documents:
            if one.id in of_others:
                tally.fail(one.id, OF_ANOTHER)
        own = [one for one in documents if one.id not in of_others]
        owners: dict[str, Owners | None] = {}
        pending: list[Pending] = yield Work(lambda: list(self._pending(own, stored, owners, tally)))
        if self._policy.dry_run:
            for each in pending:
                each.count(tally)
                tally.embedded += len(each.unembedded)
            return []
        yield from self._embed(pending, tally)
        given = {one.id: one for one in documents}
        ready = {each.draft.id: each for each in pending}
        made = yield Work(partial(writes_of, self._place.schema, pending, self._policy, tally))
        writes = [if_as_read(write, ready[write.id].stored, owners[write.id]) for write in made]
        outcomes = (yield from write_documents(self._place, writes, self._birth)) if writes else []
        if outcomes is None:
            raise gone(self._place.keys)
        again: list[ReadyDocument] = []
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is True:
                ready[write.id].count(tally)
            elif outcome == MOVED:
                again.append(given[write.id])
            elif isinstance(outcome, str):
                tally.fail(write.id, outcome)
            else:
                if outcome is None:
                    self._doubted[write.id] = ready[write.id]
                again.append(_with_vectors(given[write.id], ready[write.id]))
        if MOVED in outcomes:
            yield from self.begin()
        return again

    def _pending(
        self,
        documents: Sequence[ReadyDocument],
        stored: Mapping[str, Stored],
        owners: dict[str, Owners | None],
        tally: Tally,
    ) -> Iterator[Pending]:
        """Yield those that are to be stored, count all others, and tell whose the passages are that are given."""
        drafted = drafted_by(self._draft, self._lenient.on_bad_field)
        for one in documents:
            old = stored.get(one.id)
            there = [] if old is None else [passage for passage in old.passages if passage.digest]
            whole = one if not there else replace(one, passages=_merged(there, one.passages, self._embeds))
            given = {passage.id for passage in one.passages}
            to_embed = self._embeds and any(own.vector is None for own in whole.passages if own.id in given)
            if old is not None and len(there) == len(old.passages) and not to_embed and _same(there, whole.passages):
                if (sent := self._doubted.pop(one.id, None)) is not None:
                    sent.count(tally)
                elif one.id not in tally.written:
                    tally.unchanged.append(one.id)
                continue
            try:
                draft = self._draft(one, self._policy.on_bad_field)
                details, left_out = draft.details()
                owners[one.id] = owners_of(self._place.schema, details)
            except (ValueError, RecursionError) as error:
                tally.fail(one.id, reason_of(error))
                continue
            hashes = None if old is None else (old.text_hash, old.details_hash)
            known = ("to be embedded", hashes[1]) if hashes and to_embed else hashes
            reasons = tally.reasons.get(one.id, ())
            as_drafted = drafted if there else partial(_itself, draft)
            for pending in pending_of([whole], [known], as_drafted, self._lenient, tally):
                pending.stored, pending.left_out = hashes, left_out
                if old is not None:
                    tally.reasons[one.id] = reasons
                    tally.note_reasons(one.id, *_differences(there, whole.passages))
                # What was stored without a vector stays so.
                pending.unembedded -= {n for n, own in enumerate(pending.passages) if own.id not in given}
                yield pending

    def _embed(self, pending: Sequence[Pending], tally: Tally) -> Flow[None]:
        waiting = [(one, number) for one in pending for number in sorted(one.unembedded)]
        for part in in_parts(waiting, PASSAGES_PER_CALL):
            made = yield Work(partial(self._embedding, [one.text_of(number) for one, number in part]))
            rows = as_vectors(made, self._place.schema.dim)
            for (one, number), vector in zip(part, rows, strict=True):
                one.take(number, vector)
            tally.embedded += len(part)


def _itself(draft: Draft, _: ReadyDocument) -> Draft:
    return draft


def _merged(there: Sequence[Passage], given: Sequence[Passage], embeds: bool) -> tuple[Passage, ...]:
    """Return the passages of a document with those that are given in the place of those that have their ids.

    Where all that are given have offsets, they stand by these; else new ones come last.
    """
    new = {passage.id: passage for passage in given}
    if len(new) < len(given):
        return (*there, *given)  # which is refused as such
    merged: list[Passage] = []
    moved = False
    for old in there:
        one = new.pop(old.id, None)
        if one is None:
            merged.append(old)
            continue
        if one.vector is None and one.text == old.text and embeds:
            one = replace(one, vector=old.vector)
        if not _has_offsets(one):
            if len(one.text) == len(old.text):
                one = replace(one, start=old.start, end=old.end)
            else:
                moved = True
        merged.append(one)
    merged += new.values()
    if moved:  # there is no place for it where the other one was
        return tuple(replace(one, start=0, end=0) for one in merged)
    if all(map(_has_offsets, given)):
        merged.sort(key=lambda one: one.start)
    return tuple(merged)


def _has_offsets(passage: Passage) -> bool:
    return (passage.start, passage.end) != (0, 0)


def _same(there: Sequence[Passage], merged: Sequence[Passage]) -> bool:
    """Tell whether nothing is to be written."""
    if len(there) != len(merged):
        return False
    try:
        return all(
            _state(old) == _state(one) and _same_vector(old, one) for old, one in zip(there, merged, strict=True)
        )
    except (ValueError, RecursionError):  # what cannot be stored is told of by who stores it
        return False


def _differences(there: Sequence[Passage], merged: Sequence[Passage]) -> Iterator[str]:
    """Yield why a document is written."""
    before = {one.id: one for one in there}
    if not {one.id for one in merged} <= before.keys() or any(
        (old := before[one.id]).text != one.text or not _same_vector(old, one) for one in merged
    ):
        yield "text"
    pairs = [(before[one.id], one) for one in merged if one.id in before]
    states = [(dump_details(old.label, old.metadata), dump_details(one.label, one.metadata)) for old, one in pairs]
    for at, what in enumerate(("label", "metadata")):
        if any(old[at] != new[at] for old, new in states):
            yield what


def _state(one: Passage) -> tuple[Any, ...]:
    return (one.id, one.text, one.start, one.end, one.page, one.headings, dump_details(one.label, one.metadata))


def _same_vector(old: Passage, one: Passage) -> bool:
    if one.vector is None or old.vector is None:
        return one.vector is old.vector
    return one.vector is old.vector or (
        getattr(one.vector, "dtype", None) == old.vector.dtype and bytes(one.vector.data) == bytes(old.vector.data)
    )


def _with_vectors(given: ReadyDocument, pending: Pending) -> ReadyDocument:
    """Return what is given with the vectors that were made of it, so that nothing is embedded twice."""
    made = {one.id: vector for one, vector in zip(pending.passages, pending.vectors, strict=True)}
    passages = [replace(one, vector=made.get(one.id, one.vector)) for one in given.passages]
    return replace(given, passages=tuple(passages))


def if_as_read(
    write: Replacement | Change, read: tuple[str, str] | None, owners: Owners | None
) -> Replacement | Change:
    """Let a document be written only if it is what was read: text hash and details hash, or None for nothing.

    What is there already must be of those who are named, not of all whose it will be.
    """
    if isinstance(write, Change):
        return replace(write, old_hash="" if read is None else read[1], owners=owners)
    return replace(write, only_new=read is None, expected=read, owners=owners)
