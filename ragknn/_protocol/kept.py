"""The vectors of an index in memory, while it is open and as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragknn._nearest.matrix import Matrix
from ragknn._protocol.schema import Schema
from ragknn._protocol.version import Version


@dataclass(frozen=True, slots=True, eq=False)
class Pulled:
    """All vectors of an index.

    Attributes:
        version: the state of the index that they are of.
        keys: keys of the passages that have a vector, in the order in which they were last written; shape (n,).
        matrix: their vectors; None where float32 cannot tell which are near, so that the server must.
    """

    version: Version
    keys: Sequence[bytes]
    matrix: Matrix | None

    def rows_of(self, names: Iterable[str]) -> NDArray[np.intp]:
        """Return the numbers of those of the keys that are here, in ascending order."""
        numbers = {name: row for row, name in enumerate(self.keys)}
        there = (numbers.get(name.encode()) for name in names)
        return np.array(sorted(row for row in there if row is not None), dtype=np.intp)


class Kept:
    """What an open index keeps; it is dropped when the index is closed or found to have changed.

    Threads share it: what is pulled is never changed, and the last that was pulled is kept.
    """

    def __init__(self) -> None:
        self.pulled: Pulled | None = None

    def drop(self) -> None:
        """Keep nothing."""
        self.pulled = None


def bytes_of(schema: Schema, passages: int) -> int:
    """Return the memory in bytes that so many vectors take: as they are stored, in float32 and in bfloat16."""
    return passages * ((schema.dim + 3) * 6 + (schema.dim * 8 if schema.dtype == "float64" else 0))
