"""The command `ragknn`: each command is a few lines over the library.

Exit codes: 0 success; 1 failure, with the reason in one line on standard error; 2 wrong usage; 3 the index was
written, but some documents could not be read or stored; 130 interrupted; 141 the reader of the output has gone.
"""

from __future__ import annotations

import click

from ragknn.cli.program import Program
from ragknn.version import __version__

# In the order in which they are needed: what each does in a line, and where it is. A command is imported when it is
# run, so that none waits for what only others need.
COMMANDS = {
    "demo": ("Show what ragknn does, on a handbook that comes with it.", "ragknn.cli.demo:demo"),
    "index": ("Read files and folders into an index.", "ragknn.cli.documents:index"),
    "search": ("Find the passages that answer a question.", "ragknn.cli.search:search"),
    "show": ("Print a document as the index has it.", "ragknn.cli.showing:show"),
    "classify": ("Let the nearest neighbors vote on the label of a text.", "ragknn.cli.labels:classify"),
    "tune": ("Find the best k and weights for votes.", "ragknn.cli.labels:tune"),
    "evaluate": ("Measure how good and how quick a retrieval is.", "ragknn.cli.evaluation:evaluate"),
    "info": ("Print what an index is made of and how much it holds.", "ragknn.cli.indexes:info"),
    "list": ("List the indexes on the server.", "ragknn.cli.indexes:list_"),
    "delete": ("Remove documents from an index.", "ragknn.cli.indexes:delete"),
    "drop": ("Remove an index with everything in it.", "ragknn.cli.indexes:drop"),
    "rebuild": ("Change what an index is made of while it serves.", "ragknn.cli.rebuilding:rebuild"),
    "reembed": ("Move an index to another model or splitter while it serves.", "ragknn.cli.rebuilding:reembed"),
    "check": ("Look at every document of an index, and mend what can be.", "ragknn.cli.checking:check"),
    "export": ("Write an index to a Parquet file.", "ragknn.cli.importing:export"),
    "import": ("Make an index of such a file, or of another library's index.", "ragknn.cli.importing:import_"),
    "acl": ("Print the rights that a user of Redis needs.", "ragknn.cli.rights:acl"),
    "mcp": ("Let assistants and editors search an index.", "ragknn.cli.serving:mcp"),
    "server": ("Start, stop or look at the embedded Redis.", "ragknn.cli.service:server"),
    "doctor": ("Check what a first retrieval needs, with advice.", "ragknn.cli.service:doctor"),
}

_EXAMPLES = """\b
Examples:
  ragknn demo
  ragknn index notes ~/notes --sync
  ragknn search notes when is the rent due -k 3
  ragknn search notes invoice 4711 --mode hybrid --json
"""


@click.group(cls=Program, late=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
@click.version_option(__version__, prog_name="ragknn")
def cli() -> None:
    """Search passages by meaning and by words, and let them vote on labels, in Redis.

    Without a Redis of your own (--url, or RAGKNN_URL) an embedded one is started, with its data in RAGKNN_DATA.
    `ragknn server start` keeps it running between commands, which makes them quicker.
    """


def main() -> None:
    """Run the command line."""
    cli(prog_name="ragknn")
