"""What an open index remembers of its server between searches."""

from __future__ import annotations

import math
import time

from ragknn._protocol.replies import SearchIndexInfo

# Seconds after which a search asks again whether the index is complete. A server that restarts under a connected
# client answers from a half-built index; asking costs a tenth of a small search, so not every one does.
WATCH_INTERVAL = 1.0


class Watch:
    """Remembers what the server said of itself: whether it still builds the index, and how it scores words."""

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self.percent_indexed = 1.0
        self.scorer: str | None = None

    @property
    def is_due(self) -> bool:
        """Whether the next search is to ask again."""
        return self.percent_indexed < 1 or time.monotonic() - self._asked_at > WATCH_INTERVAL

    def take(self, info: SearchIndexInfo) -> None:
        """Remember what the server said."""
        self._asked_at = time.monotonic()
        self.percent_indexed = info.percent_indexed
