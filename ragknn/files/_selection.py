"""Which files of a folder are read, and which are passed over and why."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TYPE_CHECKING

from ragknn.errors import ReadError
from ragknn.files._bytes import File
from ragknn.files._formats import BY_NAME, BY_SUFFIX, Format
from ragknn.reports import Note

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GZIP = ".gz"
_IGNORE_FILE = ".gitignore"
_MOST_IGNORED = 65_536  # bytes; such a file has some hundred
_QUERIES = ("queries.jsonl", "queries.tsv")  # of an evaluation set, as `ragknn.evaluation.read_questions` reads them


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is read, and how; `guessed` if nothing says that it is text."""

    file: File
    format: Format
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Barred:
    """Something that cannot be read, though nothing says to pass it over."""

    name: str
    reason: str


Choice = Chosen | Note | Barred


@dataclass(frozen=True, slots=True)
class Root:
    """A path that was named: a file and its name, or a folder and what goes before the names in it."""

    path: Path
    name: str
    is_folder: bool


@dataclass(frozen=True)
class Selection:
    """Which files are read, and as what.

    Attributes:
        include: patterns as in .gitignore; only files that match one are read. Empty: all.
        exclude: patterns as in .gitignore; files and folders that match one are not read.
        gitignore: whether what the .gitignore files in a folder name is not read.
        follow_links: whether symbolic links that lead out of the folder are followed.
        as_text: whether files of no known format are read as text; or patterns: what matches one is.
        format: the format of all files, whatever their suffix.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    follow_links: bool = False
    as_text: bool | tuple[str, ...] = False
    format: str | None = None

    @cached_property
    def _include(self) -> GitIgnoreSpec:
        return _patterns(self.include)

    @cached_property
    def _exclude(self) -> GitIgnoreSpec:
        return _patterns(self.exclude)

    @cached_property
    def _text(self) -> GitIgnoreSpec:
        return _patterns(() if isinstance(self.as_text, bool) else self.as_text)

    def format_of(self, path: str) -> Format | None:
        """Return the format of a file; None if nothing says which."""
        if not isinstance(self.as_text, bool) and self._text.match_file(path):
            return BY_NAME["text"]
        if self.format is not None:
            return BY_NAME[self.format]
        return BY_SUFFIX.get(suffix_of(path)) or (BY_NAME["text"] if self.as_text is True else None)

    def guesses(self, path: str) -> bool:
        """Whether a file is read as text only because nothing else is known of it."""
        return self.as_text is True and self.format is None and suffix_of(path) not in BY_SUFFIX

    def single(self, path: Path, name: str) -> Choice:
        """Return a file that was named itself: no pattern passes it over.

        Raises:
            ReadError: it has no known format.
            MissingDependency: what reads this format is not installed.
        """
        found = self.format_of(path.name)
        if found is None:
            suffixes = " ".join(suffix for suffix in BY_SUFFIX if BY_SUFFIX[suffix].name != "text")
            raise ReadError(
                f"{path}: expected a file ending in one of .txt {suffixes} or a suffix of source code, got "
                f"{path.suffix!r}; convert it, or read it as text (as_text=True, --as text)"
            )
        found.check()
        return Chosen(File(path, name, path.suffix.lower() == GZIP), found)

    def walk(self, root: Path, prefix: str) -> list[Choice]:
        """Return what is in a folder and its subfolders, sorted by name."""
        return [choice for _, choice in sorted(_Walk(self, root, prefix).found(), key=lambda pair: pair[0])]


def suffix_of(path: str) -> str:
    """Return the suffix that tells the format, in lower case; `.csv` for "a.csv.gz"."""
    pure = PurePosixPath(path.lower())
    return PurePosixPath(pure.stem).suffix if pure.suffix == GZIP else pure.suffix


def name_of(path: str) -> str:
    """Return the name of a file as it stands in ids."""
    # File systems write an accented letter as one code point, or as a letter and an accent.
    # Bytes that are not UTF-8, which Python keeps as surrogates, are escaped: an id must be writable as UTF-8.
    return unicodedata.normalize("NFC", path).encode("utf-8", "backslashreplace").decode()


def _patterns(lines: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # slow to import, and most folders are read whole

    return GitIgnoreSpec.from_lines(lines)


def _sound_patterns(text: str) -> GitIgnoreSpec:
    """Return the patterns in a text, without those that are none, as git does."""
    from pathspec import GitIgnoreSpec

    sound = []
    for line in text.splitlines():
        with suppress(ValueError):
            GitIgnoreSpec.from_lines([line])
            sound.append(line)
    return _patterns(sound)


_Ignored = tuple[tuple[str, "GitIgnoreSpec"], ...]  # folders, and what their .gitignore files say


class _Walk:
    """One walk through a folder."""

    def __init__(self, selection: Selection, root: Path, prefix: str) -> None:
        self._selection = selection
        self._root = root
        self._prefix = prefix
        self._real_root = root.resolve()
        # Folders to go into: each with its path from the root, and what is ignored there.
        self._ahead: list[tuple[Path, str, _Ignored]] = [(root, "", ())]

    def found(self) -> Iterator[tuple[str, Choice]]:
        """Yield what is in the folder and below, under the names by which to sort it."""
        seen = set()
        while self._ahead:
            folder, here, ignored = self._ahead.pop()
            try:
                status = folder.stat()
            except OSError as error:
                yield self._barred(here, error)
                continue
            if (identity := (status.st_dev, status.st_ino)) not in seen:  # no link back, no second path to this folder
                seen.add(identity)
                yield from self._within(folder, here, ignored)

    def _within(self, folder: Path, here: str, ignored: _Ignored) -> Iterator[tuple[str, Choice]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            names = {entry.name for entry in entries}
            if self._selection.gitignore and _IGNORE_FILE in names:
                ignored = (*ignored, (here, _sound_patterns(self._ignoring(folder / _IGNORE_FILE))))
        except OSError as error:
            yield self._barred(here, error)
            return
        except ReadError as error:
            name = self._name(here.removesuffix("/"))
            yield name, Barred(name, str(error))
            return
        is_set = not names.isdisjoint(_QUERIES) and (folder / "qrels").is_dir()
        for entry in entries:
            path = here + entry.name
            is_folder = _is_folder(entry)
            name = self._name(path)
            reason = self._passed_over(entry, path, is_folder, ignored)
            if reason is None and is_set and _describes_a_set(entry.name):
                reason = "belongs to an evaluation set, and is none of its documents"
            if reason is not None:
                yield name, Note("passed over", name + "/" * is_folder, reason)
            elif is_folder:
                # Links come last, so that a folder is read by its own path.
                position = 0 if entry.is_symlink() else len(self._ahead)
                self._ahead.insert(position, (folder / entry.name, f"{path}/", ignored))
            else:
                yield name, self._choice(folder / entry.name, path, name)

    def _ignoring(self, path: Path) -> str:
        """Return what a .gitignore file says; nothing for one that git would not read either: a link, or a device.

        Raises:
            ReadError: it is too long.
        """
        if path.is_symlink() or not path.is_file():
            return ""
        with path.open("rb") as stream:
            said = stream.read(_MOST_IGNORED + 1)
        if len(said) > _MOST_IGNORED:
            raise ReadError(f"expected a {_IGNORE_FILE} of at most {_MOST_IGNORED} bytes, got more; shorten it")
        return said.decode("utf-8", "replace")

    def _barred(self, here: str, error: OSError) -> tuple[str, Barred]:
        name = self._name(here.removesuffix("/"))
        return name, Barred(name, f"expected a readable folder, got {error.strerror}; check its permissions")

    def _name(self, path: str) -> str:
        return self._prefix + name_of(path)

    def _passed_over(self, entry: os.DirEntry[str], path: str, is_folder: bool, ignored: _Ignored) -> str | None:
        selection = self._selection
        marked = path + "/" * is_folder
        if selection.exclude and selection._exclude.match_file(marked):
            return "excluded"
        if selection.include and not is_folder and not selection._include.match_file(path):
            return "not included"
        if entry.name.startswith("."):
            return "hidden"
        if _is_ignored(marked, ignored):
            return f"named in {_IGNORE_FILE}"
        if entry.is_symlink() and not selection.follow_links and not self._is_inside(self._root / path):
            return "a symbolic link out of the folder; read it with follow_links=True, --follow-links"
        return None

    def _is_inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self._real_root)
        except (OSError, RuntimeError):  # a link to itself: it is refused when it is read
            return True

    def _choice(self, path: Path, relative: str, name: str) -> Choice:
        found = self._selection.format_of(relative)
        if found is None:
            suffix = suffix_of(relative)
            return Note("passed over", name, f"no known format: {suffix}" if suffix else "no known format: no suffix")
        if package := found.missing:
            # What an index has of it stays there. The ids of rows are in the file, so that for these it must fail.
            reason = f"needs {package}: pip install 'ragknn[files]'"
            return (
                Barred(name, f"{reason}, or exclude it") if found.of_rows else Note("passed over", name, reason, name)
            )
        guessed = found.name == "text" and self._selection.guesses(relative)
        return Chosen(File(path, name, path.suffix.lower() == GZIP), found, guessed)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_ignored(path: str, ignored: _Ignored) -> bool:
    """Whether a path is ignored: the innermost file that says something of it counts."""
    for folder, spec in reversed(ignored):
        said = spec.check_file(path.removeprefix(folder)).include
        if said is not None:
            return said
    return False


def _describes_a_set(name: str) -> bool:
    return name in ("qrels", *_QUERIES) or Path(name).stem.lower() == "readme"


def check_regular(path: Path) -> int:
    """Return the size of a file.

    Raises:
        OSError: it cannot be looked at.
        ReadError: it is no regular file.
    """
    status = path.stat()
    if not S_ISREG(status.st_mode):
        raise ReadError("expected a regular file, got a device, pipe or socket; remove it")
    return status.st_size
