"""What a document store does with its index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from haystack import Document
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy

from ragknn import IngestReport, Passage, Where
from ragknn.integrations._steps import Each, Steps
from ragknn.integrations.haystack._documents import as_document, as_passage, stored_meta
from ragknn.integrations.haystack._errors import Unfit, as_haystack
from ragknn.integrations.haystack._opening import Open, check_free

_T = TypeVar("_T")
Operation: TypeAlias = Callable[[Open], Steps[_T]]


def counting(where: Where | None) -> Operation[int]:
    """Count documents."""

    def steps(on: Open) -> Steps[int]:
        count: int = yield lambda: on.index.count(where)
        return count

    return steps


def listing(where: Where | None, take: Callable[[Passage], _T], *, vectors: bool = False) -> Operation[list[_T]]:
    """Return what `take` makes of each document that matches."""

    def steps(on: Open) -> Steps[list[_T]]:
        taken: list[_T] = yield Each(lambda: on.index.passages(where=where, vectors=vectors), take)
        return taken

    return steps


def finding(where: Where | None) -> Operation[list[Document]]:
    """Return the documents that match, with their embeddings, sorted by id."""
    return listing(where, as_document, vectors=True)


@as_haystack()
def storing(documents: Sequence[Document], policy: DuplicatePolicy) -> Operation[int]:
    """Write documents, and return how many were written.

    Each is replaced in one step. If one that is there already is an error, nothing is written where any cannot be.
    """
    _check_documents(documents, policy)
    fails = policy in (DuplicatePolicy.FAIL, DuplicatePolicy.NONE)
    skips = policy is DuplicatePolicy.SKIP
    passages = [as_passage(one) for one in _each_id_once(documents, fails, skips)]

    def steps(on: Open) -> Steps[int]:
        _check_sizes(documents, on.index.schema.dim)
        if fails:
            _check_stored((yield from _refusing_known(on, passages)))
        on_existing = "fail" if fails else "skip" if skips else "replace"
        report: IngestReport = yield lambda: on.indexer.add_passages(passages, embed=False, on_existing=on_existing)
        if fails and report.failed:  # the trial found nothing: was another writer quicker?
            failed = {one.document_id for one in report.failed}
            yield from _refusing_known(on, [one for one in passages if one.id in failed])
        _check_stored(report)
        return len(documents) if policy is DuplicatePolicy.OVERWRITE else report.added

    return steps


def _refusing_known(on: Open, passages: Sequence[Passage]) -> Steps[IngestReport]:
    """Return what would become of passages, of which nothing is written yet.

    Raises:
        DuplicateDocumentError: some are in the index already.
    """
    trial: IngestReport = yield lambda: on.indexer.add_passages(passages, embed=False, on_existing="skip", dry_run=True)
    if trial.skipped:
        free = {*trial.ids["added"], *trial.ids["updated"], *(one.document_id for one in trial.failed)}
        raise _duplicate([one.id for one in passages if one.id not in free])
    return trial


def deleting(ids: Sequence[str]) -> Operation[None]:
    """Delete documents by their ids."""

    def steps(on: Open) -> Steps[None]:
        yield lambda: on.indexer.delete(ids)

    return steps


def deleting_matching(where: Where | None) -> Operation[int]:
    """Delete the documents that match, and return how many there were."""

    def steps(on: Open) -> Steps[int]:
        deleted: int = yield lambda: on.indexer.delete_where(where or {})
        return deleted

    return steps


def clearing(on: Open) -> Steps[None]:
    """Delete all documents.

    Raises:
        ValueError: the index requires a filter.
    """
    check_free(on)
    yield on.indexer.clear


def updating(where: Where | None, meta: Mapping[str, Any]) -> Operation[int]:
    """Change entries of the metadata of the documents that match, and return how many match."""
    metadata, label = stored_meta(meta)
    change: dict[str, Any] = {"metadata": metadata}
    if "label" in meta:  # it is in one of two places, and in the other no more
        metadata.setdefault("label", None)
        change["label"] = label

    def steps(on: Open) -> Steps[int]:
        if not meta:
            return (yield from counting(where)(on))
        report: IngestReport = yield lambda: on.indexer.update(where=where or {}, **change)
        _check_stored(report)
        return report.updated + report.unchanged

    return steps


def _each_id_once(documents: Sequence[Document], fails: bool, first: bool) -> list[Document]:
    """Return one document of each id: the first or the last.

    Raises:
        DuplicateDocumentError: there are several of one, and that is an error.
    """
    by_id = {one.id: one for one in (reversed(documents) if first else documents)}
    if fails and len(by_id) < len(documents):
        counts = Counter(one.id for one in documents)
        raise _duplicate([one for one in counts if counts[one] > 1], "in this call more than once")
    return list(by_id.values())


def _check_sizes(documents: Sequence[Document], dim: int) -> None:
    for one in documents:
        if one.embedding is not None and len(one.embedding) != dim:
            raise DocumentStoreError(
                f"document {one.id!r}: expected an embedding of {dim} values, got {len(one.embedding)}: embed with the "
                "model that the index was built with"
            )


def _check_stored(report: IngestReport) -> None:
    if report.failed:
        first, others = report.failed[0], len(report.failed) - 1
        raise DocumentStoreError(f"{first}{f' (and {others} more)' if others else ''}")


def _duplicate(ids: Sequence[str], where: str = "in the index already") -> DuplicateDocumentError:
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return DuplicateDocumentError(f"expected new documents, got {ids[0]!r}{more}, {where}: choose another policy")


def size_of(documents: Sequence[Document]) -> int | None:
    """Return how many values the first embedding has; None if there is none."""
    return next((len(one.embedding) for one in documents if one.embedding is not None), None)


def _check_documents(documents: Any, policy: Any) -> None:
    if not isinstance(documents, list | tuple):
        raise Unfit(f"expected a list of haystack.Document, got {type(documents).__name__}: pass [document]")
    for one in documents:
        if not isinstance(one, Document):
            raise Unfit(f"expected a list of haystack.Document, got one of {type(one).__name__}")
    if not isinstance(policy, DuplicatePolicy):
        raise Unfit(f"expected a DuplicatePolicy, got {policy!r}")
