"""What reading and indexing tell of their work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from ragknn._display.cards import report_html
from ragknn._display.inert import visible
from ragknn._plain import Plain, frame
from ragknn.errors import IngestFailed
from ragknn.records import Document

if TYPE_CHECKING:
    from pandas import DataFrame

NoteKind: TypeAlias = Literal[
    "passed over", "empty", "partial", "assumed", "changed", "damaged", "remade", "unsearchable", "unverified"
]
# What is about the index and not about one of many documents.
_ABOUT_INDEX = ("changed", "remade", "unsearchable", "unverified")


@dataclass(frozen=True, slots=True)
class Failure(Plain):
    """Something that should have become a document in the index, and did not.

    Attributes:
        source: the document's id, or the file (with `:line` where it has lines).
        reason: what was expected, what came, what to do.
        document_id: the document concerned, or None where reading did not get that far.
    """

    source: str
    reason: str
    document_id: str | None = None

    def __str__(self) -> str:
        return visible(f"{self.source}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Note(Plain):
    """Something about what was read that should be known, and that is no failure.

    Attributes:
        kind: "passed over": a file or folder that was not read; "empty": a file that was read and holds no text;
            "partial": a document of which something is missing, such as pages without text; "assumed": one read
            with an assumption, such as its encoding; "changed": an index with another splitter than before;
            "damaged": a document of which the server had lost something, so that it was stored anew; "remade": an
            index whose search index others had dropped, made again of what is stored; "unsearchable": one of which
            something is stored that no search finds; "unverified": one of which that is not known.
        source: the file, the folder or the index.
        reason: what was left out or assumed, and what to do about it.
        document_id: the document concerned, or None where it is none or several.
    """

    kind: NoteKind
    source: str
    reason: str
    document_id: str | None = None

    def __str__(self) -> str:
        return visible(f"{self.source}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Verification(Plain):
    """Whether what is stored is found by searches, looked at when all was written.

    Attributes:
        ok: whether the server has indexed all that was written meanwhile, and after a `sync` without a filter also
            whether as many passages are found as are stored. None: not known, and the report's notes say why.
        searchable: passages that searches find in the whole index; None where it requires a filter.
        stored: passages that the server keeps, as a `sync` without a filter has counted them; else None.
        indexing_failures: how often the server could not index a passage meanwhile, whoever wrote it.
    """

    ok: bool | None = None
    searchable: int | None = None
    stored: int | None = None
    indexing_failures: int = 0


@dataclass(frozen=True, slots=True)
class IngestReport(Plain):
    """What happened to the documents of an ingest.

    Attributes:
        KINDS: what can become of a document that is stored, or was.
        added: documents that are new in the index.
        updated: documents that replaced an older text, label or metadata.
        unchanged: documents that the index has as they are; they were not embedded again.
        deleted: documents removed because the input no longer has them.
        passages: passages written.
        failed: what did not get in, and why; what the index held of it stays as it was.
        kept: documents that the input no longer has and that were kept all the same, because part of the
            input could not be read and they may come from there.
        skipped: documents left alone because the index has their ids already (`on_existing="skip"`).
        left_out: fields that did not fit their type and were left out (`on_bad_field="leave_out"`), and why.
        notes: what reading passed over, found empty, read in part or assumed, another splitter, what was damaged on the
            server, and what of the index is not found; no failures.
        ids: for each of `KINDS` the ids of the documents.
        dry_run: whether nothing was written: the report tells what would have been.
        seconds: how long it took.
        embedded: passages embedded by the model; while the work goes on, also those of documents that are not written
            yet.
        under_way: while the work goes on, documents of which some passages are embedded and which are not written yet,
            each counted by the share of them: with `documents`, how far the work is. 0 at its end.
        reasons: for each document that was updated, why: "text" (of ready material also its vectors or how it is cut),
            "label", "metadata", "settings" (another splitter), or "damaged" (the server had lost something of it).
        verification: whether what is stored is found; None where nothing was written or looked at, as in a dry run.
    """

    KINDS: ClassVar = ("added", "updated", "unchanged", "deleted", "skipped", "kept")

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    passages: int = 0
    failed: tuple[Failure, ...] = ()
    kept: int = 0
    skipped: int = 0
    left_out: tuple[Failure, ...] = ()
    notes: tuple[Note, ...] = ()
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)
    dry_run: bool = False
    seconds: float = 0.0
    embedded: int = 0
    under_way: float = 0.0
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)
    verification: Verification | None = field(default=None, repr=False, compare=False)

    @property
    def documents(self) -> int:
        """Number of documents looked at."""
        return self.added + self.updated + self.unchanged + self.skipped + len(self.failed)

    def raise_for_failures(self) -> None:
        """Do nothing if everything got in.

        Raises:
            IngestFailed: something did not; the error carries this report.
        """
        if self.failed:
            raise IngestFailed(self)

    def to_pandas(self) -> DataFrame:
        """Return a DataFrame with a row for each failure; `to_dict` has the counts.

        Raises:
            MissingDependency: pandas is not installed.
        """
        rows = [(failure.source, failure.reason, failure.document_id) for failure in self.failed]
        return frame(("source", "reason", "document_id"), rows)

    @property
    def head(self) -> str:
        """The counts in a line, without reasons and ids."""
        counts = f"{self.added} added, {self.updated} updated, {self.unchanged} unchanged, {self.deleted} deleted"
        skipped = f", {self.skipped} skipped" * bool(self.skipped)
        return f"{counts}{skipped}, {len(self.failed)} failed; {self.passages} passages in {self.seconds:.1f} s"

    @property
    def why_updated(self) -> str:
        """How many documents were updated for each reason, such as "text: 2, label: 1"; empty where none was."""
        counts = Counter(reason for some in self.reasons.values() for reason in some)
        return ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())

    @property
    def how_verified(self) -> str:
        """That all that is stored is found, where that was counted; else empty."""
        found = self.verification
        if found is None or not found.ok or found.stored is None:
            return ""
        return f"all {found.stored:,} stored passages are found"

    def __str__(self) -> str:
        head = f"dry run, nothing written: {self.head}" if self.dry_run else self.head
        why = [f"  updated for {self.why_updated}"] * bool(self.why_updated)
        verified = [f"  {self.how_verified}"] * bool(self.how_verified)
        kept = [f"  {self.kept} missing from the input were kept, since not all of it could be read"] * bool(self.kept)
        left_out = [f"  left out: {one}" for one in self.left_out]
        about_index = [f"  {note.kind}: {note}" for note in self.notes if note.kind in _ABOUT_INDEX]
        kinds = Counter(note.kind for note in self.notes if note.kind not in _ABOUT_INDEX)
        notes = [f"  {kind}: {count}" for kind, count in kinds.items()]
        failed = [f"  failed: {failure}" for failure in self.failed]
        return visible("\n".join([head, *why, *verified, *about_index, *kept, *left_out, *notes, *failed]))

    def _repr_html_(self) -> str:
        """Show the counts and the failures as a card in a notebook."""
        return report_html(self)


@runtime_checkable
class DocumentSource(Protocol):
    """Documents that can be read past a broken one: what `read_documents` returns.

    Iterating raises at the first thing that cannot be read. An indexer takes `outcomes()` instead, so that
    one broken file does not keep the others out of the index.
    """

    def __iter__(self) -> Iterator[Document]: ...

    def outcomes(self) -> Iterator[Document | Failure | Note]:
        """Iterate over the documents, with a `Failure` for each that cannot be read; a `Note` may tell more."""
        ...
