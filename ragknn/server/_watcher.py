"""The program that waits until an embedded server has no users, and then has it ended. Run as a file, on its own.

Whatever a user dies of, the kernel releases its lock. So a process waits for that lock, without any work, and it needs
but two modules for that; only to end a server that is still there it becomes `_ending.py`, which needs the package.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence


def watch(users: int, start: int, server: int, watch: int, then: Sequence[str]) -> None:
    """Wait until nobody uses the server; run a program if it is still there.

    Args:
        users: descriptor of users.lock, like the next two opened for this process alone.
        start: descriptor of start.lock. The program gets it locked: until it ends, nobody can begin to use the server.
        server: descriptor of server.lock.
        watch: descriptor of watch.lock, which is locked as long as somebody watches.
        then: arguments of the program for the interpreter; the descriptor of start.lock comes behind them.
    """
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)  # who comes now must not be kept out
        fcntl.flock(start, fcntl.LOCK_EX)
        if _is_free(users):
            break
        fcntl.flock(start, fcntl.LOCK_UN)
    if not _is_free(server):
        for descriptor in (start, watch):
            os.set_inheritable(descriptor, True)
        os.execv(sys.executable, [sys.executable, *then, str(start)])
    fcntl.flock(watch, fcntl.LOCK_UN)  # before the other one, under which the next watcher is started


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


if __name__ == "__main__":
    watch(*map(int, sys.argv[1:5]), sys.argv[5:])  # type: ignore[call-arg, arg-type]  # four numbers
