"""Passages that overlap or follow each other, joined into excerpts of their documents. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ragknn._ids import split_id
from ragknn._plain import Plain
from ragknn.records import Label, Neighbor, Passage

Order: TypeAlias = Literal["rank", "document"]


@dataclass(frozen=True, slots=True)
class Source(Plain):
    """An excerpt of a document in a context.

    Attributes:
        number: by which it is cited, from 1.
        document_id: the document that it is taken from.
        start: offset of its first character in the document's text.
        end: offset behind its last character.
        text: the document's text from `start` to `end`. Whitespace between two passages that do not overlap is not
            kept with the passages: one character of it becomes a space, more become an empty line.
        label: the document's label.
        metadata: the document's metadata.
        passage_ids: the passages that it is made of, in the order of the document.
        distance: of the best passage in it to the query; NaN after a search for words alone.
        score: of the best passage in it; None where the retrieval is ordered by distance.
    """

    number: int
    document_id: str
    start: int
    end: int
    text: str
    label: Label | None
    metadata: Mapping[str, Any]
    passage_ids: tuple[str, ...]
    distance: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage that is taken, or its first sentences.

    Attributes:
        passage: what is taken; of first sentences, with their text and end.
        rank: rank of the retrieved passage, or of the one whose window this is part of; from 0.
        whole: whether it is all of the passage.
    """

    passage: Passage
    rank: int
    whole: bool = True


@dataclass(slots=True)
class _Excerpt:
    """Text of one document that grows from its beginning to its end."""

    text: str
    start: int
    end: int
    last: Piece  # the one that reaches to the end
    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def of(cls, piece: Piece) -> _Excerpt:
        passage = piece.passage
        return cls(passage.text, passage.start, passage.end, piece, [piece])

    def takes(self, piece: Piece) -> bool:
        """Append a piece that starts at or after the last one; return False if it cannot be joined."""
        passage = piece.passage
        repeated = self.end - passage.start
        if repeated < 0:
            if not self._is_followed_by(passage):
                return False
            addition = (" " if repeated == -1 else "\n\n") + passage.text
        else:
            known = self.text[len(self.text) - repeated :]
            # They differ where the document was replaced between two searches.
            if not (known.startswith(passage.text) or passage.text.startswith(known)):
                return False
            addition = passage.text[repeated:]
        self.pieces.append(piece)
        if passage.end > self.end:
            self.text, self.end, self.last = self.text + addition, passage.end, piece
        return True

    def _is_followed_by(self, passage: Passage) -> bool:
        # A splitter leaves out nothing but whitespace between a passage and the next.
        number = passage_number(self.last.passage)
        return self.last.whole and number is not None and passage_number(passage) == number + 1


def _excerpts(pieces: Sequence[Piece]) -> list[_Excerpt]:
    """Join the pieces of one document into as few excerpts as possible."""
    excerpts: list[_Excerpt] = []
    for piece in sorted(pieces, key=lambda piece: (piece.passage.start, piece.passage.end)):
        if not (excerpts and excerpts[-1].takes(piece)):
            excerpts.append(_Excerpt.of(piece))
    return excerpts


def sources_of(pieces: Sequence[Piece], found: Sequence[Neighbor], order: Order) -> list[Source]:
    """Join pieces to excerpts and number these.

    Args:
        pieces: in any order, each passage once.
        found: what was retrieved, best first; the ranks of the pieces are places in it.
        order: "rank" or "document", as explained at `build_context`.
    """
    documents: dict[str, list[Piece]] = {}
    for piece in pieces:
        documents.setdefault(piece.passage.document_id, []).append(piece)
    ordered: list[tuple[int, int, _Excerpt]] = []  # rank of the best in the document, in the excerpt
    for own in documents.values():
        excerpts = _excerpts(own)
        bests = [min(piece.rank for piece in excerpt.pieces) for excerpt in excerpts]
        ordered += [(min(bests), best, excerpt) for best, excerpt in zip(bests, excerpts, strict=True)]
    if order == "rank":
        ordered.sort(key=lambda entry: entry[1])
    else:
        ordered.sort(key=lambda entry: (entry[0], entry[2].start))
    return [_source(number, found[best], excerpt) for number, (_, best, excerpt) in enumerate(ordered, start=1)]


def _source(number: int, best: Neighbor, excerpt: _Excerpt) -> Source:
    return Source(
        number=number,
        document_id=best.passage.document_id,
        start=excerpt.start,
        end=excerpt.end,
        text=excerpt.text,
        label=best.passage.label,
        metadata=best.passage.metadata,
        passage_ids=tuple(piece.passage.id for piece in excerpt.pieces),
        distance=best.distance,
        score=best.score,
    )


def passage_number(passage: Passage) -> int | None:
    """Return which passage of its document it is; None if it does not come from an index."""
    if passage.number is not None:
        return passage.number
    parts = split_id(passage.id)
    return parts[1] if parts and parts[0] == passage.document_id else None
