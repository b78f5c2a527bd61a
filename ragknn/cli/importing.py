"""The commands that move an index in and out: import, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from ragknn._protocol.schema import Algorithm
from ragknn._protocol.vectors import DType
from ragknn.cli import progress
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import common, name_argument, url_option, where_option
from ragknn.cli.program import SOME_FAILED
from ragknn.cli.screen import print_json, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.indexing.index import Index
from ragknn.transfer.importer import import_index
from ragknn.transfer.layout import Layout
from ragknn.transfer.parquet import export_parquet, import_parquet


@click.command("import")
@name_argument
@click.option(
    "--from",
    "source",
    required=True,
    metavar="INDEX|FILE",
    help="Search index, as FT._LIST shows it; or a .parquet file.",
)
@click.option("--from-url", metavar="URL", help="Redis that it is in.  [default: the same]")
@click.option("--vector", metavar="FIELD", help="Field with the vectors, where it is not recognized.")
@click.option("--text", metavar="FIELD", help="Field with the texts; with --vector.")
@click.option("--id", "id_", metavar="FIELD", help="Field with the ids; with --vector.  [default: the keys]")
@click.option("--document", metavar="FIELD", help="Field with the id of the document of a passage; with --vector.")
@click.option("--label", metavar="FIELD", help="Field that becomes the label; with --vector.")
@click.option("--metadata", metavar="FIELD", help="Field with all metadata as JSON; with --vector.")
@click.option("--model", metavar="NAME", help="Model that made the vectors, so that questions can be asked as texts.")
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="Of a file: in place of that in it.")
@click.option("--dtype", type=click.Choice(get_args(DType)), help="Of a file: of the stored vectors, likewise.")
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
    algorithm: Algorithm | None,
    dtype: DType | None,
    dry_run: bool,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Make the index NAME of a file of `export`, or of what redisvl, langchain-redis, llama-index or others made.

    Texts, vectors and metadata are copied, and nothing is embedded; what is read stays as it is.
    """
    places: dict[str, Any] = {"text": text, "id": id_, "document": document, "label": label, "metadata": metadata}
    of_index = {"from-url": from_url, "vector": vector, **places}
    of_file = {"algorithm": algorithm, "dtype": dtype}
    is_file = source.endswith(".parquet")
    if named := [option for option, value in (of_index if is_file else of_file).items() if value]:
        kind = "a file" if is_file else "a search index; change it afterwards with `ragknn rebuild`"
        raise click.UsageError(f"expected no --{named[0]} with {kind}")
    if vector is None and (named := [option for option, value in places.items() if value]):
        raise click.UsageError(f"expected --vector with --{named[0]}: then nothing is guessed")
    with progress.ingesting(None) as told:
        options: dict[str, Any] = {"url": url, "embedder": chosen_embedder(embedder, model)}
        options |= {"dry_run": dry_run, "progress": told}
        if is_file:
            report = import_parquet(source, name, algorithm=algorithm, dtype=dtype, **options)
        else:
            layout = None if vector is None else Layout(vector, **places)
            report = import_index(source, name, from_url=from_url, layout=layout, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
    if report.written is not None and report.written.failed:
        sys.exit(SOME_FAILED)


@click.command()
@name_argument
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.parquet")
@where_option("Only documents that match.")
@url_option
@common
def export(name: str, file: Path, where: dict[str, Any] | None, url: str | None, as_json: bool) -> None:
    """Write the index NAME to a Parquet file: passages, vectors, labels, metadata, and what it is made of.

    `ragknn import OTHER --from FILE.parquet` makes the same index of it, on any server.
    """
    with Index(name, url=url, create=False) as opened, progress.counting("writing", "documents") as told:
        report = export_parquet(opened, file, where=where, progress=told)
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
    if report.damaged:
        sys.exit(SOME_FAILED)
