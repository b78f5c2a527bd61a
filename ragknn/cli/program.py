"""The program around the commands: what goes wrong becomes a line on standard error and an exit code."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, NoReturn

import click
from click.exceptions import Abort, Exit
from rich.text import Text

from ragknn._logs import COMMAND, SEARCHING, WRITING
from ragknn._secrets import mask_password
from ragknn.cli.screen import open_streams, outliving, stderr
from ragknn.errors import EmbeddingError, IndexNotFound, RagKNNError, ServerStartError

LONGEST_LINE = 2000  # characters; a message may repeat what somebody passed

FAILED, WRONG_USAGE, SOME_FAILED = 1, 2, 3
INTERRUPTED, READER_GONE = 130, 141  # as a shell tells of a program that SIGINT or SIGPIPE ended


class Program(click.Group):
    """A group of commands, of which each error is one line, or with --debug a traceback.

    Args:
        late: for each command, by its name, what it does in a line, and where it is, as `resolve_name` takes it. It is
            imported when it is first asked for.
        extra: as for `click.Group`.
    """

    def __init__(self, *args: Any, late: Mapping[str, tuple[str, str]], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._late = late

    def main(  # type: ignore[override]  # it never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and exit."""
        open_streams()
        logging.getLogger("ragknn").addHandler(_LINES)
        code = 0
        try:
            with outliving(sys.stdout):
                code = super().main(args, prog_name, **{**extra, "standalone_mode": False}) or 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else FAILED
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            _say(_without_passwords(shown.getvalue().rstrip(), sys.argv[1:] if args is None else args))
            code = error.exit_code
        except Abort as error:
            _say("aborted")
            code = INTERRUPTED if isinstance(error.__context__, KeyboardInterrupt) else FAILED  # at a question
        except BrokenPipeError:
            code = code or READER_GONE
        except OSError as error:  # of standard output
            if not code:
                _say(f"error: {one_line(error)}")
            code = code or FAILED
        sys.exit(code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in their order."""
        return list(self._late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name; None where there is none."""
        if cmd_name in self._late and cmd_name not in self.commands:
            self.add_command(resolve_name(self._late[cmd_name][1]), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does in a line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (line, _) in self._late.items()])

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:  # of the help
            raise Exit(READER_GONE) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, Exit, Abort):
            raise
        except KeyboardInterrupt:
            _say("interrupted")
            raise Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise Exit(READER_GONE) from None
        except Exception as error:
            COMMAND.error("%s", one_line(error), exc_info=COMMAND.isEnabledFor(logging.DEBUG))
            _say(traceback.format_exc().rstrip() if ctx.meta.get("debug") else f"error: {one_line(error)}")
            is_usage = isinstance(error, ValueError | TypeError | OverflowError) and not isinstance(error, RagKNNError)
            raise Exit(WRONG_USAGE if is_usage else FAILED) from error


def one_line(error: Exception) -> str:
    """Return what an error says, shortened; of one that nobody has foreseen, how to see where it comes from."""
    line = _message(error)
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def _message(error: Exception) -> str:
    match error:
        case ServerStartError():
            return str(error)  # ends with lines of the server's log
        case OSError(strerror=str(reason), filename=str() | bytes() as path):
            return f"{click.format_filename(path)}: {reason}"
        case OSError(strerror=str(reason)):
            return reason
        case EmbeddingError() if "to be passed" in str(error):
            hint = "" if "--embedder" in str(error) else "; in the command: --embedder MODULE:OBJECT"
            return f"{error}{hint}"
        case IndexNotFound(others=names) if names:
            return f"{error} (it has {', '.join(names)})"
        case RagKNNError() | ValueError() | TypeError() | OverflowError() | OSError():
            return " ".join(str(error).split("\n"))
        case _:
            message = " ".join(f"{type(error).__name__}: {error}".split("\n"))
            return f"unexpected {message}; --debug shows where it comes from"


def _without_passwords(text: str, args: Sequence[str]) -> str:
    """Return what is said of arguments without the passwords of URLs among them."""
    for arg in args:
        if "://" in arg or "@" in arg:
            text = text.replace(arg, mask_password(arg))
    return text


def _say(text: str) -> None:
    try:
        stderr.print(text, soft_wrap=True)
    except OSError:
        return  # nobody hears it; the exit code tells


class _Lines(logging.Handler):
    """Shows warnings of the library as other messages are shown."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what the commands print themselves."""
        return record.name not in (COMMAND.name, WRITING.name, SEARCHING.name) and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        stderr.print(Text(f"warning: {record.getMessage()}", style="yellow"), soft_wrap=True)


_LINES = _Lines(logging.WARNING)
