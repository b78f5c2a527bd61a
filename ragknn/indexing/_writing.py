"""The flows behind `Indexer` and `AsyncIndexer`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import DEBUG
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_flag, described, shown
from ragknn._display.inert import visible
from ragknn._logs import WRITING
from ragknn._plain import plain_label
from ragknn._protocol.closing import check_store
from ragknn._protocol.finding import matching_ids
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.inventory import Inventory, delete_all, look_among, look_through
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import details_hash, dump_details
from ragknn._protocol.place import Place
from ragknn._protocol.presence import rebuilt
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.reading import matching
from ragknn._protocol.removing import delete_documents
from ragknn._protocol.replies import SearchIndexInfo
from ragknn._protocol.schema import OnBadField
from ragknn._protocol.vectors import as_vectors
from ragknn.embedding._long_texts import LongTexts, checked_choice, embed_documents
from ragknn.errors import InvalidVectors
from ragknn.filters import Where
from ragknn.indexing._changing import change_details
from ragknn.indexing._drafts import Drafting, drafting_vectors
from ragknn.indexing._ingestion import ingest, tell
from ragknn.indexing._line import Embedding, Renewal
from ragknn.indexing._merging import merging
from ragknn.indexing._newcomers import ReadyVectors
from ragknn.indexing._owners import matching_items
from ragknn.indexing._policy import IngestOptions, Policy
from ragknn.indexing._reading import DOCUMENTS_PER_PART, checked_ids, in_parts, storable
from ragknn.indexing._ready import by_document, drafting_as_cut, drafting_ready
from ragknn.indexing._recipes import cutting, embedding_by, reads_of, recipe
from ragknn.indexing._serving import searched_by_now
from ragknn.indexing._splitters import notes_on_change, splitter_of
from ragknn.indexing._tally import Tally
from ragknn.indexing._verifying import verify
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Document, Label, Passage
from ragknn.reports import DocumentSource, Failure, IngestReport, Note

if TYPE_CHECKING:
    from ragknn.indexing.indexer import AsyncIndexer, Indexer


def adding(
    indexer: Indexer | AsyncIndexer, documents: Iterable[Document] | DocumentSource, options: IngestOptions
) -> Flow[IngestReport]:
    """The flow behind `Indexer.add`."""
    return (yield from _ingesting(indexer, documents, _policy(options), None))


def syncing(
    indexer: Indexer | AsyncIndexer,
    documents: Iterable[Document] | DocumentSource,
    where: Where | None,
    options: IngestOptions,
    *,
    delete_most: bool = False,
) -> Flow[IngestReport]:
    """The flow behind `Indexer.sync`."""
    policy = replace(_policy(options), delete_most=delete_most)
    return (yield from _ingesting(indexer, documents, policy, {} if where is None else where))


def _policy(options: IngestOptions) -> Policy:
    if unknown := set(options) - set(IngestOptions.__annotations__):
        expected = ", ".join(IngestOptions.__annotations__)
        raise TypeError(f"expected options among {expected}, got {', '.join(sorted(unknown))}")
    return Policy(**options)


def _ingesting(
    indexer: Indexer | AsyncIndexer,
    documents: Iterable[Document] | DocumentSource,
    policy: Policy,
    missing_among: Where | None,
) -> Flow[IngestReport]:
    if hasattr(documents, "itertuples"):
        raise TypeError("expected documents, got a DataFrame; pass documents_from_pandas(frame)")
    if not isinstance(documents, DocumentSource) and (
        isinstance(documents, str | bytes | Mapping | type) or not hasattr(documents, "__iter__")
    ):
        raise TypeError(
            f"expected documents, got {described(documents)}: pass a list of Document, or read_documents(path)"
        )
    index = indexer.index
    if not policy.dry_run:
        yield from index._modernizing()
    kept = splitter_of(index.schema)
    splitter = kept if indexer.splitter is None else indexer.splitter
    splitter.check(*reads_of(index.embedder))  # before it is kept
    notes: tuple[Note, ...] = ()
    if splitter != kept:
        notes = yield from notes_on_change(index._place(), splitter)
        if not policy.dry_run:
            yield from index._adopting(splitter)
    made = recipe(index.schema, splitter, index.embedder, kept if splitter != kept else None)
    renew = renewal(index, lambda: recipe(index.schema, splitter_of(index.schema), index.embedder))
    prune = missing_among
    if prune is not None and (yield from index._filtering(prune)) == EVERYTHING:
        prune = {}
    outcomes: Iterable[Document | Failure | Note]
    outcomes = documents.outcomes() if isinstance(documents, DocumentSource) else documents
    if missing_among and index.schema.required_filter is not None:
        outcomes = matching_items(index.schema, missing_among, outcomes)
    report = yield from ingest(index._place(), outcomes, *made, policy, prune, renew=renew)
    return replace(report, notes=(*notes, *report.notes))


def _embedding(index: Index | AsyncIndex) -> Embedding:
    """Return what embeds the texts of passages; the embedder is looked for only when there are some."""
    return lambda texts: embedding_by(index.embedder)(texts)


def adding_vectors(
    index: Index | AsyncIndex,
    ids: Sequence[str],
    vectors: ArrayLike | Sequence[ArrayLike | None],
    texts: Sequence[str] | None,
    labels: Sequence[Label | None] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
    options: IngestOptions,
) -> Flow[IngestReport]:
    """The flow behind `Indexer.add_vectors`."""
    policy = _policy(options)
    rows = _rows(vectors, index.schema.dim)
    ids = _column("ids", ids, len(rows), None)
    for one in ids:
        if not isinstance(one, str):
            raise TypeError(f"expected a document id of type str, got {shown(one)} of type {type(one).__name__}")
    columns = (
        _column("texts", texts, len(rows), ""),
        _column("labels", labels, len(rows), None),
        _column("metadata", metadata, len(rows), {}),
    )
    numbered = list(enumerate(ids))
    if policy.on_repeated == "first":
        numbered.reverse()
    number_of = {document_id: number for number, document_id in numbered}
    documents = itertools.starmap(Document, zip(ids, *columns, strict=True))
    yield from index._modernizing()
    place = index._place()

    def remade() -> tuple[Drafting, Embedding]:
        own = _rows(rows, index.schema.dim)  # which refuses them where the dimension is another by now
        return drafting_vectors(index.schema, lambda document_id: own[number_of[document_id]]), embeds_nothing

    ready = None
    if isinstance(rows, np.ndarray) and len(number_of) == len(ids):
        ready = ReadyVectors(place, rows, number_of)
    renew = renewal(index, remade)
    return (yield from ingest(place, documents, *remade(), policy, ready=ready, renew=renew))


def _column(what: str, values: Iterable[Any] | None, size: int, default: Any) -> list[Any]:
    """Return one value for each vector; in a list, since a column of a table is not looked up by place.

    Raises:
        InvalidVectors: another number of values.
    """
    if isinstance(values, bytes | Mapping | type) or not (values is None or hasattr(values, "__iter__")):
        raise TypeError(f"expected {what} as {size} values, got {described(values)}")
    column = [default] * size if values is None else list(values)
    if len(column) != size:
        raise InvalidVectors(f"expected as many {what} as vectors, {size}, got {len(column)}")
    return column


def _rows(vectors: ArrayLike | Sequence[ArrayLike | None], dim: int) -> NDArray[Any] | Sequence[NDArray[Any] | None]:
    """Return vectors as an array of shape (n, dim); where some are None, as a list of those of shape (dim,).

    Raises:
        InvalidVectors: another shape.
    """
    if not isinstance(vectors, Sequence) or not any(vector is None for vector in vectors):
        return as_vectors(vectors, dim)  # type: ignore[arg-type]  # none is None
    return [None if vector is None else as_vectors(vector, dim)[0] for vector in vectors]


def embeds_nothing(texts: Sequence[str]) -> NDArray[np.float32]:
    """Refuse to embed: everything comes with its vector."""
    raise InvalidVectors(f"expected ready vectors, got {len(texts)} texts to embed")


def adding_passages(
    index: Index | AsyncIndex,
    passages: Iterable[Passage],
    embed: bool,
    keep_others: bool,
    long_texts: LongTexts,
    options: IngestOptions,
) -> Flow[IngestReport]:
    """The flow behind `Indexer.add_passages`."""
    policy, embedding = _policy(options), _embedding(index)
    if checked_choice("long_texts", long_texts) != "fail":
        embedding = lambda texts: embed_documents(index.embedder, texts, long_texts)[0]  # noqa: E731
    if check_flag("keep_others", keep_others):
        return (yield from merging(index, passages, embed, embedding, policy))
    yield from index._modernizing()
    check_flag("embed", embed)

    def remade() -> tuple[Drafting, Embedding]:
        return drafting_ready(index.schema, embed), embedding

    renew = renewal(index, remade)
    return (yield from ingest(index._place(), by_document(passages), *remade(), policy, renew=renew))


def adopting_passages(
    index: Index | AsyncIndex, passages: Iterable[Passage], options: IngestOptions, *, as_cut: bool
) -> Flow[IngestReport]:
    """Store passages that come with all that is to be stored of them; what has no vector is not embedded.

    With `as_cut`, a document that the index's splitter would cut in the same way is stored as if it had been.
    """
    policy = _policy(options)
    yield from index._modernizing()

    def remade() -> tuple[Drafting, Embedding]:
        draft = drafting_ready(index.schema, embeds=False)
        if as_cut:
            splitter = splitter_of(index.schema)
            draft = drafting_as_cut(index.schema, splitter, *cutting(splitter, reads_of(index.embedder)), draft)
        return draft, _embedding(index)

    renew = renewal(index, remade)
    return (yield from ingest(index._place(), by_document(passages), *remade(), policy, renew=renew))


@dataclass(slots=True)
class _Chosen:
    """What was found to write to: found once, though the index may be another one when the rest of it is written."""

    ids: list[str] | None = None
    found: Inventory | None = None
    tally: Tally = field(default_factory=lambda: Tally(Policy()))
    before: SearchIndexInfo | None = None
    removed: list[str] = field(default_factory=list)


def updating(
    index: Index | AsyncIndex,
    ids: Iterable[str] | None,
    where: Where | None,
    metadata: Mapping[str, Any] | None,
    label: Label | EllipsisType | None,
    on_bad_field: OnBadField,
) -> Flow[IngestReport]:
    """The flow behind `Indexer.update`."""
    listed = None if ids is None else list(checked_ids(ids))
    return _updating(index, listed, where, metadata, label, on_bad_field, _Chosen())


@repeatable
def _updating(
    index: Index | AsyncIndex,
    ids: list[str] | None,
    where: Where | None,
    metadata: Mapping[str, Any] | None,
    label: Label | EllipsisType | None,
    on_bad_field: OnBadField,
    chosen: _Chosen,
) -> Flow[IngestReport]:
    if ids is None and not where:
        raise ValueError(f"expected ids, a filter, or both, got ids=None, where={where!r}: nothing says what to update")
    if metadata is None and label is ...:
        raise ValueError("expected metadata or a label to change, got neither")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"expected metadata as a mapping such as a dict, got {type(metadata).__name__}")
    yield from index._modernizing()
    chosen.before = chosen.before or (yield from searched_by_now(index._place(), chosen.tally))
    place, among = index._place(), (yield from index._filtering(where))
    policy = _policy({"on_bad_field": on_bad_field})
    new_label = label if isinstance(label, EllipsisType) else plain_label(label, "the update")
    given = dump_details(None if new_label is ... else new_label, metadata or {})
    details_hash([given])  # refuses what UTF-8 cannot hold, before anything is written
    entries = json.loads(given[1])  # under the names that they are read back by
    entries.update((key, value) for key, value in (metadata or {}).items() if key in entries)  # a Decimal is a number

    def edit(passage: Passage) -> tuple[Label | None, Mapping[str, Any]]:
        kept = {key: value for key, value in passage.metadata.items() if key not in entries}
        kept.update((key, value) for key, value in entries.items() if value is not None)
        return passage.label if isinstance(new_label, EllipsisType) else new_label, kept

    if chosen.ids is None:
        chosen.ids = yield from matching_ids(place, among) if ids is None else _matching(place, ids, among)
    names = [name for name in place.schema.fields if any(f"{name}.".startswith(f"{key}.") for key in entries)]
    yield from change_details(place, chosen.ids, edit, names, policy.on_bad_field, chosen.tally)
    yield from verify(place, chosen.before, None, chosen.tally)
    report = chosen.tally.report(final=True)
    tell(place.keys, report)
    return report


def deleting(index: Index | AsyncIndex, document_ids: Iterable[str], where: Where | None) -> Flow[int]:
    """The flow behind `Indexer.delete`."""
    return _deleting(index, list(checked_ids(document_ids)), where, _Chosen())


@repeatable
def _deleting(index: Index | AsyncIndex, ids: list[str], where: Where | None, chosen: _Chosen) -> Flow[int]:
    yield from index._modernizing()
    among = yield from index._filtering(where)
    if chosen.ids is None:
        chosen.ids = yield from _matching(index._place(), ids, among)
    keys = index._keys
    return _deleted(keys, chosen, (yield from delete_documents(keys, chosen.ids, chosen.removed)))


def deleting_where(index: Index | AsyncIndex, where: Where) -> Flow[int]:
    """The flow behind `Indexer.delete_where`."""
    return _deleting_where(index, where, _Chosen())


@repeatable
def _deleting_where(index: Index | AsyncIndex, where: Where, chosen: _Chosen) -> Flow[int]:
    among = yield from index._filtering(where)
    if among == EVERYTHING:
        raise ValueError(f"expected a filter with at least one condition, got {where!r}; clear() removes everything")
    yield from index._modernizing()
    keys = index._keys
    if chosen.found is None:
        chosen.found = yield from look_among(index._place(), among)
    return _deleted(keys, chosen, (yield from delete_all(keys, chosen.found, sorted(chosen.found), chosen.removed)))


def _deleted(keys: Keys, chosen: _Chosen, serves: bool, said: str = "") -> int:
    """Write to the log what was said and what was deleted, and return how much that is.

    Raises:
        IndexNotFound: not all of it is deleted, as another store serves by now.
    """
    if not serves:
        raise rebuilt(keys)
    deleted = list(dict.fromkeys(chosen.removed))
    WRITING.info("index %r: %s%d deleted", keys.name, said, len(deleted))
    if WRITING.isEnabledFor(DEBUG):
        for document_id in deleted:
            WRITING.debug("index %r: deleted %s", keys.name, visible(document_id))
    return len(deleted)


def clearing(index: Index | AsyncIndex) -> Flow[int]:
    """The flow behind `Indexer.clear`."""
    return _clearing(index, _Chosen())


@repeatable
def _clearing(index: Index | AsyncIndex, chosen: _Chosen) -> Flow[int]:
    if (required := index.schema.required_filter) is not None:
        raise ValueError(
            f"expected a filter on {required!r}, which this index requires, and clear() takes none: "
            f'delete_where({{"{required}": VALUE}}) removes what matches, and drop() the whole index'
        )
    yield from index._modernizing()
    keys = index._keys
    if not (yield from check_store(keys)):
        raise rebuilt(keys)
    there = yield from look_through(keys)
    yield from delete_all(keys, there, sorted(there), chosen.removed)
    return _deleted(keys, chosen, (yield from check_store(keys)), "cleared, ")


def _matching(place: Place, ids: Iterable[str], among: Fragment) -> Flow[list[str]]:
    """Return each of the ids once that can be in the index and whose document the filter finds."""
    found: list[str] = []
    for part in in_parts(dict.fromkeys(ids), DOCUMENTS_PER_PART):
        found += yield from matching(place, storable(part), among)
    return found


def renewal(index: Index | AsyncIndex, remade: Callable[[], tuple[Drafting, Embedding]]) -> Renewal:
    """Return what takes the index as it serves by now, and makes anew what is made for it."""

    def renew(place: Place) -> Flow[tuple[Place, Drafting, Embedding]]:
        yield from index._keeping_up_since(place.keys)
        return index._place(), *remade()

    return renew
