"""Filling a second store of passages beside the one that serves, until it has the same documents and takes its place.

    look through all documents of the old store: copy what the new one lacks, remove what it has too much; again, until
    little was changed meanwhile
    close the old store to writers, who wait  ->  look through it once more  ->  compare  ->  switch, in one step

What the new store has is noted for each document, as it was when it was copied. So the looks after the first cost
little, and a filling that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Protocol

from ragknn._protocol.copying import read_hashes, state_in, state_of, written_anew
from ragknn._protocol.counting import count_documents, index_info
from ragknn._protocol.finding import existing_documents, scan
from ragknn._protocol.flows import Flow, Pause, Progress, Work
from ragknn._protocol.holding import lost
from ragknn._protocol.keys import FIRST
from ragknn._protocol.opening import REBUILD
from ragknn._protocol.place import Place
from ragknn._protocol.removing import remove_at_once
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.stored import DAMAGED, stored_hashes
from ragknn._protocol.writing import write_documents
from ragknn.errors import CommandRefused, RebuildFailed
from ragknn.indexing._reading import in_parts
from ragknn.reports import Failure


class Copier(Protocol):
    """Copies documents into the new store.

    Attributes:
        at_a_time: how many documents.
        embedded: passages that were embedded for that.
        left_out: fields that do not fit their type, by the id of their document, and why.
    """

    at_a_time: int
    embedded: int
    left_out: dict[str, list[Failure]]

    def copy(self, document_ids: Sequence[str]) -> Flow[dict[str, str]]:
        """Copy documents, and return of those that were still there the `state_of` what was read of them."""
        ...


# Looks at what others have changed meanwhile before they have to wait, unless one finds no more documents than so many.
LOOKS, FEW = 10, 20
ATTEMPTS = 20  # to find all that is stored; the server may have some of it queued
POLL = 0.05  # seconds


class Filling:
    """A store of passages that is filled from another one.

    Args:
        old: the index as it serves.
        new: as it is to serve.
        begun: what the manifest says of it, as long as it was not abandoned.
        progress: called with how many documents were looked at and how many there are.
    """

    def __init__(self, old: Place, new: Place, begun: str, progress: Progress) -> None:
        self.old = old
        self.new = new
        self._begun = begun
        self._progress = progress
        self._done, self._total = 0, 0

    def up_to_now(self, copier: Copier) -> Flow[int]:
        """Look through all documents of both stores once; return how many had to be copied or removed."""
        changed, self._done = 0, 0
        self._total = yield from self._count()
        cursor = 0
        while True:
            cursor, found = yield from scan(self.old.keys.passage_prefix, cursor, FIRST)
            ids = list(dict.fromkeys(self.old.keys.split_passage(key)[0] for key in found))
            if ids:
                left = yield from self._left_to_copy(ids)
                self._advance(len(ids) - len(left))
                for part in in_parts(left, copier.at_a_time):
                    states = yield from copier.copy(part)
                    if states:
                        [reply] = yield [("HSET", self.new.keys.copied, *chain.from_iterable(states.items()))]
                        checked(reply)
                    changed += len(part)
                    self._advance(len(part))
            if not cursor:
                return changed + (yield from self._remove_gone())

    def _advance(self, documents: int) -> None:
        if documents:
            self._done += documents
            self._progress(self._done, max(self._done, self._total))

    def _count(self) -> Flow[int]:
        try:
            return (yield from count_documents(self.old))
        except CommandRefused:  # in time, it cannot be said
            return 0

    def _left_to_copy(self, document_ids: Sequence[str]) -> Flow[list[str]]:
        """Return the documents that the new store does not have as they are now.

        Raises:
            RebuildFailed: a document is not whole, or the filling was abandoned by another process.
        """
        keys = self.old.keys
        known = yield from stored_hashes(self.old, document_ids)
        states = yield from self._noted(document_ids)
        [begun] = yield [("HGET", keys.manifest, REBUILD)]
        if as_text(checked(begun) or b"") != self._begun:
            raise lost(keys)
        unknown = [one for one, hashes in zip(document_ids, known, strict=True) if hashes is None or hashes == DAMAGED]
        there = yield from existing_documents(keys, unknown)
        if damaged := [one for one, exists in zip(unknown, there, strict=True) if exists]:
            some = ", ".join(map(repr, damaged[:3])) + ", ..." * (len(damaged) > 3)
            raise RebuildFailed(
                f"expected all documents of index {keys.name!r} whole, got some of which the server has lost passages, "
                f"such as {some}: add them again, or delete them, and then call this again; `ragknn check {keys.name}` "
                "finds them all"
            )
        pairs = zip(document_ids, known, states, strict=True)
        return [one for one, hashes, state in pairs if hashes is not None and state_of(*hashes) != state]

    def unchanged(self, document_ids: set[str]) -> Flow[set[str]]:
        """Return those of the documents that are in both stores as they are."""
        ids = list(document_ids)
        known = yield from stored_hashes(self.old, ids)
        states = yield from self._noted(ids)
        pairs = zip(ids, known, states, strict=True)
        return {one for one, hashes, state in pairs if hashes is not None and state_of(*hashes) == state}

    def _noted(self, document_ids: Sequence[str]) -> Flow[list[str | None]]:
        if not document_ids:
            return []
        [noted] = yield [("HMGET", self.new.keys.copied, *document_ids)]
        return [None if value is None else as_text(value) for value in checked(noted)]

    def _remove_gone(self) -> Flow[int]:
        """Remove from the new store what the old one has no more."""
        removed, cursor = 0, 0
        while True:
            cursor, found = yield from scan(self.new.keys.passage_prefix, cursor, FIRST)
            ids = list(dict.fromkeys(self.new.keys.split_passage(key)[0] for key in found))
            there = yield from existing_documents(self.old.keys, ids)
            if gone := [one for one, exists in zip(ids, there, strict=True) if not exists]:
                yield from remove_at_once(self.new.keys, gone)
                [reply] = yield [("HDEL", self.new.keys.copied, *gone)]
                checked(reply)
                removed += len(gone)
            if not cursor:
                return removed

    def check(self) -> Flow[tuple[int, int]]:
        """Look at all of the new store; return how many documents and passages it has.

        Raises:
            RebuildFailed: something is missing in it, or not found by searches.
        """
        keys = self.new.keys
        passages: dict[str, int] = {}
        cursor = 0
        while True:
            cursor, found = yield from scan(keys.passage_prefix, cursor, FIRST)
            ids = list(dict.fromkeys(keys.split_passage(key)[0] for key in found))
            known = yield from stored_hashes(self.new, ids)
            if broken := [one for one, hashes in zip(ids, known, strict=True) if hashes is None or hashes == DAMAGED]:
                raise self._unlike("whole documents", f"some that are not, such as {broken[0]!r}")
            counts = (yield [("HGET", keys.record(one), "passages") for one in ids]) if ids else []
            passages.update((one, int(checked(count))) for one, count in zip(ids, counts, strict=True))
            if not cursor:
                break
        [noted] = yield [("HLEN", keys.copied)]
        if int(checked(noted)) != len(passages):
            raise self._unlike(f"the {int(checked(noted)):,} documents that were copied", f"{len(passages):,}")
        expected = sum(passages.values())
        attempts = ATTEMPTS
        while attempts:
            info = yield from index_info(keys, keys.searched)
            if info.passages == expected and not info.building:
                return len(passages), expected
            attempts -= not info.building  # which takes the time that it takes
            yield Pause(POLL)
        raise self._unlike(
            f"{expected:,} passages to be found", f"{info.passages:,}; the server says {info.last_failure[0]!r}"
        )

    def _unlike(self, expected: str, got: str) -> RebuildFailed:
        name = self.old.keys.name
        return RebuildFailed(
            f"expected {expected} in the new version of index {name!r}, got {got}: the version before goes on serving; "
            "look at the server's log, and at its memory (`ragknn doctor`), and call this again"
        )


class WritingAnew:
    """Copies documents as they are: each passage with what another schema makes of its text, metadata and vector."""

    at_a_time = 64

    def __init__(self, filling: Filling) -> None:
        self._old, self._new = filling.old, filling.new
        self.left_out: dict[str, list[Failure]] = {}
        self.embedded = 0

    def copy(self, document_ids: Sequence[str]) -> Flow[dict[str, str]]:
        """Copy documents; `Copier` says what is returned."""
        old, new = self._old, self._new
        found = yield from read_hashes(old.keys, document_ids)
        name, schemas = old.keys.name, (old.schema, new.schema)
        replacements, left_out = yield Work(partial(written_anew, name, *schemas, found))
        for outcome in (yield from write_documents(new, replacements)) or []:
            if isinstance(outcome, str):
                raise RebuildFailed(
                    f"expected to write the documents of index {name!r} anew, got {outcome}: the index serves as it "
                    "was; call this again when it can be, or give it up with abandon_rebuild()"
                )
        for document_id in found:
            own = [reason for one, reason in left_out if one == document_id]
            self.left_out[document_id] = [Failure(document_id, reason, document_id) for reason in own]
        return {document_id: state_in(hashes) for document_id, hashes in found.items()}
