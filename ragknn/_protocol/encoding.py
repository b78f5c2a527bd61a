"""How values become what the server stores and indexes: tags, metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # its stubs know one alone
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from ragknn._checks import check_unicode, shown
from ragknn._plain import as_python
from ragknn._protocol.numeric import as_number
from ragknn.text._words import searchable

# Tags end at the separator, so it must be a character that an encoded tag cannot hold.
TAG_SEPARATOR = "\x1f"
# The server indexes no more of a tag, and then finds nothing under the whole of it.
LONGEST_TAG = 4_096  # bytes
# Characters of ASCII that fit into a tag however they are encoded: %5Cu001f is the longest form.
_SURELY_FITTING = LONGEST_TAG // len("%5Cu001f") - 1
# Entries within entries. Python reads and writes JSON by recursion, so that more could be stored and not be read back.
DEEPEST_METADATA = 100


def encode_tag(value: str | int | float | bool, what: str = "the id, label or tag") -> str:
    """Return the value as a tag: JSON, so that 1 and "1" stay apart and spaces at the ends stay on.

    The server takes a backslash in a tag for an escape, so that it and the percent sign are percent-encoded.

    Args:
        value: what to encode.
        what: names it where it is no text that UTF-8 can hold.

    Raises:
        ValueError: it is longer than the server indexes, NaN or infinite, or no text that UTF-8 can hold.
    """
    if isinstance(value, str) and len(value) <= _SURELY_FITTING and value.isascii():  # as nearly all are
        return _escaped(encode_basestring(value))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number as a label or tag, got {shown(value)}")
    if isinstance(value, str):
        check_unicode(value, what)
    tag = _as_tag(value)
    if (size := len(tag.encode())) > LONGEST_TAG:
        raise ValueError(
            f"expected a document id, label or tag of at most {LONGEST_TAG} bytes, got {size}: {tag[:40]}…"
        )
    return tag


def is_storable(document_id: str) -> bool:
    """Tell whether a document or a passage can have this id at all."""
    with suppress(ValueError):
        return bool(encode_tag(document_id))
    return False


def _as_tag(value: Any) -> str:
    try:
        text = _tag_quickly(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        raise ValueError(f"expected a label or tag of at most {LONGEST_TAG} bytes, got {shown(value)}") from None
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\\", "%5C")


def decode_tag(tag: str) -> Any:
    """Return the value that `encode_tag` was given."""
    return json.loads(tag.replace("%5C", "\\").replace("%25", "%"))


def dump_metadata(metadata: Mapping[str, Any]) -> str:
    """Return the metadata as JSON text.

    Dates and times are written in ISO 8601; UUID, Decimal, Path and enumerations as text or their values; sets, tuples
    and arrays as lists; numbers of NumPy as those of Python.

    Raises:
        ValueError: it holds what JSON cannot: other objects, NaN, or infinite numbers. The message names the entry.
    """
    try:
        dumped = _encoded_quickly(metadata)
    except (RecursionError, TypeError, ValueError):
        dumped = _encoded(metadata)
    if not _is_surely_fine(dumped):
        _check_entries(metadata)
    return dumped


def _encoded(metadata: Mapping[str, Any]) -> str:
    try:
        return _METADATA.encode(metadata)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (TypeError, ValueError) as error:
        found = str(error) if str(error).startswith("Circular") else _culprit(metadata) or error
        raise ValueError(f"expected metadata that JSON can hold, got {found}") from error


def _is_surely_fine(dumped: str) -> bool:
    """Tell whether metadata is no deeper than its brackets can make it, and text that UTF-8 can hold."""
    try:
        dumped.isascii() or dumped.encode()
    except UnicodeEncodeError:
        return False
    return len(dumped) <= DEEPEST_METADATA or dumped.count("{") + dumped.count("[") <= DEEPEST_METADATA


_TOO_DEEP = f"expected metadata of at most {DEEPEST_METADATA} levels, got it nested too deeply: flatten it"


def _check_entries(metadata: Mapping[str, Any]) -> None:
    """Refuse metadata that is nested too deeply, or holds text that UTF-8 cannot; the message names the entry."""
    level: list[tuple[str, Any]] = [("metadata", metadata)]
    for _ in range(DEEPEST_METADATA + 1):
        below: list[tuple[str, Any]] = []
        for place, value in level:
            if isinstance(value, str):
                check_unicode(value, place)
            elif isinstance(value, Mapping):
                for key, item in value.items():
                    check_unicode(str(key), f"a key of {place}")
                    below.append((f"{place}[{shown(key)}]", item))
            elif isinstance(value, list | tuple | set | frozenset):
                below += [(place, item) for item in value]
            elif not isinstance(value, int | float | None):
                check_unicode(str(value), place)
        if not (level := below):
            return
    raise ValueError(_TOO_DEEP)


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
        is_coarse = np.datetime_data(value)[0] in ("Y", "M", "W")
        return str(value.astype("datetime64[D]") if is_coarse else value)  # as ISO 8601 writes a whole date
    if isinstance(value, np.ndarray) and (value.ndim or value.dtype.kind not in "mMg"):
        # Of moments, spans of time and wide numbers NumPy would make something else.
        return list(value) if value.dtype.kind in "mMg" else value.tolist()
    if isinstance(value, np.bool_ | np.number) and (number := as_python(value)) is not value:
        return number
    raise TypeError(f"{shown(value)} of type {type(value).__name__}")


# Made once, since `json.dumps` makes one for each call.
_TAGS = json.JSONEncoder(ensure_ascii=False)
_METADATA = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, default=plain)


def _encoding_of(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """Return the encoder's `encode`, but made once: each call of it makes all anew, in more than half of its time.

    What refers to itself is too deep for it, instead of circular.
    """
    try:
        encode = c_make_encoder(
            *(None, encoder.default, encode_basestring, encoder.indent, encoder.key_separator, encoder.item_separator),
            *(encoder.sort_keys, encoder.skipkeys, encoder.allow_nan),
        )
    except TypeError:  # this Python has none, or one that takes other arguments
        return encoder.encode
    return lambda value: "".join(encode(value, 0))


_encoded_quickly = _encoding_of(_METADATA)
_tag_quickly = _encoding_of(_TAGS)


def _culprit(value: Any, place: str = "") -> str:
    """Return which entry JSON cannot hold, and what it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | None):
                return f"the key {shown(key)} of type {type(key).__name__}{f' in {place}' if place else ''}"
            if found := _culprit(item, f"{place}[{key!r}]"):
                return found
        return ""
    if isinstance(value, list | tuple):
        parts = (_culprit(item, f"{place}[{number}]") for number, item in enumerate(value))
        return next((part for part in parts if part), "")
    try:
        json.dumps(value, allow_nan=False, default=plain)
    except (TypeError, ValueError):
        return f"{shown(value)} of type {type(value).__name__} in {place}"
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


@lru_cache(1_000)
def has_field_tag(key: str) -> str:
    """Return the tag of every document that has an entry of that name."""
    return _short_tag([key])


def _short_tag(parts: list[Any]) -> str:
    tag = _as_tag(parts)
    check_unicode(tag, "the name or value of a field")
    blob = tag.encode()
    # A tag that is too long is replaced by its digest, in a mapping, so that it cannot be mistaken for another tag.
    return tag if len(blob) <= LONGEST_TAG else _as_tag({"blake2b": blake2b(blob, digest_size=16).hexdigest()})


def any_field_tags(metadata: Mapping[str, Any]) -> str:
    """Return the tags of all scalar entries, those within others by their dotted names, joined by the separator."""
    tags: dict[Any, str] = {}
    for key, item in _each_entry(metadata, ""):
        if key not in tags:
            tags[key] = has_field_tag(key)
        if isinstance(item, str | int | float):
            tags.setdefault((key, *_identity(item)), any_field_tag(key, item))
    return TAG_SEPARATOR.join(tags.values())


def _each_entry(entries: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in entries.items():
        key, entry = f"{prefix}{name}", _as_json(value)
        if isinstance(entry, Mapping):
            yield from _each_entry(entry, f"{key}.")
        elif entry is not None:
            items = entry if isinstance(entry, list | tuple) else [entry]
            yield from ((key, _as_json(item)) for item in items or [None])


def _identity(value: str | int | float) -> tuple[bool, str | int | float]:
    """Return what equal tags have in common: 1 and 1.0 are one value, 1 and True are two."""
    return isinstance(value, bool), value


def _as_json(value: Any) -> Any:
    """Return a value as metadata holds it when it is read back; what metadata cannot hold stays as it is."""
    if not isinstance(value, str | int | float | list | tuple | Mapping | None):
        with suppress(TypeError):
            return plain(value)
    return value


def _encode_tags(name: str, value: Any) -> str:
    if type(value) is str:
        return encode_tag(value, _field(name))
    several = _as_json(value)
    values = [_as_json(item) for item in (several if isinstance(several, list | tuple) else [several])]
    for item in values:
        if not isinstance(item, str | int | float):
            raise ValueError(  # noqa: TRY004  # a document's content is wrong, not an argument's type
                f"field {name!r}: expected a str, a number, a bool or a list of them, got {shown(item)}"
            )
    tags: dict[Any, str] = {}
    for item in values:
        tags.setdefault(_identity(item), encode_tag(item, _field(name)))
    return TAG_SEPARATOR.join(tags.values())


@lru_cache
def _field(name: str) -> str:
    return f"field {name!r}"


def _encode_number(name: str, value: Any) -> str:
    try:
        return repr(as_number(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"field {name!r}: {error}") from error


def _encode_text(name: str, value: Any) -> str:
    value = _as_json(value)
    if not isinstance(value, str):
        raise ValueError(f"field {name!r}: expected a str, got {shown(value)}")  # noqa: TRY004  # as above
    return searchable(value)


ENCODERS = {"tag": _encode_tags, "numeric": _encode_number, "text": _encode_text}
