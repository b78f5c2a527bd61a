"""Another version of an index's search index: made beside the one that serves, and put in its place in one step.

It is of the passages that are there, or of another store of them, which is then put in the place of theirs too.

What is asked of an index names the version that it was made for. So no search meets a version that it does not fit:
it finds the one that it knows, or finds that this is gone, reads the manifest anew, and begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragknn._protocol.closing import BIRTH, born_in
from ragknn._protocol.counting import index_info
from ragknn._protocol.dropping import LEAVING, remove_remains, remove_stores
from ragknn._protocol.flows import Command, Flow, Progress, pauses
from ragknn._protocol.holding import POLL, hold, lost
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import REBUILD, create_command
from ragknn._protocol.replies import as_text, checked, is_unknown_index
from ragknn._protocol.schema import Schema

# Lets another version serve, if the schema is still the expected one and the index still held. What was measured of the
# recall was of the version before. KEYS: the manifest, and what is held. ARGV: by whom; the old schema; the new one;
# and where it has another store, its number and its birth, if the one before is still closed.
_SWITCH = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
if redis.call('HGET', KEYS[1], 'schema') ~= ARGV[2] then return 0 end
if ARGV[4] ~= '' then
  local closed = 'closed:' .. ARGV[1] .. ':'
  if string.sub(redis.call('HGET', KEYS[1], 'birth') or '', 1, #closed) ~= closed then return -1 end
  redis.call('HSET', KEYS[1], 'store', ARGV[4], 'birth', ARGV[5], 'leaving', '1')
end
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, 7) == 'recall@' then redis.call('HDEL', KEYS[1], name) end
end
redis.call('HDEL', KEYS[1], 'rebuild')
redis.call('HSET', KEYS[1], 'schema', ARGV[3])
return 1
"""


def begin(keys: Keys, new: Schema, *, another_store: bool = False, cut: bool = False) -> Flow[tuple[Schema, bool]]:
    """Begin to build a version of the search index for a schema; return the schema with it, and whether it was begun.

    What an earlier rebuild to the same schema has made is gone on with, and what is left of all others is dropped.

    Args:
        keys: of what serves.
        new: what the index is to be made of.
        another_store: whether its passages are to be in a store of their own.
        cut: whether they are cut anew, so that another splitter is another schema.
    """
    kept, listed = yield [("HGET", keys.manifest, REBUILD), ("FT._LIST",)]
    there = keys.search_versions([as_text(name) for name in checked(listed)])
    begun = None if checked(kept) is None else Schema.loads(keys.name, as_text(kept))

    def aim(version: int) -> Schema:
        return replace(new, version=version, store=keys.store + 1 if another_store else new.store)

    version = max([*there, keys.version or 0]) + 1
    resumed = False
    if begun is not None and begun.version in there and as_text(kept) == begun_as(aim(begun.version or 0), cut=cut):
        version, resumed = begun.version or 0, True
    target = aim(version)
    left = [one for one in there if one not in (keys.version, version)]
    commands: list[Command] = [("FT.DROPINDEX", keys.search_index(one)) for one in left]
    if not resumed:
        to_remove = another_store or (begun is not None and begun.store != keys.store)
        commands += [("HSET", keys.manifest, LEAVING, "1")] * to_remove
        for reply in (yield [*commands, ("HDEL", keys.manifest, REBUILD)]):
            checked(reply)
        if to_remove:
            yield from remove_stores(keys)
        commands = [create_command(keys.of_version(version, target.store), target)]
    for reply in (yield [("HSET", keys.manifest, REBUILD, begun_as(target, cut=cut)), *commands]):
        checked(reply)
    return target, resumed


def begun_as(target: Schema, *, cut: bool) -> str:
    """Return what the manifest says of a schema while a version of it is being built."""
    return (target if cut else replace(target, splitter=None)).dumps()


def build(keys: Keys, mark: str, target: Keys, progress: Progress) -> Flow[None]:
    """Wait until the server has read all that is stored into the new version."""
    pausing = pauses(POLL)
    while True:
        info = yield from index_info(target, target.searched)
        yield from hold(keys, mark)
        whole = round(info.passages / max(info.percent_indexed, 0.01))
        progress(info.passages, whole)
        if not info.building:
            return
        yield next(pausing)


def switch(keys: Keys, mark: str, manifest: str, new: Schema) -> Flow[bool]:
    """Let the new version serve; False if the manifest is another than it was by now.

    Raises:
        RebuildFailed: this process was away for so long that another may have taken the index.
    """
    store, birth = "", ""
    if new.store != keys.store:
        [found] = yield [("HGET", keys.manifest, BIRTH)]
        store, birth = str(new.store), born_in(as_text(checked(found) or b""), new.store)
    told = (mark, manifest, new.dumps(), store, birth)
    [reply] = yield [("EVAL", _SWITCH, "2", keys.manifest, keys.moving, *told)]
    if (switched := int(checked(reply))) < 0:
        raise lost(keys)
    return switched == 1


def drop_others(keys: Keys) -> Flow[None]:
    """Point the alias at the version that serves, and drop all others, and all other stores."""
    [listed] = yield [("FT._LIST",)]
    others = [one for one in keys.search_versions([as_text(name) for name in checked(listed)]) if one != keys.version]
    yield from _dropped(keys, others, [("FT.ALIASUPDATE", keys.alias, keys.searched), ("HDEL", keys.manifest, REBUILD)])
    [leaving] = yield [("HEXISTS", keys.manifest, LEAVING)]
    if checked(leaving):
        yield from remove_stores(keys)


def give_up(keys: Keys, target: Keys) -> Flow[None]:
    """Drop a version that is not to serve, and its store if that is of its own."""
    leaving: list[Command] = [("HSET", keys.manifest, LEAVING, "1")] * (target.store != keys.store)
    yield from _dropped(keys, [target.version or 0], [*leaving, ("HDEL", keys.manifest, REBUILD)])
    if leaving:
        yield from remove_stores(keys)


def abandon(keys: Keys) -> Flow[bool]:
    """Drop what was begun and does not serve yet; return whether something was."""
    [kept] = yield [("HGET", keys.manifest, REBUILD)]
    if checked(kept) is None:
        return False
    begun = Schema.loads(keys.name, as_text(kept))
    yield from give_up(keys, keys.of_version(begun.version, begun.store))
    return True


def left_behind(keys: Keys) -> Flow[bool]:
    """Drop what a rebuild has made of an index that others have dropped meanwhile; return whether they have."""
    there, listed = yield [("HEXISTS", keys.manifest, "schema"), ("FT._LIST",)]
    if checked(there):
        return False
    versions = keys.search_versions([as_text(name) for name in checked(listed)])
    yield from _dropped(keys, versions, [("UNLINK", keys.manifest)])
    yield from remove_remains(keys)
    return True


def _dropped(keys: Keys, versions: Sequence[int], before: Sequence[Command]) -> Flow[None]:
    for reply in (yield [*before, *(("FT.DROPINDEX", keys.search_index(one)) for one in versions)]):
        if not is_unknown_index(reply):
            checked(reply)
