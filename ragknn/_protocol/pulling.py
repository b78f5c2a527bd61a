"""Bringing all vectors of an index out of the server, into one matrix: by their keys, or in a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.matrix import lay_out
from ragknn._protocol.finding import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Each, Flow, Work
from ragknn._protocol.kept import Pulled
from ragknn._protocol.place import Place
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import as_stored, rows_from_bytes
from ragknn._protocol.version import Version, name_birth, read_version
from ragknn._protocol.whole import time_limit

# Bytes of vectors in one part of the stream: larger parts find no room in the processor's cache on their way.
PART_BYTES = 300_000
# Parts asked for in one round trip, so that the server reads the next while this one is taken in.
PARTS_PER_ROUND = 8
# How often an index that changes while it is pulled is pulled again.
ATTEMPTS = 2


def pull(place: Place, before: Version, known: Sequence[bytes] = ()) -> Flow[Pulled | None]:
    """Return the vectors of all passages that have one, and keep them.

    The version of the index is read afterwards too, so that a change meanwhile is noticed, and they are pulled again.
    None is returned where the index does not keep still, or its version is not certain.

    Args:
        place: the index.
        before: its version now.
        known: keys of all passages, in the order in which they were written, where the caller knows them: to read these
            takes the server half as long. If they are others, that is no error.
    """
    if not before.birth:
        yield from name_birth(place.keys)
        before = yield from read_version(place.keys)
    for _ in range(ATTEMPTS):
        if not before.is_certain:
            return None
        pulled = (yield from _read(place, before, known)) or (yield from _stream(place, before))
        after = yield from read_version(place.keys)
        if after == before and pulled is not None:
            place.kept.pulled = pulled
            return pulled
        before = after
    return None


def _read(place: Place, version: Version, known: Sequence[bytes]) -> Flow[Pulled | None]:
    """Return what is under the keys; None where these are not as many as the version has, or one has no vector."""
    if len(known) != version.passages:
        return None
    schema = place.schema
    room, values = _room(schema, len(known))
    for start in range(0, len(known), KEYS_PER_ROUND):
        part = known[start : start + KEYS_PER_ROUND]
        blobs = yield [("HGET", key, "vector") for key in part]
        vectors = rows_from_bytes(blobs, schema.dtype, schema.dim) if {bytes}.issuperset(map(type, blobs)) else None
        if vectors is None:
            return None
        values[start : start + len(part)] = vectors
    return Pulled(version, known, (yield _laying_out(schema, values, room)))


def _room(schema: Schema, most: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the room for the factors of so many vectors, and that for their values, which may be a part of it."""
    room = np.empty((most, schema.dim + 1), dtype=np.float32)
    return room, np.empty((most, schema.dim)) if schema.dtype == "float64" else room[:, :-1]


def _laying_out(schema: Schema, values: NDArray[Any], room: NDArray[np.float32]) -> Work:
    rounded = (lambda rows: as_stored(rows, schema.dtype)) if schema.dtype in ("float16", "bfloat16") else None
    return Work(lambda: lay_out(values, room, schema.metric, rounded))


def _stream(place: Place, version: Version) -> Flow[Pulled | None]:
    """Return what the server sends; None where it is more or less than the version has."""
    schema, alias, most = place.schema, place.keys.searched, version.passages
    room, values = _room(schema, most)
    size = max(1, PART_BYTES // (schema.dim * values.itemsize))
    names: list[bytes] = []
    seen = 0
    commands: list[Command] = [
        (
            *("FT.AGGREGATE", alias, "*", "LOAD", "2", "@__key", "@vector", "WITHCURSOR", "COUNT", str(size)),
            *(*time_limit(place), "DIALECT", "2"),
        )
    ]

    # Each reply becomes one array as it comes, while the server makes the next: so the memory of a reply is used again
    # for those that follow.
    def read(_: int, reply: Any) -> _Part | None:
        return None if isinstance(reply, Exception) else _read_part(schema, *reply)

    cursor = 1
    while cursor:
        for part in (yield Each(commands, read)):
            if part is None:  # not allowed, or out of time
                return None
            cursor = part.cursor
            seen += part.rows
            if part.vectors is None or seen > most:
                if cursor:
                    yield [("FT.CURSOR", "DEL", alias, str(cursor))]
                return None
            values[len(names) : len(names) + len(part.keys)] = part.vectors
            names += part.keys
            if not cursor:
                break  # what was asked for beyond the end is an error
        parts = min(PARTS_PER_ROUND, max(1, -(-(most - seen) // size)))
        commands = [("FT.CURSOR", "READ", alias, str(cursor), "COUNT", str(size))] * parts
    if seen != most:
        return None
    there = len(names)
    return Pulled(version, names, (yield _laying_out(schema, values[:there], room[:there])))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A part of the stream.

    Attributes:
        keys: those of the passages that have a vector, n of them.
        vectors: shape (n, dim); None where one has another size.
        rows: how many passages there are, with a vector and without.
        cursor: that of what follows; 0 at the end.
    """

    keys: list[bytes]
    vectors: NDArray[Any] | None
    rows: int
    cursor: int


def _read_part(schema: Schema, reply: Any, cursor: int) -> _Part:
    """Return what a reply has, in either wire shape. Vectors come as bytes, and so does everything beside them."""
    if isinstance(reply, Mapping):
        rows: Sequence[Mapping[bytes, bytes]] = [row[b"extra_attributes"] for row in reply[b"results"]]
    else:
        rows = [dict(zip(row[::2], row[1::2], strict=True)) for row in reply[1:]]
    there = [row for row in rows if b"vector" in row]
    vectors = rows_from_bytes([row[b"vector"] for row in there], schema.dtype, schema.dim)
    return _Part([row[b"__key"] for row in there], vectors, len(rows), cursor)
