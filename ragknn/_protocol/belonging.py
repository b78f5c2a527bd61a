"""Whether the passages of a document are those that its record counts: the piece of all scripts that ask it."""

from __future__ import annotations

# Goes before a script. Given the prefix of a document's passages, how many its record counts, and the digest of their
# digests as the record has it, nil where it has none: returns how many are missing, and more than 0 where those that
# are there are not of one version.
BELONG = """
local function belong(prefix, count, expected)
  local missing, mixed, digests = 0, 0, {}
  for i = 0, count - 1 do
    local digest = redis.call('HGET', prefix .. i, 'digest')
    if not digest then
      if redis.call('EXISTS', prefix .. i) == 0 then missing = missing + 1 else mixed = mixed + 1 end
    end
    digests[i + 1] = digest or ''
  end
  if count > 0 and missing == 0 and expected and redis.sha1hex(table.concat(digests)) ~= expected then
    mixed = mixed + 1
  end
  return missing, mixed
end
"""
