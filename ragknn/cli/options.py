"""Shared by all commands: options, the two consoles, and the display of errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

from ragknn.errors import RagKNNError

SOME_FAILED = 3  # exit code: the index was written, but not all documents were read and stored

stdout = Console()
stderr = Console(stderr=True)

F = TypeVar("F", bound=Callable[..., Any])

url_option = click.option("--url", metavar="URL", help="Redis to use.  [default: RAGKNN_URL, or the embedded server]")
name_argument = click.argument("name")


def where_option(help_: str) -> Callable[[F], F]:
    """Return an option that takes a filter as JSON."""
    return click.option(
        "--where", metavar="JSON", callback=_filter, help=f'{help_} Such as \'{{"year": {{"$gte": 2020}}}}\'.'
    )


def _filter(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        where = json.loads(value)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f'expected JSON such as {{"label": "billing"}}, got {value!r}: {error}') from error
    if not isinstance(where, dict):
        raise click.BadParameter(f'expected a JSON object such as {{"label": "billing"}}, got {value!r}')
    return where


class Group(click.Group):
    """Shows an error of ragknn as one line, or with --debug as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (RagKNNError, ValueError, TimeoutError) as error:
            if ctx.meta.get("debug"):
                raise
            click.echo(f"error: {error}", err=True)
            # A ValueError is a wrong argument.
            ctx.exit(1 if isinstance(error, RagKNNError | TimeoutError) else 2)


def common(command: F) -> F:
    """Add the options that every command has."""

    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        ctx.meta["debug"] = value

    debug = click.option("--debug", is_flag=True, expose_value=False, callback=remember, help="Show tracebacks.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")
    return as_json(debug(command))
