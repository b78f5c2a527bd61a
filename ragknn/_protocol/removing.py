"""Removing documents with all their passages, and passages that belong to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragknn._protocol.closing import BIRTH, STORE, still_serves
from ragknn._protocol.finding import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Flow, Once
from ragknn._protocol.keys import Keys
from ragknn._protocol.replies import checked

# Removes a document with its passages, however many it has now; its record goes last.
_REMOVE = """
local count, beyond = math.max(tonumber(redis.call('HGET', KEYS[1], 'passages')) or 0, least), 1
while redis.call('EXISTS', ARGV[1] .. beyond) == 1 or beyond < count do beyond = beyond + 1 end
for i = beyond - 1, 1, -1 do redis.call('UNLINK', ARGV[1] .. i) end
return redis.call('UNLINK', KEYS[1])
"""
REMOVE = "local least = 0" + _REMOVE
# Does the same where somebody else may have removed some of it already, its record too, so that a hole in it is not its
# end. ARGV: also how many passages it may have.
_REMOVE_WHAT_IS_LEFT = "local least = tonumber(ARGV[2])" + _REMOVE

# Removes those passages of a document that its record does not count; all of them where it has none. KEYS: its record.
# ARGV: the prefix of its passages, and numbers of those that there are. Returns how many it removed, and how many of
# those that the record counts are missing.
_BEYOND = """
local count, removed, there = tonumber(redis.call('HGET', KEYS[1], 'passages')) or 0, 0, 0
for i = 2, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if tonumber(ARGV[i]) < count then
    there = there + redis.call('EXISTS', key)
  else
    removed = removed + redis.call('UNLINK', key)
  end
end
return {removed, count - there}
"""


def delete_documents(keys: Keys, document_ids: Sequence[str], removed: list[str]) -> Flow[bool]:
    """Remove the documents with all their passages, and note the ids of those that were there.

    Returns:
        Whether they were removed from the store that serves: if not, they are to be removed from that too.
    """
    serves = True
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        part = document_ids[start : start + KEYS_PER_ROUND]
        # A second time they would be said not to be there.
        *replies, found = yield Once([*_removals(keys, part), ("HMGET", keys.manifest, BIRTH, STORE)])
        removed += [document_id for document_id, reply in zip(part, replies, strict=True) if int(checked(reply))]
        serves = yield from still_serves(keys, found)
    return serves


def remove_at_once(keys: Keys, document_ids: Sequence[str]) -> Flow[None]:
    """Remove the documents with all their passages, whether or not the store serves."""
    return _all_of(_removals(keys, document_ids))


def take_back(keys: Keys, counts: Sequence[tuple[str, int]]) -> Flow[None]:
    """Remove documents that were just written, though another process may be removing them too, key by key.

    Args:
        keys: the index's keys.
        counts: the documents' ids, and how many passages were written of each.
    """
    return _all_of(
        [("EVAL", _REMOVE_WHAT_IS_LEFT, "1", keys.record(one), keys.passages(one), str(count)) for one, count in counts]
    )


def _all_of(removals: Sequence[Command]) -> Flow[None]:
    for start in range(0, len(removals), KEYS_PER_ROUND):
        for reply in (yield list(removals[start : start + KEYS_PER_ROUND])):
            checked(reply)


def _removals(keys: Keys, document_ids: Sequence[str]) -> list[Command]:
    return [("EVAL", REMOVE, "1", keys.record(one), keys.passages(one)) for one in document_ids]


def remove_beyond(keys: Keys, numbers: Mapping[str, Sequence[int]]) -> Flow[dict[str, tuple[int, int]]]:
    """Remove the passages that no record counts, which others behind a hole in a document are.

    Args:
        keys: the index's keys.
        numbers: for each document the numbers of all passages that there are of it.

    Returns:
        For each document how many were removed, and how many are missing of those that its record counts.
    """
    outcomes: dict[str, tuple[int, int]] = {}
    ids = list(numbers)
    for start in range(0, len(ids), KEYS_PER_ROUND):
        part = ids[start : start + KEYS_PER_ROUND]
        replies = yield [
            ("EVAL", _BEYOND, "1", keys.record(one), keys.passages(one), *map(str, numbers[one])) for one in part
        ]
        for one, reply in zip(part, replies, strict=True):
            removed, missing = checked(reply)
            outcomes[one] = int(removed), int(missing)
    return outcomes
