"""The commands about documents: demo, index, info, list, delete, drop."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from ragknn._protocol.replies import dotted
from ragknn._protocol.schema import Algorithm, FieldType
from ragknn._protocol.vectors import DType
from ragknn.cli import terminal
from ragknn.cli.options import SOME_FAILED, common, name_argument, stderr, stdout, url_option, where_option
from ragknn.embedding._naming import default_embedder
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index, list_indexes
from ragknn.indexing.indexer import Indexer
from ragknn.records import DocumentSource, IngestReport, Metric
from ragknn.retrieval.retriever import Retriever
from ragknn.settings import load_settings
from ragknn.text.splitting import Splitter

DEMO_INDEX = "handbook"
DEMO_QUESTIONS = (
    "How do I reset my password?",
    "my card was charged twice for the same month",
    "the battery gets me only half as far in the cold",
    "can my employer see where I ride?",
)


@click.command()
@url_option
@common
def demo(url: str | None, as_json: bool) -> None:
    """Index the handbook that comes with ragknn, and ask some questions about it."""
    folder = _demo_folder()
    with Index(DEMO_INDEX, url=url) as index:
        if not as_json:
            stdout.print(f"Redis {dotted(index.server.version)} with search {dotted(index.server.search or ())}")
            stdout.print(f"reading {folder}", highlight=False, soft_wrap=True)
        _ingest(Indexer(index).sync, read_documents(folder), as_json)
        for retrieval in Retriever(index).retrieve_many(DEMO_QUESTIONS, k=3):
            if as_json:
                terminal.print_json(retrieval.to_dict())
            else:
                terminal.print_retrieval(retrieval, stdout)
    if not as_json:
        stdout.print(f'ask your own: ragknn search {DEMO_INDEX} "QUESTION"', highlight=False)


def _demo_folder() -> Path:
    package = Path(__file__).parent.parent
    installed, checkout = package / "corpora" / "handbook", package.parent / "corpora" / "handbook"
    return installed if installed.is_dir() else checkout


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
    url: str | None,
    as_json: bool,
) -> None:
    """Read PATH, a file or a folder, into the index NAME.

    Reads .txt .md .jsonl .json .csv .tsv .html .pdf. A document that is already in the index is replaced, unless
    it has not changed.
    """
    source = read_documents(path, text_field=text_field, id_field=id_field, label_field=label_field)
    splitter = Splitter(size, overlap, unit)
    embedder = default_embedder(model, load_settings().device) if model else None
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
        report = _ingest(write, source, as_json)
        opened.wait_until_searchable()
    if report.failed:
        sys.exit(SOME_FAILED)


def _ingest(write: Callable[..., IngestReport], source: DocumentSource, as_json: bool) -> IngestReport:
    # Reading twice is cheap compared with embedding, and the remaining time needs the number of documents.
    total = sum(1 for _ in source.outcomes()) if stderr.is_terminal else None
    with terminal.progress_bar(total, stderr) as progress:
        report = write(source, progress=progress)
    if as_json:
        terminal.print_json(report.to_dict())
    else:
        terminal.print_report(report, stdout)
    return report


@click.command()
@name_argument
@url_option
@common
def info(name: str, url: str | None, as_json: bool) -> None:
    """Print the settings and the size of the index NAME."""
    with Index(name, url=url, create=False) as opened:
        facts = opened.describe().to_dict()
    if as_json:
        terminal.print_json(facts)
    else:
        terminal.print_facts(facts, stdout)


@click.command("list")
@url_option
@common
def list_(url: str | None, as_json: bool) -> None:
    """Print the indexes on the server."""
    found = []
    for name in list_indexes(url):
        with Index(name, url=url, create=False) as opened:
            found.append(opened.describe())
    if as_json:
        for described in found:
            terminal.print_json(described.to_dict())
    elif found:
        terminal.print_indexes(found, stdout)
    else:
        stdout.print("no index yet; make one with: ragknn index NAME PATH")


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
        terminal.print_json({"deleted": removed} | ({"asked": len(document_ids)} if document_ids else {}))
    else:
        stdout.print(f"{removed} of {len(document_ids)} documents deleted" if document_ids else f"{removed} deleted")


@click.command()
@name_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@url_option
@common
def drop(name: str, yes: bool, url: str | None, as_json: bool) -> None:
    """Remove the index NAME with everything in it."""
    with Index(name, url=url, create=False) as opened:
        if not yes:
            click.confirm(f"remove index {name} with {opened.describe().documents} documents?", abort=True, err=True)
        removed = opened.drop()
    if as_json:
        terminal.print_json({"dropped": name, "documents": removed})
    else:
        stdout.print(f"{name} dropped, {removed} documents", highlight=False)
