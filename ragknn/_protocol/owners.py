"""Whose a document is, in an index that requires a filter: none is replaced by a document of others."""

from __future__ import annotations

from dataclasses import dataclass

from ragknn._protocol.encoding import TAG_SEPARATOR
from ragknn._protocol.flows import Command

# Goes before a script that writes a document. ARGV, at its end: the field of the passages that tells whose they are,
# and whose the new document is, as tags with a separator around each. If it is not of all whose it was, nothing is
# written. The other ARGV and KEYS are the script's own: the prefix of the document's passages first, and its record.
_OF_ALL = """
local tags, field = table.remove(ARGV), table.remove(ARGV)
for i = 0, (tonumber(redis.call('HGET', KEYS[1], 'passages')) or 1) - 1 do
  for tag in string.gmatch(redis.call('HGET', ARGV[1] .. i, field) or '', '[^\\31]+') do
    if not string.find(tags, '\\31' .. tag .. '\\31', 1, true) then return -1 end
  end
end
"""
REFUSED = -1  # what the script returns then

OF_ANOTHER = (
    "expected an id of its own, got one that others have in this index: documents with other values of the required "
    "field share its ids; begin each id with that value, as prefix= of read_documents does"
)


@dataclass(frozen=True, slots=True)
class Owners:
    """Whose a document is.

    Attributes:
        field: the field of the hash that tells it.
        tags: as they are stored there.
    """

    field: str
    tags: frozenset[str]


def guarded(script: str, told: Command, owners: Owners | None) -> tuple[str, Command]:
    """Return the script so that it replaces nothing of others, and what it is to be told at its end."""
    if owners is None:
        return script, told
    tags = "".join(f"{TAG_SEPARATOR}{tag}" for tag in sorted(owners.tags))
    return _OF_ALL + script, (*told, owners.field, tags + TAG_SEPARATOR)
