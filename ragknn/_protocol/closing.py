"""Closing the store of an index to writers, while the last of it is copied into the store that takes its place.

A writer looks at the birth of the index behind each of its writes. While the store is closed, and when another one has
taken its place, it finds another text there than it knows, and waits until it knows which store serves. So whatever
was not in the closed store when the last look through it began is written again, into the other one. A process that
closes a store and ends leaves nobody waiting: once it no longer holds the index, the next writer opens the store again.
"""

from __future__ import annotations

from uuid import uuid4

from ragknn._protocol.flows import Flow, Pause
from ragknn._protocol.keys import Keys
from ragknn._protocol.replies import as_text, checked

# Field of the manifest with a name that no other index ever had: one that was dropped and made again may have given as
# many numbers to as many passages. Each store of an index has a birth of its own, of one lineage.
BIRTH = "birth"
# Field of the manifest with the number of the store that serves, if that is not the first.
STORE = "store"

_CLOSED = "closed:"
_OF_STORE = "/"
POLL = 0.02  # seconds

# Closes the store, if the caller holds the index. KEYS: the manifest, and what is held. ARGV: by whom, and a birth for
# an index that has none. What another process closed that has ended is closed by this one.
_CLOSE = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local birth = redis.call('HGET', KEYS[1], 'birth') or ARGV[2]
if string.sub(birth, 1, 7) == 'closed:' then birth = string.match(birth, '^closed:[^:]*:(.*)$') end
redis.call('HSET', KEYS[1], 'birth', 'closed:' .. ARGV[1] .. ':' .. birth)
return 1
"""

# Opens the store again, if nobody holds the index. KEYS: the manifest, and what is held.
_REOPEN = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local birth = redis.call('HGET', KEYS[1], 'birth')
if birth and string.sub(birth, 1, 7) == 'closed:' then
  redis.call('HSET', KEYS[1], 'birth', string.match(birth, '^closed:[^:]*:(.*)$'))
end
return 1
"""

# Opens it again for who holds the index. KEYS as above. ARGV: by whom it is held.
_REOPEN_HELD = _REOPEN.replace("redis.call('EXISTS', KEYS[2]) == 1", "redis.call('GET', KEYS[2]) ~= ARGV[1]")


def close(keys: Keys, mark: str) -> Flow[bool]:
    """Close the store to writers; False if the index is not held by whom the mark is of."""
    [closed] = yield [("EVAL", _CLOSE, "2", keys.manifest, keys.moving, mark, uuid4().hex)]
    return bool(checked(closed))


def reopen(keys: Keys, mark: str) -> Flow[None]:
    """Open the store to writers again, if the index is still held by whom the mark is of; else others do."""
    yield [("EVAL", _REOPEN_HELD, "2", keys.manifest, keys.moving, mark)]


def is_closed(birth: str) -> bool:
    """Tell whether what stands in place of the birth says that the store is closed."""
    return birth.startswith(_CLOSED)


def open_birth(keys: Keys) -> Flow[tuple[str, int] | None]:
    """Return the birth of the index and the store that serves, once that is open; None if there is no index."""
    while True:
        [found] = yield [("HMGET", keys.manifest, BIRTH, STORE)]
        birth, store = checked(found)
        if birth is None:
            return None
        if not is_closed(as_text(birth)):
            return as_text(birth), int(store or 1)
        yield [("EVAL", _REOPEN, "2", keys.manifest, keys.moving)]
        yield Pause(POLL)


def is_another_store(keys: Keys, birth: str, now: tuple[str, int] | None) -> bool:
    """Tell whether the index that a writer knows by its birth is there, and has another store than the writer's."""
    return now is not None and now[1] != keys.store and _lineage(now[0]) == _lineage(birth)


def born_in(birth: str, store: int) -> str:
    """Return the birth that an index is to have with another store, in place of what stands there now."""
    return f"{_lineage(birth)}{_OF_STORE}{store}"


def store_of(birth: str) -> int:
    """Return the store that an index of this birth has."""
    return int(birth.partition(_OF_STORE)[2] or 1)


def _lineage(birth: str) -> str:
    return birth.rpartition(":")[2].partition(_OF_STORE)[0]


def check_store(keys: Keys) -> Flow[bool]:
    """Wait until the store that serves is open, and return whether it is that of the keys."""
    [found] = yield [("HMGET", keys.manifest, BIRTH, STORE)]
    return (yield from still_serves(keys, found))


def still_serves(keys: Keys, found: object) -> Flow[bool]:
    """Do the same with what was read of the manifest behind a write: its birth and its store."""
    birth, store = checked(found)
    if birth is not None and is_closed(as_text(birth)):
        now = yield from open_birth(keys)
        return now is None or now[1] == keys.store
    return int(store or 1) == keys.store
