"""Removing an index: to its end where it is cut short, and beside writers that do not know of it yet.

A removal marks the index before it takes away the manifest, in one step. From then on nobody finds the index, and the
next who opens it by the same name ends the removal first. A writer looks for the manifest behind each of its writes,
and takes back what it wrote where that is gone; so the look through the keys, which begins later, leaves nothing out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from secrets import randbits
from typing import Any
from uuid import uuid4

from ragknn._protocol.apart import Apart
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import FIRST, Keys
from ragknn._protocol.replies import as_text, checked, is_unknown_index
from ragknn.errors import CommandRefused

# Field of the manifest that is there while there are passages in stores that serve no more.
LEAVING = "leaving"

# Marks an index as one that is being removed; returns the mark. KEYS: the mark, and the manifest. ARGV: a mark of one's
# own, in case that there is none. The manifest comes first: who may not remove it leaves no mark.
_MARK = """
redis.call('UNLINK', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""

# Tells whether keys may be removed: 0, or -1. KEYS: the mark, the manifest. ARGV as below.
_MAY_REMOVE = """
local mark = redis.call('GET', KEYS[1]) or ''
if mark ~= ARGV[1] or (mark == '' and redis.call('EXISTS', KEYS[2]) == 1) then return -1 end
return 0
"""

# Removes keys while the index has the mark, or while it has no manifest and no mark. KEYS: the mark, the manifest, and
# what goes. ARGV: the mark; "" for none. Whoever is slow meets an index that others have made anew, and leaves it.
_REMOVE = _MAY_REMOVE.replace("return 0", "return redis.call('UNLINK', unpack(KEYS, 3))")

# Tells whether keys of stores that do not serve may be removed: 0, or -1. KEYS: the manifest. ARGV as below.
_MAY_REMOVE_UNSERVED = """
if not redis.call('HGET', KEYS[1], 'schema') or redis.call('HGET', KEYS[1], 'rebuild') then return -1 end
if (redis.call('HGET', KEYS[1], 'store') or '') ~= ARGV[1] then return -1 end
return 0
"""

# Removes keys while another store than theirs serves, and none is being filled. KEYS: the manifest, and what goes.
# ARGV: the number of the store that serves, "" for the first.
_REMOVE_UNSERVED = _MAY_REMOVE_UNSERVED.replace(
    "return 0", "return #KEYS > 1 and redis.call('UNLINK', unpack(KEYS, 2)) or 0"
)

# Where the keys are on several servers, no script can look and remove in one step. So each key is given a time of
# expiry that nobody else gives and that is far off; then it is looked whether the keys may go; and then those go that
# still have it: what others have stored anew under such a key has none. A server without memory lets all of that be
# done. KEYS: the key. ARGV: the time.
_REMOVE_MARKED = "return redis.call('PEXPIRETIME', KEYS[1]) == tonumber(ARGV[1]) and redis.call('UNLINK', KEYS[1]) or 0"
_UNMARK = "return redis.call('PEXPIRETIME', KEYS[1]) == tonumber(ARGV[1]) and redis.call('PERSIST', KEYS[1]) or 0"
_FAR_OFF = 4_102_444_800_000  # milliseconds: the year 2100
_BITS = 44  # of chance: as many milliseconds are 557 years


def drop_index(keys: Keys) -> Flow[int]:
    """Remove the index and everything that it keeps; return the number of documents removed."""
    marked, listed = yield [
        ("EVAL", _MARK, "2", keys.dropping, keys.manifest, uuid4().hex),
        ("FT._LIST",),
    ]
    mark = as_text(checked(marked))
    versions = keys.search_versions([as_text(name) for name in checked(listed)])
    # With a search index its alias goes; that which another process has given an index by this name meanwhile stays.
    dropping: list[Command] = [("FT.DROPINDEX", keys.search_index(version)) for version in versions]
    for reply in (yield dropping) if dropping else ():
        if not is_unknown_index(reply):
            checked(reply)
    removed = yield from _remove(keys, mark)
    [reply] = yield [("EVAL", _REMOVE, "3", keys.dropping, keys.manifest, keys.dropping, mark)]
    checked(reply)
    return removed


def remove_remains(keys: Keys) -> Flow[int]:
    """Remove what is left of an index that has neither a manifest nor a search index; return how many documents."""
    return (yield from _remove(keys, ""))


def _remove(keys: Keys, mark: str) -> Flow[int]:
    removed: Counter[str] = Counter()  # of each store, since a document may be in two
    for prefix in (keys.all_stores, keys.earlier_prefix, keys.all_copied):
        cursor = 0
        while True:
            cursor, found = yield from scan(prefix, cursor)
            if found:
                if (yield from _remove_while(_MAY_REMOVE, _REMOVE, (keys.dropping, keys.manifest), found, mark)) < 0:
                    return max(removed.values(), default=0)
                removed.update(key.partition("{")[0] for key in found if key.endswith(FIRST))
            if not cursor:
                break
    return max(removed.values(), default=0)


def remove_stores(keys: Keys) -> Flow[None]:
    """Remove what is in other stores than that which serves; as far as this process may, and while that serves."""
    try:
        removed = yield from _remove_unserved(keys, [])
        if removed < 0:
            return
        for prefix in (keys.all_stores, keys.all_copied):
            cursor = 0
            while True:
                cursor, found = yield from scan(prefix, cursor)
                others = [key for key in found if not key.startswith(keys.passage_prefix)]
                if others and (yield from _remove_unserved(keys, others)) < 0:
                    return
                if not cursor:
                    break
        yield [("HDEL", keys.manifest, LEAVING)]
    except CommandRefused:  # to a reader, whom this is none of the business
        return


def _remove_unserved(keys: Keys, names: list[str]) -> Flow[int]:
    serves = "" if keys.store == 1 else str(keys.store)
    return (yield from _remove_while(_MAY_REMOVE_UNSERVED, _REMOVE_UNSERVED, (keys.manifest,), names, serves))


def _remove_while(may: str, remove: str, about: Command, names: Sequence[str], told: str) -> Flow[int]:
    """Remove keys while a condition holds; return how many, or -1 where it does not.

    Args:
        may: a script that tells whether it holds.
        remove: a script that removes the keys if it does.
        about: the keys that the condition is about.
        names: the keys to remove.
        told: what the scripts are told.
    """
    condition: Command = ("EVAL", may, str(len(about)), *about, told)
    command: Command = ("EVAL", remove, str(len(about) + len(names)), *about, *names, told)
    [reply] = yield [Apart(command, partial(_removing_apart, condition, names))]
    return int(checked(reply))


def _removing_apart(condition: Command, names: Sequence[str]) -> Flow[Any]:
    own = str(_FAR_OFF + randbits(_BITS))
    marked = yield [("PEXPIREAT", name, own) for name in names]
    [may] = yield [condition]
    goes = not isinstance(may, Exception) and int(may) >= 0
    replies = yield [("EVAL", _REMOVE_MARKED if goes else _UNMARK, "1", name, own) for name in names]
    failed = next((reply for reply in (*marked, may, *replies) if isinstance(reply, Exception)), None)
    if failed is not None or not goes:
        return may if failed is None else failed
    return sum(int(reply or 0) for reply in replies)
