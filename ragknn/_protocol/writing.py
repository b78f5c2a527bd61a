"""Writing documents: replaced, changed and removed, each in one step on the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragknn._protocol.closing import BIRTH, STORE, is_another_store, open_birth, still_serves
from ragknn._protocol.flows import Command, Flow, SentAgain
from ragknn._protocol.keys import Keys
from ragknn._protocol.owners import OF_ANOTHER, REFUSED, Owners, guarded
from ragknn._protocol.place import Place
from ragknn._protocol.removing import REMOVE, take_back
from ragknn._protocol.replies import as_text, checked
from ragknn.errors import CommandRefused

# Stores a document in place of what there is of it. KEYS: its record. ARGV: the prefix of its passages; "absent" to
# store it only where it is not there yet, else ""; then groups of fields, each behind the number of its values: those
# of each passage, the record among those of the first. A script, since how many passages there are must be read and
# used in one step: another writer may be replacing the same document. The first write is one that a server without
# memory refuses, even where it changes nothing; after it, all others go through, so that the document is stored whole
# or not at all. Where the server has lost the record, what it has left of the passages goes too. Passages are removed
# from the last to the first: a server that stops within a script, and reads its file again without the rest, then has
# them right behind those of the document, where the look-up of what is stored looks.
_REPLACE = """
local old = redis.call('HGET', KEYS[1], 'passages')
if old and ARGV[2] == 'absent' then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSETNX', KEYS[1], 'passages', '1')
  redis.call('UNLINK', KEYS[1])
end
local at, number = 3, 0
while at <= #ARGV do
  local key, size = ARGV[1] .. number, tonumber(ARGV[at])
  if number > 0 then redis.call('UNLINK', key) end
  redis.call('HSET', key, unpack(ARGV, at + 1, at + size))
  at, number = at + size + 1, number + 1
end
local beyond = number
while redis.call('EXISTS', ARGV[1] .. beyond) == 1 or beyond < (tonumber(old) or 0) do beyond = beyond + 1 end
for i = beyond - 1, number, -1 do redis.call('UNLINK', ARGV[1] .. i) end
return 1
"""

# Goes before a script that writes or removes a document, and lets it do so only if the document is as it was read.
# ARGV, at its end: the text hash and the details hash that it had then.
_AS_READ = """
local details, text = table.remove(ARGV), table.remove(ARGV)
local is = redis.call('HMGET', KEYS[1], 'text_hash', 'details_hash')
if (is[1] or '') ~= text or (is[2] or '') ~= details then return 0 end
"""

# Changes label, metadata and fields of a document's passages. KEYS: its record. ARGV: the prefix of its passages; the
# text hash and the details hash that it must have, the latter "" for any; the new details hash; how many fields go, and
# their names; then groups of fields as above, one for all passages or one for each. If a passage is gone from the
# server, nothing is changed, so that no half of it comes back, and the document counts as not stored: adding it stores
# it whole.
_CHANGE = """
local stored = redis.call('HMGET', KEYS[1], 'text_hash', 'details_hash', 'passages')
if stored[1] ~= ARGV[2] or (ARGV[3] ~= '' and stored[2] ~= ARGV[3]) then return 0 end
for i = 0, tonumber(stored[3]) - 1 do
  if redis.call('EXISTS', ARGV[1] .. i) == 0 then
    redis.call('HDEL', KEYS[1], 'text_hash')
    return 0
  end
end
redis.call('HSETNX', KEYS[1], 'passages', '1')
local gone = tonumber(ARGV[5])
local at = 6 + gone
for i = 0, tonumber(stored[3]) - 1 do
  local key, size = ARGV[1] .. i, tonumber(ARGV[at])
  if gone > 0 then redis.call('HDEL', key, unpack(ARGV, 6, 5 + gone)) end
  if i == 0 then
    redis.call('HSET', key, 'details_hash', ARGV[4], unpack(ARGV, at + 1, at + size))
  else
    redis.call('HSET', key, unpack(ARGV, at + 1, at + size))
  end
  if at + size < #ARGV then at = at + size + 1 end
end
return 1
"""

# What became of a document that was written into a store which serves no more: it is to be written again.
MOVED = "expected the store that serves, got one that another has replaced meanwhile: write the document again"

Outcome: TypeAlias = bool | str | None
"""What became of a document that was to be written; `write_documents` explains."""

_FIRST_WITH_NEW_HASHES = (8,)  # of Redis


def stores_new_hashes(place: Place) -> bool:
    """Tell whether the server can store a hash only where it is not there yet, in one step and without a script."""
    return place.server is not None and place.server.version >= _FIRST_WITH_NEW_HASHES


def store_if_new(keys: Keys, document_id: str, fields: Command) -> Command:
    """Return the command that stores a document of one passage, unless there is something of it."""
    return ("HSETEX", keys.record(document_id), "FNX", "FIELDS", str(len(fields) // 2), *fields)


@dataclass(slots=True)
class Replacement:
    """A document to be stored in place of what there is of it.

    Attributes:
        id: the document's id.
        record: the document's record; `layout.record_fields` makes it.
        passages: the hashes of its passages; `layout.passage_fields` makes them.
        only_new: whether to leave an existing document as it is.
        seems_new: whether it was not there when it was looked up.
        owners: whose it is; None where documents are nobody's.
        expected: text hash and details hash that what is there must have, if it is not to be left as it is; None for
            any.
    """

    id: str
    record: Command
    passages: Sequence[Command]
    only_new: bool = False
    seems_new: bool = False
    owners: Owners | None = None
    expected: tuple[str, str] | None = None

    def command(self, keys: Keys) -> Command:
        """Return the command that stores it."""
        condition = "absent" if self.only_new else ""
        first, *others = self.passages
        groups = [part for group in ((*first, *self.record), *others) for part in (str(len(group)), *group)]
        script, told = guarded(*_as_read(_REPLACE, self.expected), self.owners)
        return ("EVAL", script, "1", keys.record(self.id), keys.passages(self.id), condition, *groups, *told)

    def quick_command(self, place: Place) -> Command | None:
        """Return the command that stores it if it is not there, where that can be had without a script."""
        if not self.seems_new or len(self.passages) != 1 or not stores_new_hashes(place):
            return None
        return store_if_new(place.keys, self.id, (*self.passages[0], *self.record))


@dataclass(frozen=True, slots=True)
class Change:
    """New labels, metadata and fields for a document whose text stays as it is.

    Attributes:
        id: the document's id.
        text_hash: the text hash it must have; if not, nothing is changed.
        old_hash: details hash that it must have; empty for any.
        new_hash: details hash of the new state.
        removed: names of fields that not every passage has any more; they are removed before the new ones are set.
        passages: names and values of the new fields: once for all passages, or one for each.
        owners: whose it is from now on, if it may only be changed where it was theirs.
    """

    id: str
    text_hash: str
    old_hash: str
    new_hash: str
    removed: Sequence[str]
    passages: Sequence[Command]
    owners: Owners | None = None

    def command(self, keys: Keys) -> Command:
        """Return the command that makes it."""
        groups = [part for group in self.passages for part in (str(len(group)), *group)]
        hashes = (self.text_hash, self.old_hash, self.new_hash)
        gone = (str(len(self.removed)), *self.removed)
        script, told = guarded(_CHANGE, (), self.owners)
        return ("EVAL", script, "1", keys.record(self.id), keys.passages(self.id), *hashes, *gone, *groups, *told)


@dataclass(frozen=True, slots=True)
class Removal:
    """A document to be removed with its passages, if it is as it was read.

    Attributes:
        id: the document's id.
        expected: text hash and details hash that it must have; if not, it stays.
    """

    id: str
    expected: tuple[str, str]

    def command(self, keys: Keys) -> Command:
        """Return the command that removes it."""
        script, told = _as_read(REMOVE, self.expected)
        return ("EVAL", script, "1", keys.record(self.id), keys.passages(self.id), *told)


def _as_read(script: str, expected: tuple[str, str] | None) -> tuple[str, Command]:
    return (script, ()) if expected is None else (_AS_READ + script, expected)


def write_documents(
    place: Place, documents: Sequence[Replacement | Change | Removal], birth: str | None = None
) -> Flow[list[Outcome] | None]:
    """Write the documents in one round trip, each in one step; in two where one was new, and is not any more.

    Args:
        place: the index.
        documents: what to write.
        birth: name of the index that is meant, by `version.named_birth`; None to write into whatever is there.

    Returns:
        For each document True; False if it was left as it is, because it exists already or was changed meanwhile; None
        if that may have been done by this very call, which was sent again when the connection broke; or why the server
        refused it, and it stayed as it was; `MOVED` for all of them where the index has another store by now. In place
        of all, None if the index was dropped meanwhile: what was written is removed again.
    """
    quick = [document.quick_command(place) if isinstance(document, Replacement) else None for document in documents]
    commands = [command or document.command(place.keys) for command, document in zip(quick, documents, strict=True)]
    outcomes = yield from _written(place.keys, list(map(_count, documents)), commands, birth)
    if outcomes is None:
        return None
    there = [
        number
        for number, document in enumerate(documents)
        if quick[number]
        and outcomes[number] in (False, None)
        and isinstance(document, Replacement)
        and not document.only_new
    ]
    if there:
        again = [documents[number] for number in there]
        commands = [document.command(place.keys) for document in again]
        written = yield from _written(place.keys, list(map(_count, again)), commands, birth)
        if written is None:
            return None
        for number, outcome in zip(there, written, strict=True):
            outcomes[number] = outcome
    return outcomes


def change_documents(place: Place, changes: Sequence[Change]) -> Flow[list[Outcome]]:
    """Make changes of documents, which are there or are not changed; return what `write_documents` does."""
    if not changes:
        return []
    commands = [change.command(place.keys) for change in changes]
    replies = yield [*commands, ("HMGET", place.keys.manifest, BIRTH, STORE)]
    *written, found = replies
    serves = yield from still_serves(place.keys, found)
    return _outcomes(written, replies) if serves else [MOVED] * len(changes)


def write_new(
    place: Place, document_ids: Sequence[str], commands: list[Command], birth: str
) -> Flow[list[Outcome] | None]:
    """Send the commands that `store_if_new` made for documents; return what `write_documents` does."""
    return (yield from _written(place.keys, [(one, 1) for one in document_ids], commands, birth))


def _count(document: Replacement | Change | Removal) -> tuple[str, int]:
    """Return the document's id, and how many passages are written of it."""
    return document.id, len(document.passages) if isinstance(document, Replacement) else 0


def _written(
    keys: Keys, counts: Sequence[tuple[str, int]], commands: list[Command], birth: str | None
) -> Flow[list[Outcome] | None]:
    if birth is None:
        replies = yield commands
        return _outcomes(replies, replies)
    # Behind what is written: so either whoever drops the index sees all of it, or this sees that it is dropped.
    replies = yield [*commands, ("HGET", keys.manifest, BIRTH)]
    *written, found = replies
    if checked(found) is None or as_text(found) != birth:
        now = yield from open_birth(keys)
        if now != (birth, keys.store):  # else it was closed for a while, and what was written counts
            yield from take_back(keys, counts)
            return [MOVED] * len(counts) if is_another_store(keys, birth, now) else None
    return _outcomes(written, replies)


def _outcomes(written: Sequence[Any], replies: Sequence[Any]) -> list[Outcome]:
    outcomes = map(_outcome, written)
    return [outcome or None for outcome in outcomes] if isinstance(replies, SentAgain) else list(outcomes)


def _outcome(reply: Any) -> bool | str:
    try:
        return OF_ANOTHER if checked(reply) == REFUSED else bool(reply)
    except CommandRefused as refused:
        return str(refused)
