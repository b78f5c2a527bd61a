"""What an open index remembers of its server between searches."""

from __future__ import annotations

import math
import time
from typing import TypeAlias

from ragknn._protocol.measured import Measured
from ragknn._protocol.query import Fragment
from ragknn._protocol.replies import SearchIndexInfo

# Seconds after which a search asks again whether the index is complete. A server that restarts under a connected
# client answers from a half-built index; asking costs a tenth of a small search, so not every one does.
WATCH_INTERVAL = 1.0

# Seconds after which the passages that pass a filter are counted again. A wrong count makes a search slower, not wrong.
COUNT_INTERVAL = 60.0
MOST_FILTERS = 1_000  # remembered at a time; some 500 bytes each

_Filter: TypeAlias = tuple[object, ...]


class Watch:
    """Remembers what the server said of itself: how much it has, and whether it still builds it.

    Attributes:
        info: what it said when it was last asked; None: it was not yet.
        percent_indexed: share of what is stored that could be found then.
        measured: what is known of the recall, by k.
        measuring: each k whose recall is being measured.
    """

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self._passing: dict[_Filter, tuple[int | None, float]] = {}
        self.info: SearchIndexInfo | None = None
        self.percent_indexed = 1.0
        self.measured: dict[int, Measured] = {}
        self.measuring: set[int] = set()

    @property
    def passages(self) -> int | None:
        """Number of passages in the index when it was last asked; None: it was not yet."""
        return None if self.info is None else self.info.passages

    @property
    def is_due(self) -> bool:
        """Whether the next search is to ask again."""
        return self.percent_indexed < 1 or time.monotonic() - self._asked_at > WATCH_INTERVAL

    def doubt(self) -> None:
        """Let the next search ask again."""
        self._asked_at = -math.inf

    def take(self, info: SearchIndexInfo) -> None:
        """Remember what the server said."""
        self._asked_at = time.monotonic()
        self.info = info
        self.percent_indexed = info.percent_indexed

    def passing(self, among: Fragment) -> int | None:
        """Return how many passages passed the filter when they were last counted; None: nobody knows."""
        counted = self._passing.get(_as_key(among))
        return None if counted is None else counted[0]

    def is_to_count(self, among: Fragment) -> bool:
        """Whether the next search beside the filter is to count again."""
        counted = self._passing.get(_as_key(among))
        return counted is None or time.monotonic() - counted[1] > COUNT_INTERVAL

    def take_count(self, among: Fragment, passing: int | None) -> None:
        """Remember how many passages pass the filter; None: the server does not tell."""
        if len(self._passing) >= MOST_FILTERS:
            self._passing = {}  # a new one, since other threads may look into the old one
        self._passing[_as_key(among)] = (passing, time.monotonic())


def _as_key(among: Fragment) -> _Filter:
    return (among.query, *among.params.items())
