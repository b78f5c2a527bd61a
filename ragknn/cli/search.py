"""The command that finds passages: search."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
from rich.text import Text

from ragknn._display.inert import visible
from ragknn.cli import terminal
from ragknn.cli.embedders import embedder_option
from ragknn.cli.options import COUNT, common, name_argument, recall_option, several_texts, url_option, where_option
from ragknn.cli.results import LINES, print_retrieval
from ragknn.cli.screen import print_json, stderr, stdout
from ragknn.embedding.protocols import Embedder
from ragknn.indexing.index import Index
from ragknn.retrieval.context import build_context
from ragknn.retrieval.options import Mode, Options
from ragknn.retrieval.reranking import CrossEncoderReranker
from ragknn.retrieval.retriever import Retriever
from ragknn.settings import load_settings


@click.command()
@name_argument
@click.argument("words", nargs=-1, metavar="QUERY...")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Search for each line of a file.")
@click.option("-k", type=COUNT, default=5, show_default=True, help="Number of passages.")
@where_option("Search only passages that match.")
@click.option(
    "--mode", type=click.Choice(get_args(Mode)), default="vector", show_default=True, help="By meaning, words, or both."
)
@click.option("--max-distance", type=float, help="Leave out passages that are further away.")
@click.option("--per-document", type=COUNT, help="Maximum passages of each document.")
@click.option("--diversity", type=float, default=0.0, help="How much passages should differ; 0 to 1.")
@click.option("--rerank", metavar="MODEL", help="Cross-encoder that reorders the candidates.")
@click.option("--candidates", type=COUNT, help="Number of passages to fuse, rerank or diversify.")
@click.option("--ef-runtime", type=COUNT, help="hnsw only: candidates that a search keeps.")
@recall_option
@click.option("--whole", is_flag=True, help="Print all of each passage; in a pipe this is so without it.")
@click.option("--context", type=int, metavar="TOKENS", help="Print prompt context of at most this many tokens.")
@embedder_option
@url_option
@common
def search(
    name: str,
    words: tuple[str, ...],
    path: Path | None,
    k: int,
    rerank: str | None,
    whole: bool,
    context: int | None,
    embedder: Embedder | None,
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the k passages of index NAME that answer QUERY best.

    Words need no quotes: all of them are one query. Several queries come from a file, or from standard input if QUERY
    is `-`, one a line.
    """
    queries = several_texts(words, path, "queries")
    chosen: Options = {**options}  # type: ignore[typeddict-item]  # their types are those of click's options
    if rerank is not None:
        chosen["rerank"] = CrossEncoderReranker(rerank, device=load_settings().device)
    with Index(name, url=url, embedder=embedder, create=False) as opened:
        for retrieval in Retriever(opened).retrieve_many(queries, k, **chosen):
            if context is not None:
                built = build_context(retrieval, opened, budget=context)
                if as_json:
                    print_json({"query": retrieval.query, **built.to_dict()})
                else:
                    stdout.print(Text(visible(built.text)), soft_wrap=True)
            elif as_json:
                print_json(retrieval.to_dict())
            else:
                print_retrieval(
                    retrieval,
                    stdout,
                    schema=opened.schema,
                    lines=None if whole else LINES,
                    with_query=len(queries) > 1,
                )
            if not as_json:
                terminal.print_warnings(retrieval.warnings, stderr)
