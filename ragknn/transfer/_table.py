"""The columns of a Parquet file with an index in it: a row for each passage, those of a document in their order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ragknn._checks import shown
from ragknn._ids import passage_id
from ragknn._protocol.encoding import decode_tag, dump_metadata, encode_tag
from ragknn._protocol.keys import HEADINGS, PAGE
from ragknn._protocol.replies import as_text
from ragknn._protocol.vectors import DType, from_bytes
from ragknn.errors import MissingDependency, ReadError
from ragknn.indexing._ready import ReadyDocument, StoredDocument
from ragknn.records import Passage

# What is read of each passage's hash.
FIELDS = ("id", "text", "start", "end", "label", "metadata", PAGE, HEADINGS, "vector")
MANIFEST = b"ragknn"  # among the metadata of the file: what the index is made of

_LABELS = {"str": str, "int": int, "float": float}


def pyarrow() -> Any:
    """Return the module.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet  # which it does not import by itself
    except ModuleNotFoundError as error:
        raise MissingDependency("pyarrow", "reading and writing Parquet files", "parquet") from error
    return pyarrow


def table_schema(dim: int, dtype: DType, manifest: str) -> Any:
    """Return the columns; values of 16 bits are written as those of 32, which every reader of Parquet takes."""
    pa = pyarrow()
    value = pa.float64() if dtype == "float64" else pa.float32()
    return pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("id", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("start", pa.int64()),
            pa.field("end", pa.int64()),
            ("page", pa.int32()),
            ("headings", pa.list_(pa.string())),
            ("label", pa.string()),
            ("label_type", pa.dictionary(pa.int8(), pa.string())),
            ("metadata", pa.string()),
            ("vector", pa.list_(value, dim)),
            # Of the document, in the row of its first passage.
            ("text_hash", pa.string()),
            ("gaps", pa.string()),
            ("page_starts", pa.list_(pa.int64())),
        ],
        metadata={MANIFEST: manifest.encode()},
    )


def columns_of(documents: Mapping[str, Sequence[Any]], dtype: DType) -> dict[str, list[Any]]:
    """Return the columns of documents, as `read_rows` has them; those of `vector` hold vectors or None."""
    names = ("document_id", "id", "text", "start", "end", "page", "headings", "label", "label_type", "metadata")
    columns: dict[str, list[Any]] = {name: [] for name in (*names, "vector", "text_hash", "gaps", "page_starts")}
    for document_id, (head, *rows) in documents.items():
        _, text_hash, _, gaps, page_starts = head
        for number, row in enumerate(rows):
            own, text, start, end, label, metadata, page, headings, vector = row
            value = None if label is None else decode_tag(as_text(label))
            columns["document_id"].append(document_id)
            columns["id"].append(passage_id(document_id, number) if own is None else decode_tag(as_text(own)))
            columns["text"].append(as_text(text))
            columns["start"].append(int(start))
            columns["end"].append(int(end))
            columns["page"].append(None if page is None else int(page))
            columns["headings"].append(None if headings is None else json.loads(headings))
            columns["label"].append(None if value is None else _label_text(value))
            columns["label_type"].append(None if value is None else type(value).__name__)
            columns["metadata"].append(as_text(metadata or b"{}"))
            columns["vector"].append(None if vector is None else from_bytes(vector, dtype))
            columns["text_hash"].append(None if number else as_text(text_hash))
            columns["gaps"].append(None if number or not gaps else as_text(gaps))
            columns["page_starts"].append(None if number or not page_starts else json.loads(page_starts))
    return columns


def is_whole(hashes: Sequence[Any]) -> bool:
    """Whether all passages of a document are there; see `read_rows`."""
    _, *rows = hashes
    return bool(rows) and all(start is not None for _, _, start, *_ in rows)


def _label_text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def as_batch(columns: Mapping[str, list[Any]], schema: Any) -> Any:
    """Return the columns as a batch of rows."""
    pa = pyarrow()
    arrays = [
        _vectors(columns["vector"], field.type) if field.name == "vector" else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.record_batch(arrays, schema=schema)


def _vectors(rows: Sequence[Any], kind: Any) -> Any:
    pa = pyarrow()
    missing = np.array([row is None for row in rows], dtype=bool)
    matrix = np.zeros((len(rows), kind.list_size), kind.value_type.to_pandas_dtype())
    for number, row in enumerate(rows):
        if row is not None:
            matrix[number] = row
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), type=kind, mask=pa.array(missing))


# ---- reading ---------------------------------------------------------------------------------------------------


def check_columns(columns: Any, path: str) -> None:
    """Refuse columns of other types than those that are read.

    Raises:
        ReadError: one is of another type.
    """
    types = pyarrow().types
    text, number = ("is_string", "is_large_string", "is_string_view"), ("is_integer",)
    several = ("is_list", "is_large_list", "is_fixed_size_list")
    expected = {
        **dict.fromkeys(("document_id", "id", "text", "metadata", "text_hash", "gaps"), ("texts", text)),
        **dict.fromkeys(("start", "end", "page"), ("whole numbers", number)),
        **dict.fromkeys(("headings", "page_starts", "vector"), ("lists", several)),
        "label": ("texts or numbers", (*text, *number, "is_floating")),
    }
    for name, (words, tests) in expected.items():
        kind = columns.field(name).type if name in columns.names else None
        kind = kind.value_type if kind is not None and types.is_dictionary(kind) else kind
        if kind is not None and not types.is_null(kind) and not any(getattr(types, test)(kind) for test in tests):
            raise ReadError(f"{path}: expected the column {name} to hold {words}, got {kind}")


def documents_in(batches: Iterable[Any], path: str) -> Iterator[StoredDocument | ReadyDocument]:
    """Iterate over the documents of a file: with what their index had noted of them, or as ready passages.

    Args:
        batches: the rows, in their order.
        path: of the file, for messages.

    Raises:
        ReadError: a row is not as it should be.
    """
    rows = (row for batch in batches for row in _rows(batch))
    for document_id, own in groupby(rows, key=lambda row: row["document_id"]):
        try:
            yield _document(document_id, list(own))
        except (ValueError, TypeError, AttributeError) as error:
            raise ReadError(f"{path}: document {shown(document_id)}: {error}") from error


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    names = [name for name in batch.schema.names if name != "vector"]
    columns = {name: batch.column(name).to_pylist() for name in names}
    if "vector" in batch.schema.names:
        columns["vector"] = vectors_in(batch.column("vector"))
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def vectors_in(column: Any) -> list[Any]:
    """Return a vector or None for each row."""
    values = column.flatten().to_numpy(zero_copy_only=False)  # without those of rows that have none
    ends = np.cumsum([0 if length is None else length for length in _lengths(column)])
    starts = np.concatenate([[0], ends[:-1]]).astype(int)
    there = column.is_valid().to_pylist()
    return [values[a:b] if ok else None for a, b, ok in zip(starts, ends, there, strict=True)]


def _lengths(column: Any) -> list[int | None]:
    import pyarrow.compute

    return pyarrow.compute.list_value_length(column).to_pylist()  # type: ignore[no-any-return]


def _document(document_id: str, rows: Sequence[Mapping[str, Any]]) -> StoredDocument | ReadyDocument:
    if not isinstance(document_id, str) or not document_id:
        raise ValueError(f"expected a document_id that is a text, got {shown(document_id)}")
    passages = tuple(_passage(document_id, number, row) for number, row in enumerate(rows))
    first = rows[0]
    if not first.get("text_hash"):
        return ReadyDocument(document_id, passages)
    dumped = [
        (None if one.label is None else encode_tag(one.label, "the label"), row["metadata"] or "{}")
        for one, row in zip(passages, rows, strict=True)
    ]
    pages = tuple(first.get("page_starts") or ())
    return StoredDocument(document_id, first["text_hash"], first.get("gaps") or "", pages, passages, dumped)


def _passage(document_id: str, number: int, row: Mapping[str, Any]) -> Passage:
    metadata = json.loads(row.get("metadata") or "{}")
    if not isinstance(metadata, dict):
        raise TypeError(f"expected metadata as a JSON object, got {shown(row['metadata'])}")
    dump_metadata(metadata)  # refuses what cannot be stored
    label = row.get("label")
    if label is not None and (kind := row.get("label_type")) is not None:
        label = _LABELS[kind](label) if kind in _LABELS else label
    text = row.get("text") or ""
    start, end = row.get("start"), row.get("end")
    if start is None or end is None:
        start = end = 0  # not known
    return Passage(
        row.get("id") or passage_id(document_id, number),
        document_id,
        text,
        start,
        end,
        label=label,
        metadata=metadata,
        vector=row.get("vector"),
        page=row.get("page"),
        headings=tuple(row.get("headings") or ()),
    )
