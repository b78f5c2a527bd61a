"""The paths of the files that indexes are moved through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ragknn._checks import check_unicode, described, shown
from ragknn.errors import ReadError


def checked_path(path: object) -> Path:
    """Return a path.

    Raises:
        TypeError: it is none.
        ValueError: no file can have it.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected a path as a str or a Path, got {described(path)}")
    text = os.fspath(path)
    check_unicode(text, "the path")
    if not text or "\0" in text:
        raise ValueError(f"expected the path of a file, got {shown(text)}")
    return Path(text)


def checked_target(path: object) -> Path:
    """Return the path of a file that can be written.

    Raises:
        TypeError: it is no path.
        ValueError: it is that of a folder, in a folder that is not there, or of no file.
    """
    file = checked_path(path)
    try:
        got = "a folder" if file.is_dir() else "" if file.parent.is_dir() else "a folder that is not there"
        os.lstat(file)  # which tells a name that is too long from one that is not there yet
    except FileNotFoundError:
        pass
    except OSError as error:
        got = error.strerror or str(error)
    if got:
        raise ValueError(f"expected the path of a file in a folder that is there, got {got}: {shown(str(file))}")
    return file


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it.

    Raises:
        ReadError: it cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ReadError(
            f"{shown(str(path))}: expected a Parquet file, got none that can be read: {error.strerror}"
        ) from error
    with file:
        yield file
