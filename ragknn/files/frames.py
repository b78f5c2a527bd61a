"""Documents from the rows of a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragknn._checks import shown
from ragknn._plain import plain
from ragknn.errors import ReadError
from ragknn.files._outcomes import documents_among
from ragknn.files._rows import TEXT_FIELDS, Fields, Row
from ragknn.records import Document
from ragknn.reports import DocumentSource, Failure, Note

if TYPE_CHECKING:
    from pandas import DataFrame


def documents_from_pandas(
    frame: DataFrame, *, text_field: str | None = None, id_field: str | None = None, label_field: str | None = None
) -> DocumentSource:
    """Make a document of each row of a DataFrame, as `read_documents` makes one of each row of a file.

    Values keep their types; dates become ISO strings, and what is missing (NaN, NaT, NA, None) is left out. The frame
    is not copied: rows are taken from it during iteration.

    Args:
        frame: the rows.
        text_field: column with the text; None: the first present of `text`, `content` and `body`.
        id_field: column with the id; None: `id` or `_id`, or without these the label of the row in the index.
        label_field: column with the label; None: `label` or `target`.

    Returns:
        A `DocumentSource` to iterate over, or to pass to `Indexer.add` and `Indexer.sync`.

    Raises:
        TypeError: no DataFrame.
        ReadError: a column is missing.
    """
    if not (hasattr(frame, "itertuples") and hasattr(frame, "columns")):
        raise TypeError(f"expected a DataFrame of pandas, got {type(frame).__name__}")
    columns = [str(column) for column in frame.columns]
    told = ", ".join(map(repr, columns))
    if len(set(columns)) < len(columns):
        raise ReadError(f"expected a name of its own for each column, got {told}; rename them")
    for given, option in ((text_field, "text_field"), (id_field, "id_field"), (label_field, "label_field")):
        if given is not None and not (isinstance(given, str) and given in columns):
            raise ReadError(f"expected a column {shown(given)}, got {told}; correct {option}")
    if text_field is None and not set(TEXT_FIELDS) & set(columns):
        raise ReadError(f"expected a column 'text', got {told}; rename one, or name it with text_field")
    return _Rows(frame, tuple(columns), Fields(text_field, id_field, label_field))


@dataclass(frozen=True, slots=True)
class _Rows:
    frame: DataFrame
    columns: tuple[str, ...]
    fields: Fields

    def __iter__(self) -> Iterator[Document]:
        return documents_among(self.outcomes())

    def outcomes(self) -> Iterator[Document | Failure | Note]:
        from ragknn.files._documents import to_document  # late: pydantic is slow to import

        for label, *cells in self.frame.itertuples(name=None):
            values = {column: _value(cell) for column, cell in zip(self.columns, cells, strict=True)}
            yield to_document(Row(values), str(_value(label)), {}, self.fields)


def _value(cell: Any) -> Any:
    from pandas import isna
    from pandas.api.types import is_scalar

    if is_scalar(cell) and isna(cell):
        return None
    if isinstance(cell, bytes):
        return cell  # not to be made a text of: it is refused where it is used
    value = plain(cell)
    # A column of whole numbers in which some are missing holds floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value
