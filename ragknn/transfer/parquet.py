"""Whole indexes in Parquet files: for backups, for pandas and polars, and for moving between servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ragknn._checks import check_type
from ragknn._protocol.flows import Progress
from ragknn._protocol.schema import Algorithm
from ragknn._protocol.vectors import DType
from ragknn.embedding.protocols import Embedder
from ragknn.filters import Where
from ragknn.indexing._policy import Progress as Reporting
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.reports import ExportReport, ImportReport
from ragknn.transfer._exporting import exporting
from ragknn.transfer._restoring import Restoring


def export_parquet(
    index: Index, path: str | Path, *, where: Where | None = None, progress: Progress | None = None
) -> ExportReport:
    """Write an index to a Parquet file, with a row for each passage, those of a document in their order.

    The columns are `document_id`, `id`, `text`, `start`, `end`, `page`, `headings`, `label`, `label_type`, `metadata`
    (JSON), `vector`, and in the row of the first passage of a document `text_hash`, `gaps` and `page_starts`. What the
    index is made of is in the metadata of the file. `import_parquet` makes the same index of it, on any server.

    Documents are read a part at a time, each in one step, so that each is as it was or as it became where others write
    meanwhile. The file is written beside its place and takes it at the end.

    Args:
        index: the index to read.
        path: of the file; one that is there is replaced.
        where: only documents that match; `ragknn.filters` explains it.
        progress: called with the number of documents that are written and of all; None: a bar in a notebook.

    Raises:
        TypeError: no index, or no path.
        ValueError: an invalid filter, or one without what the index requires.
        MissingDependency: pyarrow is not installed.
        OSError: the file cannot be written.
        ServerError: the server cannot be reached or refuses a command.
    """
    check_type("index", index, Index)
    return index._run(exporting(index, path, where, progress))


async def aexport_parquet(
    index: AsyncIndex, path: str | Path, *, where: Where | None = None, progress: Progress | None = None
) -> ExportReport:
    """Async twin of `export_parquet`; the file is written in a thread."""
    check_type("index", index, AsyncIndex)
    return await index._run(exporting(index, path, where, progress))


def import_parquet(
    path: str | Path,
    name: str,
    *,
    url: str | None = None,
    embedder: Embedder | None = None,
    algorithm: Algorithm | None = None,
    dtype: DType | None = None,
    dry_run: bool = False,
    progress: Reporting | None = None,
) -> ImportReport:
    """Make an index of a Parquet file; nothing is embedded.

    A file that `export_parquet` wrote becomes the index that it was: the same passages, vectors, labels and metadata,
    and a later `sync` of the same documents finds them unchanged. Any other file needs a column `document_id`, with
    the passages of a document one after the other, and `text`, `vector` or both; `id`, `start`, `end`, `page`,
    `headings`, `label` and `metadata` (JSON) are read where they are there.

    Where this is interrupted, to call it again goes on: what is there already is not written again.

    Args:
        path: of the file.
        name: of the index to make, or to add to.
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.
        embedder: the one that made the vectors, where the file does not name it; None: an index of ready vectors then.
        algorithm: "flat" or "hnsw", in place of that of the file.
        dtype: of the stored vectors, in place of that of the file.
        dry_run: whether to read everything, write nothing, and report what would be made.
        progress: called with the report so far; None: a bar in a notebook.

    Raises:
        ReadError: the file is none of Parquet, or lacks what is needed; what came before a bad row is stored.
        SchemaMismatch: an index of that name is made of something else, or the embedder is another one.
        ValueError: an invalid name or choice.
        MissingDependency: pyarrow is not installed.
        ServerError: the server cannot be reached or refuses a command.
    """
    moving = Restoring(path, name, url, embedder, algorithm, dtype, dry_run)
    if not dry_run:
        moving.create()
        with Index(name, url=url, embedder=embedder, create=False) as index:
            moving.written = index._run(moving.writing(index, progress))
    return moving.report()


async def aimport_parquet(
    path: str | Path,
    name: str,
    *,
    url: str | None = None,
    embedder: Embedder | None = None,
    algorithm: Algorithm | None = None,
    dtype: DType | None = None,
    dry_run: bool = False,
    progress: Reporting | None = None,
) -> ImportReport:
    """Async twin of `import_parquet`; the file is read in a thread."""
    moving = await asyncio.to_thread(Restoring, path, name, url, embedder, algorithm, dtype, dry_run)
    if not dry_run:
        await asyncio.to_thread(moving.create)
        async with AsyncIndex(name, url=url, embedder=embedder, create=False) as index:
            moving.written = await index._run(moving.writing(index, progress))
    return moving.report()
