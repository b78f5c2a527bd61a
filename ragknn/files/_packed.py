"""Files that are ZIP archives: opened only if what is in them is not too large."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._rows import Reading


@contextmanager
def archive(file: File, reading: Reading) -> Iterator[tuple[zipfile.ZipFile, BinaryIO]]:
    """Open an archive, and the stream that it is read from.

    Raises:
        ReadError: it is no archive, or too large when unpacked.
    """
    limit = reading.limits.file_bytes
    with file.seekable(limit, "file_bytes") as stream:
        try:
            opened = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, ValueError) as error:
            suffix = file.path.suffix.lower()
            raise ReadError(f"expected a {suffix} file, got {error}; save it again as {suffix}") from error
        # What is read of a member never exceeds the size that stands in the archive's directory.
        if (size := sum(member.file_size for member in opened.infolist())) > limit:
            advice = "split the file, or raise file_bytes of Limits"
            raise ReadError(f"expected at most {limit} bytes when unpacked, got {size}; {advice}")
        with opened:
            yield opened, stream
