"""Cut documents into passages that an embedding model can read whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from operator import index as as_integer
from typing import Any, Literal

from ragknn._checks import check_choice, check_type, shown
from ragknn._ids import passage_id
from ragknn.records import Document, Passage
from ragknn.text._boundaries import boundaries, sentence_boundaries
from ragknn.text._cutting import Cutter
from ragknn.text._markdown import outline
from ragknn.text._measures import Measure, TokenSpans, measure

# 256 tokens is the limit of the small models. Models with a longer context retrieve better with passages of a few
# hundred tokens than with the longest passages that they can read.
# The other two sizes are about the same length in English: 0.75 words and 4 characters a token.
_DEFAULT_SIZE = {"tokens": 256, "words": 192, "characters": 1024}

# An eighth: one or two sentences, so that a statement across a cut is complete in one of the passages.
_OVERLAP_SHARE = 8

# The path of headings takes this share of a passage at most: the outermost headings are left out first.
_CONTEXT_SHARE = 4

# Version of the algorithm in `Splitter.fingerprint`: raise it when the cuts change.
_VERSION = "2"


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut documents at sections, else at paragraphs, else at sentences, else at words.

    A passage is as long as `size` allows, and begins a little before the end of the previous one. In Markdown, a
    heading of level 1 or 2 begins a passage, each heading stays with what follows it, and fences of code and tables
    stay whole where they fit, else they are cut between lines. What remains at the end of a section is never much
    shorter than the other passages. What readers see as one character is not cut, unless it is longer than `size`.

    Args:
        size: maximum units in a passage. None: 256 tokens, or the model's limit if that is less; 192 words;
            1024 characters.
        overlap: maximum units that a passage repeats from the previous one. None: an eighth of the size.
        unit: unit of both. "tokens" are the model's own; a "word" is a run without whitespace of at most 64
            characters, or one Han or kana character; "characters" are code points.
        headings: whether a passage is embedded with the headings that it stands under in front of it. They count for
            its size, a quarter of it at most: of more, the innermost are taken. Text and offsets of a passage stay
            those of the document.

    Raises:
        TypeError: size or overlap is no integer, or headings no bool.
        ValueError: the size is below 1, the overlap negative or not below the size, or the unit unknown.
    """

    size: int | None = None
    overlap: int | None = None
    unit: Literal["tokens", "words", "characters"] = "tokens"
    headings: bool = True

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, _DEFAULT_SIZE)
        for name in ("size", "overlap"):
            object.__setattr__(self, name, _whole_number(name, getattr(self, name)))
        if not isinstance(self.headings, bool):
            raise TypeError(f"expected headings to be True or False, got {shown(self.headings)}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"expected size >= 1, got {shown(self.size)}")
        if self.overlap is not None and self.overlap < 0:
            raise ValueError(f"expected overlap >= 0, got {shown(self.overlap)}")
        if self.size is not None:
            self._overlap_within(self.size)

    @property
    def fingerprint(self) -> str:
        """The settings as a short string: with the same model, equal strings mean equal cuts."""
        size, overlap, unit, headings = self.settings.values()
        return f"{_VERSION}:{unit}:{size}:{overlap}:{'headings' if headings else 'text'}"

    @property
    def earlier_fingerprint(self) -> str:
        """The same of the version before, whose passages stay as they are until their document changes."""
        size, overlap, unit, _ = self.settings.values()
        return f"1:{unit}:{size}:{overlap}"

    @property
    def settings(self) -> dict[str, int | str | bool]:
        """The settings by name, "auto" where they are left to the splitter."""
        return {name: "auto" if value is None else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.settings.items())

    def check(self, token_spans: TokenSpans | None = None, max_tokens: int | None = None) -> None:
        """Raise an error if the settings do not fit a model, so that no document could be cut.

        Args:
            token_spans: as for `split`.
            max_tokens: as for `split`.

        Raises:
            ValueError: the size is above `max_tokens`, with the unit "tokens"; or the overlap not below the size that
                the model has by default.
        """
        self._overlap_within(self._size_for(max_tokens, counted=token_spans is not None))

    def split(
        self, document: Document, token_spans: TokenSpans | None = None, max_tokens: int | None = None
    ) -> list[Passage]:
        """Cut one document.

        Every character of the document that is not whitespace is in at least one passage. The tokens of each passage
        are counted again without the rest of the text, as the model sees it; if there are more, the passage is cut
        shorter. A code point is never cut, even if it has more tokens than allowed.

        Args:
            document: document to cut.
            token_spans: the model's tokenizer. Without one, words are counted instead of tokens.
            max_tokens: the model's limit in tokens, special tokens and prompt not counted. No passage has more,
                whatever the unit, if `token_spans` is given. Without `token_spans` the default size is half of
                the limit, in words, since a word rarely has more than two tokens.

        Returns:
            The passages in order of start; an empty list for a document without text.

        Raises:
            ValueError: the size is above `max_tokens`, with the unit "tokens".
        """
        check_type("document", document, Document, "pass a ragknn.Document")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"expected max_tokens >= 1, got {max_tokens}")
        text = document.text.rstrip()
        measures = self._measures(text, token_spans, max_tokens)
        overlap = self._overlap_within(measures[0].limit)
        parts = outline(text, document.id)
        context_of = cache(lambda path: self._context_of(path, measures))
        context = lambda start: context_of(parts.path(start))  # noqa: E731
        spans = Cutter(text, measures, overlap, boundaries(text, parts), context).cut()
        return [
            Passage(
                id=passage_id(document.id, number),
                document_id=document.id,
                text=document.text[start:end],
                start=start,
                end=end,
                label=document.label,
                metadata=document.metadata,
                page=max(1, bisect_right(document.page_starts, start)) if document.page_starts else None,
                headings=parts.path(start),
                number=number,
            )
            for number, (start, end) in enumerate(spans)
        ]

    def embedded_text(
        self, passage: Passage, token_spans: TokenSpans | None = None, max_tokens: int | None = None
    ) -> str:
        """Return what is embedded for a passage: its text, with `headings` behind the path of its headings.

        Args:
            passage: one that `split` made.
            token_spans: as for `split`.
            max_tokens: as for `split`.
        """
        measures = self._measures("", token_spans, max_tokens)
        return self._context_of(passage.headings, measures)[0] + passage.text

    def _measures(self, text: str, token_spans: TokenSpans | None, max_tokens: int | None) -> list[Measure]:
        size = self._size_for(max_tokens, counted=token_spans is not None)
        measures = [measure(text, self.unit, size, token_spans)]
        if self.unit != "tokens" and token_spans is not None and max_tokens is not None:
            measures.append(measure(text, "tokens", max_tokens, token_spans))
        return measures

    def _context_of(self, path: Sequence[str], measures: Sequence[Measure]) -> tuple[str, tuple[int, ...]]:
        """Return what is embedded in front of a passage below these headings, and its units by each measure."""
        for first in range(len(path) if self.headings else 0):
            context = "\n".join(path[first:]) + "\n\n"
            units = tuple(each.count(context) for each in measures)
            if all(count <= each.limit // _CONTEXT_SHARE for count, each in zip(units, measures, strict=True)):
                return context, units
        return "", (0,) * len(measures)

    def _size_for(self, max_tokens: int | None, counted: bool) -> int:
        if self.unit != "tokens" or max_tokens is None:
            return self.size or _DEFAULT_SIZE[self.unit]
        if self.size is None:
            return min(_DEFAULT_SIZE["tokens"], max_tokens if counted else max(1, max_tokens // 2))
        if self.size > max_tokens:
            raise ValueError(
                f"expected size <= {max_tokens}, the model's limit in tokens, got {shown(self.size)}: "
                "the rest of each passage would be cut silently. Lower the size or choose another model."
            )
        return self.size

    def _overlap_within(self, size: int) -> int:
        if self.overlap is None:
            return size // _OVERLAP_SHARE
        if self.overlap >= size:
            raise ValueError(f"expected overlap < size, got overlap {shown(self.overlap)} and size {size}")
        return self.overlap


def _whole_number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        return as_integer(value)
    except TypeError as error:
        raise TypeError(f"expected {name} as an integer or None, got {shown(value)}") from error


def sentence_starts(text: str) -> list[int]:
    """Return the offsets where a sentence or a paragraph begins, ascending; the first one may be left out."""
    check_type("text", text, str)
    return sentence_boundaries(text, outline(text))
