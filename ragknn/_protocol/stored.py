"""What is known of documents that are stored: whether they have changed, and whether they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeAlias

from ragknn._protocol.apart import for_each
from ragknn._protocol.belonging import BELONG
from ragknn._protocol.closing import STORE
from ragknn._protocol.finding import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import as_text, checked

# Looks documents up of which it is known what text hash and details hash they should have. Returns of each that has so
# how many passages it has; of each other one its hashes and this number. The hashes are empty where its passages are
# not those that its record says: some expired, were evicted or deleted by others, or a server that stopped within a
# script has lost the rest of it. KEYS: where the record of each document may be, that of this release last. ARGV: how
# many keys there are for each, and the two hashes of each. A script, since as many commands would take the client far
# longer. That documents of one passage have no second one is asked for all of them at once.
_LOOK_UP = (
    BELONG
    + """
local function is_whole(record, passages, count)
  if redis.call('EXISTS', passages .. math.max(count, 1)) == 1 then return false end
  if count < 2 then return true end
  local missing, mixed = belong(passages, count, redis.call('HGET', record, 'digests'))
  return missing + mixed == 0
end
local each, all, seconds = tonumber(ARGV[1]), {}, {}
for i = each, #KEYS, each do
  local stored
  for j = i - each + 1, i do
    stored = redis.call('HMGET', KEYS[j], 'text_hash', 'details_hash', 'passages')
    stored.key, stored.passages = KEYS[j], string.sub(KEYS[i], 1, -2)
    if stored[1] then break end
  end
  stored[3] = tonumber(stored[3]) or 0
  all[#all + 1] = stored
  if stored[3] < 2 then seconds[#seconds + 1] = stored.passages .. '1' end
end
local are_single = #seconds == 0 or redis.call('EXISTS', unpack(seconds)) == 0
for i, stored in ipairs(all) do
  if not (are_single and stored[3] < 2) and not is_whole(stored.key, stored.passages, stored[3]) then
    all[i] = {'', '', 0}
  elseif stored[1] == ARGV[2 * i] and stored[2] == ARGV[2 * i + 1] then
    all[i] = stored[3]
  end
end
return all
"""
)

# Returns label and metadata of each passage. KEYS: the passages.
_DETAILS = """
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HMGET', KEYS[i], 'label', 'metadata') end
return found
"""

Hashes: TypeAlias = tuple[str, str]
"""The text hash and the details hash of a document."""

# What is known of a document that is not whole.
DAMAGED: Hashes = ("", "")
# Expected of a document that is to be told of, whatever its hashes are.
NOTHING: Hashes = ("", "")


@dataclass(slots=True)
class LookedUp:
    """What is known of documents that were looked up.

    Attributes:
        as_expected: passages that those have together whose hashes are as expected, and whose passages are all there.
        hashes: of all others, by their place, the hashes; None where a document is not stored, `DAMAGED` where its
            passages are not all there, or not its own.
        passages: of these how many passages each has.
        serves: False where another store serves by now, so that what was read of this one may have been removed.
    """

    as_expected: int = 0
    hashes: dict[int, Hashes | None] = field(default_factory=dict)
    passages: dict[int, int] = field(default_factory=dict)
    serves: bool = True


def look_up(
    place: Place, document_ids: Sequence[str], expected: Sequence[Hashes], *, ask_store: bool = False
) -> Flow[LookedUp]:
    """Look documents up.

    Args:
        place: the index.
        document_ids: of n documents.
        expected: the hashes that each of them is expected to have.
        ask_store: whether to ask, behind it, whether the store serves.
    """
    found = LookedUp()
    asking: list[Command] = [("HGET", place.keys.manifest, STORE)] * ask_store
    documents = list(zip(document_ids, expected, strict=True))
    for start in range(0, len(documents), KEYS_PER_ROUND):
        part = documents[start : start + KEYS_PER_ROUND]
        reply, *stores = yield [for_each(partial(_looking_up, place), part), *asking]
        found.serves = found.serves and all(int(checked(store) or 1) == place.keys.store for store in stores)
        for number, piece in enumerate(checked(reply), start):
            if isinstance(piece, int):
                found.as_expected += piece
            else:
                hashed, details, passages = piece
                found.hashes[number] = None if hashed is None else (as_text(hashed), as_text(details))
                found.passages[number] = passages
    return found


def _looking_up(place: Place, documents: Sequence[tuple[str, Hashes]]) -> Command:
    keys, each = place.records_of([document_id for document_id, _ in documents])
    told = chain.from_iterable(hashes for _, hashes in documents)
    return ("EVAL_RO", _LOOK_UP, str(len(keys)), *keys, str(each), *told)


def _details(passage_keys: Sequence[str]) -> Command:
    return ("EVAL_RO", _DETAILS, str(len(passage_keys)), *passage_keys)


def stored_hashes(place: Place, document_ids: Sequence[str]) -> Flow[list[Hashes | None]]:
    """Return the hashes of each document; None for one that is not stored, `DAMAGED` for one that is not whole."""
    found = yield from look_up(place, document_ids, [NOTHING] * len(document_ids))
    return [found.hashes[number] for number in range(len(document_ids))]


def stored_details(keys: Keys, spots: Sequence[tuple[str, int]]) -> Flow[list[tuple[str | None, str]]]:
    """Return the label, as a tag or None, and the metadata, as JSON text, of passages by document and number."""
    asked = [keys.passage(*spot) for spot in spots]
    parts = [asked[start : start + KEYS_PER_ROUND] for start in range(0, len(asked), KEYS_PER_ROUND)]
    # In one step, so that all is read before anything is written that is begun later.
    replies = yield [for_each(_details, part) for part in parts]
    pairs = chain.from_iterable(map(checked, replies))
    return [(None if label is None else as_text(label), as_text(metadata or b"")) for label, metadata in pairs]
