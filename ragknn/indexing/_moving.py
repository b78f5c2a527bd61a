"""Moving an index that an earlier release made to this release's form, on the server and without embedding anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Command, Flow, Pause, pauses
from ragknn._protocol.holding import let_go
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import create_command, stored_manifest, swap_manifest
from ragknn._protocol.place import Place
from ragknn._protocol.query import TERMS
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import FIRST_WITH_TERMS, FORMAT, Schema
from ragknn.errors import ConnectionFailed

# The field with the words of a passage in the earlier form; the server made the terms of them.
_EARLIER = "text_words"

HELD = 10_000  # milliseconds after which a process that was killed no longer keeps others from moving the index
POLL = 0.05  # seconds

# Puts the record of a document into the hash of its first passage. KEYS: where it was, and the first passage. ARGV: the
# prefix of the passages. Where the server has lost the first passage, the others go, and the document counts as not
# stored: adding it stores it whole. Where it has lost another, the record says so many as before, and the next ingest
# notices.
_SET_RECORD = """
local record = redis.call('HGETALL', KEYS[1])
if #record == 0 then return 0 end
local count, digests = tonumber(redis.call('HGET', KEYS[1], 'passages')), {}
if redis.call('EXISTS', KEYS[2]) == 0 then
  for i = 1, count - 1 do redis.call('UNLINK', ARGV[1] .. i) end
else
  for i = 1, count do digests[i] = redis.call('HGET', ARGV[1] .. (i - 1), 'digest') or '' end
  redis.call('HDEL', KEYS[2], 'gaps', 'page_starts')
  redis.call('HSET', KEYS[2], unpack(record))
  if count > 1 then redis.call('HSET', KEYS[2], 'digests', redis.sha1hex(table.concat(digests))) end
end
redis.call('UNLINK', KEYS[1])
return 1
"""

# Sets the terms of a passage, if it still has the text that they were made of. KEYS: the passage. ARGV: the digest of
# the text, the field with its words, the field for its terms, the terms.
_SET_TERMS = """
if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], ARGV[3], ARGV[4]) end
return 1
"""


def moved(place: Place) -> Flow[Schema]:
    """Bring an index to this release's form, if it is not in it, and return its schema.

    Searches by vectors and reads go on meanwhile. Where words are indexed, a second search index is built beside the
    first, and takes its alias when it is complete. If this is interrupted, the first one stays, and the next call
    starts again. Of several processes that call it at once, one does it and the others wait.
    """
    keys = place.keys
    while (schema := Schema.loads(keys.name, (yield from stored_manifest(keys)))).format != FORMAT:
        mark = uuid4().hex
        [taken] = yield [("SET", keys.moving, mark, "NX", "PX", str(HELD))]
        if checked(taken) is None:
            yield Pause(POLL)
            continue
        try:
            yield from _move(keys)
        except ConnectionFailed:  # who cannot be reached cannot be told, and others wait for some seconds
            raise
        except Exception:
            yield from let_go(keys, mark)
            raise
        yield from let_go(keys, mark)
    return schema


def _move(keys: Keys) -> Flow[None]:
    manifest = yield from stored_manifest(keys)  # again, since it may have been moved before this process could
    old = Schema.loads(keys.name, manifest)
    if old.format != FORMAT:
        new = replace(old, format=FORMAT)
        yield from _store_records(keys)
        if old.format < FIRST_WITH_TERMS:
            new = replace(new, fold_accents=True)
            yield from _store_terms(keys, new)
        before = yield from _versions(keys)
        if new.text_search:  # the words of what was written anew count twice in the scores of the first search index
            new = replace(new, version=max(before, default=0) + 1)
            yield from _build(keys, new)
        if (yield from swap_manifest(keys, manifest, new.dumps())) and new.text_search:
            yield from _take_over(keys.of_version(new.version), before)


def _store_records(keys: Keys) -> Flow[None]:
    cursor = 0
    while True:
        cursor, found = yield from scan(keys.earlier_prefix, cursor)
        ids = map(keys.earlier_id, found)
        setting = [
            ("EVAL", _SET_RECORD, "2", key, keys.record(own), keys.passages(own))
            for key, own in zip(found, ids, strict=True)
        ]
        for reply in (yield [_hold(keys), *setting]):
            checked(reply)
        if not cursor:
            return


def _store_terms(keys: Keys, schema: Schema) -> Flow[None]:
    cursor = 0
    while True:
        cursor, found = yield from scan(keys.passage_prefix, cursor)
        if found:
            read = yield [("HMGET", key, "text", "digest") for key in found]
            parts = [[as_text(part or b"") for part in checked(reply)] for reply in read]
            pairs = [(digest, " ".join(schema.analyzer.terms(text))) for text, digest in parts]
            for reply in (
                yield [
                    _hold(keys),
                    *(
                        ("EVAL", _SET_TERMS, "1", key, digest, _EARLIER, TERMS, terms)
                        for key, (digest, terms) in zip(found, pairs, strict=True)
                    ),
                ]
            ):
                checked(reply)
        if not cursor:
            return


def _versions(keys: Keys) -> Flow[list[int]]:
    [listed] = yield [("FT._LIST",)]
    return keys.search_versions([as_text(name) for name in checked(listed)])


def _build(keys: Keys, schema: Schema) -> Flow[None]:
    """Let the server build another version of the search index."""
    name = keys.of_version(schema.version).searched
    [created] = yield [create_command(keys, schema)]
    checked(created)
    pausing = pauses(POLL)
    while (yield from index_info(keys, name)).building:
        yield [_hold(keys)]
        yield next(pausing)


def _take_over(keys: Keys, before: Sequence[int]) -> Flow[None]:
    """Let a version take the place of all before it."""
    dropping = [("FT.DROPINDEX", keys.search_index(one)) for one in before]
    for reply in (yield [("FT.ALIASUPDATE", keys.alias, keys.searched), *dropping]):
        checked(reply)


def _hold(keys: Keys) -> Command:
    return ("PEXPIRE", keys.moving, str(HELD))
