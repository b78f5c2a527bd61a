"""How values become what the server stores and indexes: tags, numbers, metadata, digests."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from ragknn.records import Passage
from ragknn.text._words import searchable

# Tags end at the separator, so it must be a character that an encoded tag cannot hold.
TAG_SEPARATOR = "\x1f"
# The server indexes no more of a tag, and then finds nothing under the whole of it.
LONGEST_TAG = 4_096  # bytes

# ISO 8601 allows dates without hyphens too; those could as well be numbers in quotation marks.
_ISO_DATE = re.compile(r"\d{4}-(\d{2}-\d{2}|W\d{2}-\d)([T ].+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED_NUMBER = "expected a number, a date or an ISO 8601 string such as '2024-02-29'"


def encode_tag(value: str | int | float | bool) -> str:
    """Return the value as a tag: JSON, so that 1 and "1" stay apart and spaces at the ends stay on.

    The server takes a backslash in a tag for an escape, so that it and the percent sign are percent-encoded.

    Raises:
        ValueError: it is longer than the server indexes, or NaN or infinite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number as a label or tag, got {value!r}")
    tag = _as_tag(value)
    if (size := len(tag.encode("utf-8", "surrogatepass"))) > LONGEST_TAG:
        raise ValueError(
            f"expected a document id, label or tag of at most {LONGEST_TAG} bytes, got {size}: {tag[:40]}…"
        )
    return tag


def is_storable(document_id: str) -> bool:
    """Tell whether a document or a passage can have this id at all."""
    with suppress(ValueError):
        encode_tag(document_id).encode()
        return True
    return False


def _as_tag(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("%", "%25").replace("\\", "%5C")


def decode_tag(tag: str) -> Any:
    """Return the value that `encode_tag` was given."""
    return json.loads(tag.replace("%5C", "\\").replace("%25", "%"))


def as_number(value: Any) -> float:
    """Return the value of a numeric field as the server keeps it: a float, and of a date the seconds since 1970 UTC.

    Args:
        value: a number, a bool (0 or 1), a date (its midnight), a datetime, or either as an ISO 8601 string; without a
            time zone they are taken as UTC.

    Raises:
        ValueError: it is none of these, NaN, or a number too large for a float.
    """
    moment = _parse_iso(value) if isinstance(value, str) else value
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        number = moment.total_seconds()
    elif not isinstance(value, str) and hasattr(value, "__float__"):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{_EXPECTED_NUMBER}, got {value!r}: {error}") from error
    else:
        raise ValueError(f"{_EXPECTED_NUMBER}, got {value!r}")
    if number != number:
        raise ValueError(f"{_EXPECTED_NUMBER}, got NaN")
    return number


def _parse_iso(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text) if _ISO_DATE.fullmatch(text) else None
    return None


def digest(text: str, vector: bytes) -> str:
    """Return what exact duplicates among passages have in common: a digest of the text, or of a ready vector."""
    return blake2b(text.encode() or vector, digest_size=8).hexdigest()


def text_identity(passage: Passage) -> str:
    """Return a string that is equal for passages of the same text.

    A retrieval made elsewhere may lack the digest; two ready vectors without a text are no duplicates.
    """
    return passage.digest or (digest(passage.text, b"") if passage.text else passage.id)


def text_hash(*parts: str | bytes) -> str:
    """Return a digest of everything that decides which passages and vectors are stored of a document.

    Raises:
        ValueError: a part holds what UTF-8 cannot.
    """
    hashed = blake2b(digest_size=16)
    for part in parts:
        blob = part if isinstance(part, bytes) else _utf8(part)
        hashed.update(len(blob).to_bytes(8, "big") + blob)  # so that no two different rows of parts look alike
    return hashed.hexdigest()


def vector_hash(document_id: str, text: str, vector: bytes) -> str:
    """Return the `text_hash` of a document of one ready vector; empty bytes stand for none."""
    return text_hash("vector", document_id, text, vector)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected text that UTF-8 can hold, got a lone surrogate ({error.reason})") from error


def dump_metadata(metadata: Mapping[str, Any]) -> str:
    """Return the metadata as JSON text.

    Dates and times are written in ISO 8601; UUID, Decimal, Path and enumerations as text or their values; sets, tuples
    and arrays as lists; numbers of NumPy as those of Python.

    Raises:
        ValueError: it holds what JSON cannot: other objects, NaN, or infinite numbers. The message names the entry.
    """
    try:
        return json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, default=plain)
    except RecursionError as error:
        raise ValueError("expected metadata that JSON can hold, got it nested too deeply; flatten it") from error
    except (TypeError, ValueError) as error:
        found = str(error) if str(error).startswith("Circular") else _culprit(metadata) or error
        raise ValueError(f"expected metadata that JSON can hold, got {found}") from error


def plain(value: Any) -> Any:
    """Return a value of the usual types that JSON does not know as one that it does.

    Raises:
        TypeError: it is of another type.
    """
    if isinstance(value, date | datetime | time) and value == value:  # pandas' NaT is a datetime, and equals nothing
        return value.isoformat()
    if isinstance(value, UUID | Decimal | PurePath):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda item: (type(item).__name__, str(item)))
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return str(value)
    if isinstance(value, np.bool_ | np.number | np.ndarray):
        return value.tolist()
    raise TypeError(f"{reprlib.repr(value)} of type {type(value).__name__}")


def _culprit(value: Any, place: str = "") -> str:
    """Return which entry JSON cannot hold, and what it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | None):
                return f"the key {reprlib.repr(key)} of type {type(key).__name__}{f' in {place}' if place else ''}"
            if found := _culprit(item, f"{place}[{key!r}]"):
                return found
        return ""
    if isinstance(value, list | tuple):
        parts = (_culprit(item, f"{place}[{number}]") for number, item in enumerate(value))
        return next((part for part in parts if part), "")
    try:
        json.dumps(value, allow_nan=False, default=plain)
    except (TypeError, ValueError):
        return f"{reprlib.repr(value)} of type {type(value).__name__} in {place}"
    return ""


def lookup(metadata: Mapping[str, Any], name: str) -> Any:
    """Return the entry of that name: an own one, or with dots one within others; None where there is none."""
    if (own := metadata.get(name)) is not None:
        return own
    for dot in (place for place, character in enumerate(name) if character == "."):
        inner = metadata.get(name[:dot])
        if isinstance(inner, Mapping) and (found := lookup(inner, name[dot + 1 :])) is not None:
            return found
    return None


def any_field_tag(key: str, value: str | int | float | bool) -> str:
    """Return the tag under which an entry is found where every field can be filtered on."""
    return _short_tag([key, value])


def has_field_tag(key: str) -> str:
    """Return the tag of every document that has an entry of that name."""
    return _short_tag([key])


def _short_tag(parts: list[Any]) -> str:
    tag = _as_tag(parts)
    blob = tag.encode("utf-8", "surrogatepass")
    # A tag that is too long is replaced by its digest, in a mapping, so that it cannot be mistaken for another tag.
    return tag if len(blob) <= LONGEST_TAG else _as_tag({"blake2b": blake2b(blob, digest_size=16).hexdigest()})


def any_field_tags(metadata: Mapping[str, Any]) -> str:
    """Return the tags of all scalar entries, those within others by their dotted names, joined by the separator."""
    return TAG_SEPARATOR.join(dict.fromkeys(_each_tag(metadata, "")))


def _each_tag(entries: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in entries.items():
        key, entry = f"{prefix}{name}", _as_json(value)
        if isinstance(entry, Mapping):
            yield from _each_tag(entry, f"{key}.")
        elif entry is not None:
            yield has_field_tag(key)
            for item in map(_as_json, entry if isinstance(entry, list | tuple) else [entry]):
                if isinstance(item, str | int | float):
                    yield any_field_tag(key, item)


def _as_json(value: Any) -> Any:
    """Return a value as metadata holds it when it is read back; what metadata cannot hold stays as it is."""
    if not isinstance(value, str | int | float | list | tuple | Mapping | None):
        with suppress(TypeError):
            return plain(value)
    return value


def _encode_tags(name: str, value: Any) -> str:
    several = _as_json(value)
    values = [_as_json(item) for item in (several if isinstance(several, list | tuple) else [several])]
    for item in values:
        if not isinstance(item, str | int | float):
            raise ValueError(  # noqa: TRY004  # a document's content is wrong, not an argument's type
                f"field {name!r}: expected a str, a number, a bool or a list of them, got {item!r}"
            )
    return TAG_SEPARATOR.join(encode_tag(item) for item in values)


def _encode_number(name: str, value: Any) -> str:
    try:
        return repr(as_number(value))
    except ValueError as error:
        raise ValueError(f"field {name!r}: {error}") from error


def _encode_text(name: str, value: Any) -> str:
    value = _as_json(value)
    if not isinstance(value, str):
        raise ValueError(f"field {name!r}: expected a str, got {value!r}")  # noqa: TRY004  # as above
    return searchable(value)


ENCODERS = {"tag": _encode_tags, "numeric": _encode_number, "text": _encode_text}
