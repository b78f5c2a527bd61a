"""The commands for server and installation: server, doctor."""

from __future__ import annotations

import sys

import click

from ragknn.cli import terminal
from ragknn.cli.doctor import examine
from ragknn.cli.options import common, url_option
from ragknn.cli.program import FAILED
from ragknn.cli.screen import print_json, stdout
from ragknn.server.embedded import ServerStatus, server_status, start_to_stay, stop_server
from ragknn.settings import load_settings


@click.group()
def server() -> None:
    """Start, stop or inspect the embedded Redis."""


@server.command()
@common
def start(as_json: bool) -> None:
    """Start the embedded Redis and keep it running between commands."""
    _print_status(start_to_stay(load_settings()), as_json)


@server.command()
@click.option("--force", is_flag=True, help="Stop it even if other processes use it.")
@common
def stop(force: bool, as_json: bool) -> None:
    """Stop the embedded Redis; its data stays in the data folder."""
    stopped = stop_server(load_settings(), force=force)
    if as_json:
        print_json({"stopped": stopped})
    else:
        stdout.print("stopped" if stopped else "it was not running")


@server.command()
@common
def status(as_json: bool) -> None:
    """Print whether the embedded Redis runs, and where."""
    _print_status(server_status(load_settings()), as_json)


def _print_status(found: ServerStatus, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
    else:
        terminal.print_facts({name: value for name, value in found.to_dict().items() if value is not None}, stdout)


@click.command()
@url_option
@common
def doctor(url: str | None, as_json: bool) -> None:
    """Check everything that a first retrieval needs, and give advice."""
    healthy = True
    for check in examine(load_settings(), url):
        healthy &= check.verdict != "fail"
        if as_json:
            print_json(check)
        else:
            terminal.print_check(check, stdout)
    if not healthy:
        sys.exit(FAILED)
