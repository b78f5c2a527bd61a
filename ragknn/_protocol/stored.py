"""What is known of documents that are stored: whether they have changed, and whether they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from ragknn._protocol.apart import for_each
from ragknn._protocol.belonging import BELONG
from ragknn._protocol.finding import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.replies import as_text, checked

# Returns the text hash, the details hash and the number of passages of each document; an empty text hash where its
# passages are not those that its record says: some expired, were evicted or deleted by others, or a server that stopped
# within a script has lost the rest of it. KEYS: where the record of each document may be, that of this release last.
# ARGV: how many keys there are for each. A script, since as many commands would take the client far longer.
_KNOWN = (
    BELONG
    + """
local function is_whole(first, count, expected)
  local passages = string.sub(first, 1, -2)
  if redis.call('EXISTS', passages .. math.max(count, 1)) == 1 then return false end
  if count < 2 then return true end
  local missing, mixed = belong(passages, count, expected)
  return missing + mixed == 0
end
local found, each = {}, tonumber(ARGV[1])
for i = 1, #KEYS, each do
  local stored
  for j = i, i + each - 1 do
    stored = redis.call('HMGET', KEYS[j], 'text_hash', 'details_hash', 'passages', 'digests')
    if stored[1] then break end
  end
  if is_whole(KEYS[i + each - 1], tonumber(stored[3]) or 0, stored[4]) then
    found[#found + 1] = {stored[1], stored[2], stored[3]}
  else
    found[#found + 1] = {'', '', 0}
  end
end
return found
"""
)

# Returns label and metadata of each passage. KEYS: the passages.
_DETAILS = """
local found = {}
for i = 1, #KEYS do found[i] = redis.call('HMGET', KEYS[i], 'label', 'metadata') end
return found
"""

# What is known of a document that is not whole.
DAMAGED = ("", "")


def stored_records(place: Place, document_ids: Sequence[str]) -> Flow[tuple[list[tuple[str, str] | None], list[int]]]:
    """Return for each document the text hash and the details hash of what is stored, and how many passages it has.

    None in place of the hashes for a document that is not stored, `DAMAGED` for one whose passages are not all there,
    or not its own.
    """
    hashes: list[tuple[str, str] | None] = []
    counts: list[int] = []
    for start in range(0, len(document_ids), KEYS_PER_ROUND):
        records = [place.records(document_id) for document_id in document_ids[start : start + KEYS_PER_ROUND]]
        [reply] = yield [for_each(_known, records)]
        for hashed, details, passages in checked(reply):
            hashes.append(None if hashed is None else (as_text(hashed), as_text(details)))
            counts.append(int(passages or 0))
    return hashes, counts


def _known(records: Sequence[Sequence[str]]) -> Command:
    keys = list(chain.from_iterable(records))
    return ("EVAL_RO", _KNOWN, str(len(keys)), *keys, str(len(records[0])))


def _details(passage_keys: Sequence[str]) -> Command:
    return ("EVAL_RO", _DETAILS, str(len(passage_keys)), *passage_keys)


def stored_hashes(place: Place, document_ids: Sequence[str]) -> Flow[list[tuple[str, str] | None]]:
    """Return the hashes alone."""
    hashes, _ = yield from stored_records(place, document_ids)
    return hashes


def stored_details(keys: Keys, spots: Sequence[tuple[str, int]]) -> Flow[list[tuple[str | None, str]]]:
    """Return the label, as a tag or None, and the metadata, as JSON text, of passages by document and number."""
    asked = [keys.passage(*spot) for spot in spots]
    parts = [asked[start : start + KEYS_PER_ROUND] for start in range(0, len(asked), KEYS_PER_ROUND)]
    # In one step, so that all is read before anything is written that is begun later.
    replies = yield [for_each(_details, part) for part in parts]
    pairs = chain.from_iterable(map(checked, replies))
    return [(None if label is None else as_text(label), as_text(metadata or b"")) for label, metadata in pairs]
