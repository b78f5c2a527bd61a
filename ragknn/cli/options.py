"""Options and arguments that several commands have."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.types import IntParamType

from ragknn._display.pictures import SUFFIXES, figure_class
from ragknn.cli.logs import log_options

F = TypeVar("F", bound=Callable[..., Any])


class _Count(IntParamType):
    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number > MOST_PASSAGES:
            self.fail(f"expected at most {MOST_PASSAGES:,}, got {value}", param, ctx)
        return number


MOST_PASSAGES = 1_000_000  # a server by default refuses a search for more
COUNT = _Count()

url_option = click.option("--url", metavar="URL", help="Redis to use.  [default: RAGKNN_URL, or the embedded server]")
name_argument = click.argument("name")
recall_option = click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True), help="Share of the true neighbors to find, such as 0.99."
)


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
        found = json.loads(value, object_pairs_hook=_with_each_name_once)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"expected JSON such as {example}, got {_shortened(value)}: {error}") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"expected a JSON object such as {example}, got {_shortened(value)}")
    return found


def _with_each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # JSON would keep the last one in silence
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} stands there more than once")
    return found


def _filter(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    return None if value is None else json_object(_as_text(value), '{"label": "billing"}')


def _shortened(value: str) -> str:
    return repr(value) if len(value) <= 200 else f"{value[:200]!r}... of {len(value)} characters"


def _as_text(value: Any) -> Any:
    """Return an argument with the text that its bytes are in UTF-8, whatever the locale; what is no text as it is."""
    if isinstance(value, tuple):
        return tuple(map(_as_text, value))
    if not isinstance(value, str):
        return value
    try:
        value.encode()
        return value
    except UnicodeEncodeError:
        try:
            return os.fsencode(value).decode()
        except UnicodeError as error:
            raise click.UsageError(f"expected arguments in UTF-8, got {value!r}") from error


def checked_picture(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return the path of a picture to draw, if one can be drawn there."""
    if value is not None:
        _check_file(value, SUFFIXES)
        figure_class()
    return value


def checked_csv(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return the path of a table to write, if one can be written there."""
    if value is not None:
        _check_file(value, (".csv",))
    return value


def _check_file(path: Path, suffixes: Sequence[str]) -> None:
    # Checked before the long work, not after it.
    if path.suffix.lower() not in suffixes:
        raise click.BadParameter(f"expected a file ending in {' or '.join(suffixes)}, got {path.name!r}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise click.BadParameter(f"expected a file in a folder that exists, got {str(path)!r}")


def several_texts(words: Sequence[str], path: Path | None, what: str) -> list[str]:
    """Return one text made of words, or the lines of a file or of standard input, which is named `-`.

    Raises:
        UsageError: there is none, or they come from two places.
    """
    if bool(words) == (path is not None):
        raise click.UsageError(f"expected either words or --file, got {'both' if words else 'neither'}")
    if path is None and words != ("-",):
        return [" ".join(words)]
    if path is not None and str(path) != "-":
        source, content = str(path), path.read_bytes()
    elif sys.stdin is not None:
        source, content = "standard input", sys.stdin.buffer.read()
    else:
        raise click.UsageError(f"expected {what} on standard input, got it closed")
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
        return command(*args, **{name: _as_text(value) for name, value in values.items()})

    def remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        ctx.meta["debug"] = value

    debug = click.option("--debug", is_flag=True, expose_value=False, callback=remember, help="Show tracebacks.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON lines, for programs.")
    return as_json(debug(log_options(checked)))  # type: ignore[return-value]  # a function with the same arguments
