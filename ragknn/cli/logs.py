"""The options that write a log file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

LEVELS = ("debug", "info", "warning", "error")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Lines(logging.Formatter):
    """One line for each record, whatever its message holds, but for a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name of logging
        """Return the line."""
        from ragknn._display.inert import visible  # late: nobody else needs it for a help text

        return visible(super().formatMessage(record)).replace("\n", " ")


def _remember(ctx: click.Context, parameter: click.Parameter, level: str) -> None:
    ctx.meta["log_level"] = level


def _open(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise click.BadParameter(f"expected a file that can be written, got {str(path)!r}: {error.strerror}") from error
    handler.setFormatter(_Lines(_FORMAT, "%Y-%m-%dT%H:%M:%S%z"))
    logger = logging.getLogger("ragknn")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(ctx.meta["log_level"].upper())

    def close() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()

    ctx.find_root().call_on_close(close)


def log_options(command: F) -> F:
    """Add the options of a log file, which need nothing of the command itself."""
    level = click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="What --log writes.  [default: info]",
    )
    log = click.option(
        "--log",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_open,
        help="Append what happens to this file.",
    )
    return log(level(command))
