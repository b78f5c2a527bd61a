"""The command that reads documents: index."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from ragknn._protocol.schema import Algorithm, FieldType
from ragknn._protocol.vectors import DType
from ragknn.cli import terminal
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import common, name_argument, url_option, where_option
from ragknn.cli.program import SOME_FAILED
from ragknn.cli.screen import print_json, stderr, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.records import DocumentSource, IngestReport, Metric
from ragknn.text.splitting import Splitter


def _field(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    fields = {}
    for value in values:
        name, equals, kind = value.partition("=")
        if not equals or kind not in get_args(FieldType):
            raise click.BadParameter(f"expected NAME={'|'.join(get_args(FieldType))}, got {value!r}")
        fields[name] = kind
    return fields or None


@click.command()
@name_argument
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sync", is_flag=True, help="Also remove documents that are no longer in PATH.")
@where_option("With --sync: do not change documents that do not match.")
@click.option("--model", metavar="NAME", help="sentence-transformers model of a new index.")
@click.option("--metric", type=click.Choice(get_args(Metric)), help="Metric of a new index.  [default: cosine]")
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="Algorithm of a new index.  [default: flat]")
@click.option("--dtype", type=click.Choice(get_args(DType)), help="Dtype of stored vectors.  [default: float32]")
@click.option(
    "--field",
    "fields",
    multiple=True,
    callback=_field,
    metavar="NAME=TYPE",
    help=f"Metadata field to filter on; TYPE is {', '.join(get_args(FieldType))}. May be repeated.",
)
@click.option(
    "--required-filter", metavar="NAME", help="Declared tag field, such as a tenant, that every call must filter on."
)
@click.option("--language", metavar="NAME", help="Language for --mode text and hybrid.  [default: english]")
@click.option("--size", type=click.IntRange(min=1), help="Longest passage.  [default: the model's limit, up to 256]")
@click.option("--overlap", type=click.IntRange(min=0), help="Overlap of adjacent passages.  [default: size / 8]")
@click.option(
    "--unit", type=click.Choice(["tokens", "words", "characters"]), default="tokens", show_default=True, help="Of both."
)
@click.option("--text-field", metavar="NAME", help="Field with the text, in JSON and CSV.  [default: text]")
@click.option("--id-field", metavar="NAME", help="Field with the id.  [default: id or _id]")
@click.option("--label-field", metavar="NAME", help="Field with the label.  [default: label]")
@embedder_option
@url_option
@common
def index(
    name: str,
    path: Path,
    sync: bool,
    where: dict[str, Any] | None,
    model: str | None,
    metric: Metric | None,
    algorithm: Algorithm | None,
    dtype: DType | None,
    fields: dict[str, FieldType] | None,
    required_filter: str | None,
    language: str | None,
    size: int | None,
    overlap: int | None,
    unit: Any,
    text_field: str | None,
    id_field: str | None,
    label_field: str | None,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Read PATH, a file or a folder, into the index NAME.

    Reads .txt .md .jsonl .json .csv .tsv .html .pdf. A document that is already in the index is replaced, unless
    it has not changed.
    """
    source = read_documents(path, text_field=text_field, id_field=id_field, label_field=label_field)
    splitter = Splitter(size, overlap, unit)
    embedder = chosen_embedder(embedder, model)
    options: dict[str, Any] = {
        "metric": metric,
        "algorithm": algorithm,
        "dtype": dtype,
        "fields": fields,
        "required_filter": required_filter,
        "language": language,
    }
    with Index(name, url=url, embedder=embedder, **options) as opened:
        indexer = Indexer(opened, splitter)
        write = partial(indexer.sync, where=where) if sync else indexer.add
        report = ingest(write, source, as_json)
        opened.wait_until_searchable()
    if report.failed:
        sys.exit(SOME_FAILED)


def ingest(write: Callable[..., IngestReport], source: DocumentSource, as_json: bool) -> IngestReport:
    """Write the documents, with a bar of progress in a terminal, and print the report."""
    # Reading twice is cheap compared with embedding, and the remaining time needs the number of documents.
    total = sum(1 for _ in source.outcomes()) if stderr.is_terminal else None
    with terminal.progress_bar(total, stderr) as progress:
        report = write(source, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        terminal.print_report(report, stdout)
    return report
