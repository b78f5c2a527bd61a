"""Calls of several threads, answered together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Call(Generic[T]):
    """A call that waits.

    Attributes:
        inputs: n inputs.
        rows: their n rows, once there are some.
        error: or why there are none.
        done: whether one of both is there.
    """

    inputs: Sequence[T]
    rows: NDArray[Any] | None = None
    error: Exception | None = None
    done: bool = field(default=False)


class Joined(Generic[T]):
    """A function from n inputs to n rows that is called once for all who wait for it.

    While it runs for one thread, the calls of others wait; those that have gathered then are one call. A call that
    finds nobody there is made at once. If a joined call fails, each of its calls is made again alone, so that the error
    of one is not that of another.

    Args:
        function: from a sequence of n inputs to an array of n rows; called in one thread at a time.
    """

    def __init__(self, function: Callable[[Sequence[T]], NDArray[Any]]) -> None:
        self._function = function
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._waiting: list[_Call[T]] = []
        self._running = False

    def __call__(self, inputs: Sequence[T]) -> NDArray[Any]:
        """Return the n rows of n inputs; raises what the function raises for them."""
        if self._process != os.getpid():  # the threads that it waits for do not exist in a forked process
            self._begin()
        changed = self._changed
        call = _Call(inputs)
        with changed:
            self._waiting.append(call)
            changed.wait_for(lambda: call.done or not self._running)
            if not call.done:
                self._running = True
                together, self._waiting = self._waiting, []
        if not call.done:
            try:
                self._answer(together)
            finally:
                with changed:
                    # After an interrupt: the calls of others, which one of them makes now.
                    self._waiting += [one for one in together if not one.done and one is not call]
                    self._running = False
                    changed.notify_all()
        if call.error is not None:
            raise call.error
        assert call.rows is not None
        return call.rows

    def _answer(self, together: list[_Call[T]]) -> None:
        if len(together) > 1:
            try:
                rows = self._function([one for call in together for one in call.inputs])
            except Exception:  # told to whom it concerns, below
                pass
            else:
                start = 0
                for call in together:
                    call.rows, start = rows[start : start + len(call.inputs)], start + len(call.inputs)
                    call.done = True
                return
        for call in together:
            try:
                call.rows = np.asarray(self._function(call.inputs))
            except Exception as error:
                call.error = error
            call.done = True
