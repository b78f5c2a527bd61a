"""The outcome of an ingest on a terminal: counts first, then what was not read, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from ragknn._display.inert import visible
from ragknn.cli.screen import Screen
from ragknn.reports import IngestReport, Note

SHOWN = 20  # longest list of failures, notes or ids; --json has them all
_NAMES = 3  # names shown of documents that were replaced, and of files that were passed over for one reason
_SIGNS = {"added": "+", "updated": "~", "deleted": "-"}


def print_report(report: IngestReport, console: Screen) -> None:
    """Print the outcome of an ingest."""
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {report.deleted} deleted"
    failed = f"{len(report.failed)} failed"
    if report.dry_run:
        console.print(f"dry run, nothing written: {counts}, {failed}", soft_wrap=True)
        signed = [f"{sign} {each}" for what, sign in _SIGNS.items() for each in report.ids.get(what, ())]
        _print_lines(signed, "", "", console)
    else:
        console.print(f"{counts}, {failed}; {report.passages} passages in {report.seconds:.1f} s", soft_wrap=True)
        if report.updated and report.ids:
            why = f" ({report.why_updated})" * bool(report.why_updated)
            _print_lines([f"{report.updated}: {_some(report.ids['updated'])}{why}"], "updated ", "dim", console)
        _print_lines([report.how_verified] * bool(report.how_verified), "", "dim", console)
    if report.kept:
        console.print(
            f"{report.kept} documents missing from the input were kept, since part of the input could not be read",
            style="yellow",
        )
    _print_lines(list(_passed_over(report.notes)), "passed over ", "dim", console)
    others = [note for note in report.notes if note.kind != "passed over"]
    _print_lines([f"{note.kind}: {note}" for note in others], "", "yellow", console)
    _print_lines([f"left out: {one}" for one in report.left_out], "", "yellow", console)
    _print_lines([f"failed: {failure}" for failure in report.failed], "", "red", console)


def _passed_over(notes: Sequence[Note]) -> list[str]:
    """Put together what was passed over for one reason, the most frequent one first."""
    passed = sorted((note for note in notes if note.kind == "passed over"), key=lambda note: note.reason)
    groups = [(reason, [note.source for note in group]) for reason, group in groupby(passed, lambda note: note.reason)]
    told = []
    for reason, names in sorted(groups, key=lambda group: -len(group[1])):
        told.append(f"{len(names)}: {_some(names)} ({reason})")
    return told


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" * (len(names) > _NAMES)
    return f"{', '.join(names[:_NAMES])}{more}"


def _print_lines(lines: Sequence[str], head: str, style: str, console: Screen) -> None:
    for line in lines[:SHOWN]:
        console.print(Text(visible(head + line), style=style), soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(Text(f"and {len(lines) - SHOWN} more; --json has them all", style=style))
