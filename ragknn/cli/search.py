"""The command that finds passages: search."""

from __future__ import annotations

import sys
from typing import Any, get_args

import click

from ragknn.cli import terminal
from ragknn.cli.options import common, name_argument, stderr, stdout, url_option, where_option
from ragknn.indexing.index import Index
from ragknn.retrieval.context import build_context
from ragknn.retrieval.options import Mode, Options
from ragknn.retrieval.reranking import CrossEncoderReranker
from ragknn.retrieval.retriever import Retriever
from ragknn.settings import load_settings


@click.command()
@name_argument
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...")
@click.option("-k", default=5, show_default=True, help="Number of passages.")
@where_option("Search only passages that match.")
@click.option(
    "--mode", type=click.Choice(get_args(Mode)), default="vector", show_default=True, help="By meaning, words, or both."
)
@click.option("--max-distance", type=float, help="Leave out passages that are further away.")
@click.option("--per-document", type=int, help="Maximum passages of each document.")
@click.option("--diversity", type=float, default=0.0, help="How much passages should differ; 0 to 1.")
@click.option("--rerank", metavar="MODEL", help="Cross-encoder that reorders the candidates.")
@click.option("--candidates", type=int, help="Number of passages to fuse, rerank or diversify.")
@click.option("--ef-runtime", type=int, help="hnsw only: candidates that a search keeps.")
@click.option("--context", type=int, metavar="TOKENS", help="Print prompt context of at most this many tokens.")
@url_option
@common
def search(
    name: str,
    queries: tuple[str, ...],
    k: int,
    rerank: str | None,
    context: int | None,
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the k passages of index NAME that answer each QUERY best; `-` reads queries from standard input."""
    if queries == ("-",):
        queries = tuple(line.strip() for line in sys.stdin if line.strip())
    chosen: Options = {**options}  # type: ignore[typeddict-item]  # their types are those of click's options
    if rerank is not None:
        chosen["rerank"] = CrossEncoderReranker(rerank, device=load_settings().device)
    with Index(name, url=url, create=False) as opened:
        for retrieval in Retriever(opened).retrieve_many(queries, k, **chosen):
            if context is not None:
                built = build_context(retrieval, opened, budget=context)
                if as_json:
                    terminal.print_json({"query": retrieval.query, **built.to_dict()})
                else:
                    stdout.print(built.text, markup=False, highlight=False, soft_wrap=True)
            elif as_json:
                terminal.print_json(retrieval.to_dict())
            else:
                terminal.print_retrieval(retrieval, stdout)
            if not as_json:
                terminal.print_warnings(retrieval.warnings, stderr)
