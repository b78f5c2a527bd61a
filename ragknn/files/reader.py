"""Read documents from files and folders."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath

from ragknn._checks import check_choice, check_several, check_type, described, shown
from ragknn._display.inert import visible
from ragknn._logs import READING
from ragknn.errors import ReadError
from ragknn.files._formats import BY_NAME, BY_SUFFIX
from ragknn.files._isolation import Worker, parsed
from ragknn.files._options import checked_delimiter, checked_encoding, checked_patterns
from ragknn.files._outcomes import documents_among
from ragknn.files._rows import PLACE_FIELDS, Fields, Reading, Remark, Row, Step, Unreadable
from ragknn.files._selection import Barred, Choice, Chosen, Root, Selection, check_regular, name_of, suffix_of
from ragknn.files._stdin import STDIN, Spooled
from ragknn.files.limits import Limits
from ragknn.records import Document
from ragknn.reports import Failure, Note


@dataclass(frozen=True, slots=True)
class DocumentReader:
    """The documents of files and folders, read from the disk at each iteration. See `read_documents`.

    Iterating raises a `ReadError` at the first file or row that cannot be read; `outcomes()` continues after it.
    """

    _roots: tuple[Root, ...]
    _selection: Selection
    _reading: Reading
    _spooled: Spooled | None = field(default=None, repr=False)

    def paths(self) -> list[Path]:
        """Return the files to read, in order."""
        return [choice.file.path for choice in self._choices() if isinstance(choice, Chosen)]

    def notes(self) -> list[Note]:
        """Return what is passed over, and why."""
        return [choice for choice in self._choices() if isinstance(choice, Note)]

    def expected(self) -> int | None:
        """Return how many documents there will be, if that can be told without reading the files."""
        chosen = [choice for choice in self._choices() if isinstance(choice, Chosen)]
        return None if any(choice.format.of_rows for choice in chosen) else len(chosen)

    def __iter__(self) -> Iterator[Document]:
        return documents_among(self.outcomes())

    def outcomes(self) -> Iterator[Document | Failure | Note]:
        """Iterate over the documents, with a `Failure` for each one that cannot be read.

        A `Note` tells what was passed over, what was empty, which pages are missing, and what was assumed.
        """
        with Worker() as worker:
            for choice in self._choices():
                match choice:
                    case Note():
                        yield choice
                    case Barred(name, reason):
                        yield Failure(name, reason)
                    case Chosen():
                        yield from _read_file(choice, self._reading, worker)

    def _choices(self) -> Iterator[Choice]:
        for root in self._roots:
            if root.is_folder:
                yield from self._selection.walk(root.path, root.name)
            else:
                yield self._selection.single(root.path, root.name)


def read_documents(
    path: str | Path | Iterable[str | Path],
    *,
    text_field: str | None = None,
    id_field: str | None = None,
    label_field: str | None = None,
    prefix: str = "",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    gitignore: bool = False,
    follow_links: bool = False,
    as_text: bool | str | Sequence[str] = False,
    format: str | None = None,  # noqa: A002  # the word that users look for
    encoding: str | None = None,
    delimiter: str | None = None,
    limits: Limits | None = None,
) -> DocumentReader:
    """Read the documents of files, and of all files in folders and their subfolders.

    The suffix gives the format. One document each: .txt .md .html .pdf .docx .epub .ipynb .rst, and as plain text
    source code (.py .js .java ...), settings (.toml .yaml ...) and other markup (.adoc .org .tex). One document a
    row: .csv .tsv .xlsx .jsonl .json. A .json file holds a list of objects, an object around one, objects by their
    ids, or one object. A workbook's sheet without a text column is one document. Each may be packed: .csv.gz.
    .docx .xlsx .ipynb .rst need the extra `files`.

    In a folder, files of no known format are passed over, and so are hidden files and folders (".git"), and symbolic
    links out of the folder. `outcomes()` has a `Note` for each of these, and so has the report of an indexer. A folder
    with both `queries.jsonl` (or `queries.tsv`) and a folder `qrels` is an evaluation set in BEIR's layout: these and
    its README describe the set and are not documents.

    - id: the field `id` or `_id`. If there is none: the file's path relative to the given folder (or the name of the
      given file), with `#` and the line, or the position in a .json list, if the file has several documents.
    - text: the first field present of `text`, `content` and `body`. A `title` (a field, <title>, or a property of a
      PDF) goes before it, with a blank line, unless the text already begins with it.
    - label: the field `label` or `target`: a string, number or boolean, with its type in the file. In .csv and .tsv
      each value is a string, even if it looks like a number.
    - metadata: the entries of an object `metadata`, and all other fields, including the title; `pages` of a PDF; and
      `path`, `folder` and `suffix` of the file, to filter on, unless the row has fields of these names.

    A Markdown file may begin with these fields as front matter in YAML (---) or TOML (+++). Of YAML, a number that
    would not be written back as it stands (010, 1.10), a date, a time, yes and no are text. A null field and an empty
    cell count as missing.

    A file without any text, or a row whose text is empty or null, is no document and no failure: a `Note` tells it,
    and `sync` removes what the index has of it.

    Args:
        path: the file or folder, or several of them; "-" is standard input. With several, the name of each folder
            goes before the ids of its documents, so that equal paths in two folders are two documents.
        text_field: field with the text of a row, instead of the usual ones. Each row must have it.
        id_field: field with the id, likewise.
        label_field: field with the label, instead of the usual ones; a row may lack it.
        prefix: goes before each id that comes from a path, and before `path`; such as "manual/" for files that share
            an index with others.
        include: patterns as in .gitignore; in folders, only files that match one are read.
        exclude: patterns as in .gitignore; in folders, what matches one is passed over.
        gitignore: whether what the .gitignore files in a folder name is passed over.
        follow_links: whether symbolic links that lead out of a folder are followed.
        as_text: True: files of no known format are read as text. Patterns: all files that match one are.
        format: the format of all files whatever their suffix, and of standard input: "text", "markdown", "html",
            "csv", "tsv", "json", "jsonl", "pdf", "docx", "xlsx", "epub", "ipynb" or "rst".
        encoding: of text without a byte order mark, such as "cp1252". None: what a page declares, or UTF-8; a table
            or page that is not UTF-8 is taken for windows-1252, and a `Note` says so.
        delimiter: of .csv and .tsv files: one character. None: found in the header.
        limits: what one file may cost to read.

    Returns:
        A `DocumentSource` that can be iterated repeatedly. Files are read only during iteration; standard
        input is read at once, and kept in a temporary file.

    Raises:
        ReadError: a path does not exist, or has no file that can be read.
        MissingDependency: a file was named whose format needs a package that is not installed.
        ValueError: an invalid option, or two paths of the same name.
        TypeError: an option of another type.
    """
    check_type("prefix", prefix, str)
    selection = Selection(
        checked_patterns("include", include),
        checked_patterns("exclude", exclude),
        gitignore,
        follow_links,
        as_text if isinstance(as_text, bool) else checked_patterns("as_text", as_text),
        format,
    )
    if format is not None:
        check_choice("format", format, BY_NAME)
    reading = Reading(
        Fields(text_field, id_field, label_field),
        checked_encoding(encoding),
        checked_delimiter(delimiter),
        Limits() if limits is None else limits,
    )
    paths = [path] if isinstance(path, str | os.PathLike) else check_several("path", path, '["a.md", "b.md"]')
    for one in paths:
        if not isinstance(one, str | os.PathLike):
            raise TypeError(f"expected path as a str or Path, or several of them, got {described(one)}")
    spooled = Spooled(format or ("text" if as_text is True else None)) if STDIN in map(str, paths) else None
    reader = DocumentReader(_roots(paths, prefix, spooled), selection, reading, spooled)
    _check(reader)
    return reader


_LONGEST_NAME = 1_000  # characters of a path that messages show


def _roots(paths: Sequence[str | Path], prefix: str, spooled: Spooled | None) -> tuple[Root, ...]:
    """Return what was named, each under a name of its own.

    Raises:
        ReadError: a path does not exist, or there is none.
        ValueError: two have the same name.
    """
    if not paths:
        raise ReadError("expected a file or folder, got no path; name one")
    roots: dict[str, Root] = {}
    for given in paths:
        if spooled is not None and str(given) == STDIN:
            path, name, is_folder = spooled.path, spooled.path.name, False
        else:
            path = Path(given)
            if given == "":  # an empty variable on a command line; it would be the current folder
                raise ReadError("expected a file or folder, got an empty path; name one, or '.' for the current folder")
            if not _is_there(path):
                named = str(path) if len(str(path)) < _LONGEST_NAME else shown(str(path))
                raise ReadError(f"{named}: expected a file or folder, got nothing there; check the path")
            name = prefix + name_of(path.name if path.name not in ("", "..") else path.resolve().name)
            if is_folder := path.is_dir():
                name = f"{name}/" if len(paths) > 1 else prefix
        if name in roots:
            raise ValueError(
                f"expected paths of different names, got {str(roots[name].path)!r} and {str(path)!r}: their documents "
                "would share ids; read them one by one, each with a prefix"
            )
        roots[name] = Root(path, name, is_folder)
    return tuple(roots.values())


def _is_there(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, or that no file can have
        return path.exists() or path.is_symlink()
    return False


def _check(reader: DocumentReader) -> None:
    choices = list(reader._choices())
    if any(not isinstance(choice, Note) for choice in choices):
        return
    path = ", ".join(str(root.path) for root in reader._roots)
    suffixes = " ".join(suffix for suffix, one in BY_SUFFIX.items() if one.name != "text")
    passed = [f"{note.source} ({note.reason})" for note in choices[:3] if isinstance(note, Note)]
    more = f" and {len(choices) - 3} more" * (len(choices) > 3)
    got = f"only what is passed over: {', '.join(passed)}{more}" if passed else "an empty folder"
    raise ReadError(f"{path}: expected files ending in one of .txt {suffixes}, got {got}; add one")


def _read_file(chosen: Chosen, reading: Reading, worker: Worker) -> Iterator[Document | Failure | Note]:
    from ragknn.files._documents import to_document  # late: pydantic takes longer to import than the rest of ragknn

    name, kind = chosen.file.name, chosen.format
    # The id of its only document, where no field can give another one.
    only_id = None if kind.of_rows or kind.name == "markdown" else name
    parts = (name, str(PurePosixPath(name).parent), suffix_of(name))
    place = dict(zip(PLACE_FIELDS, parts, strict=True))
    READING.debug("reading %s as %s", visible(name), kind.name)
    try:
        if (size := check_regular(chosen.file.path)) == 0:
            yield Note("empty", name, "the file is empty", only_id or name)
            return
        failures = 0
        isolated = kind.is_isolated(size, chosen.file.packed)
        rows = (worker.parse if isolated else parsed)(kind.parse, chosen.file, reading)
        for row in rows:
            match row:
                case Unreadable(reason, at):
                    failures += 1
                    yield Failure(name + at, reason)
                case Remark(note_kind, reason):
                    yield Note(note_kind, name, reason, only_id)
                case Row():
                    if row.body is not None and not row.body.strip() and not row.place:
                        document_id = only_id or str(row.values.get("id") or name)
                        yield Note("empty", name, "there is no text in it", document_id)
                    else:
                        document = to_document(row, name, place, reading.fields)
                        failures += isinstance(document, Failure)
                        yield document
                case Step():
                    pass
            if failures > reading.limits.failures:
                raise ReadError(
                    f"expected at most {reading.limits.failures} rows that cannot be read, got more; the rest of the "
                    "file was left: correct it, or raise failures of Limits"
                )
    except ReadError as error:
        yield Note("passed over", name, str(error)) if chosen.guessed else Failure(name, str(error), only_id)
    except (BadGzipFile, EOFError, zlib.error) as error:
        yield Failure(name, f"expected a file packed with gzip, got {error}; pack it again", only_id)
    except OSError as error:
        yield Failure(name, f"expected a readable file, got {error.strerror}; check it and its permissions", only_id)
