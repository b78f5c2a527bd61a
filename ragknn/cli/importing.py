"""The command that makes an index of another library's: import."""

from __future__ import annotations

import sys
from typing import Any

import click

from ragknn.cli import progress
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import common, name_argument, url_option
from ragknn.cli.program import SOME_FAILED
from ragknn.cli.screen import print_json, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.importing.importer import import_index
from ragknn.importing.layout import Layout


@click.command("import")
@name_argument
@click.option("--from", "source", required=True, metavar="INDEX", help="Search index to read, as FT._LIST shows it.")
@click.option("--from-url", metavar="URL", help="Redis that it is in.  [default: the same]")
@click.option("--vector", metavar="FIELD", help="Field with the vectors, where it is not recognized.")
@click.option("--text", metavar="FIELD", help="Field with the texts; with --vector.")
@click.option("--id", "id_", metavar="FIELD", help="Field with the ids; with --vector.  [default: the keys]")
@click.option("--document", metavar="FIELD", help="Field with the id of the document of a passage; with --vector.")
@click.option("--label", metavar="FIELD", help="Field that becomes the label; with --vector.")
@click.option("--metadata", metavar="FIELD", help="Field with all metadata as JSON; with --vector.")
@click.option("--model", metavar="NAME", help="Model that made the vectors, so that questions can be asked as texts.")
@click.option("--dry-run", is_flag=True, help="Write nothing; print what is read, and what would not be as it was.")
@embedder_option
@url_option
@common
def import_(
    name: str,
    source: str,
    from_url: str | None,
    vector: str | None,
    text: str | None,
    id_: str | None,
    document: str | None,
    label: str | None,
    metadata: str | None,
    model: str | None,
    dry_run: bool,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Make the index NAME of one that redisvl, langchain-redis, llama-index or your own code has made in Redis.

    Texts, vectors and metadata are copied, and nothing is embedded; the other index stays as it is.
    """
    places: dict[str, Any] = {"text": text, "id": id_, "document": document, "label": label, "metadata": metadata}
    if vector is None and any(places.values()):
        named = next(option for option, value in places.items() if value)
        raise click.UsageError(f"expected --vector with --{named}: then nothing is guessed")
    layout = None if vector is None else Layout(vector, **places)
    with progress.ingesting(None) as told:
        report = import_index(
            source,
            name,
            url=url,
            from_url=from_url,
            layout=layout,
            embedder=chosen_embedder(embedder, model),
            dry_run=dry_run,
            progress=told,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
    if report.written is not None and report.written.failed:
        sys.exit(SOME_FAILED)
