"""The command that shows what the others do: demo."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from rich.text import Text

from ragknn._display.inert import visible
from ragknn._protocol.schema import Schema
from ragknn.cli import progress
from ragknn.cli.options import common, url_option
from ragknn.cli.reports import print_report
from ragknn.cli.results import print_retrieval, print_vote
from ragknn.cli.screen import print_json, stdout
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.records import Retrieval
from ragknn.reports import IngestReport
from ragknn.retrieval.options import Mode
from ragknn.retrieval.retriever import Retriever
from ragknn.voting.voter import LabelVoter

DEMO_INDEX = "handbook"
EXCERPT = 2  # lines
K = 2  # passages

# What to show of each mode: what it does, and a question that needs it.
SEARCHES: tuple[tuple[Mode, str, str], ...] = (
    (
        "vector",
        "Search by meaning. No word of the question needs to stand in the text.",
        "can my boss see where I ride",
    ),
    ("text", "Search by words: for names and codes that mean nothing to a model.", "E42"),
    ("hybrid", "Search by both at once.", "the lock does not close and the display says E41"),
)
TO_CLASSIFY = "my card was charged twice for the same month"


@click.command()
@url_option
@common
def demo(url: str | None, as_json: bool) -> None:
    """Index the handbook that comes with ragknn, ask it some questions, and let it vote on a label.

    The handbook is that of a made-up company that rents electric bicycles. Its index, "handbook", is kept.
    """
    with Index(DEMO_INDEX, url=url) as index:
        _say(as_json, "Index a folder: the handbook of a company that rents bicycles.")
        source = read_documents(_demo_folder())
        if others := Indexer(index).sync(source, dry_run=True).deleted:
            raise click.ClickException(
                f"expected nothing but the handbook in index {DEMO_INDEX!r}, got {others} other documents, which would "
                f"be removed: keep them in an index of another name; `ragknn drop {DEMO_INDEX}` makes room"
            )
        with progress.ingesting(source.expected()) as tell:
            report = Indexer(index).sync(source, progress=tell)
        _show_report(report, as_json)
        retriever = Retriever(index)
        for mode, explanation, question in SEARCHES:
            _say(as_json, explanation, f"ragknn search {DEMO_INDEX} {question}{_option(mode)}")
            _show(retriever.retrieve(question, K, mode=mode), index.schema, as_json)
        vote = LabelVoter(retriever).vote(TO_CLASSIFY)
        _say(as_json, "Let the nearest neighbors vote on a label.", f"ragknn classify {DEMO_INDEX} {TO_CLASSIFY}")
        if as_json:
            print_json({"text": TO_CLASSIFY, **vote.to_dict()})
        else:
            print_vote(TO_CLASSIFY, vote, False, stdout, schema=index.schema)
    if not as_json:
        _print_next_steps(url)


def _show_report(report: IngestReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
    elif report.unchanged == report.documents:
        stdout.print(f"{report.documents} documents are there already, and none has changed since.", soft_wrap=True)
    elif report.added < report.documents:  # some have changed, or could not be stored
        print_report(report, stdout)
    else:
        shown = f"{report.documents} documents, cut into {report.passages} passages, embedded and stored in Redis"
        stdout.print(f"{shown} in {report.seconds:.1f} s", soft_wrap=True)


def _demo_folder() -> Path:
    package = Path(__file__).parent.parent
    installed, checkout = package / "corpora" / "handbook", package.parent / "corpora" / "handbook"
    return installed if installed.is_dir() else checkout


def _option(mode: Mode) -> str:
    return "" if mode == "vector" else f" --mode {mode}"


def _say(as_json: bool, explanation: str, command: str = "") -> None:
    if as_json:
        return
    if command:
        stdout.print()
    stdout.print(Text(explanation, style="bold"), soft_wrap=True)
    if command:
        stdout.print(Text.assemble(("$ ", "dim"), (command, "cyan")), soft_wrap=True)


def _show(retrieval: Retrieval, schema: Schema, as_json: bool) -> None:
    if as_json:
        print_json(retrieval.to_dict())
    else:
        print_retrieval(retrieval, stdout, schema=schema, lines=EXCERPT)


def _print_next_steps(url: str | None) -> None:
    there = f" --url {shlex.quote(url)}" if url else ""
    steps = {
        f"ragknn search {DEMO_INDEX} how do I get my deposit back": "ask your own question",
        f"ragknn classify {DEMO_INDEX} the brakes squeal --explain": "see who votes for what",
        "ragknn index mine .": "index the folder that you are in",
        "ragknn search mine what is this about": "and search it",
        "ragknn --help": "everything else",
    }
    stdout.print()
    stdout.print(Text("Go on from here", style="bold"))
    shown = {step if step.endswith("help") else visible(step + there): meaning for step, meaning in steps.items()}
    width = max(map(len, shown))
    for step, meaning in shown.items():
        stdout.print(Text.assemble((step.ljust(width), "cyan"), ("  # ", "dim"), (meaning, "dim")), soft_wrap=True)
