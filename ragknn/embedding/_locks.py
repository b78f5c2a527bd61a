"""A lock that a fork does not leave closed."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any
from weakref import WeakSet


class ProcessLock:
    """A lock that a thread may take several times; a forked process finds it open if another thread held it.

    That thread does not exist in the forked process, so that nobody would open the lock there. A copy, by `copy` or by
    pickle, is a lock of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def _enter_fork(self) -> None:
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


_LOCKS: WeakSet[ProcessLock] = WeakSet()


def _open_locks() -> None:
    for lock in list(_LOCKS):
        lock._enter_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_locks)
