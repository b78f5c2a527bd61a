"""The commands that store, read and remove the rows of an estimator: row n is the document "n"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._ids import passage_id
from ragknn._protocol.apart import Apart
from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import KEYS_PER_ROUND, scan
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import whole_fields
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import from_bytes, to_bytes
from ragknn.errors import CommandRefused, SchemaMismatch
from ragknn.records import Label

# Rows written in one step on the server, which does nothing else meanwhile.
ROWS_PER_COMMAND = 200

Spot: TypeAlias = tuple[str, int]
"""Place of a stored row: the id of its document, and the number of its passage."""


# Whose rows an index holds: the field of its manifest with the mark of the fit that stored them last. Rows are written
# and removed only while it is the own one, so that of several fits that go on at once the last one to begin gets all of
# the index, and the others nothing.
MARK = "fit"

_CLAIM = """
if redis.call('HEXISTS', KEYS[1], 'schema') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'fit', ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'fits', 1)
"""

# KEYS: the manifest. ARGV: the mark; then groups: a key, the number of its fields and values, and these.
_STORE = """
if redis.call('HGET', KEYS[1], 'fit') ~= ARGV[1] then return 0 end
local at = 2
while at <= #ARGV do
  local size = tonumber(ARGV[at + 1])
  redis.call('HSET', ARGV[at], unpack(ARGV, at + 2, at + 1 + size))
  at = at + 2 + size
end
return 1
"""

# KEYS: the manifest. ARGV: the mark, and keys.
_UNLINK = """
if redis.call('HGET', KEYS[1], 'fit') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(ARGV, 2))
return 1
"""

# Where the rows are on several servers, each is written in a step of its own, between two looks at the mark. A row has
# the number of its fit, so that none that was late replaces or removes those of a later fit; and what it wrote itself
# it takes back. KEYS: the manifest, or the row. ARGV: the mark, or the number; the values of the row.
_IS_MINE = "return redis.call('HGET', KEYS[1], 'fit') == ARGV[1] and 1 or 0"
_UNLESS_LATER = "if (tonumber(redis.call('HGET', KEYS[1], 'fits')) or 0) > tonumber(ARGV[1]) then return 0 end\n"
_STORE_ROW = (
    _UNLESS_LATER + "redis.call('UNLINK', KEYS[1]) return redis.call('HSET', KEYS[1], 'fits', ARGV[1], unpack(ARGV, 2))"
)
_UNLINK_ROW = _UNLESS_LATER + "return redis.call('UNLINK', KEYS[1])"
_TAKE_BACK = "return redis.call('HGET', KEYS[1], 'fits') == ARGV[1] and redis.call('UNLINK', KEYS[1])"


@dataclass(frozen=True, slots=True)
class _Claim:
    """An index that a fit has to itself, as long as no later one begins.

    Attributes:
        manifest: of the index.
        mark: of the fit.
        number: of the fit, one more than that of the fit before.
    """

    manifest: str
    mark: str
    number: int

    def storing(self, rows: Mapping[str, Command]) -> Apart:
        """Return the command that writes rows, by their keys, with their fields and values."""
        values = [part for key, fields in rows.items() for part in (key, str(len(fields)), *fields)]
        command: Command = ("EVAL", _STORE, "1", self.manifest, self.mark, *values)
        return Apart(command, lambda: self._apart(_STORE_ROW, rows))

    def removing(self, keys: Sequence[str]) -> Apart:
        """Return the command that removes what is under keys."""
        command: Command = ("EVAL", _UNLINK, "1", self.manifest, self.mark, *keys)
        return Apart(command, lambda: self._apart(_UNLINK_ROW, dict.fromkeys(keys, ())))

    def _apart(self, script: str, rows: Mapping[str, Command]) -> Flow[Any]:
        looking: Command = ("EVAL_RO", _IS_MINE, "1", self.manifest, self.mark)
        [before] = yield [looking]
        if isinstance(before, Exception) or not before:
            return before
        number = str(self.number)
        *written, after = yield [*(("EVAL", script, "1", key, number, *told) for key, told in rows.items()), looking]
        failed = next((reply for reply in (*written, after) if isinstance(reply, Exception)), None)
        if failed is None and not after:
            yield [("EVAL", _TAKE_BACK, "1", key, number) for key in rows]
        return after if failed is None else failed


def read_mark(keys: Keys) -> Flow[str | None]:
    """Return the mark of the fit whose rows the index holds; None where no fit has stored any."""
    [mark] = yield [("HGET", keys.manifest, MARK)]
    return None if checked(mark) is None else as_text(mark)


def store_rows(
    keys: Keys, schema: Schema, vectors: NDArray[Any], labels: Sequence[Label] | None, mark: str, replacing: bool
) -> Flow[None]:
    """Write the rows to the index.

    An `Indexer` looks documents up and replaces each of them while others read, which takes five times as long. The
    stored data is the same. Where another fit begins meanwhile, the rest is left out: the mark tells whose rows there
    are.

    Args:
        keys: the index's keys.
        schema: the index's schema.
        vectors: checked vectors, shape (n, dim).
        labels: n labels, or None to store none.
        mark: mark of this fit.
        replacing: whether to remove the rows that the index holds first.

    Raises:
        CommandRefused: the server refuses a command, or leaves rows out of the index.
    """
    refused_before = (yield from index_info(keys)).failures
    [claimed] = yield [("EVAL", _CLAIM, "1", keys.manifest, mark)]
    claim = _Claim(keys.manifest, mark, int(checked(claimed)))
    is_mine = claim.number > 0 and (not replacing or (yield from _clear(keys, claim)))
    for start in range(0, len(vectors), ROWS_PER_COMMAND):
        if not is_mine:
            return
        rows: dict[str, Command] = {}
        for row, blob in enumerate(to_bytes(vectors[start : start + ROWS_PER_COMMAND], schema.dtype), start):
            label = None if labels is None else labels[row]
            rows[keys.record(str(row))] = whole_fields(schema, str(row), "", label, {}, vector=blob, given=blob)
        [stored] = yield [claim.storing(rows)]
        is_mine = bool(checked(stored))
    info = yield from index_info(keys)
    if info.failures > refused_before:
        raise CommandRefused(
            f"expected all {len(vectors)} rows in index {keys.name!r}, but the server left "
            f"{info.failures - refused_before} of them out: {info.last_failure[0]}"
        )


def _clear(keys: Keys, claim: _Claim) -> Flow[bool]:
    """Remove all rows while the mark is the own one; return whether it is."""
    for prefix in (keys.passage_prefix, keys.earlier_prefix):
        cursor = 0
        while True:
            cursor, found = yield from scan(prefix, cursor)
            for start in range(0, len(found), KEYS_PER_ROUND):
                part = found[start : start + KEYS_PER_ROUND]
                [removed] = yield [claim.removing(part)]
                if not checked(removed):
                    return False
            if not cursor:
                break
    return True


def fetch_rows(keys: Keys, schema: Schema, passages: Sequence[Spot]) -> Flow[NDArray[Any]]:
    """Return the stored vectors of the passages, shape (n, dim), in the index's dtype.

    Raises:
        SchemaMismatch: a passage is missing.
    """
    rows = []
    for start in range(0, len(passages), KEYS_PER_ROUND):
        block = passages[start : start + KEYS_PER_ROUND]
        replies = yield [("HGET", keys.passage(*spot), "vector") for spot in block]
        for spot, reply in zip(block, replies, strict=True):
            if (blob := checked(reply)) is None:
                raise SchemaMismatch(keys.name, {f"passage {passage_id(*spot)}": ("as fitted", "none")})
            rows.append(from_bytes(blob, schema.dtype))
    return np.stack(rows)


def remove_rows(keys: Keys, size: int) -> Flow[None]:
    """Remove an index of rows 0 to size - 1, without a scan of all keys on the server.

    Rows that are already gone are not an error.
    """
    [manifest] = yield [("HGET", keys.manifest, "schema")]
    if checked(manifest) is not None:
        yield [("FT.DROPINDEX", keys.search_index(Schema.loads(keys.name, as_text(manifest)).version))]
    for start in range(0, size, KEYS_PER_ROUND):
        rows = [str(row) for row in range(start, min(start + KEYS_PER_ROUND, size))]
        for reply in (yield [("UNLINK", keys.record(row), keys.earlier_record(row)) for row in rows]):
            checked(reply)
    [reply] = yield [("UNLINK", keys.manifest)]
    checked(reply)
