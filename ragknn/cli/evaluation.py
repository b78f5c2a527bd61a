"""The command that measures quality: evaluate."""

from __future__ import annotations

import csv
import json
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from ragknn._display.inert import visible
from ragknn._display.lines import Table as Contents
from ragknn._protocol.schema import Algorithm
from ragknn.cli import progress, terminal
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import checked_csv, checked_picture, common, recall_option, url_option
from ragknn.cli.program import SOME_FAILED
from ragknn.cli.screen import Screen, print_json, stderr, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.evaluation._evaluating import DEPTH
from ragknn.evaluation._evaluating import evaluate as evaluate_settings
from ragknn.evaluation._recall import TARGET
from ragknn.evaluation.questions import read_questions
from ragknn.evaluation.results import Evaluation
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.reports import IngestReport
from ragknn.retrieval.options import Mode
from ragknn.retrieval.retriever import Retriever

MODES = get_args(Mode)  # values for --compare

_BEYOND_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def _modes(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in MODES:
            raise click.BadParameter(f"expected names among {', '.join(MODES)}, separated by commas, got {name!r}")
    return names


def _efs(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    parts = None if value is None else value.replace(",", " ").split()
    if parts is None:
        return None
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected numbers like 10,50,100, got {value!r}")
    return [int(part) for part in parts]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--compare",
    "modes",
    default="vector",
    callback=_modes,
    metavar="MODE,MODE...",
    show_default=True,
    help="Modes to compare.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Documents that count.")
@click.option("--depth", type=click.IntRange(min=1), default=DEPTH, show_default=True, help="Passages to retrieve.")
@click.option("--split", default="test", show_default=True, help="Judgements to use: a file in DIR/qrels.")
@click.option("--index", "name", metavar="NAME", help="Index to add DIR to; kept.  [default: a temporary index]")
@click.option("--model", metavar="NAME", help="sentence-transformers model of a new index.")
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="Algorithm of a new index.  [default: flat]")
@click.option("--ef", "efs", callback=_efs, metavar="N,N...", help="Measure index recall with these ef_runtime.")
@click.option(
    "--target", type=click.FloatRange(0, 1, min_open=True), default=TARGET, show_default=True, help="Recall for --ef."
)
@click.option(
    "--plot", type=click.Path(path_type=Path), callback=checked_picture, help="Save plots: .png, .svg or .pdf file."
)
@click.option(
    "--per-query", type=click.Path(path_type=Path), callback=checked_csv, help="Save results per query: .csv file."
)
@recall_option
@embedder_option
@url_option
@common
def evaluate(
    folder: Path,
    modes: list[str],
    k: int,
    depth: int,
    split: str,
    name: str | None,
    model: str | None,
    algorithm: Algorithm | None,
    efs: list[int] | None,
    target: float,
    plot: Path | None,
    per_query: Path | None,
    recall: float | None,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Score retrieval on DIR, a folder in BEIR's layout: documents, queries.jsonl and qrels/test.tsv.

    The documents are read into a temporary index, evaluate-DIR-..., which is dropped afterwards; with --index they
    are added to that index, which is kept. Documents that it already has are not embedded again.
    """
    if depth < k:
        raise click.UsageError(f"expected --depth to be at least k={k}, got {depth}")
    questions = read_questions(folder, split)
    source = read_documents(folder)
    embedder = chosen_embedder(embedder, model)
    settings: dict[str, dict[str, Any]] = {mode: {"mode": mode} for mode in modes}
    for mode, options in settings.items():
        options.update({"candidates": depth} if mode == "hybrid" else {})
        options.update({"recall": recall} if recall is not None else {})
    with _opened(name, folder, url=url, embedder=embedder, algorithm=algorithm) as index:
        with progress.ingesting(source.expected()) as tell:
            report = Indexer(index).add(source, progress=tell)
        index.wait_until_searchable()
        with progress.counting("asking", "queries") as told:
            evaluation = evaluate_settings(
                Retriever(index),
                questions,
                settings,
                k=k,
                depth=depth,
                efs=efs,
                target=target,
                progress=told,
            )
    if plot is not None:
        evaluation.plot(plot)
    if per_query is not None:
        write_per_query(evaluation, per_query)
    if as_json:
        print_json(evaluation.to_dict())
    else:
        print_evaluation(evaluation, stdout)
    _complain(report)


@contextmanager
def _opened(name: str | None, folder: Path, **options: Any) -> Iterator[Index]:
    """Open the index of this name, or one with a new unique name, which is dropped at the end."""
    if name is not None:
        with Index(name, **options) as index:
            yield index
        return
    plain = _BEYOND_NAME.sub("-", folder.resolve().name)
    with Index(f"evaluate-{plain}-{secrets.token_hex(3)}", **options) as index:
        try:
            yield index
        finally:
            index.drop()


def _complain(report: IngestReport) -> None:
    # On standard error, since with --json standard output holds only the results.
    for failure in report.failed[: terminal.SHOWN_FAILURES]:
        stderr.print(visible(f"failed: {failure}"), soft_wrap=True)
    if report.failed:
        stderr.print(
            f"documents not searched, since they could not be read or stored: {len(report.failed)}", soft_wrap=True
        )
        sys.exit(SOME_FAILED)


def write_per_query(evaluation: Evaluation, path: Path) -> None:
    """Write a CSV line for each query and setting, with the documents found as a JSON list."""
    rows = list(evaluation.per_query())
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "documents": json.dumps(row["documents"], ensure_ascii=False)} for row in rows)


def print_evaluation(evaluation: Evaluation, console: Screen) -> None:
    """Print the results of an evaluation as tables."""
    _print_table(evaluation.table, evaluation.heading, console)
    for note in evaluation.notes:
        console.print(visible(f"note: {note}"), soft_wrap=True)
    if evaluation.comparisons:
        console.print()
        _print_table(evaluation.comparison_table, "query by query", console)
    if evaluation.recall is not None:
        console.print()
        _print_table(evaluation.recall.table, evaluation.recall.heading, console)
        console.print(visible(evaluation.recall.advice), soft_wrap=True)


def _print_table(contents: Contents, title: str, console: Screen) -> None:
    terminal.print_title(title, console)
    terminal.print_table(*contents, console)
