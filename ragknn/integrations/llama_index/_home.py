"""Where the nodes of a store are: an index in sync code and in async code, made when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding

from ragknn import AsyncIndex, Embedder, Index, IndexNotFound, IndexNotOpen, Schema, Where
from ragknn.integrations._steps import Steps
from ragknn.integrations.llama_index._face import Face
from ragknn.integrations.llama_index.embedding import embedder_from


@dataclass(frozen=True, slots=True)
class Home:
    """The index of a store.

    Attributes:
        name: of the index.
        faces: those that can be had, by the type of their index.
        where: holds for all that the store does.
        label_key: the entry of the metadata that is the label of a passage.
        create: whether the index is made where there is none.
        connecting: arguments of an index that say where it is, by its type.
        arguments: its others.
        given: an index that was handed in, which whoever did so closes.
    """

    name: str
    faces: Mapping[type, Face]
    where: Where | None
    label_key: str | None
    create: bool = False
    connecting: Mapping[type, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    given: Index | AsyncIndex | None = None

    @classmethod
    def named(
        cls,
        name: str,
        url: str | None,
        clients: Mapping[type, Any],
        embed_model: BaseEmbedding | Embedder | None,
        arguments: Mapping[str, Any],
        *,
        where: Where | None,
        label_key: str | None,
        create: bool,
    ) -> Self:
        """Return that of a name; the arguments are those of the store. `clients` are by the type of the index."""
        embedder = embedder_from(embed_model) if isinstance(embed_model, BaseEmbedding) else embed_model
        connecting: dict[type, Mapping[str, Any]] = {
            kind: {"url": url} if clients[kind] is None else {"client": clients[kind]}
            for kind in (Index, AsyncIndex)
            if clients[kind] is not None or url is not None or not any(one is not None for one in clients.values())
        }
        arguments = {"embedder": embedder, **arguments}
        faces = {
            kind: Face.of(kind(name, create=False, **where_it_is, **arguments))
            for kind, where_it_is in connecting.items()
        }
        return cls(name, faces, where, label_key, create, connecting, arguments)

    @classmethod
    def of(cls, index: Index | AsyncIndex, *, where: Where | None, label_key: str | None) -> Self:
        """Return that of an index, which has been made elsewhere, or makes itself."""
        faces = {type(index): Face.of(index)}
        other = AsyncIndex if isinstance(index, Index) else Index
        if index.url is not None or index.client is None:
            faces[other] = Face.of(other.like(index))
        return cls(index.name, faces, where, label_key, given=index)

    @property
    def url(self) -> str | None:
        """The URL that was passed, without a password."""
        return next((url for face in self.faces.values() if (url := face.index.url) is not None), None)

    @property
    def sync(self) -> Face:
        """That of sync code.

        Raises:
            ValueError: only a client of async code was passed.
        """
        return self._face(Index, "sync", "client")

    @property
    def asynchronous(self) -> Face:
        """That of async code.

        Raises:
            ValueError: only a client of sync code was passed.
        """
        return self._face(AsyncIndex, "async", "async_client")

    def _face(self, kind: type, what: str, argument: str) -> Face:
        if kind not in self.faces:
            raise ValueError(
                f"expected {argument}= or url= for the {what} methods of the store, got only a client of the other kind"
            )
        return self.faces[kind]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # may be shared, and a copy would have no client

    def __getstate__(self) -> list[Any]:
        connecting = {kind: {"url": self.url} for kind in self.connecting}  # without a password
        safe = replace(self, connecting=connecting)
        return [getattr(safe, name) for name in self.__slots__]

    def closed(self) -> Steps[None]:
        """Close the index, unless it was handed in."""
        yield lambda face: None if face.index is self.given else face.index.close()

    def opened(self) -> Steps[Schema | None]:
        """Return what the index is made of; None where there is none yet.

        Raises:
            IndexNotFound: there is none, and it is not to be made.
        """
        schema: Schema
        try:
            schema = yield lambda face: face.index.schema
        except IndexNotOpen as not_open:
            if not_open.closed:
                raise
        else:
            return schema
        try:
            yield lambda face: face.index.open()
        except IndexNotFound:
            if not self.create:
                raise
            return None
        schema = yield lambda face: face.index.schema
        return schema

    def made(self, dim: int) -> Steps[Schema]:
        """Make the index, for vectors of a size if no embedder tells it, and return what it is made of."""
        arguments = {"any_field": True, **self.arguments}
        if arguments["embedder"] is None:
            arguments["dim"] = dim
        new = yield lambda face: type(face.index)(self.name, **self.connecting[type(face.index)], **arguments).open()
        yield lambda face: new.close()
        yield lambda face: face.index.open()
        schema: Schema = yield lambda face: face.index.schema
        return schema
