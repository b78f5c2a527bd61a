"""An index on its way into a Parquet file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from ragknn._checks import check_call
from ragknn._display.bars import bar_in_notebook
from ragknn._protocol.flows import Flow, Progress, Work, repeatable
from ragknn._protocol.reading import read_rows
from ragknn._protocol.schema import Schema
from ragknn.filters import Where
from ragknn.indexing._reading import DOCUMENTS_PER_PART, in_parts, reading_ids
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.reports import ExportReport
from ragknn.transfer._paths import checked_target
from ragknn.transfer._table import (
    FIELDS,
    as_batch,
    columns_of,
    is_whole,
    pyarrow,
    table_schema,
)

ROWS_PER_GROUP = 5_000


@repeatable  # as the file tells what the index is made of, and so all of it must be of one version
def exporting(
    index: Index | AsyncIndex, path: str | Path, where: Where | None, progress: Progress | None
) -> Flow[ExportReport]:
    """The flow behind `export_parquet`."""
    began = time.monotonic()
    if progress is not None:
        check_call("progress", progress, "print")
    place = index._place()
    file = checked_target(path)
    schema = table_schema(place.schema.dim, place.schema.dtype, replace(place.schema, store=1).dumps())
    ids = yield from reading_ids(index, where)
    damaged: list[str] = []
    with bar_in_notebook("documents", progress) as tell, _Writer(file, schema, place.schema) as writer:
        for number, part in enumerate(in_parts(ids, DOCUMENTS_PER_PART)):
            tell(number * DOCUMENTS_PER_PART, len(ids))
            found = yield from read_rows(place, part, FIELDS)
            damaged += [one for one, hashes in found.items() if not is_whole(hashes)]
            whole = {one: hashes for one, hashes in found.items() if is_whole(hashes)}
            yield Work(partial(writer.add, whole), borrows=True)
        yield Work(writer.finish, borrows=True)
        tell(len(ids), len(ids))
    return ExportReport(
        name=index.name,
        path=str(file),
        documents=writer.documents,
        passages=writer.passages,
        damaged=tuple(damaged),
        size_bytes=file.stat().st_size,
        seconds=time.monotonic() - began,
    )


class _Writer:
    """Writes documents beside a file, and puts what it wrote in its place when it is finished."""

    def __init__(self, path: Path, table: Any, schema: Schema) -> None:
        self._path, self._table, self._schema = path, table, schema
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._waiting: dict[str, list[Any]] = {}
        self.documents = self.passages = 0

    def __enter__(self) -> Self:
        self._file = pyarrow().parquet.ParquetWriter(self._beside, self._table, compression="zstd")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._beside.unlink(missing_ok=True)

    def add(self, documents: Mapping[str, Sequence[Any]]) -> None:
        """Add documents; see `read_rows`."""
        columns = columns_of(documents, self._schema.dtype)
        self.documents += len(documents)
        self.passages += len(columns["id"])
        for name, values in columns.items():
            self._waiting.setdefault(name, []).extend(values)
        if len(self._waiting["id"]) >= ROWS_PER_GROUP:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._file.write_batch(as_batch(self._waiting, self._table))
            self._waiting = {}

    def finish(self) -> None:
        """Write the rest, and put the file into its place."""
        self._write()
        self._file.close()
        self._beside.replace(self._path)
