"""The hashes of an index, written and read: the fields of a passage, and those of its document.

A passage is the hash that the server indexes. The first one of a document holds its record too: whether it has
changed, how many passages it has, and what of its text is in none of them. So a document of one passage is one hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import chain
from typing import Any, TypeAlias

from ragknn._ids import passage_id
from ragknn._protocol.encoding import decode_tag, dump_metadata, encode_tag
from ragknn._protocol.flows import Command
from ragknn._protocol.hashing import digest, text_hash, vector_hash
from ragknn._protocol.keys import HEADINGS, PAGE, Keys, stored_name
from ragknn._protocol.query import TERMS
from ragknn._protocol.schema import ANY_FIELD, OnBadField, Schema
from ragknn.records import Label, Passage

Dumped: TypeAlias = tuple[str | None, str]
"""A label as a tag, or None, and metadata as JSON text."""

# Put between two passages that may have had other text between them.
_APART = "\n\n"


@dataclass(slots=True)
class Details:
    """What can be changed of a passage without embedding it again, as it is stored.

    Attributes:
        label: as a tag, or None.
        metadata: JSON text.
        fields: the fields that can be filtered on, by their names in the hash.
    """

    label: str | None
    metadata: str
    fields: Mapping[str, str]

    def as_fields(self) -> Command:
        """Return names and values for the hash, one after the other."""
        label = () if self.label is None else ("label", self.label)
        return (*label, "metadata", self.metadata, *chain.from_iterable(self.fields.items()))


def details_of(
    schema: Schema,
    dumped: Dumped,
    metadata: Mapping[str, Any],
    on_bad_field: OnBadField = "fail",
    names: Collection[str] | None = None,
) -> tuple[Details, list[str]]:
    """Return label and metadata as they are stored, and which fields were left out and why.

    Args:
        schema: the index's schema.
        dumped: what `dump_details` made of the passage's label and metadata.
        metadata: the passage's metadata.
        on_bad_field: whether a value that does not fit its field is an error, or left out.
        names: of the declared fields that are wanted; None: all.

    Raises:
        ValueError: a value does not fit its field.
    """
    fields, left_out = schema.field_values(metadata, on_bad_field, names)
    return Details(*dumped, fields), left_out


def dump_details(label: Label | None, metadata: Mapping[str, Any]) -> Dumped:
    """Return a label as a tag, or None, and metadata as JSON text.

    Raises:
        ValueError: they hold values that cannot be stored.
    """
    return None if label is None else encode_tag(label, "the label"), dump_metadata(metadata)


def not_everywhere(names: Iterable[str], details: Iterable[Details]) -> list[str]:
    """Return the names in a passage's hash of what details may fill and do not fill in every passage.

    Args:
        names: of the declared fields that the details were made for.
        details: of the passages of a document.
    """
    filled = [frozenset(map(str, one.as_fields()[::2])) for one in details]
    return sorted({"label", ANY_FIELD, *map(stored_name, names)} - frozenset.intersection(*filled))


def details_hash(dumped: Sequence[Dumped]) -> str:
    """Return a digest of what `dump_details` made of each passage of a document, or of one where all have the same."""
    if len(dumped) == 1 or len(set(dumped)) == 1:
        label, metadata = dumped[0]
        return text_hash(label or "", metadata)
    return text_hash(*(part or "" for pair in dumped for part in pair))


def passage_fields(schema: Schema, passage: Passage, vector: bytes | None, details: Details) -> Command:
    """Return names and values of a passage's hash, one after the other.

    Raises:
        ValueError: an id that is too long.
    """
    fields = _text_fields(schema, passage.document_id, passage.text, passage.start, passage.end, vector)
    if passage.id != passage_id(passage.document_id, passage.number or 0):
        fields += ["id", encode_tag(passage.id)]
    if passage.page is not None:
        fields += [PAGE, str(passage.page)]
    if passage.headings:
        fields += [HEADINGS, json.dumps(passage.headings, ensure_ascii=False)]
    return (*fields, *details.as_fields())


def whole_fields(
    schema: Schema,
    document_id: str,
    text: str,
    label: Label | None,
    metadata: Mapping[str, Any],
    vector: bytes,
    given: bytes,
) -> Command:
    """Return names and values of the one hash of a document that is one passage with a ready vector: all that it has.

    Args:
        schema: the index's schema.
        document_id: the document's id.
        text: its text.
        label: its label.
        metadata: its metadata.
        vector: as it is stored.
        given: as it came, which decides whether the document has changed.

    Raises:
        ValueError: an id that is too long, or text, label, metadata or fields that cannot be stored.
    """
    fields = _text_fields(schema, document_id, text, 0, len(text), vector)
    label, dumped = dump_details(label, metadata)
    details = Details(label, dumped, schema.field_values(metadata)[0])
    record = record_fields(vector_hash(document_id, text, given), details_hash([(label, dumped)]), 1)
    return (*fields, *details.as_fields(), *record)


def digest_of(passage: Command) -> str:
    """Return the digest in what `passage_fields` made."""
    return str(passage[_DIGEST_AT])


_DIGEST_AT = 9


def _text_fields(
    schema: Schema, document_id: str, text: str, start: int, end: int, vector: bytes | None
) -> list[str | bytes]:
    fields: list[str | bytes] = ["document_id", encode_tag(document_id, "the id"), "text", text]
    fields += ("start", str(start), "end", str(end), "digest", digest(text, vector or b""))
    fields += ("no_vector", "1") if vector is None else ("vector", vector)
    if schema.has_terms and (terms := schema.analyzer.terms(text)):
        fields += (TERMS, " ".join(terms))
    return fields


def record_fields(
    hashed: str,
    details: str,
    passages: int,
    gaps: str = "",
    page_starts: Sequence[int] = (),
    digests: Sequence[str] = (),
) -> Command:
    """Return names and values of a document's record, one after the other.

    Args:
        hashed: digest of what decides its passages and vectors.
        details: digest of their labels and metadata.
        passages: how many it has.
        gaps: what `find_gaps` found.
        page_starts: those of the document.
        digests: those of its passages, where it has several: so that one that is of another version is noticed.
    """
    fields = ["text_hash", hashed, "details_hash", details, "passages", str(passages)]
    fields += ["digests", sha1("".join(digests).encode(), usedforsecurity=False).hexdigest()] if digests else []
    fields += ["gaps", gaps] if gaps else []
    fields += ["page_starts", json.dumps(page_starts)] if page_starts else []
    return tuple(fields)


def passage_of(keys: Keys, key: str, fields: Mapping[str, str]) -> Passage:
    """Return the passage that is stored under a key; fields that were not read stay empty."""
    [passage] = found_passages(
        keys, [(key.encode(), {name.encode(): value.encode() for name, value in fields.items()})]
    )
    return passage


def found_passages(keys: Keys, stored: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Passage]:
    """Do the same for keys and what the server sent of them; a field is decoded when it is first looked at.

    All but the text: to decode it takes a tenth of what it takes to come back for it.
    """
    sources = [(READERS, keys, *one) for one in stored]
    if stored and b"text" in stored[0][1]:
        texts = [fields.get(b"text", b"").decode("utf-8", "replace") for _, fields in stored]
        return Passage.from_sources(sources, text=texts)
    return Passage.from_sources(sources)


_Source: TypeAlias = tuple[Any, Keys, bytes, Mapping[bytes, bytes]]


def _stored_under(name: str, read: Callable[[bytes], Any], absent: Callable[[], Any]) -> Callable[[_Source], Any]:
    encoded = name.encode()

    def reader(source: _Source) -> Any:
        value = source[3].get(encoded)
        return absent() if value is None else read(value)

    return reader


def _read_id(source: _Source) -> str:
    _, keys, key, fields = source
    own = fields.get(b"id")
    return passage_id(*keys.split_passage(_text(key))) if own is None else decode_tag(_text(own))


def _json(value: bytes) -> Any:
    """Return what `json.loads` does, in half of its time."""
    text = value.decode("utf-8", "replace")
    try:
        found, end = _scan(text, 0)
    except StopIteration:  # there is none, or it begins with white space
        end = None
    return found if end == len(text) else json.loads(text)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _read_metadata(source: _Source) -> Any:
    value = source[3].get(b"metadata")
    return {} if value is None else _json(value)


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # its stubs lack it

# Of each field of a passage, what reads it of where it was found; see `Lazy`.
READERS: Mapping[str, Callable[[_Source], Any]] = {
    "id": _read_id,  # the one that is read of every candidate
    "document_id": lambda source: source[1].split_passage(_text(source[2]))[0],
    "number": lambda source: source[1].split_passage(_text(source[2]))[1],
    "text": _stored_under("text", _text, str),
    "start": _stored_under("start", int, int),
    "end": _stored_under("end", int, int),
    "label": _stored_under("label", lambda value: decode_tag(_text(value)), lambda: None),
    "metadata": _read_metadata,
    "page": _stored_under(PAGE, int, lambda: None),
    "headings": _stored_under(HEADINGS, lambda value: tuple(_json(value)), tuple),
    "digest": _stored_under("digest", _text, str),
    "vector": lambda source: None,
}


def find_gaps(text: str, passages: Sequence[Passage]) -> str:
    """Return what of a text is in none of its passages, as JSON: [[start, "..."], ...]; empty where all is."""
    gaps: list[tuple[int, str]] = []
    reached = 0
    for passage in sorted(passages, key=lambda one: one.start):
        if passage.start > reached:
            gaps.append((reached, text[reached : passage.start]))
        reached = max(reached, passage.end)
    if reached < len(text):
        gaps.append((reached, text[reached:]))
    return json.dumps(gaps, ensure_ascii=False) if gaps else ""


def whole_text(passages: Sequence[Passage], gaps: str) -> str:
    """Return the text that passages and gaps were cut from, to the character.

    Passages that came without a whole text are put one after the other. What is missing between two of them is taken
    for white space: one character for a space, more for an empty line.
    """
    pieces = [(one.start, one.text) for one in passages if one.text]
    pieces += [(start, text) for start, text in json.loads(gaps or "[]")]
    whole, reached = "", 0
    for start, text in sorted(pieces, key=lambda piece: piece[0]):
        if start > reached:
            whole += (" " if start == reached + 1 else _APART) if whole else ""
            reached = start
        whole += text[reached - start :]
        reached = max(reached, start + len(text))
    return whole
