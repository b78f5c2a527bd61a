"""What could not be stored, as JSON lines that can be read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ragknn._plain import plain
from ragknn.files._documents import REASON_FIELD
from ragknn.files.reader import DocumentReader
from ragknn.records import Document
from ragknn.reports import Failure, IngestReport


def check_place(path: Path, inputs: Sequence[str]) -> None:
    """Refuse a file that cannot be written, or that the next call would read.

    Raises:
        BadParameter: it is one.
    """
    target = path.absolute()
    if not target.parent.is_dir():
        raise click.BadParameter(f"expected --dead-letter in a folder that exists, got {str(path)!r}")
    for given in inputs:
        if Path(given).is_dir() and Path(os.path.realpath(given)) in Path(os.path.realpath(target)).parents:
            raise click.BadParameter(f"expected --dead-letter outside of {given!r}, or the next call would read it")


def write_dead_letters(path: Path, report: IngestReport, source: DocumentReader) -> None:
    """Write a line for each failure, with its document where there is one; the file is empty if nothing failed.

    The documents are read again, since none are kept while they are stored.

    Args:
        path: the file, which is replaced.
        report: the outcome.
        source: what was read.
    """
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        for letter in _letters(report.failed, source):
            file.write(json.dumps(plain(letter), ensure_ascii=True) + "\n")
    new.replace(path)


def _letters(failed: Sequence[Failure], source: DocumentReader) -> Iterator[dict[str, Any]]:
    left = {(failure.document_id, failure.source): failure for failure in failed}
    if any(failure.document_id is not None for failure in failed):
        for outcome in source.outcomes():
            if isinstance(outcome, Document) and (failure := left.pop((outcome.id, outcome.source), None)):
                yield {
                    "id": outcome.id,
                    "text": outcome.text,
                    **({} if outcome.label is None else {"label": outcome.label}),
                    "metadata": dict(outcome.metadata),
                    **_reason(failure),
                }
    for failure in left.values():
        yield _reason(failure)


def _reason(failure: Failure) -> dict[str, Any]:
    return {REASON_FIELD: {"source": failure.source, "reason": failure.reason}}
