"""A bar in a notebook, for work that takes long and whose progress nobody else is told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from ragknn._display.html import MUTED, Html, element, row, span

Told: TypeAlias = Callable[[int, int], None]
"""Called with how much is done and how much there is, 0 where that is not known."""

WAIT = 1.0  # seconds of work before the bar appears: what is quick needs none
PAUSE = 0.2  # seconds between two changes of it


@contextmanager
def bar_in_notebook(unit: str, progress: Told | None = None) -> Iterator[Told]:
    """Provide what is to be told how far the work in the block is.

    That is `progress` if there is one, or else a bar where a notebook runs this. The bar needs no widgets, appears
    after a second, and is gone at the end of the block.

    Args:
        unit: what is counted, in the plural.
        progress: who wants to be told.
    """
    if progress is not None:
        yield progress
        return
    bar = _Bar(unit) if _in_notebook() else None
    try:
        yield bar.show if bar else _nobody
    finally:
        if bar:
            bar.remove()


def _nobody(done: int, total: int) -> None:
    """Take no notice."""


def _in_notebook() -> bool:
    shell: Any = sys.modules.get("IPython")
    return hasattr(shell and shell.get_ipython(), "kernel")


class _Bar:
    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._began = self._changed = time.monotonic()
        self._handle: Any = None

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._began < WAIT or (self._handle and now - self._changed < PAUSE):
            return
        self._changed = now
        self._display(bar_html(self._unit, done, total, now - self._began))

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


def bar_html(unit: str, done: int, total: int, seconds: float) -> Html:
    """Return a bar as HTML, with the numbers and the time that is left."""
    known = f' value="{done}" max="{total}"' if total else ""
    counted = f"{done:,} of {total:,} {unit}" if total else f"{done:,} {unit}"
    left = f", {seconds * (total - done) / done:.0f} s left" if total and 0 < done < total else ""
    words = span(f"{counted} in {seconds:.0f} s{left}", style=MUTED)
    return element("div", row(Html(f'<progress{known} style="width:16em"></progress>'), words))
