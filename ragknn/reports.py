"""What reading and indexing tell of their work, and an index of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from ragknn._display.cards import check_html, info_html, report_html
from ragknn._display.inert import visible
from ragknn._plain import Plain, frame
from ragknn.errors import IngestFailed
from ragknn.records import Document

if TYPE_CHECKING:
    from pandas import DataFrame

NoteKind: TypeAlias = Literal[
    "passed over", "empty", "partial", "assumed", "changed", "damaged", "unsearchable", "unverified"
]
# What is about the index and not about one of many documents.
_ABOUT_INDEX = ("changed", "unsearchable", "unverified")


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
            "damaged": a document of which the server had lost something, so that it was stored anew; "unsearchable":
            an index of which something is stored that no search finds; "unverified": one of which that is not known.
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
    """Whether what is stored is found by searches, looked at when an ingest had ended.

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


@dataclass(frozen=True, slots=True)
class IndexInfo(Plain):
    """An index at a glance.

    Attributes:
        name: name of the index.
        documents: number of documents; None where the index requires a filter, and was described without one.
        passages: number of passages that can be found; None likewise.
        embedder: name of the embedder, or "ready vectors".
        dim: values in a vector.
        metric: cosine, ip or l2.
        algorithm: flat or hnsw.
        dtype: dtype of the stored vectors.
        fields: declared fields and their types.
        memory_bytes: what the search index takes, without the texts and vectors in the hashes; None where the index
            requires a filter.
        percent_indexed: 1.0 when everything stored can be found.
        indexing_failures: passages that the server could not index.
        redis_version: version of the server.
        search_version: version of its search module; empty where the server does not tell.
        splitter: settings of the splitter by which documents are cut, "auto" where they are left to it.
        words: how words are found: the language of their stems, whether accents are folded, and the number of stop
            words; empty where they are not indexed.
        storage: what the stored vectors take, and whether another dtype would take less.
        required_filter: the field that every search, count and change must filter on; None for none.
        measured_recall: what was measured for searches with `recall=`, by the number of neighbors: "@10" and so on.
    """

    name: str
    documents: int | None
    passages: int | None
    embedder: str
    dim: int
    metric: str
    algorithm: str
    dtype: str
    fields: Mapping[str, str]
    memory_bytes: int | None
    percent_indexed: float
    indexing_failures: int
    redis_version: str
    search_version: str
    splitter: Mapping[str, Any] = field(default_factory=dict, compare=False)
    words: Mapping[str, Any] = field(default_factory=dict, compare=False)
    storage: str = field(default="", compare=False)
    measured_recall: Mapping[str, str] = field(default_factory=dict, compare=False)
    required_filter: str | None = field(default=None, compare=False)

    def _repr_html_(self) -> str:
        """Show the facts as a card in a notebook."""
        return info_html(self)


@dataclass(frozen=True, slots=True)
class RebuildReport(Plain):
    """What became of an index that was rebuilt.

    Attributes:
        name: name of the index.
        changed: for each property that is another now, the pair (before, after); empty where nothing was to do.
        passages: number of passages in the new version, as many as were in the one before.
        sampled: stored vectors whose nearest passages were compared in both versions.
        agreement: share of them that an exact search of the new version finds as the one before did; with another
            metric, share that have the distance that their vectors have.
        recall: share of them that a search as usual of the new version finds; 1 for a flat index.
        memory_bytes: what the search index took before, and takes now, without the texts and vectors in the hashes.
        seconds: how long it took.
        resumed: whether it went on with what a rebuild that was interrupted had made.
        dry_run: whether nothing was done: the report tells what would have changed.
        documents: number of documents that were written anew; 0 where the passages stayed as they are.
        embedded: passages that were embedded; not those that an earlier call, which was interrupted, had embedded.
        left_out: fields of documents that do not fit the type that they have now, and why.
    """

    name: str
    changed: Mapping[str, tuple[Any, Any]]
    passages: int = 0
    sampled: int = 0
    agreement: float = 1.0
    recall: float = 1.0
    memory_bytes: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    resumed: bool = False
    dry_run: bool = False
    documents: int = 0
    embedded: int = 0
    left_out: tuple[Failure, ...] = ()

    def __str__(self) -> str:
        changes = ", ".join(f"{key} {before!r} to {after!r}" for key, (before, after) in self.changed.items())
        if not changes:
            return visible(f"{self.name}: nothing to change")
        if self.dry_run:
            return visible(f"dry run, nothing changed: {self.name}: {changes}; {self.passages:,} passages")
        before, after = (f"{size / 2**20:,.1f}" for size in self.memory_bytes)
        embedded = f", {self.embedded:,} of them embedded now" * bool(self.embedded)
        compared = (
            f"; of the neighbors of {self.sampled} vectors {self.agreement:.1%} as before, and {self.recall:.1%} found "
            "by searches as usual"
        ) * bool(self.sampled)
        left_out = f"; fields left out of {len({one.document_id for one in self.left_out})} documents" * bool(
            self.left_out
        )
        return visible(
            f"{self.name}: {changes}; {self.passages:,} passages{embedded} in {self.seconds:.1f} s, the search index "
            f"{before} to {after} MB{compared}{left_out}"
        )


@dataclass(frozen=True, slots=True)
class Loss(Plain):
    """Something of another library's index that the index made of it does not have, or has in another way.

    Attributes:
        what: the field, or "keys" where it is about whole passages.
        reason: what becomes of it.
        count: number of passages that it is about; 0 where it is about the index.
        example: one of them.
    """

    what: str
    reason: str
    count: int = 0
    example: str = ""

    def __str__(self) -> str:
        times = f" ({self.count:,} times{f', such as {self.example}' if self.example else ''})" if self.count else ""
        return visible(f"{self.what}: {self.reason}{times}")


@dataclass(frozen=True, slots=True)
class ImportReport(Plain):
    """What became of another library's index.

    Attributes:
        source: its name.
        name: name of the index made of it.
        maker: the library that made it, as far as it shows; empty if it does not.
        layout: where the library has the text, the vector and all else; see `ragknn.transfer.Layout`.
        settings: what the new index is made of: dimension, metric, algorithm, dtype, fields and so on.
        passages: number of passages read.
        lost: what the new index does not have, or has in another way.
        written: what became of the documents; None where nothing was written.
        seconds: how long it took.
    """

    source: str
    name: str
    maker: str
    layout: Mapping[str, Any]
    settings: Mapping[str, Any]
    passages: int
    lost: tuple[Loss, ...] = ()
    written: IngestReport | None = None
    seconds: float = 0.0

    @property
    def dry_run(self) -> bool:
        """Whether nothing was written."""
        return self.written is None

    def __str__(self) -> str:
        made = ", ".join(f"{key} {value}" for key, value in self.settings.items() if key != "fields")
        fields = ", ".join(f"{name} ({kind})" for name, kind in self.settings.get("fields", {}).items())
        where = ", ".join(f"{key} in {value!r}" for key, value in self.layout.items() if value and key != "left_out")
        begin = "dry run, nothing written: " if self.dry_run else ""
        lines = [
            f"{begin}{self.source} to {self.name}: {self.passages:,} passages{' of ' * bool(self.maker)}{self.maker}",
            *([f"read: {where}"] if where else []),
            f"made: {made}{'; fields ' * bool(fields)}{fields}",
            *(f"not as it was: {loss}" for loss in self.lost),
            *([] if self.written is None else [str(self.written)]),
        ]
        return visible("\n".join(lines))


@dataclass(frozen=True, slots=True)
class ExportReport(Plain):
    """What became of an index that was written to a file.

    Attributes:
        name: name of the index.
        path: of the file.
        documents: number of documents written.
        passages: number of passages written.
        damaged: ids of documents that are not in the file, since the server has lost something of them.
        size_bytes: size of the file.
        seconds: how long it took.
    """

    name: str
    path: str
    documents: int
    passages: int
    damaged: tuple[str, ...] = ()
    size_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        line = (
            f"{self.name} to {self.path}: {self.documents:,} documents, {self.passages:,} passages, "
            f"{self.size_bytes / 2**20:,.1f} MB in {self.seconds:.1f} s"
        )
        if self.damaged:
            some = ", ".join(self.damaged[:3]) + ", ..." * (len(self.damaged) > 3)
            line += (
                f"\nnot written: {len(self.damaged):,} documents of which the server has lost something, such as "
                f"{some}; `ragknn check {self.name}` tells of them"
            )
        return visible(line)


_SHOWN_IDS = 10  # of each kind, in a line


@dataclass(frozen=True, slots=True)
class CheckReport(Plain):
    """What a look at every document of an index has shown.

    Each kind of damage has the ids of the documents concerned, sorted; at most 1,000 of them. `counts` has them all.

    Attributes:
        KINDS: the kinds of damage.
        name: name of the index.
        documents: number of documents looked at.
        passages: number of passages that were there before anything was mended.
        missing: documents of which passages are gone: expired, evicted, or deleted by others.
        mixed: documents with passages of different versions.
        orphans: ids under which there are passages that belong to no document, or no longer to this one.
        wrong_size: documents with vectors of another size than the index has.
        not_searchable: documents with passages that are stored, and that no search finds.
        repaired: documents that were mended and are sound now.
        index_again: documents that cannot be mended here: the next `add` or `sync` that has them stores them whole.
        counts: for each of the seven above, how many documents there are.
        indexing_failures: how often the server could not index a passage since the search index was made, whatever
            became of it; what is wrong now is in `not_searchable`.
        truncated: whether there are more ids than the report has.
        seconds: how long it took.
    """

    KINDS: ClassVar = ("missing", "mixed", "orphans", "wrong_size", "not_searchable")

    name: str
    documents: int = 0
    passages: int = 0
    missing: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    wrong_size: tuple[str, ...] = ()
    not_searchable: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    index_again: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    indexing_failures: int = 0
    truncated: bool = False
    seconds: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether nothing was wrong, or all of it was mended."""
        return not self.index_again and (bool(self.repaired) or not any(self.counts.get(kind) for kind in self.KINDS))

    @property
    def head(self) -> str:
        """What was looked at and how it is, in a line."""
        state = "sound" if self.is_sound else "damaged"
        if self.is_sound and self.repaired:
            state = "mended"
        return f"{state}: {self.documents:,} documents, {self.passages:,} passages in {self.seconds:.1f} s"

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What was found and done, each with the number of documents and the first of them."""
        told = []
        for kind in (*self.KINDS, "repaired", "index_again"):
            if count := self.counts.get(kind, 0):
                ids = getattr(self, kind)[:_SHOWN_IDS]
                more = f" and {count - len(ids):,} more" * (count > len(ids))
                told.append((kind.replace("_", " "), f"{count:,}: {', '.join(ids)}{more}"))
        return told

    def __str__(self) -> str:
        lines = [f"  {what} {which}" for what, which in self.lines]
        return visible("\n".join([f"{self.name}: {self.head}", *lines]))

    def _repr_html_(self) -> str:
        """Show what was found as a card in a notebook."""
        return check_html(self)


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
