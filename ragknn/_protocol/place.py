"""An index as the protocol sees it: what every search and read needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, TypeAlias

from ragknn._protocol.kept import Kept
from ragknn._protocol.keys import Keys
from ragknn._protocol.schema import FORMAT, Schema
from ragknn._protocol.server import ServerInfo
from ragknn._protocol.watch import Watch

OnIncomplete: TypeAlias = Literal["raise", "return"]
Bulk: TypeAlias = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to search, and how.

    Attributes:
        keys: the names of what the index keeps in Redis.
        schema: what the index is made of.
        watch: what is known of the server from earlier searches.
        timeout: seconds that one search may take on the server.
        on_incomplete: "raise", or "return" what came.
        server: what is known of the server; None: nothing.
        bulk: whether many searches at once may be made in memory.
        kept: the vectors that are in memory already.
        most_bytes: memory that they may take.
    """

    keys: Keys
    schema: Schema
    watch: Watch
    timeout: float
    on_incomplete: OnIncomplete = "raise"
    server: ServerInfo | None = None
    bulk: Bulk = "never"
    kept: Kept = field(default_factory=Kept)
    most_bytes: int = 0

    def records(self, document_id: str) -> tuple[str, ...]:
        """Return the keys of the hashes that may hold the record of a document, the first that does being right."""
        return tuple(self.records_of([document_id])[0])

    def records_of(self, document_ids: Sequence[str]) -> tuple[list[str], int]:
        """Return these keys of several documents, one document after the other, and how many each has."""
        records = self.keys.records(document_ids)
        if self.schema.format == FORMAT:
            return records, 1
        pairs = zip(map(self.keys.earlier_record, document_ids), records, strict=True)
        return list(chain.from_iterable(pairs)), 2  # another process may be moving the index
