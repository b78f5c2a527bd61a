"""Copying documents by cutting and embedding them anew, from what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ragknn._ids import passage_id
from ragknn._protocol.copying import state_of
from ragknn._protocol.flows import Flow
from ragknn._protocol.reading import Stored, document_of, read_stored
from ragknn._protocol.removing import remove_at_once
from ragknn._protocol.replies import checked
from ragknn._protocol.schema import OnBadField
from ragknn.embedding.protocols import Embedder
from ragknn.errors import RebuildFailed
from ragknn.indexing._drafts import Draft
from ragknn.indexing._filling import Filling
from ragknn.indexing._line import Line
from ragknn.indexing._policy import Policy
from ragknn.indexing._ready import ReadyDocument, drafting_ready
from ragknn.indexing._recipes import recipe
from ragknn.indexing._splitters import splitter_of
from ragknn.indexing._tally import Tally
from ragknn.records import Document
from ragknn.reports import Failure

_POLICY = Policy(on_bad_field="leave_out")


class EmbeddingAnew:
    """Copies documents, cut by the splitter of the new schema and embedded by its embedder.

    Documents whose passages were cut elsewhere keep these: that is known by passages with ids, labels or metadata of
    their own. What is there already, by the same splitter and embedder, is not embedded again.
    """

    at_a_time = 128

    def __init__(self, filling: Filling, embedder: Embedder) -> None:
        self._old, self._new = filling.old, filling.new
        self.left_out: dict[str, list[Failure]] = {}
        self.embedded = 0
        schema = self._new.schema
        cut, self._embed = recipe(schema, splitter_of(schema), embedder)
        with_vectors, without = drafting_ready(schema, True), drafting_ready(schema, False)

        def draft(item: Any, on_bad_field: OnBadField) -> Draft:
            if isinstance(item, Document):
                return cut(item, on_bad_field)
            return (without if item.id in self._without_vectors else with_vectors)(item, on_bad_field)

        self._draft = draft
        self._without_vectors: set[str] = set()

    def copy(self, document_ids: Sequence[str]) -> Flow[dict[str, str]]:
        """Copy documents; `Copier` says what is returned."""
        stored = yield from read_stored(self._old, document_ids)
        flags = yield [("HEXISTS", self._old.keys.record(one), "no_vector") for one in stored]
        self._without_vectors = {one for one, flag in zip(stored, flags, strict=True) if int(checked(flag))}
        items = [self._item(document_id, one) for document_id, one in stored.items()]
        if self._new.schema.required_filter is not None:  # where a document is not replaced by another owner's
            yield from remove_at_once(self._new.keys, document_ids)
        tally = Tally(_POLICY)
        yield from Line(self._new, None, self._draft, self._embed, _POLICY, tally, lambda: None).bring_in(items)
        if tally.failed:
            raise RebuildFailed(
                f"expected documents of {self._old.keys.name!r} that can be embedded anew, got {tally.failed[0]}: the "
                "index serves as it was; delete the document, or make the index of its sources"
            )
        self.embedded += tally.embedded
        for document_id in stored:
            self.left_out[document_id] = [one for one in tally.left_out if one.document_id == document_id]
        return {document_id: state_of(one.text_hash, one.details_hash) for document_id, one in stored.items()}

    def _item(self, document_id: str, stored: Stored) -> Document | ReadyDocument:
        if document_id in self._without_vectors or _is_cut_elsewhere(document_id, stored):
            return ReadyDocument(document_id, tuple(replace(one, vector=None) for one in stored.passages))
        return document_of(document_id, stored)


def _is_cut_elsewhere(document_id: str, stored: Stored) -> bool:
    first = stored.passages[0]
    return any(
        one.id != passage_id(document_id, number)
        or (one.label, type(one.label), one.metadata) != (first.label, type(first.label), first.metadata)
        for number, one in enumerate(stored.passages)
    )
