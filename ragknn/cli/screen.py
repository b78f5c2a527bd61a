"""Standard output and standard error: whatever the command writes passes through here.

Texts, ids, paths, labels and messages come from data, and may hold what a terminal would obey: escape sequences, other
control characters, marks that turn the direction of writing. None of it leaves this module; in its place stands a
character that can be seen. Nothing in a text is taken for markup of rich.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from ragknn._display.inert import UNSEEN, visible

_ESCAPED = {code: f"\\u{code:04x}" for code in (0x7F, *UNSEEN)}  # the same in JSON, where C0 is escaped already

# What our own words hold beyond ASCII, for terminals that have nothing else.
_IN_ASCII = {"…": "...", "–": "-", "·": "-", "•": "*", "→": "->", "›": ">", "│": "|", "─": "-", "“": '"', "”": '"'}

_FEWEST, _ENDLESS = 20, 100_000  # columns: of what can be read at all, and of a pipe


class _Cleaned:
    """What is shown, without what a terminal would obey."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            clean = segment.text if segment.control else visible(segment.text)
            yield Segment(clean, segment.style, segment.control)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown)


class _Cleaning(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Cleaned(shown) for shown in renderables]


def _columns() -> int | None:
    columns = os.environ.get("COLUMNS", "")
    return max(_FEWEST, int(columns)) if columns.isdecimal() and int(columns) else None


class Screen(Console):
    """A console of rich that shows data as data."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        self.push_render_hook(_Cleaning())

    @property
    def is_narrow(self) -> bool:
        """Whether lines end somewhere: in a terminal, or where COLUMNS says so. In a pipe they do not."""
        return self.is_terminal or _columns() is not None

    @property  # type: ignore[misc]  # nobody sets it here
    def size(self) -> ConsoleDimensions:
        """Columns and lines; so many columns in a pipe that nothing is broken there."""
        found = super().size
        return ConsoleDimensions(_columns() or (found.width if self.is_terminal else _ENDLESS), found.height)

    @property  # type: ignore[misc]
    def width(self) -> int:
        """Columns."""
        return self.size.width

    def on_broken_pipe(self) -> None:
        """Let the caller know, where rich would end the program."""
        raise BrokenPipeError


stdout, stderr = Screen(), Screen(stderr=True)


def print_json(value: Any) -> None:
    """Print a record, or plain values, as one line of JSON to standard output."""
    from ragknn._plain import plain  # late, because NumPy takes longer to import than the help to print

    in_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    line = json.dumps(plain(value), ensure_ascii=not in_unicode, allow_nan=False)
    print(line.translate(_ESCAPED))


# ---- the streams -----------------------------------------------------------------------------------------------


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_IN_ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


codecs.register_error("ragknn.shown", _replacement)


def open_streams() -> None:
    """Let standard output and error write what their encoding lacks as something else; closed ones, nowhere."""
    sys.stdout, sys.stderr = map(_open_stream, (sys.stdout, sys.stderr))


def _open_stream(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed before Python began
        return Path(os.devnull).open("w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="ragknn.shown")
    return stream


@contextmanager
def outliving(stream: TextIO) -> Iterator[None]:
    """Write out what a stream holds; where that fails, let nothing fail again when Python does it at its end."""
    try:
        try:
            yield
        finally:
            stream.flush()
    except OSError:
        with suppress(OSError, ValueError):  # a stream of a test has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise
