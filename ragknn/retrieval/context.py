"""From a retrieval to the text that goes into a prompt, and from an answer back to what it cites."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from operator import index as as_integer
from typing import TypeAlias

from ragknn._checks import check_call, check_number, check_type, check_whole, shown
from ragknn._display.cards import excerpt_card
from ragknn._display.html import element, notes, sheet
from ragknn._display.inert import visible
from ragknn._display.lines import brief
from ragknn._plain import Plain
from ragknn._protocol.flows import Flow, Work, repeatable
from ragknn._protocol.reading import passages_around
from ragknn.embedding.protocols import Tokenizing
from ragknn.filters import Where
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Neighbor, Passage, Retrieval
from ragknn.retrieval._excerpts import Order, Piece, Source, passage_number, sources_of
from ragknn.server._connection import arun, run
from ragknn.text._folding import fold
from ragknn.text.splitting import sentence_starts

# [2], [1, 3], [1][2], [2-4]. Six digits, because int() refuses very many.
_CITATION = re.compile(r"\[\s*(\d{1,6}(?:\s*[-–]\s*\d{1,6})?(?:\s*[,;]\s*\d{1,6}(?:\s*[-–]\s*\d{1,6})?)*)\s*\]")
_NUMBERS = re.compile(r"(\d+)(?:\s*[-–]\s*(\d+))?")


Template: TypeAlias = Callable[[Source], str]


def numbered(source: Source) -> str:
    """Format a source as a context does by default: `[1] document-id`, and the text below it."""
    check_type("source", source, Source)
    check_type("the number of the source", source.number, int)
    check_type("the document_id of the source", source.document_id, str)
    check_type("the text of the source", source.text, str)
    return f"[{source.number}] {source.document_id}\n{source.text}"


@dataclass(frozen=True, slots=True)
class Context(Plain):
    """The text for a prompt, and what it is made of.

    Attributes:
        text: the sources one after the other, with an empty line between them.
        sources: in the order of the text.
        tokens: number of tokens of the text; None if there was nothing to count them with.
        left_out: ids of passages that the budget left no room for, in whole or in part, in order of rank.
        warnings: what may be missing or outdated, a sentence each.
    """

    text: str
    sources: tuple[Source, ...]
    tokens: int | None = None
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def citations(self, answer: str) -> list[Source]:
        """Return the sources that an answer cites, in the order of their first mention, each once.

        Citations are numbers in brackets: `[2]`, `[1, 3]`, `[1][3]`, `[2-4]`. Numbers of no source are ignored.
        """
        check_type("answer", answer, str)
        cited: dict[int, Source] = {}
        for mark in _CITATION.finditer(answer):
            for numbers in _NUMBERS.finditer(mark[1]):
                first, last = int(numbers[1]), int(numbers[2] or numbers[1])
                for source in self.sources:
                    if first <= source.number <= last:
                        cited.setdefault(source.number, source)
        return list(cited.values())

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        lines = (f"  [{s.number}] {s.document_id} {s.start}-{s.end}  {brief(s.text, 80)}" for s in self.sources)
        return visible("\n".join([f"Context({self._summary()})", *lines]))

    def _repr_html_(self) -> str:
        """Show the sources as cards in a notebook."""
        cards = (
            excerpt_card(f"[{s.number}]", s.document_id, s.start, s.end, s.label, s.distance, s.text)
            for s in self.sources
        )
        return sheet(element("b", self._summary()), *cards, notes(self.warnings))

    def _summary(self) -> str:
        tokens = "" if self.tokens is None else f", {self.tokens} tokens"
        left_out = f", {_counted(len(self.left_out), 'passage')} left out" if self.left_out else ""
        return f"{_counted(len(self.sources), 'source')}{tokens}{left_out}"


def build_context(
    retrieval: Retrieval | Sequence[Neighbor],
    index: Index | None = None,
    *,
    window: int = 0,
    where: Where | None = None,
    budget: int | None = None,
    tokens: Callable[[str], int] | None = None,
    template: Template = numbered,
    order: Order = "rank",
) -> Context:
    """Turn a retrieval into prompt text, with numbered sources.

    Passages of one document that overlap, adjoin, or have only whitespace between them become one excerpt without
    repeated text. Passages with other text between them are two excerpts with a number each.

    The budget is spent in order of rank, on each retrieved passage and then on its window, until a passage does not
    fit. Of that one as many whole sentences are taken as fit, if it was retrieved; all that follow are left out.

    Args:
        retrieval: neighbors, best first; each with the text of its passage.
        index: the index that they come from; needed for a window, and to count tokens as its embedder does.
        window: passages to add before and after each one retrieved, from the same document. They are read from the
            index in two round trips, three with a filter; without a window nothing is read.
        where: only passages that match are added; an index that requires a filter requires it here too, since
            neighbors may come from anywhere. `ragknn.filters` explains it.
        budget: the most tokens that the whole text may have, numbers and document ids counted too; None: no limit.
        tokens: counts the tokens of a text, as the language model does; None: as the index's embedder does.
        template: makes text of a source.
        order: "rank" for the best source first, "document" for the excerpts of a document in their order there, and
            the document with the best one first.

    Raises:
        ValueError: an invalid value or filter, a passage without text, a window without an index, or a budget without
            anything to count by.
        TypeError: neighbors, a count or a source's text of another type.
        ServerError: the server cannot be reached or refuses a command.
    """
    _check(retrieval, index, Index)
    flow = _building(index, retrieval, _Plan(window, where, budget, tokens, template, order))
    return run(None, flow) if index is None else index._run(flow)


async def abuild_context(
    retrieval: Retrieval | Sequence[Neighbor],
    index: AsyncIndex | None = None,
    *,
    window: int = 0,
    where: Where | None = None,
    budget: int | None = None,
    tokens: Callable[[str], int] | None = None,
    template: Template = numbered,
    order: Order = "rank",
) -> Context:
    """Async twin of `build_context`."""
    _check(retrieval, index, AsyncIndex)
    flow = _building(index, retrieval, _Plan(window, where, budget, tokens, template, order))
    return await (arun(None, flow) if index is None else index._run(flow))


def _check(retrieval: object, index: object, expected: type[Index | AsyncIndex]) -> None:
    swapped = isinstance(retrieval, Index | AsyncIndex)
    if not isinstance(retrieval, Iterable):
        order = "the order is build_context(retrieval, index)"
        check_type("retrieval", retrieval, Retrieval, order if swapped else "pass what retrieve() returned")
    if index is not None:
        check_type("index", index, expected)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The arguments of `build_context`."""

    window: int
    where: Where | None
    budget: int | None
    tokens: Callable[[str], int] | None
    template: Template
    order: Order

    def __post_init__(self) -> None:
        check_whole("window", self.window, 0)
        if self.budget is not None and check_number("budget", self.budget) < 1:
            raise ValueError(f"expected budget >= 1 tokens, or None for no limit, got {shown(self.budget)}")
        if self.budget is not None:
            check_whole("budget", self.budget)
        if not isinstance(self.order, str) or self.order not in ("rank", "document"):
            raise ValueError(f"expected order to be 'rank' or 'document', got {shown(self.order)}")
        check_call("template", self.template, "ragknn.retrieval.numbered")
        if self.tokens is not None:
            check_call("tokens", self.tokens, "len")

    def render(self, sources: Iterable[Source]) -> str:
        """Return the text of a context of these sources."""
        parts = [self.template(source) for source in sources]
        for part in parts:
            if not isinstance(part, str):
                raise TypeError(f"expected template to return a str, got {shown(part)} of type {type(part).__name__}")
        return "\n\n".join(parts)


@repeatable
def _building(
    index: Index | AsyncIndex | None, retrieval: Retrieval | Sequence[Neighbor], plan: _Plan
) -> Flow[Context]:
    found = _distinct(retrieval)
    warnings = list(retrieval.warnings) if isinstance(retrieval, Retrieval) else []
    if not found:
        return Context("", (), 0, (), tuple(warnings))
    around: Mapping[str, Sequence[Passage]] = {}
    if plan.window:
        if index is None:
            raise ValueError(f"expected the index to read a window of {plan.window} passages from, got none")
        numbers: dict[str, list[int]] = {}
        for one in found:
            if (number := passage_number(one.passage)) is not None:
                numbers.setdefault(one.passage.document_id, []).append(number)
        among = yield from index._filtering(plan.where)
        stored = yield from passages_around(index._place(), numbers, plan.window, among)
        outdated = {one.passage.document_id for one in found if not _is_stored(one.passage, stored)}
        warnings += [
            f"document {document_id!r} was changed or removed after it was retrieved: its passages have no window"
            for document_id in sorted(outdated)
        ]
        current = [one.passage for one in found if one.passage.document_id not in outdated]
        around = {passage.id: list(_outwards(passage, stored, plan.window)) for passage in current}
    count = plan.tokens or _embedder_count(index, plan.budget)
    context: Context = yield Work(lambda: _assembled(found, around, plan, count, tuple(warnings)))
    return context


def _distinct(retrieval: Sequence[Neighbor]) -> list[Neighbor]:
    """Return the neighbors, each passage once.

    Raises:
        TypeError: something else is among them.
        ValueError: a passage has no text.
    """
    found: dict[str, Neighbor] = {}
    for neighbor in retrieval:
        if not isinstance(neighbor, Neighbor):
            raise TypeError(
                f"expected one retrieval, a sequence of neighbors, got a {type(neighbor).__name__} in it: "
                "build a context for each retrieval"
            )
        if not neighbor.passage.text:
            raise ValueError(
                f"expected passages with text, got {neighbor.passage.id!r} without: an index of ready vectors keeps "
                "no text to make a context of; add documents instead"
            )
        found.setdefault(neighbor.passage.id, neighbor)
    return list(found.values())


def _embedder_count(index: Index | AsyncIndex | None, budget: int | None) -> Callable[[str], int] | None:
    embedder = None if index is None else index.embedder
    if isinstance(embedder, Tokenizing):
        return lambda text: len(embedder.token_spans(fold(text)))
    if budget is not None:
        reason = "no index whose embedder could" if embedder is None else f"{embedder.name} counts none"
        raise ValueError(f"expected tokens, a function that counts the tokens of a text, got none, and {reason}")
    return None


# ---- the window ------------------------------------------------------------------------------------------------


def _is_stored(passage: Passage, stored: Mapping[tuple[str, int], Passage]) -> bool:
    number = passage_number(passage)
    found = None if number is None else stored.get((passage.document_id, number))
    return found is not None and (found.text, found.start, found.end) == (passage.text, passage.start, passage.end)


def _outwards(passage: Passage, stored: Mapping[tuple[str, int], Passage], window: int) -> Iterator[Passage]:
    """Iterate over the passages around one, nearest first and the one before it first, as far as they follow."""
    number = passage_number(passage)
    directions = [] if number is None else [(number, -1), (number, 1)]
    for step in count(1):
        if step > window or not directions:
            return
        for origin, sign in list(directions):
            found = stored.get((passage.document_id, origin + sign * step))
            if found is None:
                directions.remove((origin, sign))
            else:
                yield found


# ---- the budget ------------------------------------------------------------------------------------------------


def _assembled(
    found: Sequence[Neighbor],
    around: Mapping[str, Sequence[Passage]],
    plan: _Plan,
    count: Callable[[str], int] | None,
    warnings: tuple[str, ...],
) -> Context:
    taken: dict[str, Piece] = {}
    for rank, one in enumerate(found):
        for passage in (one.passage, *around.get(one.passage.id, ())):
            taken.setdefault(passage.id, Piece(passage, rank))
    queue = list(taken.values())

    def context_of(pieces: Sequence[Piece]) -> Context:
        sources = tuple(sources_of(pieces, found, plan.order))
        text = plan.render(sources)
        tokens = None if count is None else _checked_count(count, text) if sources else 0
        whole = {piece.passage.id for piece in pieces if piece.whole}
        left_out = tuple(passage_id for passage_id in taken if passage_id not in whole)
        return Context(text, sources, tokens, left_out, warnings)

    def of_first(length: int) -> Context:
        return context_of(queue[:length])

    if plan.budget is None:
        return of_first(len(queue))
    length, best = _longest(of_first, len(queue), plan.budget)
    if length < len(queue) and queue[length].passage.id in {one.passage.id for one in found}:
        full = queue[length]
        cuts = [Piece(part, full.rank, whole=False) for part in _beginnings(full.passage)]

        def with_cut(number: int) -> Context:
            return context_of([*queue[:length], *cuts[number - 1 : number]]) if number else best

        _, best = _longest(with_cut, len(cuts), plan.budget)
    return best


def _longest(make: Callable[[int], Context], most: int, budget: int) -> tuple[int, Context]:
    """Return the largest number up to `most` whose context is within the budget, and the context.

    By bisection, since counting is slow: a context of more is taken to have more tokens. Of 0 it has none.
    """
    low, found = 0, make(0)
    high = most + 1
    number = most  # first of all, since mostly everything fits
    while high - low > 1:
        context = make(number)
        if context.tokens is not None and context.tokens <= budget:
            low, found = number, context
        else:
            high = number
        number = (low + high) // 2
    return low, found


def _beginnings(passage: Passage) -> list[Passage]:
    """Return the first sentence of a passage, the first two, and so on, but not all of them."""
    texts = [passage.text[:start].rstrip() for start in sentence_starts(passage.text)]
    return [
        Passage(passage.id, passage.document_id, text, passage.start, passage.start + len(text))
        for text in texts
        if 0 < len(text) < len(passage.text)
    ]


def _checked_count(count: Callable[[str], int], text: str) -> int:
    tokens = count(text)
    try:
        return as_integer(tokens)
    except TypeError as error:
        raise TypeError(
            f"expected tokens to return the number of tokens, got a {type(tokens).__name__}: "
            "for a tokenizer that returns a list, lambda text: len(tokenizer.encode(text))"
        ) from error


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
