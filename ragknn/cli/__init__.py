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


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ragknn")
def cli() -> None:
    """Search passages by meaning, in Redis.

    Without your own Redis (--url, or RAGKNN_URL) an embedded server is started, with its data in RAGKNN_DATA.
    `ragknn server start` keeps it running between commands.
    """


def main() -> None:
    """Run the command line."""
    cli(prog_name="ragknn")


for command in (demo, index, search, show, classify, tune, evaluate, info, list_, delete, drop, server, doctor):
    cli.add_command(command)
