"""How much of the input goes through the line at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from ragknn.indexing._pending import Pending
from ragknn.indexing._ready import ReadyDocument

# Characters after which a batch is read no further.
CHARACTERS_PER_BATCH = 2_000_000
# Of texts and vectors that are written at a time. A socket takes some 200 kB before it makes who sends wait until the
# server has nearly all of them behind it; what is written ahead fits, so that neither waits for the other.
BYTES_PER_WRITE = 64_000


def taken(
    source: Iterator[Any], most: int, largest: int, size: Callable[[Any], int]
) -> tuple[list[Any], Exception | None]:
    """Return the next items, none at the end, and why the input broke off after them, if it did.

    Args:
        source: the input.
        most: how many are taken at most.
        largest: the size of all together after which no more are taken.
        size: tells that of one.
    """
    batch: list[Any] = []
    reached = 0
    try:
        for item in islice(source, most):
            batch.append(item)
            reached += size(item)
            if reached > largest:
                break
    except Exception as error:  # whatever it is, it is raised when what came before it is stored
        return batch, error
    return batch, None


def characters_of(item: Any) -> int:
    """Return how many characters the text of a document has; 0 for what is none."""
    if isinstance(item, ReadyDocument):
        return sum(len(passage.text) for passage in item.passages)
    return len(getattr(item, "text", ""))


def in_writes(pending: Sequence[Pending], most: int) -> Iterator[list[Pending]]:
    """Yield the documents in parts, each of so many at most, and of no more bytes than can be held twice over."""
    part: list[Pending] = []
    size = 0
    for one in pending:
        own = one.size
        if part and (len(part) == most or size + own > BYTES_PER_WRITE):
            yield part
            part, size = [], 0
        part.append(one)
        size += own
    if part:
        yield part
