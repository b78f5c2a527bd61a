"""What is told to a model of an index: how large it is, how it can be searched, which filters mean something."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from ragknn import AsyncIndex, Mode, Where

MOST_COUNTED = 100_000  # passages; to count the values of a larger index would keep the server busy for seconds
MOST_VALUES = 20  # of a field that are told
LONGEST_VALUE = 60  # characters

Values: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A field to filter on.

    Attributes:
        name: name of the field.
        kind: tag, numeric or text.
        values: of a tag, its values, the most frequent first; of a numeric field, the smallest and the largest. Empty
            where that is not known.
        whole: whether these are all values.
    """

    name: str
    kind: str
    values: Values = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of an index.

    Attributes:
        name: its name.
        documents: how many the server may show.
        passages: the same.
        modes: how it can be searched, the usual way first.
        fields: what to filter on.
        any_field: whether entries of the metadata that are not declared can be filtered on too.
        labels: labels with the number of their documents; None where they were not counted.
    """

    name: str
    documents: int | None
    passages: int
    modes: tuple[Mode, ...]
    fields: tuple[Field, ...]
    any_field: bool
    labels: Mapping[Any, int] | None

    @property
    def classifies(self) -> bool:
        """Whether texts can be labelled, as far as is known."""
        return self.labels is None or bool(self.labels)


async def gather_facts(index: AsyncIndex, where: Where | None) -> Facts:
    """Ask the server what there is to tell of an index that is open; `where` is the filter that always holds."""
    schema = index.schema
    passages = await index.count(where)
    documents = (await index.describe(where)).documents
    small = passages <= MOST_COUNTED
    fixed = set(_names(where))  # what the model cannot choose is no field for it
    fields = [
        await _field(index, name, kind, where, small) for name, kind in schema.fields.items() if name not in fixed
    ]
    labels = await index.values("label", where) if small else None
    return Facts(
        name=index.name,
        documents=documents,
        passages=passages,
        modes=await modes_of(index),
        fields=tuple(fields),
        any_field=schema.any_field,
        labels=labels,
    )


async def _field(index: AsyncIndex, name: str, kind: str, where: Where | None, small: bool) -> Field:
    if kind == "numeric":
        return Field(name, kind, await index.value_range(name, where) or (), whole=True)
    if kind == "text" or not small:
        return Field(name, kind)
    try:
        found = await index.values(name, where)
    except ValueError:  # too many to count
        return Field(name, kind)
    shown = [value for value in found if len(str(value)) <= LONGEST_VALUE]
    return Field(name, kind, tuple(islice(shown, MOST_VALUES)), whole=len(found) <= MOST_VALUES and shown == [*found])


async def modes_of(index: AsyncIndex) -> tuple[Mode, ...]:
    """Return how an index that is open can be searched, the usual way first; nothing is asked of the server."""
    words: tuple[Mode, ...] = ("text",) if index.schema.text_search else ()
    try:
        await asyncio.to_thread(lambda: index.embedder)
    except ValueError:  # an index of ready vectors, and nothing makes one of a question
        return words
    return ("vector", "hybrid", "text") if words else ("vector",)


def _names(where: Any) -> Iterator[str]:
    """Yield the names of the fields that a filter is about."""
    if isinstance(where, Mapping):
        for name, condition in where.items():
            if not name.startswith("$"):
                yield name
            yield from _names(condition)
    elif isinstance(where, Sequence) and not isinstance(where, str):
        for part in where:
            yield from _names(part)
