"""A bar in a notebook, for work that takes long and whose progress nobody else is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from ragknn._display.html import MUTED, Html, element, row, span

Told: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is, 0 where that is not known."""

WAIT = 1.0  # seconds of work before the bar appears: what is quick needs none
PAUSE = 0.2  # seconds between two changes of it


class Show(Protocol):
    """Shows how far the work is."""

    def __call__(self, done: float, total: int, more: str = "") -> None:
        """Show how much is done, how much there is, 0 where that is not known, and what else there is to say."""


@contextmanager
def bar_in_notebook(unit: str, progress: Told | None = None) -> Iterator[Told]:
    """Provide what is to be told how far the work in the block is: `progress` if there is one, or else a bar.

    Args:
        unit: what is counted, in the plural.
        progress: who wants to be told.
    """
    if progress is not None:
        yield progress
        return
    with notebook_bar(unit) as show:
        yield show


@contextmanager
def notebook_bar(unit: str) -> Iterator[Show]:
    """Provide a bar where a notebook runs this, or else what takes no notice.

    The bar needs no widgets, appears after a second, and is gone at the end of the block.

    Args:
        unit: what is counted, in the plural.
    """
    bar = _Bar(unit) if _in_notebook() else None
    try:
        yield bar.show if bar else _nothing
    finally:
        if bar:
            bar.remove()


def _nothing(done: float, total: int, more: str = "") -> None:
    """Take no notice."""


def _in_notebook() -> bool:
    shell: Any = sys.modules.get("IPython")
    return hasattr(shell and shell.get_ipython(), "kernel")


class _Bar:
    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._began = self._changed = time.monotonic()
        self._handle: Any = None

    def show(self, done: float, total: int, more: str = "") -> None:
        now = time.monotonic()
        if now - self._began < WAIT or (self._handle and now - self._changed < PAUSE):
            return
        self._changed = now
        self._display(bar_html(self._unit, done, total, now - self._began, more))

    def remove(self) -> None:
        if self._handle:
            self._display("")

    def _display(self, html: str) -> None:
        from IPython.display import display  # late, and there: a notebook runs this

        show: Any = display
        contents = {"text/html": html, "text/plain": ""}
        if self._handle:
            self._handle.update(contents, raw=True)
        else:
            self._handle = show(contents, raw=True, display_id=True)


def bar_html(unit: str, done: float, total: int, seconds: float, more: str = "") -> Html:
    """Return a bar as HTML, with the numbers and the time that is left; a part of one of the unit is not counted."""
    known = f' value="{done:.6g}" max="{total}"' if total else ""
    counted = f"{int(done):,} of {total:,} {unit}" if total else f"{int(done):,} {unit}"
    counted += f", {more}" if more else ""
    left = f", {seconds * (total - done) / done:.0f} s left" if total and 0 < done < total else ""
    words = span(f"{counted} in {seconds:.0f} s{left}", style=MUTED)
    return element("div", row(Html(f'<progress{known} style="width:16em"></progress>'), words))
