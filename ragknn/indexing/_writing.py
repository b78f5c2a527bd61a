"""The flows behind `Indexer` and `AsyncIndexer`."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from logging import DEBUG
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_flag, described, shown
from ragknn._display.inert import visible
from ragknn._logs import WRITING
from ragknn._plain import plain_label
from ragknn._protocol.dropping import remove_documents
from ragknn._protocol.finding import matching_ids
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.inventory import delete_all, look_among
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import details_hash, dump_details
from ragknn._protocol.place import Place
from ragknn._protocol.query import EVERYTHING, Fragment
from ragknn._protocol.reading import matching
from ragknn._protocol.schema import OnBadField
from ragknn._protocol.vectors import as_vectors
from ragknn._protocol.writing import delete_documents
from ragknn.embedding._long_texts import LongTexts, checked_choice, embed_documents
from ragknn.embedding.protocols import Embedder, Tokenizing
from ragknn.errors import InvalidVectors
from ragknn.filters import Where
from ragknn.indexing._changing import change_details
from ragknn.indexing._drafts import (
    Cut,
    by_document,
    drafting_as_cut,
    drafting_documents,
    drafting_ready,
    drafting_vectors,
)
from ragknn.indexing._ingestion import ingest, tell
from ragknn.indexing._line import Embedding
from ragknn.indexing._merging import merging
from ragknn.indexing._newcomers import ReadyVectors
from ragknn.indexing._policy import IngestOptions, Policy
from ragknn.indexing._reading import DOCUMENTS_PER_PART, checked_ids, in_parts, storable
from ragknn.indexing._splitters import notes_on_change, splitter_of
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Document, Label, Passage
from ragknn.reports import DocumentSource, Failure, IngestReport, Note
from ragknn.text._folding import fold, folding
from ragknn.text._measures import TokenSpans
from ragknn.text.splitting import Splitter

if TYPE_CHECKING:
    from ragknn.indexing.indexer import AsyncIndexer, Indexer

Reads: TypeAlias = tuple[TokenSpans | None, int | None]
"""What finds the tokens of a text, None for words; and how many of them a model reads."""


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
    reads = _reads(index.embedder)
    kept = splitter_of(index.schema)
    splitter = kept if indexer.splitter is None else indexer.splitter
    splitter.check(*reads)  # before it is kept
    notes: tuple[Note, ...] = ()
    if splitter != kept:
        notes = yield from notes_on_change(index._place(), splitter)
        if not policy.dry_run:
            yield from index._adopting(splitter)
    before = kept if splitter != kept else None
    draft = drafting_documents(index.schema, splitter, *_cutting(splitter, reads), before=before)
    prune = None if missing_among is None else (yield from index._filtering(missing_among))
    outcomes: Iterable[Document | Failure | Note]
    outcomes = documents.outcomes() if isinstance(documents, DocumentSource) else documents
    report = yield from ingest(index._place(), outcomes, draft, _embedding(index), policy, prune)
    return replace(report, notes=(*notes, *report.notes))


def _reads(embedder: Embedder) -> Reads:
    """Return how an embedder counts a text, and how much of one it reads."""
    return folding(embedder.token_spans) if isinstance(embedder, Tokenizing) else None, embedder.max_tokens


def _cutting(splitter: Splitter, reads: Reads) -> tuple[Cut, Callable[[Passage], str]]:
    """Return what cuts a document, and what makes the text that is embedded for a passage."""
    return (
        lambda document: splitter.split(document, *reads),
        lambda passage: splitter.embedded_text(passage, *reads),
    )


def _embedding(index: Index | AsyncIndex) -> Embedding:
    """Return what embeds the texts of passages, folded; the embedder is looked for only when there are some."""
    return lambda texts: index.embedder.embed_documents([fold(text) for text in texts])


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
    draft = drafting_vectors(index.schema, lambda document_id: rows[number_of[document_id]])
    ready = None
    if isinstance(rows, np.ndarray) and len(number_of) == len(ids):
        ready = ReadyVectors(place, rows, number_of)
    return (yield from ingest(place, documents, draft, embeds_nothing, policy, ready=ready))


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
    draft = drafting_ready(index.schema, check_flag("embed", embed))
    return (yield from ingest(index._place(), by_document(passages), draft, embedding, policy))


def adopting_passages(
    index: Index | AsyncIndex, passages: Iterable[Passage], options: IngestOptions, *, as_cut: bool
) -> Flow[IngestReport]:
    """Store passages that come with all that is to be stored of them; what has no vector is not embedded.

    With `as_cut`, a document that the index's splitter would cut in the same way is stored as if it had been.
    """
    policy = _policy(options)
    yield from index._modernizing()
    draft = drafting_ready(index.schema, embeds=False)
    if as_cut:
        splitter = splitter_of(index.schema)
        draft = drafting_as_cut(index.schema, splitter, *_cutting(splitter, _reads(index.embedder)), draft)
    return (yield from ingest(index._place(), by_document(passages), draft, _embedding(index), policy))


@repeatable  # nothing is written before the filter has found what to write
def updating(
    index: Index | AsyncIndex,
    ids: Iterable[str] | None,
    where: Where | None,
    metadata: Mapping[str, Any] | None,
    label: Label | EllipsisType | None,
    on_bad_field: OnBadField,
) -> Flow[IngestReport]:
    """The flow behind `Indexer.update`."""
    started = time.monotonic()
    if ids is None and not where:
        raise ValueError(f"expected ids, a filter, or both, got ids=None, where={where!r}: nothing says what to update")
    if metadata is None and label is ...:
        raise ValueError("expected metadata or a label to change, got neither")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"expected metadata as a mapping such as a dict, got {type(metadata).__name__}")
    yield from index._modernizing()
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

    if ids is None:
        chosen = yield from matching_ids(index._place(), among)
    else:
        chosen = yield from _chosen(place, ids, among)
    names = [name for name in place.schema.fields if any(f"{name}.".startswith(f"{key}.") for key in entries)]
    changed = yield from change_details(place, chosen, edit, names, policy.on_bad_field)
    report = changed.report(started)
    tell(place.keys, report)
    return report


@repeatable  # nothing is written before the filter has found what to write
def deleting(index: Index | AsyncIndex, document_ids: Iterable[str], where: Where | None) -> Flow[int]:
    """The flow behind `Indexer.delete`."""
    yield from index._modernizing()
    chosen = yield from _chosen(index._place(), document_ids, (yield from index._filtering(where)))
    return _deleted(index._keys, (yield from delete_documents(index._keys, chosen)))


@repeatable  # nothing is written before the filter has found what to write
def deleting_where(index: Index | AsyncIndex, where: Where) -> Flow[int]:
    """The flow behind `Indexer.delete_where`."""
    among = yield from index._filtering(where)
    if among == EVERYTHING:
        raise ValueError(f"expected a filter with at least one condition, got {where!r}; clear() removes everything")
    yield from index._modernizing()
    found = yield from look_among(index._place(), among)
    return _deleted(index._keys, (yield from delete_all(index._keys, found, sorted(found))))


def _deleted(keys: Keys, deleted: Sequence[str]) -> int:
    """Write to the log what was deleted, and return how much that is."""
    WRITING.info("index %r: %d deleted", keys.name, len(deleted))
    if WRITING.isEnabledFor(DEBUG):
        for document_id in deleted:
            WRITING.debug("index %r: deleted %s", keys.name, visible(document_id))
    return len(deleted)


def clearing(index: Index | AsyncIndex) -> Flow[int]:
    """The flow behind `Indexer.clear`."""
    removed = yield from remove_documents(index._keys)
    WRITING.info("index %r: cleared, %d deleted", index.name, removed)
    return removed


def _chosen(place: Place, ids: Iterable[str], among: Fragment) -> Flow[list[str]]:
    """Return each of the ids once that can be in the index and whose document the filter finds."""
    chosen: list[str] = []
    for part in in_parts(dict.fromkeys(checked_ids(ids)), DOCUMENTS_PER_PART):
        chosen += yield from matching(place, storable(part), among)
    return chosen
