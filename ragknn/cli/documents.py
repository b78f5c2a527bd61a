"""The command that reads documents: index."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import click

from ragknn._protocol.schema import AUTO, Algorithm, FieldType
from ragknn._protocol.vectors import DType
from ragknn.cli import progress
from ragknn.cli.dead_letters import check_place, write_dead_letters
from ragknn.cli.embedders import chosen_embedder, embedder_option
from ragknn.cli.options import common, name_argument, url_option, where_option
from ragknn.cli.program import SOME_FAILED
from ragknn.cli.reading import reading_options
from ragknn.cli.reports import print_report
from ragknn.cli.screen import print_json, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.errors import DeletionRefused, IndexNotFound
from ragknn.files._rows import PLACE_FIELDS
from ragknn.files.reader import DocumentReader, read_documents
from ragknn.indexing._ingestion import all_new
from ragknn.indexing._policy import Progress
from ragknn.indexing._splitters import splitter_of
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.indexing.listing import list_indexes
from ragknn.records import Metric
from ragknn.reports import IngestReport
from ragknn.text.splitting import Splitter

F = TypeVar("F", bound=Callable[..., Any])


def _field(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    fields = {}
    for value in values:
        name, equals, kind = value.partition("=")
        if not equals or kind not in get_args(FieldType):
            raise click.BadParameter(f"expected NAME={'|'.join(get_args(FieldType))}, got {value!r}")
        fields[name] = kind
    return fields or None


def fields_option(help_: str) -> Callable[[F], F]:
    """Return the option that declares fields; `{types}` in its help stands for the types that there are."""
    return click.option(
        "--field",
        "fields",
        multiple=True,
        callback=_field,
        metavar="NAME=TYPE",
        help=help_.format(types=", ".join(get_args(FieldType))),
    )


def _with_place(name: str, url: str | None, fields: dict[str, FieldType] | None) -> dict[str, FieldType] | None:
    """Return the fields to declare: of a new index also where its documents come from, so that one can filter on it."""
    if name in list_indexes(url):
        return fields
    return {**dict.fromkeys(PLACE_FIELDS, "tag"), **(fields or {})}


@click.command()
@name_argument
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--sync", is_flag=True, help="Also remove documents that are no longer in PATH.")
@click.option(
    "--delete-most",
    is_flag=True,
    help="With --sync: remove also more than half of the index, without asking.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing; print what would be added, updated and deleted.")
@where_option("With --sync: do not change documents that do not match.")
@click.option("--model", metavar="NAME", help="sentence-transformers model of a new index.")
@click.option("--metric", type=click.Choice(get_args(Metric)), help="Metric of a new index.  [default: cosine]")
@click.option("--algorithm", type=click.Choice(get_args(Algorithm)), help="Algorithm of a new index.  [default: flat]")
@click.option(
    "--dtype",
    type=click.Choice([AUTO, *get_args(DType)]),
    help="Dtype of stored vectors; auto takes float16 where that changes no ranking.  [default: float32]",
)
@fields_option(
    f"Metadata field to filter on; TYPE is {{types}}. May be repeated. A new index has {', '.join(PLACE_FIELDS)} too."
)
@click.option(
    "--required-filter", metavar="NAME", help="Declared tag field, such as a tenant, that every call must filter on."
)
@click.option("--language", metavar="NAME", help="Language for --mode text and hybrid.  [default: english]")
@click.option(
    "--fold-accents/--no-fold-accents",
    default=None,
    help="Whether words are found without regard to accents.  [default: they are]",
)
@click.option("--size", type=click.IntRange(min=1), help="Longest passage.  [default: the model's limit, up to 256]")
@click.option("--overlap", type=click.IntRange(min=0), help="Overlap of adjacent passages.  [default: size / 8]")
@click.option("--unit", type=click.Choice(["tokens", "words", "characters"]), help="Of both.  [default: tokens]")
@click.option(
    "--headings/--no-headings",
    default=None,
    help="Embed passages with the headings above them, or without. This and the three before are kept with the index "
    "and need not be named again.  [default: with]",
)
@click.option(
    "--dead-letter",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what failed to this file, a JSON line each with its reason: mended, it can be indexed.",
)
@reading_options
@embedder_option
@url_option
@common
def index(
    name: str,
    paths: tuple[str, ...],
    sync: bool,
    delete_most: bool,
    dry_run: bool,
    where: dict[str, Any] | None,
    model: str | None,
    metric: Metric | None,
    algorithm: Algorithm | None,
    dtype: DType | Literal["auto"] | None,
    fields: dict[str, FieldType] | None,
    required_filter: str | None,
    language: str | None,
    fold_accents: bool | None,
    size: int | None,
    overlap: int | None,
    unit: Any,
    headings: bool | None,
    dead_letter: Path | None,
    reading: dict[str, Any],
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Read PATH, a file or a folder, or several of them, into the index NAME.

    Reads .txt .md .html .pdf .csv .tsv .json .jsonl .epub, source code, and with the extra `files` .docx .xlsx .ipynb
    .rst; each may be packed (.gz). PATH - is standard input. A document that is already in the index is replaced,
    unless it has not changed. With several paths, the name of each folder goes before the ids of its documents.
    """
    if dead_letter is not None:
        check_place(dead_letter, paths)
    source = read_documents(paths[0] if len(paths) == 1 else paths, **reading)
    named = {"size": size, "overlap": overlap, "unit": unit, "headings": headings}
    named = {setting: value for setting, value in named.items() if value is not None}
    Splitter(**named)  # refuses bad settings before anything is opened
    embedder = chosen_embedder(embedder, model)
    options: dict[str, Any] = {
        "metric": metric,
        "algorithm": algorithm,
        "dtype": dtype,
        "fields": _with_place(name, url, fields),
        "required_filter": required_filter,
        "language": language,
        "fold_accents": fold_accents,
    }
    try:
        with Index(name, url=url, embedder=embedder, create=not dry_run, **options) as opened:
            indexer = Indexer(opened, replace(splitter_of(opened.schema), **named) if named else None)
            write = partial(indexer.sync, where=where, delete_most=delete_most) if sync else indexer.add
            try:
                report = ingest(partial(write, dry_run=dry_run), source, as_json)
            except DeletionRefused as refused:
                if not (sys.stdin is not None and sys.stdin.isatty()):
                    raise
                click.confirm(f"remove {refused.report.kept} of {refused.before} documents?", abort=True, err=True)
                report = ingest(partial(indexer.sync, where=where, delete_most=True), source, as_json)
            if not dry_run:
                opened.wait_until_searchable()
    except IndexNotFound:
        if not dry_run:
            raise
        report = ingest(_all_new, source, as_json)
    if dead_letter is not None:
        write_dead_letters(dead_letter, report, source)
    if report.failed or (report.verification is not None and report.verification.ok is False):
        sys.exit(SOME_FAILED)


def ingest(write: Callable[..., IngestReport], source: DocumentReader, as_json: bool) -> IngestReport:
    """Write the documents, showing the progress, and print the report."""
    with progress.ingesting(source.expected()) as tell:
        report = write(source, progress=tell)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report, stdout)
    return report


def _all_new(source: DocumentReader, progress: Progress) -> IngestReport:
    """Return what a dry run of an index that is not there yet would report."""
    return all_new(source.outcomes())
