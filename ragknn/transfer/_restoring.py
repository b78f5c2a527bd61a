"""A Parquet file on its way into an index."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ragknn._checks import check_embedder, check_flag, shown
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import open_index
from ragknn._protocol.schema import FORMAT, Algorithm, OnBadField, Schema
from ragknn._protocol.vectors import DType
from ragknn.embedding._names import READY_VECTORS
from ragknn.embedding.protocols import Embedder
from ragknn.errors import ReadError
from ragknn.indexing._drafts import Draft, Drafting
from ragknn.indexing._ingestion import ingest
from ragknn.indexing._line import Embedding
from ragknn.indexing._own_settings import load_own_settings, resolve_url
from ragknn.indexing._policy import Policy
from ragknn.indexing._policy import Progress as Reporting
from ragknn.indexing._ready import ReadyDocument, StoredDocument, drafting_ready, drafting_stored
from ragknn.indexing._recipes import embedder_properties
from ragknn.indexing._writing import embeds_nothing, renewal
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.reports import ImportReport, IngestReport
from ragknn.server._connection import check_url, close, connect, run
from ragknn.transfer._paths import checked_path, opened
from ragknn.transfer._table import MANIFEST, check_columns, documents_in, pyarrow, vectors_in

ROWS_PER_READ = 1_000

# Properties of an index that is there already in which it may differ from the one in the file.
_OPEN = ("splitter", "format", "version", "store", "content", "stop_words")


class Restoring:
    """What both faces share: one file on its way into an index."""

    def __init__(
        self,
        path: str | Path,
        name: str,
        url: str | None,
        embedder: Embedder | None,
        algorithm: Algorithm | None,
        dtype: DType | None,
        dry_run: bool,
    ) -> None:
        self._began = time.monotonic()
        self._keys = Keys(name)
        check_url(url)
        check_flag("dry_run", dry_run)
        if embedder is not None:
            check_embedder(embedder)
        self._path, self._url = checked_path(path), url
        self._read = 0
        self.written: IngestReport | None = None
        with self._opened() as file:
            self._schema = self._schema_of(file, embedder)
            changes: dict[str, Any] = {"algorithm": algorithm, "dtype": dtype}
            self._schema = replace(self._schema, **{key: value for key, value in changes.items() if value is not None})
            if dry_run:
                self._read = sum(len(one.passages) for one in documents_in(file.iter_batches(ROWS_PER_READ), str(path)))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        pa = pyarrow()
        with opened(self._path) as raw:
            try:
                file = pa.parquet.ParquetFile(raw)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise ReadError(
                    f"{shown(str(self._path))}: expected a Parquet file, got another one: {error}"
                ) from error
            yield file

    def _schema_of(self, file: Any, embedder: Embedder | None) -> Schema:
        """Return what the index is to be made of.

        Raises:
            ReadError: the file lacks what is needed.
        """
        columns = file.schema_arrow
        if "document_id" not in columns.names or not {"text", "vector"} & {*columns.names}:
            raise ReadError(
                f"{self._path}: expected the columns document_id, and text or vector, got {', '.join(columns.names)}"
            )
        check_columns(columns, str(self._path))
        properties = None if embedder is None else embedder_properties(embedder)
        manifest = (columns.metadata or {}).get(MANIFEST)
        if manifest is None:
            properties = properties or {"embedder": READY_VECTORS, "dim": self._dim(file, columns)}
            return Schema(**properties)
        schema = replace(Schema.loads(self._keys.name, manifest.decode()), version=1, store=1, format=FORMAT)
        if properties:
            schema.check(self._keys.name, properties)
        return schema

    def _dim(self, file: Any, columns: Any) -> int:
        kind = columns.field("vector").type if "vector" in columns.names else None
        if kind is not None and hasattr(kind, "list_size"):
            return int(kind.list_size)
        batches = () if kind is None else file.iter_batches(ROWS_PER_READ, columns=["vector"])
        for row in (row for batch in batches for row in vectors_in(batch.column("vector"))):
            if row is not None:
                return len(row)
        raise ReadError(f"{self._path}: expected a vector in the column vector, got none: name the embedder")

    def create(self) -> None:
        """Create the index, or compare it with what is there."""
        settings = load_own_settings()
        client = connect(resolve_url(self._url, settings), timeout=settings.timeout, protocol=settings.protocol)
        wanted = {one.name: getattr(self._schema, one.name) for one in fields(self._schema) if one.name not in _OPEN}
        try:
            run(client, open_index(self._keys, lambda: wanted, lambda: self._schema, settings.timeout))
        finally:
            close(client)

    def writing(self, index: Index | AsyncIndex, progress: Reporting | None) -> Flow[IngestReport]:
        """Write the documents of the file to the index."""
        policy = Policy(on_bad_field="leave_out", progress=progress)
        made_by = {name: getattr(self._schema, name) for name in ("embedder", "dim", "identity")}

        def remade() -> tuple[Drafting, Embedding]:
            index.schema.check(index.name, made_by)  # it may have been embedded anew meanwhile
            return _drafting(index.schema), embeds_nothing

        with self._opened() as file:
            documents = self._counted(documents_in(file.iter_batches(ROWS_PER_READ), str(self._path)))
            return (yield from ingest(index._place(), documents, *remade(), policy, renew=renewal(index, remade)))

    def _counted(self, documents: Iterator[StoredDocument | ReadyDocument]) -> Iterator[StoredDocument | ReadyDocument]:
        for document in documents:
            self._read += len(document.passages)
            yield document

    def report(self) -> ImportReport:
        """Return what became of it."""
        schema = self._schema
        named = ("embedder", "dim", "metric", "dtype", "algorithm", "text_search", "language")
        return ImportReport(
            source=str(self._path),
            name=self._keys.name,
            maker="ragknn",
            layout={},
            settings={**{name: getattr(schema, name) for name in named}, "fields": dict(schema.fields)},
            passages=self._read,
            written=self.written,
            seconds=time.monotonic() - self._began,
        )


def _drafting(schema: Schema) -> Drafting:
    stored, ready = drafting_stored(schema), drafting_ready(schema, embeds=False)

    def draft(document: StoredDocument | ReadyDocument, on_bad_field: OnBadField) -> Draft:
        return (stored if isinstance(document, StoredDocument) else ready)(document, on_bad_field)

    return draft
