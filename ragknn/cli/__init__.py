"""The command `ragknn`: each command is a few lines over the library.

Exit codes: 0 success; 1 failure, with the reason in one line on standard error; 2 wrong usage; 3 the index was
written, but some documents could not be read or stored; 130 interrupted; 141 the reader of the output has gone.
"""

from __future__ import annotations

import click

from ragknn.cli.demo import demo
from ragknn.cli.documents import index
from ragknn.cli.evaluation import evaluate
from ragknn.cli.indexes import delete, drop, info, list_
from ragknn.cli.labels import classify, tune
from ragknn.cli.program import Program
from ragknn.cli.search import search
from ragknn.cli.service import doctor, server
from ragknn.cli.showing import show
from ragknn.version import __version__

# In the order in which they are needed, each with what it does in a line.
COMMANDS = {
    demo: "Show what ragknn does, on a handbook that comes with it.",
    index: "Read files and folders into an index.",
    search: "Find the passages that answer a question.",
    show: "Print a document as the index has it.",
    classify: "Let the nearest neighbors vote on the label of a text.",
    tune: "Find the best k and weights for votes.",
    evaluate: "Measure how good and how quick a retrieval is.",
    info: "Print what an index is made of and how much it holds.",
    list_: "List the indexes on the server.",
    delete: "Remove documents from an index.",
    drop: "Remove an index with everything in it.",
    server: "Start, stop or look at the embedded Redis.",
    doctor: "Check what a first retrieval needs, with advice.",
}

_EXAMPLES = """\b
Examples:
  ragknn demo
  ragknn index notes ~/notes --sync
  ragknn search notes when is the rent due -k 3
  ragknn search notes invoice 4711 --mode hybrid --json
"""


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
@click.version_option(__version__, prog_name="ragknn")
def cli() -> None:
    """Search passages by meaning and by words, and let them vote on labels, in Redis.

    Without a Redis of your own (--url, or RAGKNN_URL) an embedded one is started, with its data in RAGKNN_DATA.
    `ragknn server start` keeps it running between commands, which makes them quicker.
    """


def main() -> None:
    """Run the command line."""
    cli(prog_name="ragknn")


for command, line in COMMANDS.items():
    command.short_help = line
    cli.add_command(command)
