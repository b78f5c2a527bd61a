"""Removing an index: to its end where it is cut short, and beside writers that do not know of it yet.

A removal marks the index before it takes away the manifest, in one step. From then on nobody finds the index, and the
next who opens it by the same name ends the removal first. A writer looks for the manifest behind each of its writes,
and takes back what it wrote where that is gone; so the look through the keys, which begins later, leaves nothing out.
"""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Flow
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

# Removes keys while the index has the mark, or while it has no manifest and no mark. KEYS: the mark, the manifest, and
# what goes. ARGV: the mark; "" for none. Whoever is slow meets an index that others have made anew, and leaves it.
_REMOVE = """
local mark = redis.call('GET', KEYS[1]) or ''
if mark ~= ARGV[1] or (mark == '' and redis.call('EXISTS', KEYS[2]) == 1) then return -1 end
return redis.call('UNLINK', unpack(KEYS, 3))
"""

# Removes keys while another store than theirs serves, and none is being filled. KEYS: the manifest, and what goes.
# ARGV: the number of the store that serves, "" for the first.
_REMOVE_UNSERVED = """
if not redis.call('HGET', KEYS[1], 'schema') or redis.call('HGET', KEYS[1], 'rebuild') then return -1 end
if (redis.call('HGET', KEYS[1], 'store') or '') ~= ARGV[1] then return -1 end
return #KEYS > 1 and redis.call('UNLINK', unpack(KEYS, 2)) or 0
"""


def drop_index(keys: Keys) -> Flow[int]:
    """Remove the index and everything that it keeps; return the number of documents removed."""
    marked, listed = yield [
        ("EVAL", _MARK, "2", keys.dropping, keys.manifest, uuid4().hex),
        ("FT._LIST",),
    ]
    mark = as_text(checked(marked))
    versions = keys.search_versions([as_text(name) for name in checked(listed)])
    dropping = [("FT.DROPINDEX", keys.search_index(version)) for version in versions]
    for reply in (yield [("FT.ALIASDEL", keys.alias), *dropping]):
        if not is_unknown_index(reply) and "does not exist" not in str(reply):
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
                condition = ("EVAL", _REMOVE, str(len(found) + 2), keys.dropping, keys.manifest)
                [reply] = yield [(*condition, *found, mark)]
                if int(checked(reply)) < 0:
                    return max(removed.values(), default=0)
                removed.update(key.partition("{")[0] for key in found if key.endswith(FIRST))
            if not cursor:
                break
    return max(removed.values(), default=0)


def remove_documents(keys: Keys) -> Flow[int]:
    """Remove all passages and documents of an index that stays; return the number of documents removed."""
    removed = 0
    for prefix in (keys.passage_prefix, keys.earlier_prefix):
        cursor = 0
        while True:
            cursor, found = yield from scan(prefix, cursor)
            if found:
                [reply] = yield [("UNLINK", *found)]
                checked(reply)
                removed += sum(key.endswith(FIRST) for key in found)
            if not cursor:
                break
    return removed


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
    [reply] = yield [("EVAL", _REMOVE_UNSERVED, str(len(names) + 1), keys.manifest, *names, serves)]
    return int(checked(reply))
