"""How much one file may cost to read."""

from __future__ import annotations

from dataclasses import dataclass

from ragknn._checks import shown

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading one file may cost. A file that needs more is a failure, and the next one is read.

    A format that a foreign library parses (HTML, PDF, Office files, notebooks, reStructuredText), and JSON of more than
    8 MiB or packed, is parsed in a process of its own, which is stopped when it takes too long or too much memory. All
    other formats are read here, in time that grows with their size.

    Attributes:
        text_bytes: longest text that is taken in one piece: a text file, a line, a row of a table.
        file_bytes: largest PDF, and largest content of a packed file (.docx, .xlsx, .epub); of rows packed with gzip,
            if they are a hundred times as large unpacked.
        seconds: how long a file may be parsed in a process of its own; each page or row that comes earns it a tenth of
            a second more, up to a second for each 20 kB of the file. None: such files are parsed in this process,
            without a limit.
        memory_bytes: how much memory that process may take for it; not kept on macOS.
        failures: how many rows of a file may be unreadable before the rest of it is left.
        depth: levels of nested lists and objects in a row or in front matter.

    Raises:
        ValueError: a limit is not positive.
    """

    text_bytes: int = 32 * _MIB
    file_bytes: int = 256 * _MIB
    seconds: float | None = 6.0
    memory_bytes: int = 400 * _MIB
    failures: int = 10_000
    depth: int = 100

    def __post_init__(self) -> None:
        for name in ("text_bytes", "file_bytes", "seconds", "memory_bytes", "failures", "depth"):
            value = getattr(self, name)
            if value is None and name == "seconds":
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise ValueError(f"expected {name} as a number above 0, got {shown(value)}")
