"""The commands about what is there: info, list, delete, drop."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import click

from ragknn._display.inert import visible
from ragknn.cli import terminal
from ragknn.cli.options import common, name_argument, url_option, where_option
from ragknn.cli.program import FAILED, one_line
from ragknn.cli.screen import print_json, stderr, stdout
from ragknn.errors import ManifestMissing, RagKNNError
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.indexing.listing import list_indexes


@click.command()
@name_argument
@where_option("Count only what matches.")
@url_option
@common
def info(name: str, where: dict[str, Any] | None, url: str | None, as_json: bool) -> None:
    """Print the settings and the size of the index NAME."""
    with Index(name, url=url, create=False) as opened:
        facts = opened.describe(where).to_dict()
    if as_json:
        print_json(facts)
        return
    named = ("documents", "passages", "memory_bytes", "required_filter")  # which say nothing where there are none
    terminal.print_facts({key: value for key, value in facts.items() if value is not None or key not in named}, stdout)


@click.command("list")
@url_option
@common
def list_(url: str | None, as_json: bool) -> None:
    """Print the indexes on the server."""
    found, broken = [], []
    for name in list_indexes(url):
        try:
            with Index(name, url=url, create=False) as opened:
                found.append(opened.describe())
        except (RagKNNError, ValueError) as error:  # one that cannot be opened must not hide the others
            broken.append(f"{name}: {one_line(error)}")
    if as_json:
        for described in found:
            print_json(described.to_dict())
    elif found:
        terminal.print_indexes(found, stdout)
    elif not broken:
        stdout.print("no index yet; make one with: ragknn index NAME PATH", soft_wrap=True)
    for line in broken:
        stderr.print(visible(f"error: {line}"), soft_wrap=True)
    if broken:
        sys.exit(FAILED)


@click.command()
@name_argument
@click.argument("document_ids", nargs=-1, metavar="[ID...]")
@where_option("Remove only documents that match; without an ID, all of them.")
@url_option
@common
def delete(
    name: str, document_ids: tuple[str, ...], where: dict[str, Any] | None, url: str | None, as_json: bool
) -> None:
    """Remove documents from the index NAME, by ID, --where, or both."""
    if not document_ids and where is None:
        raise click.UsageError("expected at least one ID, or --where; `ragknn drop` removes everything")
    with Index(name, url=url, create=False) as opened:
        indexer = Indexer(opened)
        removed = indexer.delete(document_ids, where=where) if document_ids else indexer.delete_where(where or {})
    if as_json:
        print_json({"deleted": removed} | ({"asked": len(document_ids)} if document_ids else {}))
    else:
        stdout.print(f"{removed} of {len(document_ids)} documents deleted" if document_ids else f"{removed} deleted")


def _described(index: Index) -> str:
    try:
        documents = index.open().describe().documents
    except ManifestMissing:
        return f"what is left of index {index.name}"
    return f"index {index.name} with {'all its' if documents is None else documents} documents"


@click.command()
@name_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@url_option
@common
def drop(name: str, yes: bool, url: str | None, as_json: bool) -> None:
    """Remove the index NAME with everything in it."""
    with closing(Index(name, url=url, create=False)) as index:
        if not yes and sys.stdin is None:
            raise click.UsageError("expected an answer on standard input, got it closed; --yes asks nothing")
        if not yes:
            click.confirm(f"remove {_described(index)}?", abort=True, err=True)
        removed = index.drop()
    if as_json:
        print_json({"dropped": name, "documents": removed})
    else:
        stdout.print(f"{name} dropped, {removed} documents")
