"""The command that looks whether all that is stored is whole: check."""

from __future__ import annotations

import sys

import click

from ragknn.cli import progress
from ragknn.cli.options import common, name_argument, url_option
from ragknn.cli.program import FAILED
from ragknn.cli.screen import print_json, stdout
from ragknn.indexing.index import Index


@click.command()
@name_argument
@click.option("--repair", is_flag=True, help="Mend what can be; list what must be indexed again.")
@url_option
@common
def check(name: str, repair: bool, url: str | None, as_json: bool) -> None:
    """Look whether every document of the index NAME is stored whole, and found by searches.

    The exit code is 0 where all is well or was mended, and 1 where something is not.
    """
    with Index(name, url=url, create=False) as opened, progress.counting("checking", "passages") as told:
        report = opened.check(repair=repair, progress=told)
    if as_json:
        print_json(report.to_dict())
    else:
        stdout.print(str(report), soft_wrap=True)
    if not report.is_sound:
        sys.exit(FAILED)
