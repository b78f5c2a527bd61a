"""The search index that is moved: what it is made of, and what it has under each key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragknn._checks import shown
from ragknn._protocol.flows import Command, Flow, Once
from ragknn._protocol.replies import as_mapping, as_text, checked, is_unknown_index, parse_aggregate
from ragknn.errors import CommandRefused, IndexNotFound

KEYS_PER_PART = 500
ENTRIES_PER_PART = 200

# In a JSON document, names that lead to one value; or, for tags and words, to each element of a list.
_PLAIN_PATH = re.compile(r"\$((?:\.[^.\[\]*$@]+)+)(?:\[\*\])?")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field of a search index.

    Attributes:
        name: how queries call it.
        field: where its value is: a field of the hash, or dotted names within the JSON document; empty where it is
            found by a path of another form.
        kind: "tag", "text", "numeric", "vector", "geo" or what else the server says.
        separator: of tags; empty for none.
        folds_case: whether tags that differ in case only are one.
        vector: algorithm, data_type, dim, distance_metric, m and ef_construction of a vector.
    """

    name: str
    field: str
    kind: str
    separator: str = ""
    folds_case: bool = False
    vector: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A search index.

    Attributes:
        name: its own name.
        is_json: whether it is on JSON documents; if not, on hashes.
        prefixes: of the keys that it is on.
        attributes: its fields.
        entries: number of keys that it has.
        failures: number of keys that the server could not index.
    """

    name: str
    is_json: bool
    prefixes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    entries: int
    failures: int

    def tail(self, key: str) -> str:
        """Return what stands behind the prefix in a key; the whole of it where there are several prefixes."""
        if len(self.prefixes) != 1 or not key.startswith(self.prefixes[0]):
            return key
        tail = key.removeprefix(self.prefixes[0])
        return tail.lstrip(":_") or key


def examine(name: str) -> Flow[Source]:
    """Return what the search index is made of.

    Raises:
        IndexNotFound: there is none of that name.
    """
    info, listed = yield [("FT.INFO", name), ("FT._LIST",)]
    if is_unknown_index(info):
        there = sorted(map(as_text, checked(listed)))
        raise IndexNotFound(
            f"expected a search index {shown(name)} to import from, the server has {'others only' if there else 'none'}"
            "; FT._LIST names those that there are",
            there,
        )
    parts = as_mapping(checked(info))
    definition = as_mapping(parts["index_definition"])
    is_json = as_text(definition["key_type"]) == "JSON"
    return Source(
        name=as_text(parts["index_name"]),
        is_json=is_json,
        prefixes=tuple(map(as_text, definition.get("prefixes", ()))),
        attributes=tuple(_attribute(one, is_json) for one in parts["attributes"]),
        entries=int(float(as_text(parts["num_docs"]))),
        failures=int(float(as_text(parts.get("hash_indexing_failures", 0)))),
    )


def _attribute(description: Any, is_json: bool) -> Attribute:
    if not isinstance(description, Mapping):  # RESP2: names and values, with flags behind them
        flags = {as_text(one) for one in description}
        description = dict(zip(description[::2], description[1::2], strict=False))
    else:
        flags = {as_text(one) for one in description.get(b"flags", description.get("flags", ()))}
    values = {as_text(key): value for key, value in description.items()}
    kind, where = as_text(values["type"]).lower(), as_text(values["identifier"])
    path = _PLAIN_PATH.fullmatch(where) if is_json else None
    settings = ("algorithm", "data_type", "dim", "distance_metric", "M", "ef_construction")
    return Attribute(
        name=as_text(values["attribute"]),
        field=where if not is_json else path[1].removeprefix(".") if path else "",
        kind=kind,
        separator=as_text(values.get("SEPARATOR", "")) if kind == "tag" and not is_json else "",
        folds_case=kind == "tag" and "CASESENSITIVE" not in flags,
        vector={key.lower(): as_text(values[key]) for key in settings if key in values} if kind == "vector" else None,
    )


def read_keys(source: Source) -> Flow[list[str]]:
    """Return the keys that the search index has, sorted.

    Raises:
        CommandRefused: the server refuses it or is still building it, or another number came than it has: it was being
            written.
    """
    # A filter that the index has by itself is asked as well: what it is not on is not found.
    command = ("FT.AGGREGATE", source.name, "*", "LOAD", "1", "@__key", "DIALECT", "2")
    [reply] = yield [(*command, "WITHCURSOR", "COUNT", str(KEYS_PER_PART))]
    found: list[str] = []
    while True:
        part, cursor = checked(reply)
        found += [row["__key"] for row in parse_aggregate(part)]
        if not int(cursor):
            break
        [reply] = yield Once([("FT.CURSOR", "READ", source.name, str(cursor), "COUNT", str(KEYS_PER_PART))])
    [info] = yield [("FT.INFO", source.name)]
    told = as_mapping(checked(info))
    expected = int(float(as_text(told["num_docs"])))
    if float(as_text(told.get("indexing", 0))):
        raise CommandRefused(
            f"expected the search index {source.name!r} with all that is stored, got it while the server is still "
            "building it: try again when FT.INFO says that indexing is 0"
        )
    if len(found) != expected:
        raise CommandRefused(
            f"expected the {expected:,} keys of the search index {source.name!r}, got {len(found):,}: it is being "
            "written, or the server ran out of time; try again when it is quiet"
        )
    return sorted(found)


def read_entries(
    source: Source, keys: Sequence[str], fields: Sequence[str] | None = None
) -> Flow[list[tuple[str, dict[str, Any], bool]]]:
    """Return what is stored under each of the keys that are there, and whether it expires.

    Args:
        source: the search index.
        keys: some of its keys.
        fields: of those that are wanted, their names at the top; None: all.
    """
    reads: list[Command]
    if source.is_json:
        reads = [("JSON.GET", key) for key in keys]
    elif fields is None:
        reads = [("HGETALL", key) for key in keys]
    else:
        reads = [("HMGET", key, *fields) for key in keys]
    replies = yield [command for key, read in zip(keys, reads, strict=True) for command in (read, ("PTTL", key))]
    found = []
    for key, reply, left in zip(keys, replies[::2], replies[1::2], strict=True):
        stored = _json_entry(checked(reply)) if source.is_json else _hash_entry(checked(reply), fields)
        if stored:
            found.append((key, stored, int(checked(left)) >= 0))
    return found


def _json_entry(reply: Any) -> dict[str, Any]:
    if isinstance(reply, list):  # RESP3: of each path
        [reply] = reply
    if reply is None:
        return {}
    stored = reply if isinstance(reply, Mapping) else json.loads(as_text(reply))
    if isinstance(stored, list) and len(stored) == 1:
        [stored] = stored
    return dict(stored) if isinstance(stored, Mapping) else {}


def _hash_entry(reply: Any, fields: Sequence[str] | None) -> dict[str, Any]:
    if fields is None:
        return {key: _text_or_bytes(value) for key, value in as_mapping(reply).items()}
    pairs = zip(fields, reply, strict=True)
    return {name: _text_or_bytes(value) for name, value in pairs if value is not None}


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def in_parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Iterate over the values in parts of a size."""
    return (values[start : start + size] for start in range(0, len(values), size))
