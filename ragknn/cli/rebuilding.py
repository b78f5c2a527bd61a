"""The commands that change what an index is made of: rebuild and reembed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, get_args

import click

from ragknn._protocol.schema import AUTO, Algorithm
from ragknn._protocol.vectors import DType
from ragknn.cli import progress
from ragknn.cli.documents import fields_option
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import common, name_argument, recall_option, url_option
from ragknn.cli.screen import print_json, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.indexing._splitters import splitter_of
from ragknn.indexing.index import Index
from ragknn.records import Metric
from ragknn.reports import RebuildReport
from ragknn.text.splitting import Splitter

F = TypeVar("F", bound=Callable[..., Any])

_GRAPH = (
    click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="flat is exact, hnsw quicker for many."),
    click.option("--m", type=int, help="hnsw: edges of a node."),
    click.option("--ef-construction", type=int, help="hnsw: candidates looked at while a node is added."),
    click.option("--metric", type=click.Choice(get_args(Metric)), help="How near is measured."),
    click.option("--dtype", type=click.Choice([AUTO, *get_args(DType)]), help="Dtype of the stored vectors."),
)
_ENDING = (
    recall_option,
    click.option("--dry-run", is_flag=True, help="Print what would be changed, and change nothing."),
    click.option("--abandon", is_flag=True, help="Remove what an earlier call that was interrupted has made."),
    url_option,
    common,
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def added(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return added


@click.command()
@name_argument
@_with(*_GRAPH)
@fields_option("A field to filter on, of all that there are to be; TYPE is {types}. May be repeated.")
@click.option("--no-fields", is_flag=True, help="Declare no fields any more.")
@click.option("--required-filter", metavar="NAME", help="Declared tag field that every call must filter on.")
@click.option("--language", metavar="NAME", help="Language by whose rules words are found.")
@click.option("--fold-accents/--no-fold-accents", default=None, help="Whether words are found without their accents.")
@click.option("--text-search/--no-text-search", default=None, help="Whether words are indexed; less memory without.")
@click.option("--any-field/--no-any-field", default=None, help="Whether fields that are not declared are indexed too.")
@_with(*_ENDING)
def rebuild(
    name: str,
    recall: float | None,
    dry_run: bool,
    abandon: bool,
    url: str | None,
    as_json: bool,
    no_fields: bool,
    **changes: Any,
) -> None:
    """Change what the index NAME is made of while it serves; nothing is embedded."""
    if no_fields:
        if changes["fields"] is not None:
            raise click.UsageError("expected either --field or --no-fields, got both")
        changes["fields"] = {}
    with Index(name, url=url, create=False) as opened:
        if abandon:
            _abandon(opened, as_json, changes)
            return
        with progress.counting("building", "done") as told:
            report = opened.rebuild(**changes, **_options(recall), progress=told, dry_run=dry_run)
    _show(report, as_json)


@click.command()
@name_argument
@click.option("--model", metavar="NAME", help="sentence-transformers model to move to.")
@embedder_option
@click.option("--size", type=click.IntRange(min=1), help="Longest passage.")
@click.option("--overlap", type=click.IntRange(min=0), help="Overlap of adjacent passages.")
@click.option("--unit", type=click.Choice(["tokens", "words", "characters"]), help="Of both.")
@click.option("--headings/--no-headings", default=None, help="Embed passages with the headings above them, or without.")
@_with(*_GRAPH)
@_with(*_ENDING)
def reembed(
    name: str,
    model: str | None,
    embedder: Embedder | None,
    size: int | None,
    overlap: int | None,
    unit: Any,
    headings: bool | None,
    recall: float | None,
    dry_run: bool,
    abandon: bool,
    url: str | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Move the index NAME to another model or another way of cutting while it serves.

    Documents are cut and embedded anew from what is stored of them. What is not named stays as it is. If it is
    interrupted, the index serves as it was, and the same command goes on.
    """
    named = {"size": size, "overlap": overlap, "unit": unit, "headings": headings}
    named = {setting: value for setting, value in named.items() if value is not None}
    Splitter(**named)  # refuses bad settings before anything is opened
    chosen = None if abandon else chosen_embedder(embedder, model)
    with Index(name, url=url, create=False) as opened:
        if abandon:
            _abandon(opened, as_json, {**changes, **named, "model": model, "embedder": embedder})
            return
        splitter = replace(splitter_of(opened.schema), **named) if named else None
        with progress.counting("embedding", "documents") as told:
            report = opened.reembed(chosen, splitter, **changes, **_options(recall), progress=told, dry_run=dry_run)
    _show(report, as_json)


def _options(recall: float | None) -> dict[str, Any]:
    return {} if recall is None else {"recall": recall}


def _abandon(opened: Index, as_json: bool, changes: dict[str, Any]) -> None:
    if named := [option for option, value in changes.items() if value is not None]:
        raise click.UsageError(f"expected --abandon alone, got it with a change of {', '.join(named)}")
    was_there = opened.abandon_rebuild()
    if as_json:
        print_json({"name": opened.name, "abandoned": was_there})
    else:
        stdout.print(f"{opened.name}: {'abandoned what was begun' if was_there else 'nothing was begun'}")


def _show(report: RebuildReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
