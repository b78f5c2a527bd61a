"""Documents of one store written anew for another one: their passages, by a schema that wants other things of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha1
from itertools import chain
from typing import Any, TypeAlias

from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.hashing import digest
from ragknn._protocol.keys import Keys, stored_name
from ragknn._protocol.query import TERMS
from ragknn._protocol.replies import as_text, checked
from ragknn._protocol.schema import ANY_FIELD, Schema
from ragknn._protocol.vectors import BYTES_PER_VALUE, find_faults, rows_from_bytes, to_bytes
from ragknn._protocol.writing import Replacement
from ragknn.errors import RebuildFailed

Hashes: TypeAlias = Sequence[Mapping[bytes, bytes]]
"""All that is stored of a document: the hash of each passage, the record of the document in the first."""
Written: TypeAlias = tuple[list[Replacement], list[tuple[str, str]]]
"""How documents are stored by another schema, and which fields were left out of them: id and reason."""

# Returns the hashes of a document's passages, or nothing where it is not there. KEYS: its record. ARGV: the prefix of
# its passages. A script, since how many passages there are must be read and used in one step.
_READ = """
local count = tonumber(redis.call('HGET', KEYS[1], 'passages'))
if not count then return false end
local found = {}
for i = 0, count - 1 do found[i + 1] = redis.call('HGETALL', ARGV[1] .. i) end
return found
"""

_FIELDS = stored_name("").encode()

_SAMPLED = 100  # passages
_BESIDES = 400  # bytes of a hash beside text, words, metadata and vector, about


def read_hashes(keys: Keys, document_ids: Sequence[str]) -> Flow[dict[str, Hashes]]:
    """Return all that is stored of the documents that are there."""
    replies = yield [("EVAL_RO", _READ, "1", keys.record(one), keys.passages(one)) for one in document_ids]
    found: dict[str, Hashes] = {}
    for document_id, reply in zip(document_ids, replies, strict=True):
        if (rows := checked(reply)) is not None:
            found[document_id] = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    return found


def state_of(text_hash: str, details_hash: str) -> str:
    """Return what tells a version of a document from its others."""
    return f"{text_hash} {details_hash}"


def state_in(hashes: Hashes) -> str:
    """Return the same of what is stored of a document."""
    return state_of(as_text(hashes[0].get(b"text_hash", b"")), as_text(hashes[0].get(b"details_hash", b"")))


def written_anew(name: str, old: Schema, new: Schema, documents: Mapping[str, Hashes]) -> Written:
    """Return how documents are stored by another schema, and which fields were left out of them: id and reason.

    Args:
        name: of the index.
        old: by which they are stored.
        new: by which they are to be.
        documents: by their ids.

    Raises:
        RebuildFailed: one of them cannot be stored so.
    """
    blobs = _vectors(name, old, new, documents)
    replacements: list[Replacement] = []
    left_out: list[tuple[str, str]] = []
    for document_id, hashes in documents.items():
        try:
            pairs = [_anew(new, fields, blobs.get((document_id, number))) for number, fields in enumerate(hashes)]
        except ValueError as error:
            raise RebuildFailed(
                f"expected documents that fit the changed index {name!r}, got {document_id!r}: {error}"
            ) from error
        passages = [passage for passage, _ in pairs]
        if b"digests" in passages[0]:
            joined = b"".join(one[b"digest"] for one in passages)
            passages[0][b"digests"] = sha1(joined, usedforsecurity=False).hexdigest().encode()
        commands: list[Command] = [tuple(chain.from_iterable(one.items())) for one in passages]
        replacements.append(Replacement(document_id, (), commands))
        left_out += dict.fromkeys((document_id, reason) for _, reasons in pairs for reason in reasons)
    return replacements, left_out


def _anew(new: Schema, fields: Mapping[bytes, bytes], blob: bytes | None) -> tuple[dict[bytes, bytes], list[str]]:
    """Return the hash of a passage with all that is made of its text, its metadata and its vector made anew."""
    made_again = (ANY_FIELD.encode(), TERMS.encode())
    anew = {key: value for key, value in fields.items() if not (key.startswith(_FIELDS) or key in made_again)}
    values, left_out = new.field_values(json.loads(fields.get(b"metadata", b"{}")), "leave_out")
    anew.update((key.encode(), value.encode()) for key, value in values.items())
    text = fields.get(b"text", b"").decode()
    if new.has_terms and (terms := new.analyzer.terms(text)):
        anew[TERMS.encode()] = " ".join(terms).encode()
    if blob is not None:
        anew[b"vector"] = blob
        if not text:
            anew[b"digest"] = digest("", blob).encode()
    return anew, left_out


def _vectors(name: str, old: Schema, new: Schema, documents: Mapping[str, Hashes]) -> dict[tuple[str, int], bytes]:
    """Return the vectors as they are to be stored, by document and number of the passage."""
    places = {
        (document_id, number): fields[b"vector"]
        for document_id, hashes in documents.items()
        for number, fields in enumerate(hashes)
        if b"vector" in fields
    }
    if not places or (old.dtype, old.metric) == (new.dtype, new.metric):
        return places
    rows: Any = rows_from_bytes(list(places.values()), old.dtype, old.dim)
    if rows is None:
        raise RebuildFailed(
            f"expected vectors of {old.dim} values as {old.dtype} in index {name!r}, got others: `ragknn check {name}` "
            "tells of which documents"
        )
    for row, reason in find_faults(rows, new.metric, new.dtype).items():
        document_id, _ = list(places)[row]
        raise RebuildFailed(
            f"expected vectors that fit the changed index {name!r}, got in document {document_id!r}: {reason}"
        )
    return dict(zip(places, to_bytes(rows, new.dtype), strict=True))


def mean_size(keys: Keys, new: Schema) -> Flow[int]:
    """Return about how many bytes the hash of a passage will take."""
    _, found = yield from scan(keys.passage_prefix, 0)
    sizes = [0]
    for reply in (yield [("HMGET", key, "text", TERMS, "metadata") for key in found[:_SAMPLED]]):
        sizes.append(sum(len(value) for value in checked(reply) if value is not None))
    return round(sum(sizes) / len(sizes)) + new.dim * BYTES_PER_VALUE[new.dtype] + _BESIDES
