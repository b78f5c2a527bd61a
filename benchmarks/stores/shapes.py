"""What a store is, and how its index is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.data import Documents
from benchmarks.measuring.racing import Kind

M, EF_CONSTRUCTION, EF_RUNTIME = 16, 200, 100  # of HNSW, in all stores

# Text and metadata of one document that was found; the text tells which it is.
Found: TypeAlias = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """How an index is made.

    Attributes:
        algorithm: "flat" or "hnsw".
        words: whether the words of the texts are indexed too.
        dim: values in a vector.
    """

    algorithm: Literal["flat", "hnsw"]
    words: bool
    dim: int

    def __str__(self) -> str:
        return f"{self.algorithm.upper()}, {'words' if self.words else 'no words'}"


class Store(Protocol):
    """Where documents are stored and searched."""

    name: ClassVar[str]
    kind: ClassVar[Kind]

    def __init__(self, url: str, shape: Shape) -> None:
        """Make an empty index.

        Raises:
            ImportError: the library is not installed.
            Unfit: it cannot make such an index.
        """

    def store(self, documents: Documents) -> None:
        """Store the documents, so that they can be found at once."""

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """Return the k nearest documents, the nearest first."""

    def search_many(self, vectors: NDArray[np.float32], k: int) -> list[list[str]]:
        """Return the texts of the k nearest documents of each vector, by the quickest means that there are."""

    def close(self) -> None:
        """Remove all that it has stored."""


class Unfit(Exception):
    """A store cannot make an index of a shape."""


def batches(n: int, size: int) -> Sequence[slice]:
    """Return slices that cut n things into batches."""
    return [slice(start, start + size) for start in range(0, n, size)]
