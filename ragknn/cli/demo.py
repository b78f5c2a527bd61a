"""The command that shows what the others do: demo."""

from __future__ import annotations

from pathlib import Path

import click

from ragknn._protocol.replies import dotted
from ragknn.cli import terminal
from ragknn.cli.documents import ingest
from ragknn.cli.options import common, stdout, url_option
from ragknn.files.reader import read_documents
from ragknn.indexing.index import Index
from ragknn.indexing.indexer import Indexer
from ragknn.retrieval.retriever import Retriever

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
        ingest(Indexer(index).sync, read_documents(folder), as_json)
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
