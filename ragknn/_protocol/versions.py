"""Another version of an index's search index: made beside the one that serves, and put in its place in one step.

What is asked of an index names the version that it was made for. So no search meets a version that it does not fit:
it finds the one that it knows, or finds that this is gone, reads the manifest anew, and begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from ragknn._protocol.counting import index_info
from ragknn._protocol.flows import Command, Flow, Pause, Progress
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import REBUILD, create_command
from ragknn._protocol.replies import as_text, checked, is_unknown_index
from ragknn._protocol.schema import Schema
from ragknn.errors import RebuildFailed

HELD = 5_000  # milliseconds after which a process that was killed no longer keeps others from a rebuild
POLL = 0.05  # seconds

# Keeps the index for who holds it. KEYS: what is held. ARGV: by whom, and for how long.
_HOLD = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end"

# Lets another version serve, if the schema is still the expected one and the index still held. What was measured of the
# recall was of the version before. KEYS: the manifest, and what is held. ARGV: by whom; the old schema; the new one.
_SWITCH = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
if redis.call('HGET', KEYS[1], 'schema') ~= ARGV[2] then return 0 end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, 7) == 'recall@' then redis.call('HDEL', KEYS[1], name) end
end
redis.call('HDEL', KEYS[1], 'rebuild')
redis.call('HSET', KEYS[1], 'schema', ARGV[3])
return 1
"""


def claim(keys: Keys) -> Flow[str]:
    """Hold the index, so that no other process rebuilds it or moves it meanwhile; return the mark of the holder.

    One that was held by a process that was killed is free after a few seconds, for which this waits.

    Raises:
        RebuildFailed: another process holds it, and is alive.
    """
    mark = uuid4().hex
    before: int | None = None
    while True:
        taken, left = yield [("SET", keys.moving, mark, "NX", "PX", str(HELD)), ("PTTL", keys.moving)]
        milliseconds = int(checked(left))
        if checked(taken) is not None:
            return mark
        if before is not None and milliseconds > before:
            raise RebuildFailed(
                f"expected index {keys.name!r} for itself, got another process that rebuilds it now: wait for its end"
            )
        before = milliseconds
        yield Pause(POLL)


def hold(keys: Keys, mark: str) -> Flow[None]:
    """Go on holding the index.

    Raises:
        RebuildFailed: this process was away for so long that another may have taken it.
    """
    [held] = yield [("EVAL", _HOLD, "1", keys.moving, mark, str(HELD))]
    if not checked(held):
        raise _lost(keys)


def let_go(keys: Keys, mark: str) -> Flow[None]:
    """Hold the index no more."""
    yield [("EVAL", _LET_GO, "1", keys.moving, mark)]


def begin(keys: Keys, new: Schema) -> Flow[tuple[Schema, bool]]:
    """Begin to build a version of the search index for a schema; return the schema with it, and whether it was begun.

    What an earlier rebuild to the same schema has made is gone on with, and what is left of all others is dropped.
    """
    kept, listed = yield [("HGET", keys.manifest, REBUILD), ("FT._LIST",)]
    there = keys.search_versions([as_text(name) for name in checked(listed)])
    begun = _begun(keys, kept)
    resumed = begun is not None and begun.version in there and replace(begun, version=new.version) == _bare(new)
    version = begun.version if resumed and begun is not None else max([*there, keys.version or 0]) + 1
    left = [one for one in there if one not in (keys.version, version)]
    target = replace(new, version=version)
    commands: list[Command] = [("FT.DROPINDEX", keys.search_index(one)) for one in left]
    commands += [("HSET", keys.manifest, REBUILD, _bare(target).dumps())]
    if not resumed:
        commands += [create_command(keys, target)]
    for reply in (yield commands):
        checked(reply)
    return target, resumed


def _bare(schema: Schema) -> Schema:
    """Return what a search index depends on in a schema."""
    return replace(schema, splitter=None)


def _begun(keys: Keys, kept: Any) -> Schema | None:
    return None if checked(kept) is None else Schema.loads(keys.name, as_text(kept))


def build(keys: Keys, mark: str, target: Keys, progress: Progress) -> Flow[None]:
    """Wait until the server has read all that is stored into the new version."""
    while True:
        info = yield from index_info(target, target.searched)
        yield from hold(keys, mark)
        whole = round(info.passages / max(info.percent_indexed, 0.01))
        progress(info.passages, whole)
        if not info.building:
            return
        yield Pause(POLL)


def switch(keys: Keys, mark: str, manifest: str, new: Schema) -> Flow[bool]:
    """Let the new version serve; False if the manifest is another than it was by now.

    Raises:
        RebuildFailed: this process was away for so long that another may have taken the index.
    """
    [reply] = yield [("EVAL", _SWITCH, "2", keys.manifest, keys.moving, mark, manifest, new.dumps())]
    if (switched := int(checked(reply))) < 0:
        raise _lost(keys)
    return switched == 1


def drop_others(keys: Keys) -> Flow[None]:
    """Point the alias at the version that serves, and drop all others."""
    [listed] = yield [("FT._LIST",)]
    others = [one for one in keys.search_versions([as_text(name) for name in checked(listed)]) if one != keys.version]
    yield from _dropped(keys, others, [("FT.ALIASUPDATE", keys.alias, keys.searched), ("HDEL", keys.manifest, REBUILD)])


def give_up(keys: Keys, target: Keys) -> Flow[None]:
    """Drop a version that is not to serve."""
    yield from _dropped(keys, [target.version or 0], [("HDEL", keys.manifest, REBUILD)])


def left_behind(keys: Keys) -> Flow[bool]:
    """Drop what a rebuild has made of an index that others have dropped meanwhile; return whether they have."""
    there, listed = yield [("HEXISTS", keys.manifest, "schema"), ("FT._LIST",)]
    if checked(there):
        return False
    versions = keys.search_versions([as_text(name) for name in checked(listed)])
    yield from _dropped(keys, versions, [("UNLINK", keys.manifest)])
    return True


def _dropped(keys: Keys, versions: Sequence[int], before: Sequence[Command]) -> Flow[None]:
    for reply in (yield [*before, *(("FT.DROPINDEX", keys.search_index(one)) for one in versions)]):
        if not is_unknown_index(reply):
            checked(reply)


def _lost(keys: Keys) -> RebuildFailed:
    return RebuildFailed(
        f"expected to hold index {keys.name!r} until its rebuild ends, got it free or taken by another process, since "
        "this one stood still: call rebuild again, which goes on where it was"
    )
