"""How far long work is, on standard error: a bar in a terminal, and elsewhere a line from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ragknn.cli.screen import stderr

if TYPE_CHECKING:
    from ragknn.indexing._policy import Progress as Reporting
    from ragknn.reports import IngestReport

PAUSE = 10.0  # seconds between two lines, so that whoever looks into a log knows that the work goes on


@contextmanager
def ingesting(total: int | None) -> Iterator[Reporting]:
    """Provide what shows the progress of an ingest, which moves within a document too.

    Args:
        total: number of documents; None if unknown.
    """
    more = TextColumn("documents, {task.fields[passages]:,} passages embedded, {task.fields[rate]:,.0f}/s")
    of = f" of {total:,}" if total else ""

    def tell(report: IngestReport) -> None:
        words = f"{report.documents:,}{of} documents, {report.embedded:,} passages embedded"
        rate = report.embedded / max(report.seconds, 1e-9)
        show(report.documents + report.under_way, total, words, passages=report.embedded, rate=rate)

    with _shown("embedding", more, passages=0, rate=0.0) as show:
        yield tell


@contextmanager
def counting(verb: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Provide what shows how many are done of how many, such as "asking" of "queries"."""
    with _shown(verb, TextColumn(unit)) as show:
        yield lambda done, total: show(done, total, f"{done:,} of {total:,} {unit}")


class _Show(Protocol):
    def __call__(self, done: float, total: int | None, words: str, **fields: Any) -> None: ...


@contextmanager
def _shown(verb: str, more: TextColumn, **fields: Any) -> Iterator[_Show]:
    began = said = time.monotonic()
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), more, TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("", total=None, **fields)

        def show(done: float, total: int | None, words: str, **fields: Any) -> None:
            nonlocal said
            now = time.monotonic()
            bar.update(task, completed=done, total=total, **fields)
            if not stderr.is_terminal and now - said >= PAUSE:
                said = now
                stderr.print(f"{verb}: {words} in {now - began:.0f} s", soft_wrap=True)

        yield show
