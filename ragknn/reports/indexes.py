"""What an index tells of itself, and what became of it as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ragknn._display.cards import check_html, info_html
from ragknn._display.inert import visible
from ragknn._plain import Plain
from ragknn.reports.ingests import Failure


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
