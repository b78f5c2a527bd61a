"""The command that reads back what an index has: show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from ragknn._display.inert import visible
from ragknn.cli import terminal
from ragknn.cli.options import common, name_argument, url_option, where_option
from ragknn.cli.results import blocks_of, print_blocks, print_place, shown_label
from ragknn.cli.screen import print_json, stdout
from ragknn.indexing.index import Index
from ragknn.records import Document, Passage


@click.command()
@name_argument
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--passages", "with_passages", is_flag=True, help="Print where each passage begins and ends.")
@where_option("Only documents that match.")
@url_option
@common
def show(
    name: str, ids: tuple[str, ...], with_passages: bool, where: dict[str, Any] | None, url: str | None, as_json: bool
) -> None:
    """Print what index NAME has of each ID, the id of a document or of a passage: its text, label and metadata."""
    missing: list[str] = []
    with Index(name, url=url, create=False) as opened:
        for number, one in enumerate(ids):
            if number > len(missing) and not as_json:
                stdout.print()
            for document in opened.documents([one], where=where):
                passages = _passages_of(opened, one, where) if with_passages else None
                _show_document(document, passages, as_json)
                break
            else:
                for passage in opened.passages([one], where=where):
                    _show_passage(passage, as_json)
                    break
                else:
                    missing.append(one)
    if missing:
        raise click.ClickException(
            f"expected a document or a passage of that id in index {name!r}, got none for "
            f"{', '.join(map(repr, missing))}: `ragknn search {name} QUERY` shows the ids of what it finds"
        )


def _passages_of(index: Index, document_id: str, where: dict[str, Any] | None) -> list[Passage]:
    this = {"document_id": document_id}
    return list(index.passages(where={"$and": [this, where]} if where else this))


def _show_document(document: Document, passages: Sequence[Passage] | None, as_json: bool) -> None:
    if as_json:
        listed = {} if passages is None else {"passages": [passage.to_dict() for passage in passages]}
        print_json({**document.to_dict(), **listed})
        return
    stdout.print(Text(visible(document.id), style="bold cyan"), soft_wrap=True)
    facts: dict[str, Any] = {} if document.label is None else {"label": shown_label(document.label)}
    facts |= document.metadata
    if facts:
        terminal.print_facts(facts, stdout)
    stdout.print()
    if passages is None:
        print_blocks(blocks_of(document.text, document.id), stdout, spaced=True)
        return
    for passage in passages:
        _show_passage(passage, as_json)
        stdout.print()


def _show_passage(passage: Passage, as_json: bool) -> None:
    if as_json:
        print_json(passage.to_dict())
        return
    print_place(Text(), passage.id, passage, stdout)
    print_blocks(blocks_of(passage.text, passage.document_id), stdout, spaced=True)
