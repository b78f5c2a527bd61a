"""Letting a fork wait for work that would leave its process in pieces."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

_SETTLING = 0.02  # seconds after which the threads of a library that has answered are at rest
_LONGEST_WAIT = 10.0  # seconds; a fork in the midst of such work, as by a signal, must not wait for itself


class Unforkable:
    """Work during which the process is not forked: `with` it, in as many threads as you like.

    A library with threads of its own holds locks while it works. A process that is forked just then has the locks, but
    not the threads that would open them.
    """

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._wait, after_in_parent=self._go_on, after_in_child=self._begin)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._forking = 0
        self._ended = -_SETTLING

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, _LONGEST_WAIT)
            self._running += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._running -= 1
            self._ended = time.monotonic()
            self._changed.notify_all()

    def _wait(self) -> None:
        with self._changed:
            self._forking += 1
            self._changed.wait_for(lambda: not self._running, _LONGEST_WAIT)
            self._changed.wait_for(lambda: False, max(0.0, self._ended + _SETTLING - time.monotonic()))

    def _go_on(self) -> None:
        with self._changed:
            self._forking -= 1
            self._changed.notify_all()
