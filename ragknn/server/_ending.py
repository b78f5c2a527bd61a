"""Ending an embedded server that nobody uses any more: what `_watcher.py` becomes, holding start.lock."""

from __future__ import annotations

import sys
from pathlib import Path

from ragknn.server._folder import DataFolder, ServerState
from ragknn.server._process import shut_down


def end(path: str, recorded: str, start_lock: str) -> None:
    """End the server of a folder unless it stays.

    Args:
        path: the data folder.
        recorded: the server's record when the watch began, for a folder that was removed; empty if there was none.
        start_lock: descriptor of start.lock.
    """
    folder = DataFolder(Path(path))
    removed = not folder.has_lock(int(start_lock))
    known = ServerState.model_validate_json(recorded) if recorded else None
    state = known if removed else folder.read_state()
    if removed or state is None or not state.stays:
        shut_down(folder, state, removed=removed)


if __name__ == "__main__":
    end(*sys.argv[1:])
