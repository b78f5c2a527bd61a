"""Documents with ready vectors, on their way into the index as if they were new.

The server stores those that are, and tells which are not, so that nothing is looked up, and no draft is made. Whatever
else is to be done or said of a document is left to the line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from numpy.typing import NDArray

from ragknn._protocol.flows import Ahead, Begun, Command, Flow, Work
from ragknn._protocol.layout import whole_fields
from ragknn._protocol.place import Place
from ragknn._protocol.vectors import find_faults, to_bytes
from ragknn._protocol.writing import MOVED, store_if_new, stores_new_hashes, write_new
from ragknn.indexing._batches import BYTES_PER_WRITE, taken
from ragknn.indexing._line import WRITES_AHEAD, outcomes_of
from ragknn.indexing._policy import Policy
from ragknn.indexing._tally import Tally
from ragknn.records import Document


@dataclass(frozen=True, slots=True)
class ReadyVectors:
    """The vectors of documents that are one passage each, and whose ids come once.

    Attributes:
        place: the index.
        vectors: shape (n, dim).
        number_of: the row of each document, by its id.
    """

    place: Place
    vectors: NDArray[Any]
    number_of: Mapping[str, int]

    def size_of(self, document: Document) -> int:
        """Return how many bytes a document takes, about."""
        return len(document.text) + self.vectors.itemsize * self.place.schema.dim

    def commands(self, documents: Sequence[Document]) -> list[Command | None]:
        """Return for each document the command that stores it if it is new; None for one that cannot be stored."""
        schema, keys = self.place.schema, self.place.keys
        rows = self.vectors[[self.number_of[one.id] for one in documents]]
        faults = find_faults(rows, schema.metric, schema.dtype)
        rows[list(faults)] = 1  # some of them do not fit the dtype
        blobs = to_bytes(rows, schema.dtype)
        is_stored_so = rows.dtype.name == schema.dtype and rows.dtype.str.startswith("<")
        given = blobs if is_stored_so else [row.tobytes() for row in rows]
        commands: list[Command | None] = []
        for number, (one, blob, own) in enumerate(zip(documents, blobs, given, strict=True)):
            command = None
            if number not in faults:
                try:
                    fields = whole_fields(schema, one.id, one.text, one.label, one.metadata, vector=blob, given=own)
                    command = store_if_new(keys, one.id, fields)
                except (ValueError, RecursionError):
                    pass
            commands.append(command)
        return commands


class Newcomers:
    """Stores documents until one of them is not new.

    Args:
        place: the index.
        birth: its name, by `version.named_birth`.
        ready: the vectors of the documents.
        policy: how many documents are written at a time, if any.
        tally: counts those that are stored.
        tell: called whenever some were.
    """

    def __init__(
        self, place: Place, birth: str, ready: ReadyVectors, policy: Policy, tally: Tally, tell: Callable[[], None]
    ) -> None:
        self._place = place
        self._birth = birth
        self._ready = ready
        self._policy = policy
        self._tally = tally
        self._tell = tell
        self._left: dict[int, Document] = {}  # what is not stored, by its place in the input
        self._writing: deque[tuple[Sequence[tuple[int, Document]], Begun]] = deque()
        self._all_were_new = True

    def bring_in(self, source: Iterator[Document]) -> Flow[Iterator[Document]]:
        """Store documents from the input; return those that are not stored yet, in their order."""
        if self._policy.dry_run or not stores_new_hashes(self._place):
            return source
        reached = 0
        broken: Exception | None = None
        while self._all_were_new and broken is None:
            batch, broken = yield Work(
                partial(taken, source, self._policy.batch_size, BYTES_PER_WRITE, self._ready.size_of), borrows=True
            )
            if not batch:
                break
            yield from self._write(reached, batch)
            reached += len(batch)
        while self._writing:
            yield from self._take_outcomes()
        left = (self._left[number] for number in sorted(self._left))
        return chain(left, source if broken is None else _breaking(broken))

    def _write(self, reached: int, batch: Sequence[Document]) -> Flow[None]:
        commands = yield Work(partial(self._ready.commands, batch))
        sent: list[tuple[int, Document]] = []
        self._tally.see(batch)
        for number, (one, command) in enumerate(zip(batch, commands, strict=True), reached):
            if command is None:
                self._leave(number, one)
            else:
                sent.append((number, one))
        if not sent:
            return
        while len(self._writing) >= WRITES_AHEAD:
            yield from self._take_outcomes()
        ids, new = [one.id for _, one in sent], [commands[number - reached] for number, _ in sent]
        begun = yield Ahead(write_new(self._place, ids, new, self._birth))
        self._writing.append((sent, begun))

    def _take_outcomes(self) -> Flow[None]:
        sent, begun = self._writing.popleft()
        stored: list[Document] = []
        outcomes = yield from outcomes_of(self._place, begun, [other for _, other in self._writing])
        for (number, one), outcome in zip(sent, outcomes, strict=True):
            if outcome is True:
                stored.append(one)
            elif outcome == MOVED:
                self._tally.doubt(one.id, was_new=None)
                self._all_were_new = False
                self._leave(number, one)
            elif isinstance(outcome, str):
                self._tally.fail(one.id, outcome)
            else:
                if outcome is None:
                    self._tally.doubt(one.id, was_new=None)
                else:
                    self._all_were_new = False
                self._leave(number, one)
        self._tally.store_new(stored)
        self._tell()

    def _leave(self, number: int, one: Document) -> None:
        self._left[number] = one
        self._tally.put_off(one)


def _breaking(error: Exception) -> Iterator[Any]:
    raise error
    yield
