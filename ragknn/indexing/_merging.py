"""The flow that adds passages to documents, whose other passages stay.

A document is read, put together anew, and stored in one step if nobody has changed it since; else it is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ragknn._checks import check_flag
from ragknn._protocol.flows import Flow, Work
from ragknn._protocol.owners import OF_ANOTHER, Owners
from ragknn._protocol.presence import gone
from ragknn._protocol.reading import FIELDS, Stored, passage_counts, read_stored
from ragknn._protocol.server import check_writable
from ragknn._protocol.vectors import as_vectors
from ragknn._protocol.version import named_birth
from ragknn._protocol.writing import MOVED, Change, Replacement, write_documents
from ragknn.indexing._batches import CHARACTERS_PER_BATCH, characters_of, in_writes, taken
from ragknn.indexing._drafts import Draft, drafted_by, reason_of
from ragknn.indexing._joining import differences, merged, same
from ragknn.indexing._line import CHANGED_MEANWHILE, PASSAGES_PER_CALL, Embedding
from ragknn.indexing._owners import ids_of_others, owners_of
from ragknn.indexing._pending import Pending, pending_of, writes_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._reading import in_parts
from ragknn.indexing._ready import ReadyDocument, by_document, drafting_ready
from ragknn.indexing._serving import searched_by_now
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import verify
from ragknn.records import Passage
from ragknn.reports import IngestReport

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Documents that are read, embedded and stored together: enough for full calls of the model.
DOCUMENTS_TOGETHER = 2 * PASSAGES_PER_CALL
# Passages of theirs that are there already and are held meanwhile, with their vectors.
PASSAGES_HELD = 1_024
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
    source = by_document(passages)
    broken: Exception | None = None
    while broken is None:
        batch, broken = yield Work(
            partial(taken, source, DOCUMENTS_TOGETHER, CHARACTERS_PER_BATCH, characters_of), borrows=True
        )
        if not batch:
            break
        tally.see(batch)
        waiting: Sequence[ReadyDocument] = batch
        while waiting:  # of documents that come twice, one after the other
            first = {one.id: one for one in reversed(waiting)}
            yield from merger.bring_in([one for one in waiting if first[one.id] is one], tally)
            waiting = [one for one in waiting if first[one.id] is not one]
    if broken is not None:
        raise broken
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
            yield from check_writable(self._place.server)
            self._birth, store = yield from named_birth(self._place.keys, self._place.schema)
            while store != self._place.keys.store:
                yield from self._index._keeping_up_since(self._place.keys)
                self._place = self._index._place()
                self._birth, store = yield from named_birth(self._place.keys, self._place.schema)
        self._draft = drafting_ready(self._place.schema, self._embeds)

    def bring_in(self, documents: Sequence[ReadyDocument], tally: Tally) -> Flow[None]:
        """Store documents of different ids."""
        for _ in range(ATTEMPTS):
            again: list[ReadyDocument] = []
            for part, there in (yield from self._portions(documents)):
                again += yield from self._try(part, there, tally)
            if not again:
                return
            documents = again
        for one in documents:
            tally.fail(one.id, CHANGED_MEANWHILE)

    def _portions(self, documents: Sequence[ReadyDocument]) -> Flow[list[tuple[list[ReadyDocument], list[str]]]]:
        """Return what to bring in together, and the ids of that which is there already."""
        portions: list[tuple[list[ReadyDocument], list[str]]] = []
        held = PASSAGES_HELD
        for part in in_parts(documents, self._policy.batch_size):
            counts = yield from passage_counts(self._place, [one.id for one in part])
            for one, count in zip(part, counts, strict=True):
                if held + count > PASSAGES_HELD or not portions:
                    portions.append(([], []))
                    held = 0
                together, there = portions[-1]
                together.append(one)
                there += [one.id] if count else []
                held += count
        return portions

    def _try(self, documents: Sequence[ReadyDocument], there: Sequence[str], tally: Tally) -> Flow[list[ReadyDocument]]:
        """Store documents; return those that were changed meanwhile, with the vectors that were made."""
        owners: dict[str, Owners | None] = {}
        pending = yield from self._read(documents, there, owners, tally)
        if self._policy.dry_run:
            for each in pending:
                each.count(tally)
                tally.embedded += len(each.unembedded)
            return []
        given = {one.id: one for one in documents}
        again: list[ReadyDocument] = []
        unwritten = {each.draft.id: each for each in pending}
        calls = in_parts([(one, number) for one in pending for number in sorted(one.unembedded)], PASSAGES_PER_CALL)
        complete = [one for one in pending if not one.unembedded]
        while True:  # what a call of the model completes is stored before the next
            for part in in_writes(complete, self._policy.batch_size):
                changed, has_moved = yield from self._write(part, given, owners, tally)
                again += changed
                for each in part:
                    del unwritten[each.draft.id]
                if has_moved:  # what was made ready for the store before is made ready anew
                    yield from self.begin()
                    return [*again, *(given[document_id] for document_id in unwritten)]
            if self._policy.progress is not None:
                self._policy.progress(tally.report())
            if (waiting := next(calls, None)) is None:
                return again
            complete = yield from self._embed(waiting, tally)

    def _read(
        self,
        documents: Sequence[ReadyDocument],
        there: Sequence[str],
        owners: dict[str, Owners | None],
        tally: Tally,
    ) -> Flow[list[Pending]]:
        """Return what is to be stored of documents and of what is there already; count all others."""
        stored: dict[str, Stored] = {}
        for ids in in_parts(there, self._policy.batch_size):
            stored |= yield from read_stored(self._place, ids, (*FIELDS, "vector"))
        of_others = yield from ids_of_others(self._place, documents, [stored.get(one.id) for one in documents])
        for one in documents:
            if one.id in of_others:
                tally.fail(one.id, OF_ANOTHER)
        own = [one for one in documents if one.id not in of_others]
        pending: list[Pending] = yield Work(lambda: list(self._pending(own, stored, owners, tally)))
        return pending

    def _write(
        self,
        pending: Sequence[Pending],
        given: Mapping[str, ReadyDocument],
        owners: Mapping[str, Owners | None],
        tally: Tally,
    ) -> Flow[tuple[list[ReadyDocument], bool]]:
        """Write documents.

        Returns:
            Those that were changed meanwhile, with the vectors that were made, and whether another store serves by now.
        """
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
        return again, MOVED in outcomes

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
            whole = one if not there else replace(one, passages=merged(there, one.passages, self._embeds))
            given = {passage.id for passage in one.passages}
            to_embed = self._embeds and any(own.vector is None for own in whole.passages if own.id in given)
            if old is not None and len(there) == len(old.passages) and not to_embed and same(there, whole.passages):
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
                    tally.note_reasons(one.id, *differences(there, whole.passages))
                # What was stored without a vector stays so.
                pending.unembedded -= {n for n, own in enumerate(pending.passages) if own.id not in given}
                yield pending

    def _embed(self, passages: Sequence[tuple[Pending, int]], tally: Tally) -> Flow[list[Pending]]:
        """Have passages embedded; return the documents that are complete by that."""
        made = yield Work(partial(self._embedding, [one.text_of(number) for one, number in passages]))
        rows = as_vectors(made, self._place.schema.dim)
        for (one, number), vector in zip(passages, rows, strict=True):
            one.take(number, vector)
        tally.embedded += len(passages)
        return [one for one in {id(one): one for one, _ in passages}.values() if not one.unembedded]


def _itself(draft: Draft, _: ReadyDocument) -> Draft:
    return draft


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
