"""The commands that store, read and remove the rows of an estimator: row n is the document "n"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._ids import passage_id
from ragknn._protocol.counting import index_info
from ragknn._protocol.encoding import vector_hash
from ragknn._protocol.finding import KEYS_PER_ROUND
from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import details_hash, details_of, document_fields, passage_fields
from ragknn._protocol.replies import checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.vectors import from_bytes, to_bytes
from ragknn.errors import CommandRefused, SchemaMismatch
from ragknn.records import Label, Passage

Spot: TypeAlias = tuple[str, int]
"""Place of a stored row: the id of its document, and the number of its passage."""


def store_rows(keys: Keys, schema: Schema, vectors: NDArray[Any], labels: Sequence[Label] | None) -> Flow[None]:
    """Write the rows to an index that was just created.

    An `Indexer` uses transactions and look-ups to replace documents while others read. A new index has no readers, so
    this function goes without them and is five times faster. The stored data is the same.

    Args:
        keys: the index's keys.
        schema: the index's schema.
        vectors: checked vectors, shape (n, dim).
        labels: n labels, or None to store none.

    Raises:
        CommandRefused: the server refuses a command, or leaves rows out of the index.
    """
    for start in range(0, len(vectors), KEYS_PER_ROUND):
        commands: list[Command] = []
        for row, blob in enumerate(to_bytes(vectors[start : start + KEYS_PER_ROUND], schema.dtype), start):
            commands += _row_commands(keys, schema, str(row), blob, None if labels is None else labels[row])
        for reply in (yield commands):
            checked(reply)
    info = yield from index_info(keys)
    if info.failures:
        raise CommandRefused(
            f"expected all {len(vectors)} rows in index {keys.name!r}, but the server left {info.failures} of them "
            f"out: {info.last_failure[0]}"
        )


def _row_commands(keys: Keys, schema: Schema, row: str, blob: bytes, label: Label | None) -> list[Command]:
    details, _ = details_of(schema, label, {})
    passage = Passage(passage_id(row, 0), row, "", 0, 0, number=0)
    hashed = vector_hash(row, "", blob)
    return [
        ("HSET", keys.passage(row, 0), *passage_fields(schema, passage, blob, details)),
        ("HSET", keys.document(row), *document_fields(hashed, details_hash([(details.label, details.metadata)]), 1)),
    ]


def fetch_rows(keys: Keys, schema: Schema, passages: Sequence[Spot]) -> Flow[NDArray[Any]]:
    """Return the stored vectors of the passages, shape (n, dim), in the index's dtype.

    Raises:
        SchemaMismatch: a passage is missing.
    """
    rows = []
    for start in range(0, len(passages), KEYS_PER_ROUND):
        block = passages[start : start + KEYS_PER_ROUND]
        replies = yield [("HGET", keys.passage(*spot), "vector") for spot in block]
        for spot, reply in zip(block, replies, strict=True):
            if (blob := checked(reply)) is None:
                raise SchemaMismatch(keys.name, {f"passage {passage_id(*spot)}": ("as fitted", "none")})
            rows.append(from_bytes(blob, schema.dtype))
    return np.stack(rows)


def remove_rows(keys: Keys, size: int) -> Flow[None]:
    """Remove an index of rows 0 to size - 1, without a scan of all keys on the server.

    Rows that are already gone are not an error.
    """
    yield [("FT.ALIASDEL", keys.alias), ("FT.DROPINDEX", keys.search_index())]
    for start in range(0, size, KEYS_PER_ROUND):
        rows = [str(row) for row in range(start, min(start + KEYS_PER_ROUND, size))]
        for reply in (yield [("UNLINK", keys.passage(row, 0), keys.document(row)) for row in rows]):
            checked(reply)
    [reply] = yield [("UNLINK", keys.manifest)]
    checked(reply)
