"""Looking whether a document is stored whole, and mending what can be mended without its source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from ragknn._protocol.apart import for_each
from ragknn._protocol.belonging import BELONG
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import BYTES_PER_VALUE

_IN_A_SCRIPT = 50  # documents: while a script runs, the server does nothing else

# Begins the scripts below. Looks at a document: at all of its passages if `whole`, and of those with the given numbers
# whether they are there, and whether they are beyond what the record counts, which counts none where it is gone.
# Returns whether there is a record; how many passages are missing, mixed and of a wrong size; and two lists of numbers.
_LOOK = (
    BELONG
    + """
local function look(record, prefix, size, numbers, whole)
  local stored = redis.call('HMGET', record, 'passages', 'digests')
  local count, missing, mixed, wrong = tonumber(stored[1]) or 0, 0, 0, 0
  if whole then
    missing, mixed = belong(prefix, count, stored[2])
    for i = 0, count - 1 do
      if redis.call('HSTRLEN', prefix .. i, 'vector') ~= size then
        local passage = redis.call('HMGET', prefix .. i, 'digest', 'no_vector')
        if passage[1] and not passage[2] then wrong = wrong + 1 end
      end
    end
  end
  local there, beyond = {}, {}
  for _, number in ipairs(numbers) do
    if redis.call('EXISTS', prefix .. number) == 1 then
      there[#there + 1] = number
      if tonumber(number) >= count then beyond[#beyond + 1] = number end
    end
  end
  return {stored[1] and 1 or 0, missing, mixed, wrong, there, beyond}
end
"""
)

# Looks at documents. KEYS: where the record of each may be, the key of this release last. ARGV: how many keys there are
# for each; the size of a vector in bytes; then for each "whole" or "", how many numbers follow, and these.
_LOOK_AT = (
    _LOOK
    + """
local found, each, size, at = {}, tonumber(ARGV[1]), tonumber(ARGV[2]), 3
for i = 1, #KEYS, each do
  local record, numbers = KEYS[i], {}
  for j = i, i + each - 1 do
    record = KEYS[j]
    if redis.call('HGET', record, 'passages') then break end
  end
  for k = 1, tonumber(ARGV[at + 1]) do numbers[k] = ARGV[at + 1 + k] end
  found[#found + 1] = look(record, string.sub(KEYS[i + each - 1], 1, -2), size, numbers, ARGV[at] == 'whole')
  at = at + 2 + #numbers
end
return found
"""
)

# Looks at a document once more, and in the same step removes its passages that no record counts, and lets it count as
# not stored where it is not whole, so that the next ingest stores it anew. Returns what it saw. KEYS: its record. ARGV:
# the prefix of its passages; the size of a vector; numbers of passages.
_MEND = (
    _LOOK
    + """
local prefix, size = table.remove(ARGV, 1), tonumber(table.remove(ARGV, 1))
local seen = look(KEYS[1], prefix, size, ARGV, true)
for _, number in ipairs(seen[6]) do redis.call('UNLINK', prefix .. number) end
if seen[2] + seen[3] + seen[4] > 0 then redis.call('HDEL', KEYS[1], 'text_hash') end
return seen
"""
)

# Sets a field of a passage to the value that it has, so that the server indexes the passage again.
_SET_ANEW = """
local id = redis.call('HGET', KEYS[1], 'document_id')
return id and redis.call('HSET', KEYS[1], 'document_id', id)
"""

# Lets a document count as not stored, if it still has a passage. KEYS: its record, and the passage.
_FORGET = """
return redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HDEL', KEYS[1], 'text_hash')
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a document has shown.

    Attributes:
        has_record: whether something tells how many passages it has.
        missing: how many of these are not there.
        mixed: above 0 where they are not those that belong together.
        wrong_size: how many have a vector of another size than the index's.
        there: of the passages that were asked for, the numbers of those that exist.
        beyond: of these, those that the record does not count.
    """

    has_record: bool
    missing: int
    mixed: int
    wrong_size: int
    there: frozenset[int]
    beyond: frozenset[int]

    @property
    def is_lost(self) -> bool:
        """Whether only its source can make it whole again; of one without a record, the first passage is gone."""
        return bool(self.missing or self.mixed or self.wrong_size or (self.beyond and not self.has_record))

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.is_lost and not self.beyond


def look(place: Place, numbers: Mapping[str, Collection[int]], *, whole: bool = False) -> Flow[dict[str, Seen]]:
    """Look at documents; nothing is changed.

    Args:
        place: the index.
        numbers: for each document numbers of passages to look at.
        whole: whether to look at each document as a whole; else only at those of which the first passage, or none, is
            among the numbers, so that whoever comes by all passages looks at each document once.
    """
    documents = list(numbers.items())
    parts = [documents[start : start + _IN_A_SCRIPT] for start in range(0, len(documents), _IN_A_SCRIPT)]
    replies = yield [for_each(partial(_look_command, place, whole), part) for part in parts]
    seen = chain.from_iterable(map(checked, replies))
    return {document_id: _seen(one) for (document_id, _), one in zip(documents, seen, strict=True)}


def _look_command(place: Place, whole: bool, documents: Sequence[tuple[str, Collection[int]]]) -> Command:
    records = [place.records(document_id) for document_id, _ in documents]
    asked = [
        ("whole" if whole or not some or 0 in some else "", str(len(some)), *map(str, some)) for _, some in documents
    ]
    keys = list(chain.from_iterable(records))
    told = (str(len(records[0])), _vector_size(place.schema), *chain.from_iterable(asked))
    return ("EVAL_RO", _LOOK_AT, str(len(keys)), *keys, *told)


def mend(place: Place, numbers: Mapping[str, Collection[int]]) -> Flow[dict[str, Seen]]:
    """Look at documents once more, mend what can be, and return what was to be mended."""
    keys, size = place.keys, _vector_size(place.schema)
    replies = yield [
        ("EVAL", _MEND, "1", keys.record(one), keys.passages(one), size, *map(str, some))
        for one, some in numbers.items()
    ]
    return {document_id: _seen(checked(reply)) for document_id, reply in zip(numbers, replies, strict=True)}


def set_anew(passage_keys: Sequence[str]) -> Flow[None]:
    """Let the server index passages again."""
    for reply in (yield [("EVAL", _SET_ANEW, "1", key) for key in passage_keys]):
        checked(reply)


def forget(keys: Keys, passage_keys: Sequence[str]) -> Flow[None]:
    """Let the documents of passages count as not stored."""
    records = [keys.record(keys.split_passage(key)[0]) for key in passage_keys]
    for reply in (yield [("EVAL", _FORGET, "2", *pair) for pair in zip(records, passage_keys, strict=True)]):
        checked(reply)


def _vector_size(schema: Schema) -> str:
    return str(schema.dim * BYTES_PER_VALUE[schema.dtype])


def _seen(reply: Any) -> Seen:
    has_record, missing, mixed, wrong, there, beyond = reply
    numbers = (frozenset(int(as_text(number)) for number in some) for some in (there, beyond))
    return Seen(bool(has_record), int(missing), int(mixed), int(wrong), *numbers)
