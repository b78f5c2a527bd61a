"""Documents on their way into the index: while some are embedded, others are read, cut and written.

Each stage holds a few documents at most, and begins the next without waiting for it:

    taken from the input  ->  drafted, looked up  ->  cut  ->  embedded  ->  written  ->  settled: counted, or failed
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from logging import DEBUG
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ragknn._logs import EMBEDDING, SPLITTING, WRITING
from ragknn._protocol.flows import Ahead, Begun, Flow, Work
from ragknn._protocol.place import Place
from ragknn._protocol.presence import gone
from ragknn._protocol.stored import NOTHING, Hashes, LookedUp, look_up, stored_details
from ragknn._protocol.vectors import as_vectors
from ragknn._protocol.version import named_birth
from ragknn._protocol.writing import MOVED, Outcome, write_documents
from ragknn.errors import EmbeddingError, InvalidVectors
from ragknn.indexing._batches import CHARACTERS_PER_BATCH, characters_of, in_writes, taken
from ragknn.indexing._drafts import Draft, Drafting, drafted_by
from ragknn.indexing._owners import ids_of_others
from ragknn.indexing._pending import Pending, pending_of, storable, writes_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._tally import Tally

# Passages embedded in one call, of several documents where they are short: enough for the model to sort them by length,
# which wastes less padding; few enough that progress moves, and that whoever interrupts does not wait long.
PASSAGES_PER_CALL = 128
# Calls of the model that are begun: one that it works at, and one to go on with at once.
CALLS_AHEAD = 2
# Batches that are written at a time: while the server works at one, the next is packed.
WRITES_AHEAD = 2
# Times that a document is looked up again because another writer changed it meanwhile.
ATTEMPTS = 3

CHANGED_MEANWHILE = (
    "expected a document that no other writer changes meanwhile, got it changed; try again, and if that fails too, add "
    "the document again: some of its passages are gone from the server"
)

Embedding: TypeAlias = Callable[[Sequence[str]], Any]
"""Makes one vector of each of n texts, shape (n, dim)."""

Renewal: TypeAlias = Callable[[Place], Flow[tuple[Place, Drafting, Embedding]]]
"""Takes an index whose store serves no more as it serves by now: where it is, what makes drafts for it, what embeds."""


class Line:
    """Brings documents into an index.

    Args:
        place: the index.
        birth: its name, by `version.named_birth`; None to write into the store whether or not it serves.
        draft: makes a draft of an item.
        embed: embeds the texts of passages.
        policy: what to do with repeated, existing and unfit documents.
        tally: counts what becomes of them.
        tell: called whenever passages were embedded or documents settled.
        renew: called when another store has taken the place of that of `place`.
    """

    def __init__(
        self,
        place: Place,
        birth: str | None,
        draft: Drafting,
        embed: Embedding,
        policy: Policy,
        tally: Tally,
        tell: Callable[[], None],
        renew: Renewal | None = None,
    ) -> None:
        self._place = place
        self._birth = birth
        self._draft = draft
        self._embed = embed
        self._policy = policy
        self._tally = tally
        self._tell = tell
        self._renew = renew
        self._under_way: set[str] = set()  # ids of what is taken and not settled
        self._looked_up: deque[tuple[Sequence[Any], Mapping[str, Draft | str], Begun]] = deque()
        self._unembedded: deque[tuple[Pending, int]] = deque()  # passages, by their numbers
        self._embedding: deque[tuple[Sequence[tuple[Pending, int]], Begun]] = deque()
        self._writing: deque[tuple[Sequence[Pending], Begun]] = deque()
        self._comparing: deque[tuple[Sequence[Pending], Begun]] = deque()  # labels and metadata with those stored
        self._changed: list[Any] = []  # documents that another writer changed meanwhile
        self._moved: list[Any] = []  # documents that went into a store which serves no more
        self._attempts: Counter[str] = Counter()
        self._model_failed = False

    def bring_in(self, items: Iterable[Any]) -> Flow[Place]:
        """Bring all items in, and return where they went in the end.

        Where the input breaks off, what it gave is brought in before the error is raised.
        """
        source = iter(items)
        broken: Exception | None = None
        while broken is None:
            batch, broken = yield Work(
                partial(taken, source, self._policy.batch_size, CHARACTERS_PER_BATCH, characters_of), borrows=True
            )
            if not batch and broken is None:
                break
            try:
                documents = list(self._tally.each_id_once(batch))
            except TypeError as error:
                documents, broken = [], error
            # What was begun of a document ends before another of its id is looked up.
            if self._changed or self._moved or not self._under_way.isdisjoint(one.id for one in documents):
                yield from self._settle_all()
            yield from self._look_up(documents)
            while len(self._looked_up) > 1:
                yield from self._take_up()
        yield from self._settle_all()
        if broken is not None:
            raise broken
        return self._place

    def _look_up(self, documents: Sequence[Any]) -> Flow[None]:
        """Make drafts of documents, and have looked up which of them differ from what is stored."""
        ids = [one.id for one in documents]
        self._under_way.update(ids)
        drafts, expected = yield Work(partial(self._drafted, documents))
        found = yield Ahead(look_up(self._place, ids, expected, ask_store=self._renew is not None))
        self._looked_up.append((documents, drafts, found))

    def _drafted(self, documents: Sequence[Any]) -> tuple[Mapping[str, Draft | str], Sequence[Hashes]]:
        """Return drafts of documents, by their ids, and what those have stored for which nothing is to be done.

        No drafts where those that exist already are not even read.
        """
        nothing = [NOTHING] * len(documents)
        if self._policy.on_existing != "replace":
            return {}, nothing
        drafted = drafted_by(self._draft, self._policy.on_bad_field)
        drafts = {one.id: drafted(one) for one in documents}
        if self._policy.dry_run:
            return drafts, nothing
        is_to_be_told = self._tally.is_to_be_told
        return drafts, [
            NOTHING if isinstance(draft, str) or is_to_be_told(draft.id) else (draft.text_hash, draft.details_hash)
            for draft in drafts.values()
        ]

    def _take_up(self) -> Flow[None]:
        """Cut the documents of the batch that was looked up first, and have them embedded, or written."""
        documents, drafts, begun = self._looked_up.popleft()
        looked_up: LookedUp = yield begun
        if not looked_up.serves:
            self._under_way.difference_update(one.id for one in documents)
            self._moved += documents
            return
        others = looked_up.hashes
        unchanged = [one.id for number, one in enumerate(documents) if number not in others]
        self._under_way.difference_update(unchanged)
        self._tally.unchanged += unchanged
        self._tally.expected += looked_up.as_expected
        if others:
            yield from self._take_up_others([documents[number] for number in others], drafts, looked_up)
        self._tell()

    def _take_up_others(
        self, documents: Sequence[Any], drafts: Mapping[str, Draft | str], looked_up: LookedUp
    ) -> Flow[None]:
        known = list(looked_up.hashes.values())
        if self._policy.dry_run:
            known = [self._tally.written.get(one.id, stored) for one, stored in zip(documents, known, strict=True)]
        of_others: set[str] = set()
        if self._policy.dry_run or self._policy.on_existing != "replace":  # else it is noticed when it is written
            of_others = yield from ids_of_others(self._place, documents, known)
        already = len(self._tally.unchanged)
        draft_of = (lambda one: drafts[one.id]) if drafts else drafted_by(self._draft, self._policy.on_bad_field)
        pending: list[Pending] = yield Work(
            lambda: list(pending_of(documents, known, draft_of, self._policy, self._tally, of_others))
        )
        cut = sum(len(one.passages) for one in pending) if SPLITTING.isEnabledFor(DEBUG) else 0
        SPLITTING.debug("of %d documents %d are to be written, in %d passages", len(documents), len(pending), cut)
        self._under_way.difference_update({one.id for one in documents} - {one.draft.id for one in pending})
        count_of = dict(zip((one.id for one in documents), looked_up.passages.values(), strict=True))
        self._tally.expected += sum(map(count_of.__getitem__, self._tally.unchanged[already:]))
        for one in pending:
            one.kept = 0 if one.passages else count_of[one.draft.id]
        yield from self._compare([one for one in pending if one.has_other_details])
        if self._policy.dry_run:
            for one in pending:
                self._settle(one)
            for one in storable(self._place.schema, pending, self._tally):
                one.count(self._tally)
                self._tally.embedded += len(one.unembedded)
        else:
            self._unembedded.extend((one, number) for one in pending for number in sorted(one.unembedded))
            yield from self._write([one for one in pending if not one.unembedded])
            yield from self._have_embedded()

    def _compare(self, pending: Sequence[Pending]) -> Flow[None]:
        """Have looked up what documents with another label or metadata had before, which tells why they are updated."""
        if pending:
            while len(self._comparing) >= WRITES_AHEAD:
                yield from self._take_comparison()
            spots = [(one.draft.id, number) for one in pending for number in range(len(one.details))]
            self._comparing.append((pending, (yield Ahead(stored_details(self._place.keys, spots)))))

    def _take_comparison(self) -> Flow[None]:
        pending, begun = self._comparing.popleft()
        stored = iter((yield begun))
        for one in pending:
            self._tally.note_reasons(one.draft.id, *one.differences(list(islice(stored, len(one.details)))))

    def _have_embedded(self, *, all_of_them: bool = False) -> Flow[None]:
        """Let the model go on: with full calls while it has something to do."""
        while self._embedding and self._embedding[0][1].done:
            yield from self._take_vectors()
        while self._unembedded and (all_of_them or not self._embedding or len(self._unembedded) >= PASSAGES_PER_CALL):
            while len(self._embedding) >= CALLS_AHEAD:
                yield from self._take_vectors()
            size = min(PASSAGES_PER_CALL, len(self._unembedded))
            passages = [self._unembedded.popleft() for _ in range(size)]
            self._embedding.append((passages, (yield Ahead(self._embedded(passages)))))

    def _embedded(self, passages: Sequence[tuple[Pending, int]]) -> Flow[NDArray[Any]]:
        made = yield Work(partial(self._made, passages))
        rows = as_vectors(made, self._place.schema.dim)
        if len(rows) != len(passages):
            raise InvalidVectors(f"expected one vector for each of {len(passages)} passages, got {len(rows)}")
        return rows

    def _made(self, passages: Sequence[tuple[Pending, int]]) -> Any:
        """Let the model embed passages, unless it has failed: then it is not called again."""
        if self._model_failed:  # the error of before is the one that is raised
            raise EmbeddingError("the model failed at other passages before it came to these")
        try:
            began = time.perf_counter()
            made = self._embed([one.text_of(number) for one, number in passages])
            EMBEDDING.debug("embedded %d passages in %.3f s", len(passages), time.perf_counter() - began)
            return made
        except BaseException:
            self._model_failed = True
            raise

    def _take_vectors(self) -> Flow[None]:
        """Wait for the call of the model that was begun first, and write the documents that it completes."""
        passages, begun = self._embedding.popleft()
        rows = yield begun
        complete = []
        for (one, number), vector in zip(passages, rows, strict=True):
            one.take(number, vector)
            self._tally.under_way += 1 / len(one.passages)
            if not one.unembedded:
                complete.append(one)
        self._tally.embedded += len(rows)
        self._tell()
        yield from self._write(complete)

    def _write(self, pending: Sequence[Pending]) -> Flow[None]:
        for part in in_writes(pending, self._policy.batch_size):
            writes = yield Work(partial(writes_of, self._place.schema, part, self._policy, self._tally))
            written = {one.id for one in writes}
            for one in part:
                if one.draft.id not in written:  # a failure
                    self._settle(one)
            if not written:
                continue
            while len(self._writing) >= WRITES_AHEAD:
                yield from self._take_outcomes()
            begun = yield Ahead(write_documents(self._place, writes, self._birth))
            self._writing.append(([one for one in part if one.draft.id in written], begun))

    def _take_outcomes(self) -> Flow[None]:
        pending, begun = self._writing.popleft()
        outcomes = yield from outcomes_of(self._place, begun, [other for _, other in self._writing])
        WRITING.debug("wrote %d documents", len(pending))
        for one, outcome in zip(pending, outcomes, strict=True):
            self._settle(one)
            if outcome is True:
                one.count(self._tally)
            elif outcome == MOVED:
                # It may have been copied into the other store.
                self._tally.doubt(one.draft.id, was_new=one.stored is None)
                self._moved.append(one.item)
            elif isinstance(outcome, str):
                self._tally.fail(one.draft.id, outcome)
            else:
                if outcome is None and one.stored is None:
                    self._tally.doubt(one.draft.id, was_new=True)
                self._changed.append(one.item)
        self._tell()

    def _settle(self, one: Pending) -> None:
        self._under_way.discard(one.draft.id)
        self._tally.under_way -= one.share

    def _settle_all(self) -> Flow[None]:
        """Bring what is under way to its end."""
        while True:
            while self._looked_up:
                yield from self._take_up()
            yield from self._have_embedded(all_of_them=True)
            while self._embedding:
                yield from self._take_vectors()
            while self._writing:
                yield from self._take_outcomes()
            while self._comparing:
                yield from self._take_comparison()
            if not (self._changed or self._moved):
                return
            changed, moved, self._changed, self._moved = self._changed, self._moved, [], []
            store = None
            while moved and self._renew is not None and store != self._place.keys.store:
                self._place, self._draft, self._embed = yield from self._renew(self._place)
                store = self._place.keys.store
                if not self._policy.dry_run:
                    self._birth, store = yield from named_birth(self._place.keys, self._place.schema)
            self._attempts.update(one.id for one in changed)
            for one in changed:
                if self._attempts[one.id] >= ATTEMPTS:
                    self._tally.fail(one.id, CHANGED_MEANWHILE)
            again = [*moved, *(one for one in changed if self._attempts[one.id] < ATTEMPTS)]
            for start in range(0, len(again), self._policy.batch_size):
                yield from self._look_up(again[start : start + self._policy.batch_size])


def outcomes_of(place: Place, begun: Begun, behind: Iterable[Begun]) -> Flow[list[Outcome]]:
    """Wait for what was begun to be written.

    Raises:
        IndexNotFound: the index was dropped meanwhile; what was begun behind it has taken back what it wrote too.
    """
    outcomes: list[Outcome] | None = yield begun
    if outcomes is None:
        yield from behind
        raise gone(place.keys)
    return outcomes
