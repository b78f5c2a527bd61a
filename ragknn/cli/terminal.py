"""Display of records in a terminal: tables and progress for people, JSON lines for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ragknn._display.lines import brief
from ragknn._plain import plain
from ragknn.cli.doctor import Check
from ragknn.indexing._ingestion import Progress as Report
from ragknn.records import IndexInfo, IngestReport, Label, Retrieval, Vote
from ragknn.voting.scoring import Scores
from ragknn.voting.tuning import Tuning

SHOWN_FAILURES = 20  # longest list of failures, warnings or confusions in a terminal; --json has them all
PASSAGE_WIDTH = 300  # longest text of a passage in a table, in characters

_VERDICT_STYLE = {"ok": "green", "note": "yellow", "fail": "red"}


def print_json(value: Any) -> None:
    """Print a record, or plain values, as one line of JSON to standard output."""
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))


def print_retrieval(retrieval: Retrieval, console: Console) -> None:
    """Print the neighbors of one query as a table."""
    table = Table(title=Text(retrieval.query or ""), title_justify="left", title_style="bold", show_lines=True)
    scored = any(neighbor.score is not None for neighbor in retrieval)
    table.add_column("#", justify="right")
    if scored:
        table.add_column("score", justify="right")
    table.add_column("distance", justify="right")
    table.add_column("document", overflow="fold", ratio=1)
    table.add_column("passage", ratio=3)
    for rank, neighbor in enumerate(retrieval, start=1):
        passage = neighbor.passage
        place = f"{passage.document_id}\n{passage.start}–{passage.end}"
        # Text, since a document may contain what rich treats as markup.
        score = [f"{neighbor.score:.3f}"] if neighbor.score is not None else [""] * scored
        distance = "" if math.isnan(neighbor.distance) else f"{neighbor.distance:.3f}"
        table.add_row(str(rank), *score, distance, Text(place), Text(brief(passage.text, PASSAGE_WIDTH)))
    console.print(table)


def print_warnings(warnings: Iterable[str], console: Console) -> None:
    """Print a line for each warning, up to a limit."""
    told = list(warnings)
    for warning in told[:SHOWN_FAILURES]:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    if len(told) > SHOWN_FAILURES:
        console.print(f"and {len(told) - SHOWN_FAILURES} more warnings; --json shows them all", style="yellow")


def print_vote(text: str, vote: Vote, explain: bool, console: Console) -> None:
    """Print the label of a text, and with `explain` the neighbors that voted."""
    shares = ", ".join(f"{label} {share:.0%}" for label, share in vote.shares.items())
    head = Text(_shown(vote.label) if not vote.abstained else "abstained", style="yellow" if vote.abstained else "bold")
    head.append(f"  {vote.reason or shares}".rstrip(), style="not bold")
    head.append(f"  {brief(text, PASSAGE_WIDTH)}", style="dim not bold")
    console.print(head, soft_wrap=True)
    if explain and vote.neighbors:
        table = Table("weight", "distance", "label", "document", "passage")
        for neighbor, weight in zip(vote.neighbors, vote.weights, strict=True):
            passage = neighbor.passage
            cells = (_shown(passage.label), passage.document_id, brief(passage.text, PASSAGE_WIDTH))
            table.add_row(f"{weight:.2f}", f"{neighbor.distance:.3f}", *map(Text, cells))
        console.print(table)


def _shown(label: Label | None) -> str:
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def print_scores(scores: Scores, confusion: bool, console: Console) -> None:
    """Print the scores of votes on labelled texts."""
    counted = ("confusion", "outcomes")
    facts = {name: value for name, value in scores.to_dict().items() if name not in counted and value is not None}
    print_facts({name: f"{value:.4f}" if isinstance(value, float) else value for name, value in facts.items()}, console)
    if confusion and scores.confusion:
        table = Table("true label", "voted", "texts", title="most frequent confusions", title_justify="left")
        for (true, voted), count in scores.confusion[:SHOWN_FAILURES]:
            table.add_row(Text(str(true)), Text(str(voted)), str(count))
        console.print(table)


def print_tuning(tuning: Tuning, console: Console) -> None:
    """Print the scores of all settings as a table, with the best one marked."""
    kinds = list(dict.fromkeys(setting.weights for setting in tuning.settings))
    table = Table("k", *kinds, title=f"{tuning.scoring}, {tuning.passages} passages", title_justify="left")
    for k in dict.fromkeys(setting.k for setting in tuning.settings):
        cells = [
            Text(f"{setting.score:.4f}", style="bold green" if setting == tuning.best else "")
            for setting in tuning.settings
            if setting.k == k
        ]
        table.add_row(str(k), *cells)
    console.print(table)
    console.print(str(tuning), highlight=False)


def print_report(report: IngestReport, console: Console) -> None:
    """Print the outcome of an ingest."""
    console.print(
        f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {report.deleted} deleted, "
        f"{len(report.failed)} failed; {report.passages} passages in {report.seconds:.1f} s",
        highlight=False,
    )
    if report.kept:
        console.print(
            f"{report.kept} documents missing from the input were kept, since part of the input could not be read",
            style="yellow",
        )
    for failure in report.failed[:SHOWN_FAILURES]:
        console.print(Text(f"failed: {failure}", style="red"), soft_wrap=True)
    if len(report.failed) > SHOWN_FAILURES:
        console.print(f"and {len(report.failed) - SHOWN_FAILURES} more failures; --json shows them all", style="red")


def print_facts(facts: dict[str, Any], console: Console) -> None:
    """Print names and values as two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(str(value)))
    console.print(table)


def print_indexes(indexes: Sequence[IndexInfo], console: Console) -> None:
    """Print one line for each index."""
    table = Table()
    for column in ("index", "documents", "passages", "embedder", "dim", "metric", "algorithm"):
        table.add_column(
            column, justify="right" if column in ("documents", "passages", "dim") else "left", overflow="fold"
        )
    for info in indexes:
        counts = (str(info.documents), str(info.passages))
        table.add_row(info.name, *counts, info.embedder, str(info.dim), info.metric, info.algorithm)
    console.print(table)


def print_check(check: Check, console: Console) -> None:
    """Print one finding of the doctor."""
    line = Text(f"{check.verdict:5}", style=_VERDICT_STYLE[check.verdict])
    line.append(f"{check.name}: {check.found}", style="default")
    console.print(line, soft_wrap=True)
    if check.advice:
        console.print(Text(f"     → {check.advice}"), soft_wrap=True)


@contextmanager
def progress_bar(total: int | None, console: Console) -> Iterator[Report]:
    """Show the progress of an ingest: documents, passages, rate and time left; in a terminal only.

    Args:
        total: number of documents; None if unknown.
        console: console to draw on.
    """
    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents, {task.fields[passages]} passages, {task.fields[rate]:.0f} documents/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, passages=0, rate=0.0)

        def show(report: IngestReport) -> None:
            rate = report.documents / max(report.seconds, 1e-9)
            bar.update(task, completed=report.documents, passages=report.passages, rate=rate)

        yield show
