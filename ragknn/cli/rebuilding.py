"""The command that changes what an index is made of: rebuild."""

from __future__ import annotations

from typing import Any, get_args

import click

from ragknn._protocol.schema import Algorithm
from ragknn.cli import progress
from ragknn.cli.options import common, name_argument, recall_option, url_option
from ragknn.cli.screen import print_json, stdout
from ragknn.indexing.index import Index
from ragknn.records import Metric


@click.command()
@name_argument
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="flat is exact, hnsw quicker for many.")
@click.option("--m", type=int, help="hnsw: edges of a node.")
@click.option("--ef-construction", type=int, help="hnsw: candidates looked at while a node is added.")
@click.option("--metric", type=click.Choice(get_args(Metric)), help="How near is measured.")
@click.option("--no-text-search", is_flag=True, help="Index the words no more, for less memory.")
@click.option("--no-any-field", is_flag=True, help="Index declared fields only, for less memory.")
@recall_option
@click.option("--dry-run", is_flag=True, help="Print what would be changed, and change nothing.")
@url_option
@common
def rebuild(
    name: str,
    algorithm: Algorithm | None,
    m: int | None,
    ef_construction: int | None,
    metric: Metric | None,
    no_text_search: bool,
    no_any_field: bool,
    recall: float | None,
    dry_run: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Change what the index NAME is made of while it serves; nothing is embedded."""
    changes: dict[str, Any] = {"algorithm": algorithm, "m": m, "ef_construction": ef_construction, "metric": metric}
    changes["text_search"] = False if no_text_search else None
    changes["any_field"] = False if no_any_field else None
    if recall is not None:
        changes["recall"] = recall
    with Index(name, url=url, create=False) as opened, progress.counting("building", "passages") as told:
        report = opened.rebuild(**changes, progress=told, dry_run=dry_run)
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
