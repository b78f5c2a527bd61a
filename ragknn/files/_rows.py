"""What parsers are told, and what they give: rows of fields. They do not know documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ragknn.files.limits import Limits
from ragknn.reports import NoteKind

# The default fields for the text of a row; the first one present is used.
TEXT_FIELDS = ("text", "content", "body")

# Where a document was found: entries of its metadata.
PLACE_FIELDS = ("path", "folder", "suffix")


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of the fields of a row that hold its text, id and label; None: the usual ones."""

    text: str | None = None
    id: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are to be read.

    Attributes:
        fields: where text, id and label of a row are.
        encoding: of text without a byte order mark; None: what the file declares, or UTF-8.
        delimiter: of tables; None: found in the header.
        limits: what a file may cost.
    """

    fields: Fields = field(default_factory=Fields)
    encoding: str | None = None
    delimiter: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Row:
    """The data of one document in a file, not yet checked.

    Attributes:
        values: the fields by name, if the row is valid.
        body: the text, if it is not a field.
        place: position in a file of several documents: ":" and the line, or "#" and the position from 1.
        page_starts: of a body with pages, the offset of each page's first character.
    """

    values: Any
    body: str | None = None
    place: str = ""
    page_starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An invalid row and the reason; the rest of the file is still read."""

    reason: str
    place: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about the file that is no failure: what of it is missing, or what was assumed."""

    kind: NoteKind
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """A sign of life from a parser that gives its only row at the end."""


Rows: TypeAlias = Iterator[Row | Unreadable | Remark | Step]


def find_field(row: Mapping[str, Any], given: str | None, usual: Sequence[str]) -> str | None:
    """Find the field with a value: the given one, or the first of the usual ones."""
    return next((key for key in (usual if given is None else (given,)) if row.get(key) is not None), None)


def folded(text: str) -> str:
    """Return the text on one line, with single spaces."""
    return " ".join(text.split())
