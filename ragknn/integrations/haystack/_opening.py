"""The index behind a store: opened when it is first needed, and made when something is first written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from haystack.utils import Secret

from ragknn import (
    AsyncIndex,
    AsyncIndexer,
    AsyncRetriever,
    FieldType,
    FunctionEmbedder,
    Index,
    Indexer,
    IndexNotFound,
    Retriever,
    SchemaMismatch,
)
from ragknn.integrations._steps import Steps

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class NothingYet(IndexNotFound):
    """The index is not there yet, and nothing tells how large its embeddings will be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a store was asked for.

    Attributes:
        name: of the index.
        url: of Redis; None as for `Index`.
        dim: values in an embedding; None: as the index, or as the first document that is written.
        model: name of the model that makes the embeddings; None: not looked at.
        fields: entries of the metadata to declare.
        required_filter: a tag field that every filter must pin.
        create: whether to make the index where there is none.
        named: other arguments of `Index`.
    """

    name: str
    url: Secret | str | None
    dim: int | None
    model: str | None
    fields: Mapping[str, FieldType]
    required_filter: str | None
    create: bool
    named: Mapping[str, Any]

    def check(self) -> None:
        """Check what can be checked without a server.

        Raises:
            TypeError: an argument of another type.
            ValueError: an invalid one.
        """
        url = None if isinstance(self.url, Secret) else self.url
        Index(self.name, url=url, **_made_of(self, 1 if self.dim is None else self.dim), create=self.create)


@dataclass(frozen=True, slots=True)
class Open:
    """An open index, and what works on it: all three for sync code, or for async code."""

    index: Any
    indexer: Any
    retriever: Any


@dataclass(slots=True)
class Side:
    """The classes of ragknn for sync code, or for async code, and what is open of them."""

    index: type[Index] | type[AsyncIndex]
    indexer: Callable[[Any], Indexer | AsyncIndexer]
    retriever: Callable[[Any], Retriever | AsyncRetriever]
    opened: Open | None = None
    outdated: bool = False  # the other side has dropped the index


def sides() -> tuple[Side, Side]:
    """Return the sync and the async side of a store, of which none is open."""
    return Side(Index, Indexer, Retriever), Side(AsyncIndex, AsyncIndexer, AsyncRetriever)


def reading(wanted: Wanted, side: Side, operation: Callable[[Open], Steps[_T]], empty: _T) -> Steps[_T]:
    """Run an operation on the index; where there is none yet, return what it would say of an empty one.

    Raises:
        IndexNotFound: there is none, and the store may not make one.
    """
    try:
        opened = yield from _opening(wanted, side, None)
    except NothingYet:
        logger.warning("index %r is not there yet: it has no documents", wanted.name)
        return empty
    return (yield from _on(side, opened, operation))


def writing(wanted: Wanted, side: Side, operation: Callable[[Open], Steps[_T]], dim: int | None) -> Steps[_T]:
    """Run an operation on the index, which is made where there is none; `dim` is the size of an embedding to write."""
    opened = yield from _opening(wanted, side, wanted.dim or dim)
    return (yield from _on(side, opened, operation))


def closing(side: Side) -> Steps[None]:
    """Close the connections; the next call opens new ones."""
    opened, side.opened = side.opened, None
    if opened is not None:
        yield opened.index.close


def dropping(wanted: Wanted, side: Side, other: Side) -> Steps[None]:
    """Drop the index, so that the next that is written makes a new one.

    Raises:
        ValueError: the index requires a filter.
    """
    try:
        opened = yield from _opening(wanted, side, None)
    except NothingYet:
        return
    check_free(opened)
    yield opened.index.drop
    side.opened, other.outdated = None, True


def check_free(opened: Open) -> None:
    """Check that the documents are not those of several tenants.

    Raises:
        ValueError: the index requires a filter.
    """
    if (field := opened.index.schema.required_filter) is not None:
        raise ValueError(
            f"expected a filter on {field!r}, which this index requires, got none: use delete_by_filter, or drop the "
            f"index with `ragknn drop {opened.index.name}`"
        )


def _on(side: Side, opened: Open, operation: Callable[[Open], Steps[_T]]) -> Steps[_T]:
    try:
        return (yield from operation(opened))
    except IndexNotFound:  # others have dropped it: the next call opens it anew
        if side.opened is opened:
            yield from closing(side)
        raise


def _opening(wanted: Wanted, side: Side, dim: int | None) -> Steps[Open]:
    if side.outdated:
        side.outdated = False
        yield from closing(side)
    if side.opened is not None:
        return side.opened
    url = wanted.url.resolve_value() if isinstance(wanted.url, Secret) else wanted.url
    index: Any = side.index(wanted.name, url=url, create=False, **wanted.named)
    try:
        yield index.open
    except IndexNotFound:
        if not wanted.create:
            raise
        if dim is None:
            raise NothingYet(
                f"expected documents with embeddings, or embedding_dim, since index {wanted.name!r} is not there yet: "
                "a new one must know how many values an embedding has"
            ) from None
        index = side.index(wanted.name, url=url, **_made_of(wanted, dim))
        yield index.open
    try:
        _check(wanted, index)
        missing = {name: kind for name, kind in wanted.fields.items() if index.schema.fields.get(name) != kind}
        if missing:
            yield lambda: index.add_fields(missing)
    except Exception:
        yield index.close
        raise
    if side.opened is not None:  # another thread or task was quicker
        yield index.close
    else:
        side.opened = Open(index, side.indexer(index), side.retriever(index))
    return side.opened


def _made_of(wanted: Wanted, dim: int) -> dict[str, Any]:
    """Return the arguments of a new index."""
    made_by = {"dim": dim} if wanted.model is None else {"embedder": FunctionEmbedder(wanted.model, _embed, dim=dim)}
    declared = {"fields": wanted.fields, "required_filter": wanted.required_filter}
    return {"any_field": True, **declared, **wanted.named, **made_by}


def _embed(texts: Sequence[str]) -> NoReturn:
    raise NotImplementedError("expected embeddings from the embedder of the pipeline: a store makes none")


def _check(wanted: Wanted, index: Any) -> None:
    schema = index.schema
    found = {"embedding_dim": schema.dim, "model": schema.embedder, "required_filter": schema.required_filter}
    expected = {"embedding_dim": wanted.dim, "model": wanted.model, "required_filter": wanted.required_filter}
    differences = {
        what: (value, found[what]) for what, value in expected.items() if value is not None and value != found[what]
    }
    if differences:
        raise SchemaMismatch(wanted.name, differences)
