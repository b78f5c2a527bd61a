"""Options and arguments that several commands have."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

url_option = click.option("--url", metavar="URL", help="Redis to use.  [default: RAGKNN_URL, or the embedded server]")
name_argument = click.argument("name")


def where_option(help_: str) -> Callable[[F], F]:
    """Return an option that takes a filter as JSON."""
    return click.option(
        "--where", metavar="JSON", callback=_filter, help=f'{help_} Such as \'{{"year": {{"$gte": 2020}}}}\'.'
    )


def json_object(value: str, example: str) -> dict[str, Any]:
    """Return the JSON object that an option has.

    Raises:
        BadParameter: it has something else.
    """
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"expected JSON such as {example}, got {_shortened(value)}: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object such as {example}, got {_shortened(value)}")
    return found


def _filter(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    return None if value is None else json_object(_checked_text(value), '{"label": "billing"}')


def _shortened(value: str) -> str:
    return repr(value) if len(value) <= 200 else f"{value[:200]!r}... of {len(value)} characters"


def _checked_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError(f"expected arguments in UTF-8, got {value!r}") from error
    return value


def several_texts(words: Sequence[str], path: Path | None, what: str) -> list[str]:
    """Return one text made of words, or the lines of a file or of standard input, which is named `-`.

    Raises:
        UsageError: there is none, or they come from two places.
    """
    if bool(words) == (path is not None):
        raise click.UsageError(f"expected either words or --file, got {'both' if words else 'neither'}")
    if path is None and words != ("-",):
        return [" ".join(words)]
    source = "standard input" if path is None or str(path) == "-" else str(path)
    content = sys.stdin.buffer.read() if source == "standard input" else path.read_bytes()  # type: ignore[union-attr]
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise click.UsageError(f"expected {what} in UTF-8, got other bytes in line {number} of {source}") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise click.UsageError(f"expected {what} in {source}, one a line, got none")
    return texts


def common(command: F) -> F:
    """Add the options that every command has, and refuse arguments that are no text."""

    @wraps(command)
    def checked(*args: Any, **values: Any) -> Any:
        for value in values.values():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    _checked_text(text)
        return command(*args, **values)

    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        ctx.meta["debug"] = value

    debug = click.option("--debug", is_flag=True, expose_value=False, callback=remember, help="Show tracebacks.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")
    return as_json(debug(checked))  # type: ignore[return-value]  # a function with the same arguments
