"""How values become what the server stores and indexes: tags, numbers, metadata, digests."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from typing import Any

import numpy as np

from ragknn.records import Document
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
    tag = json.dumps(value, ensure_ascii=False).replace("%", "%25").replace("\\", "%5C")
    if (size := len(tag.encode("utf-8", "surrogatepass"))) > LONGEST_TAG:
        raise ValueError(
            f"expected a document id, label or tag of at most {LONGEST_TAG} bytes, got {size}: {tag[:40]}…"
        )
    return tag


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


def content_hash(document: Document, splitter: str, vector: bytes = b"") -> str:
    """Return a digest of everything that decides what is stored of a document.

    Args:
        document: the document.
        splitter: fingerprint of the splitter.
        vector: the ready vector, where the user brings it.

    Raises:
        ValueError: the text, label or metadata hold what cannot be stored.
    """
    metadata = dump_metadata(document)
    encode_tag(document.id)  # refuses one that is too long
    label = None if document.label is None else encode_tag(document.label)
    try:
        content = json.dumps([document.id, document.text, label, metadata, splitter], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected text that UTF-8 can hold, got a lone surrogate ({error.reason})") from error
    return blake2b(content + vector, digest_size=16).hexdigest()


def dump_metadata(document: Document) -> str:
    """Return the metadata as JSON text.

    Raises:
        ValueError: it holds what JSON cannot: other objects, NaN, or infinite numbers.
    """
    try:
        return json.dumps(document.metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, default=_plain)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected metadata that JSON can hold, got: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _encode_tags(name: str, value: Any) -> str:
    values = value if isinstance(value, list | tuple | set | frozenset) else [value]
    values = [item.item() if isinstance(item, np.generic) else item for item in values]
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
    if not isinstance(value, str):
        raise ValueError(f"field {name!r}: expected a str, got {value!r}")  # noqa: TRY004  # as above
    return searchable(value)


_ENCODERS = {"tag": _encode_tags, "numeric": _encode_number, "text": _encode_text}
