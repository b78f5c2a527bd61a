"""Options that say how files are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

import click

from ragknn.files._formats import BY_NAME
from ragknn.files.limits import Limits

F = TypeVar("F", bound=Callable[..., Any])


def _limits(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Limits:
    names = [field.name for field in fields(Limits)]
    given: dict[str, float] = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            given[name] = float(number) if name == "seconds" else int(number)
        except ValueError:
            name = ""
        if name not in names:
            raise click.BadParameter(f"expected NAME=NUMBER with one of {', '.join(names)}, got {value!r}")
    try:
        return Limits(**given)  # type: ignore[arg-type]  # each is checked there
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS = (
    click.option("--text-field", metavar="NAME", help="Field with the text, in JSON and tables.  [default: text]"),
    click.option("--id-field", metavar="NAME", help="Field with the id.  [default: id or _id]"),
    click.option("--label-field", metavar="NAME", help="Field with the label.  [default: label]"),
    click.option("--prefix", default="", metavar="TEXT", help="Goes before ids made of paths, such as manual/."),
    click.option("--include", multiple=True, metavar="PATTERN", help="Read only files that match, such as '*.md'."),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Pass over what matches, such as drafts/."),
    click.option("--gitignore", is_flag=True, help="Pass over what .gitignore files name."),
    click.option("--follow-links", is_flag=True, help="Follow symbolic links out of a folder."),
    click.option(
        "--as",
        "format",
        type=click.Choice(list(BY_NAME)),
        help="text: read files of no known format as text. Else: the format of all files, and of standard input.",
    ),
    click.option("--as-text", multiple=True, metavar="PATTERN", help="Read all files that match as text."),
    click.option("--encoding", metavar="NAME", help="Encoding, such as cp1252.  [default: as declared, UTF-8]"),
    click.option("--delimiter", metavar="CHARACTER", help="Delimiter of tables.  [default: found in the header]"),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        callback=_limits,
        metavar="NAME=NUMBER",
        help=f"What a file may cost: {', '.join(field.name for field in fields(Limits))}. May be repeated.",
    ),
)


def reading_options(command: F) -> F:
    """Add the options of `read_documents`, which the command gets as `reading`."""
    names = [
        *("text_field", "id_field", "label_field", "prefix", "include", "exclude", "gitignore", "follow_links"),
        *("format", "as_text", "encoding", "delimiter", "limits"),
    ]

    @wraps(command)
    def collected(*args: Any, **values: Any) -> Any:
        reading = {name: values.pop(name) for name in names}
        if reading["format"] == "text" and not reading["as_text"]:
            reading.update(format=None, as_text=True)
        return command(*args, reading=reading, **values)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]  # a function of other arguments
