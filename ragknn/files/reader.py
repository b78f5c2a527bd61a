"""Read documents from files and folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from ragknn.errors import ReadError
from ragknn.files._formats import PARSERS, Fields, Unreadable
from ragknn.records import Document, Failure


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """The documents of a file or folder, read from the disk at each iteration. See `read_documents`.

    Iterating raises a `ReadError` at the first file or row that cannot be read; `outcomes()` continues after it.
    """

    path: Path
    fields: Fields

    def paths(self) -> list[Path]:
        """Return the files to read, in order."""
        return [path for _, path in self._files() if isinstance(path, Path)]

    def __iter__(self) -> Iterator[Document]:
        for outcome in self.outcomes():
            if isinstance(outcome, Failure):
                raise ReadError(str(outcome))
            yield outcome

    def outcomes(self) -> Iterator[Document | Failure]:
        """Iterate over the documents, with a `Failure` for each one that cannot be read."""
        for name, path in self._files():
            if isinstance(path, OSError):
                yield Failure(name, f"expected a readable folder, got {path.strerror}; check its permissions")
            else:
                yield from _read_file(path, name, self.fields)

    def _files(self) -> list[tuple[str, Path | OSError]]:
        return _walk(self.path) if self.path.is_dir() else [(_name(self.path.name), self.path)]


def read_documents(
    path: str | Path, *, text_field: str | None = None, id_field: str | None = None, label_field: str | None = None
) -> DocumentReader:
    """Read the documents of a file, or of all files in a folder and its subfolders.

    The suffix gives the format: .txt, .md, .markdown, .html, .htm and .pdf files are one document each; .jsonl,
    .ndjson, .csv and .tsv files have one document a row, and are read row by row; .json files hold a list of objects,
    an object with one list in it, or one object. Text is UTF-8, or UTF-16 with a byte order mark.

    In a folder, files with other suffixes are skipped, and so are hidden files and folders (".git"). A folder with
    both `queries.jsonl` and a folder `qrels` is an evaluation set in BEIR's layout: these two and its README describe
    the set and are not documents.

    - id: the field `id` or `_id`. If there is none: the file's path relative to the given folder (or the name of the
      given file), with `#` and the line, or the position in a .json list, if the file has several documents.
    - text: the first field present of `text`, `content` and `body`. A `title` (a field, <title>, or a property of a
      PDF) goes before it, with a blank line, unless the text already begins with it.
    - label: the field `label` or `target`: a string, number or boolean, with its type in the file. In .csv and .tsv
      each value is a string, even if it looks like a number.
    - metadata: the entries of an object `metadata`, and all other fields, including the title; a .pdf has `pages`.

    A Markdown file may begin with these fields as YAML front matter; dates become ISO strings. A null field and an
    empty cell count as missing.

    Args:
        path: the file or folder.
        text_field: field with the text of a row, instead of the usual ones. Each row must have it.
        id_field: field with the id, likewise.
        label_field: field with the label, instead of the usual ones; a row may lack it.

    Returns:
        A `DocumentSource` that can be iterated repeatedly. Files are read only during iteration.

    Raises:
        ReadError: the path does not exist, or has no file with one of these suffixes.
    """
    reader = DocumentReader(Path(path), Fields(text_field, id_field, label_field))
    suffixes = " ".join(PARSERS)
    if reader.path.is_dir():
        if not reader.paths():
            raise ReadError(f"{path}: expected files ending in one of {suffixes}, got none in this folder; add one")
    elif not reader.path.exists():
        raise ReadError(f"{path}: expected a file or folder, got nothing there; check the path")
    elif reader.path.suffix.lower() not in PARSERS:
        raise ReadError(f"{path}: expected a file ending in one of {suffixes}, got {reader.path.suffix!r}; convert it")
    return reader


def _walk(root: Path) -> list[tuple[str, Path | OSError]]:
    """Find the files below a folder that can be parsed, and the errors of folders, sorted by name."""
    found: list[tuple[str, Path | OSError]] = []
    seen = set()

    def refused(error: OSError) -> None:
        found.append((_name(Path(error.filename).relative_to(root).as_posix()), error))

    for folder, folders, files in os.walk(root, onerror=refused, followlinks=True):
        here = Path(folder)
        if here.resolve() in seen:  # a symbolic link back, or a second path to this folder
            folders.clear()
            continue
        seen.add(here.resolve())
        if "queries.jsonl" in files and "qrels" in folders:
            folders.remove("qrels")
            files = [file for file in files if file != "queries.jsonl" and Path(file).stem.lower() != "readme"]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            path = here / file
            if path.suffix.lower() in PARSERS and not file.startswith("."):
                found.append((_name(path.relative_to(root).as_posix()), path))
    return sorted(found, key=lambda entry: entry[0])


def _name(path: str) -> str:
    # File systems write an accented letter as one code point, or as a letter and an accent.
    # Bytes that are not UTF-8, which Python keeps as surrogates, are escaped: an id must be writable as UTF-8.
    return unicodedata.normalize("NFC", path).encode("utf-8", "backslashreplace").decode()


def _read_file(path: Path, name: str, fields: Fields) -> Iterator[Document | Failure]:
    from ragknn.files._rows import to_document  # late: pydantic takes longer to import than the rest of ragknn

    suffix = path.suffix.lower()
    only_id = name if suffix in (".txt", ".html", ".htm", ".pdf") else None
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise ReadError("expected a regular file, got a device, pipe or socket; remove it")
        if status.st_size == 0:
            raise ReadError("expected text, but the file is empty; fill or remove it")
        for row in PARSERS[suffix](path, fields):
            if isinstance(row, Unreadable):
                yield Failure(name + row.place, row.reason)
            else:
                yield to_document(row, name, fields)
    except ReadError as error:
        yield Failure(name, str(error), only_id)
    except OSError as error:
        yield Failure(name, f"expected a readable file, got {error.strerror}; check it and its permissions", only_id)
    except UnicodeError as error:
        yield Failure(name, f"expected UTF-16 after its byte order mark, got {error}; convert it to UTF-8", only_id)
