"""What was measured of an index's recall, kept with its manifest, so that other processes need not measure it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragknn._protocol.flows import Command, Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.replies import SearchIndexInfo, as_mapping, as_text, checked

# An index that has grown, shrunk or changed by more than this factor is measured again: with 20,000 vectors a search
# for ten kept 20 candidates to find .99 of the neighbors, and 45 with 100,000, so that half as many more lose .005.
LARGEST_CHANGE = 1.5

_FIELD = "recall@"  # in the hash of the manifest, followed by k

_Point: TypeAlias = tuple[int, float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """How many of the k true neighbors the searches of an hnsw index find, by the candidates that they keep.

    Attributes:
        k: number of neighbors.
        passages: number of passages when it was measured.
        last_number: number of the last change to a passage until then.
        queries: number of queries.
        points: ef_runtime, recall and its standard error, smallest first.
    """

    k: int
    passages: int
    last_number: int
    queries: int
    points: tuple[_Point, ...]

    def ef_runtime(self, recall: float) -> int | None:
        """Return the smallest ef_runtime whose recall is as large, less a standard error; None: none that was tried."""
        return next((ef for ef, found, error in self.points if found - error >= recall), None)

    def holds_for(self, info: SearchIndexInfo) -> bool:
        """Whether the index is still much as it was."""
        replaced = max(0, info.last_number - self.last_number) - max(0, info.passages - self.passages)
        grown = 1 / LARGEST_CHANGE <= info.passages / max(self.passages, 1) <= LARGEST_CHANGE
        return grown and replaced <= self.passages * (LARGEST_CHANGE - 1)

    def __str__(self) -> str:
        tried = ", ".join(f"{recall:.4g} with ef_runtime {ef}" for ef, recall, _ in self.points)
        of = f"{self.queries} of {self.passages:,} passages" if self.points else f"{self.passages:,} passages"
        return f"{tried or 'an exact search is quicker'} ({of})"

    def dumps(self) -> str:
        """Return it as the JSON text that is kept."""
        return json.dumps([self.passages, self.last_number, self.queries, self.points])

    @classmethod
    def loads(cls, k: int, text: str) -> Measured:
        """Return what `dumps` made a text of."""
        passages, last_number, queries, points = json.loads(text)
        return cls(k, passages, last_number, queries, tuple(map(tuple, points)))


def asking_for_measured(keys: Keys, k: int) -> Command:
    """Return the command that reads what was measured for k."""
    return ("HGET", keys.manifest, f"{_FIELD}{k}")


def read_measured(k: int, reply: Any) -> Measured | None:
    """Read the answer to it; None where nothing was measured."""
    kept = checked(reply)
    return None if kept is None else Measured.loads(k, as_text(kept))


# An index that was dropped meanwhile must not leave a manifest behind.
_KEEP = "if redis.call('HEXISTS', KEYS[1], 'schema') == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"


def keep_measured(keys: Keys, measured: Measured) -> Flow[None]:
    """Keep what was measured with the index; who may not write has it all the same, for this process."""
    yield [("EVAL", _KEEP, "1", keys.manifest, f"{_FIELD}{measured.k}", measured.dumps())]


def all_measured(keys: Keys) -> Flow[list[Measured]]:
    """Return all that was measured of the index, the smallest k first."""
    [reply] = yield [("HGETALL", keys.manifest)]
    fields = {name: value for name, value in as_mapping(checked(reply)).items() if name.startswith(_FIELD)}
    numbers = sorted(int(name.removeprefix(_FIELD)) for name in fields)
    return [Measured.loads(k, as_text(fields[f"{_FIELD}{k}"])) for k in numbers]
