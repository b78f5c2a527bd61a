"""What `Index` and `AsyncIndex` share: everything but the waiting."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from ragknn._checks import check_embedder, check_flag, check_mapping, check_timeout, check_type
from ragknn._logs import WRITING
from ragknn._protocol.counting import (
    count_documents,
    count_passages,
    count_values,
    find_range,
)
from ragknn._protocol.dropping import drop_index
from ragknn._protocol.flows import Flow, repeatable
from ragknn._protocol.kept import Kept
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import Opened, drop_unopened, open_index, reopened, spread
from ragknn._protocol.place import Bulk, OnIncomplete, Place
from ragknn._protocol.presence import gone
from ragknn._protocol.query import Fragment
from ragknn._protocol.schema import AUTO, FORMAT, Algorithm, FieldType, Schema
from ragknn._protocol.server import ServerInfo
from ragknn._protocol.vectors import DType
from ragknn._protocol.watch import Watch
from ragknn._protocol.where import filtering
from ragknn._secrets import without_password
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._names import READY_VECTORS
from ragknn.embedding._naming import default_embedder, embedder_named
from ragknn.embedding.protocols import Embedder
from ragknn.errors import IndexNotOpen
from ragknn.filters import Where
from ragknn.indexing._changing import Added, add_fields
from ragknn.indexing._copying import Copied
from ragknn.indexing._moving import moved
from ragknn.indexing._own_settings import load_own_settings
from ragknn.indexing._reaching import Reach
from ragknn.indexing._recipes import embedder_properties
from ragknn.indexing._splitters import keep_splitter
from ragknn.records import Metric
from ragknn.reports import IngestReport
from ragknn.text.splitting import Splitter

if TYPE_CHECKING:
    from ragknn.settings import Settings


class SharedIndex(Copied):
    """What both faces share: everything but the waiting. The arguments are explained at `Index`."""

    _asynchronous = False

    def __init__(
        self,
        name: str,
        *,
        url: str | None = None,
        client: Any = None,
        cluster: bool = False,
        embedder: Embedder | None = None,
        dim: int | None = None,
        metric: Metric | None = None,
        algorithm: Algorithm | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        dtype: DType | Literal["auto"] | None = None,
        fields: Mapping[str, FieldType] | None = None,
        any_field: bool | None = None,
        text_search: bool | None = None,
        language: str | None = None,
        stop_words: Collection[str] | None = None,
        fold_accents: bool | None = None,
        required_filter: str | None = None,
        create: bool = True,
        timeout: float | None = None,
        read_from_replicas: bool = False,
    ) -> None:
        reach = Reach.of(url, client, cluster, read_from_replicas, asynchronous=self._asynchronous)
        if embedder is not None:
            check_embedder(embedder)
        if timeout is not None:
            check_timeout(timeout)
        if fields is not None:
            check_mapping("fields", fields, '{"year": "numeric"}')
        check_flag("create", create)
        if embedder is not None and dim is not None:
            raise ValueError("expected either embedder or dim, got both: the embedder knows its dimension")
        self._chooses_dtype = isinstance(dtype, str) and dtype == AUTO
        named: dict[str, Any] = {
            "metric": metric,
            "algorithm": algorithm,
            "m": m,
            "ef_construction": ef_construction,
            "dtype": None if self._chooses_dtype else dtype,
            "fields": None if fields is None else dict(fields),
            "any_field": any_field,
            "text_search": text_search,
            "language": language,
            "stop_words": stop_words,
            "fold_accents": fold_accents,
            "required_filter": required_filter,
        }
        self.name = name
        self._names = Keys(name)
        self._reach = reach
        self._embedder = embedder
        self._embedder_is_ours = embedder is None
        self._successor: Embedder | None = None  # with which the index is being embedded anew
        self._dim = dim
        named = {key: value for key, value in named.items() if value is not None}
        schema = Schema(embedder=READY_VECTORS, dim=1 if dim is None else dim, **named)  # refuses bad choices here
        self._named = {key: getattr(schema, key) for key in named}  # as the manifest has them
        self._create = create
        self._timeout = timeout
        self._renew()

    def _renew(self) -> None:
        self._opened: Opened | None = None
        self._closed = False
        self._watch = Watch()
        self._kept = Kept()
        self._opened_for: Schema | None = None  # what vectors were made for that callers have ready
        self._embedder_fits: Schema | None = None  # the schema for which the embedder that is ours was last compared
        self._places: dict[tuple[OnIncomplete, Bulk], tuple[Opened, Place]] = {}
        self._lock = ProcessLock()  # held by the thread that opens the index, or makes the embedder

    @classmethod
    def like(cls, other: SharedIndex) -> Self:
        """Return an index with the arguments of another, be it an `Index` or an `AsyncIndex`; it is not open.

        They share the embedder, also one that the other has made by itself.

        Raises:
            TypeError: something else than an index.
            ValueError: the other one was handed a client, which is of use to one of both kinds only.
        """
        check_type("other", other, SharedIndex, "pass an Index or an AsyncIndex")
        if other._reach.client is not None and cls._asynchronous != other._asynchronous:
            raise ValueError(
                f"expected an index that connects by itself, got {other.name!r} with a client that was handed in, and "
                f"{cls.__name__} needs one of another kind: pass url= in place of client="
            )
        twin = cls.__new__(cls)
        twin.__setstate__(other._lasting())
        twin._embedder = other._embedder
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}{'' if self._opened else ', not open'})"

    @property
    def url(self) -> str | None:
        """The URL that was passed, without a password; None where none was."""
        return None if self._reach.url is None else without_password(self._reach.url)

    @property
    def schema(self) -> Schema:
        """What the index is made of, as its manifest says."""
        return self._state.schema

    def _place(self, on_incomplete: OnIncomplete = "raise", bulk: Bulk = "never") -> Place:
        """Return the index as the protocol sees it: made once, since every search asks for it."""
        key = on_incomplete, bulk
        of, place = self._places.get(key, (None, None))
        if place is None or of is not self._opened:
            opened = self._state
            # No number tells that all nodes of a cluster are as they were.
            bulk = bulk if opened.schema.algorithm == "flat" and not opened.server.cluster else "never"
            place = Place(
                *(self._keys, opened.schema, self._watch, self.timeout, on_incomplete, opened.server),
                bulk=bulk,
                kept=self._kept,
                most_bytes=self._settings.bulk_bytes,
            )
            self._places[key] = opened, place
        return place

    def _filtering(self, where: Where | None = None) -> Flow[Fragment]:
        """Return what `where` means in this index, as the server takes it.

        Raises:
            TypeError: a value of a type that does not fit.
            ValueError: it means nothing here (`ragknn.filters` explains), or leaves out the filter that the index
                requires.
        """
        return (yield from filtering(self._place(), where))

    @property
    def _keys(self) -> Keys:
        """The names of what the index keeps in Redis, with the version of its search index where it is open."""
        opened = self._opened
        return self._names if opened is None else opened.keys

    def _keeping_up(self) -> Flow[bool]:
        """Take the index as it is now if another process has rebuilt it; return whether one has."""
        found = yield from reopened(self._state)
        if found is not None:
            self._become(found)
        return found is not None

    def _mending(self) -> Flow[bool]:
        """Do the same; or give the nodes that were added to a cluster their part, and return whether some were."""
        return (yield from self._keeping_up()) or (yield from spread(self._state, self.timeout))

    def _keeping_up_since(self, before: Keys) -> Flow[None]:
        """Do the same, where the index is known to have another store, unless another thread has done it already.

        Raises:
            IndexNotFound: it was dropped.
        """
        if self._keys.store == before.store and not (yield from self._keeping_up()):
            raise gone(before)

    def _take(self, schema: Schema) -> None:
        """Take what the index is made of as the manifest has it now."""
        state = self._state
        version = state.keys.version if schema.version is None else schema.version
        opened = replace(state, schema=schema, keys=state.keys.of_version(version, schema.store))
        if opened.keys.store != state.keys.store:
            self._become(opened)
        else:
            self._opened = opened

    def _become(self, opened: Opened) -> None:
        """Take the index as it was found after a rebuild.

        Raises:
            SchemaMismatch: the vectors are those of another embedder now than of the one that was handed in.
        """
        succeeds = self._successor is not None and opened.schema.is_of(embedder_properties(self._successor))
        if self._embedder is not None and not self._embedder_is_ours and not succeeds:
            opened.schema.check(self.name, embedder_properties(self._embedder))
        self._opened, self._watch = opened, Watch()
        self._kept.drop()

    def _check_embedder(self, schema: Schema) -> None:
        """Let go of an embedder that is not the one of the index any more, as another process has embedded it anew.

        Raises:
            SchemaMismatch: it was handed in.
        """
        if self._embedder is None or self._embedder_fits is schema:
            return
        successor = self._successor
        if successor is not None and schema.is_of(embedder_properties(successor)):
            self._embedder, self._embedder_is_ours, self._successor = successor, False, None
        elif self._embedder_is_ours and not schema.is_of(embedder_properties(self._embedder)):
            self._embedder = None
        elif not self._embedder_is_ours:
            schema.check(self.name, embedder_properties(self._embedder))
        self._embedder_fits = schema

    def _check_ready(self) -> None:
        """Refuse vectors that a caller has made, where others have made the index anew with another embedder since.

        Raises:
            SchemaMismatch: the vectors of the index are of another embedder than when it was opened.
        """
        opened, opened_for = self._opened, self._opened_for
        if opened is not None and opened_for is not None and opened_for is not opened.schema:
            opened.schema.check_embedder(self.name, opened_for)

    @property
    def server(self) -> ServerInfo:
        """Versions of the server."""
        return self._state.server

    @property
    def timeout(self) -> float:
        """Seconds that one search may take."""
        return self._settings.timeout if self._timeout is None else self._timeout

    @property
    def embedder(self) -> Embedder:
        """What turns texts into vectors.

        Raises:
            ValueError: this is an index of ready vectors, opened without an embedder.
            EmbeddingError: its embedder cannot be made from the manifest, and it was opened without.
        """
        with self._lock:
            if self._opened is not None and self._embedder is not None:
                self._check_embedder(self._opened.schema)
            if self._embedder is None:
                schema = self._embedder_fits = self.schema
                if schema.embedder == READY_VECTORS:
                    raise ValueError(
                        f"index {self.name!r} holds ready vectors: open it with the embedder that they come from, "
                        "or pass vectors (add_vectors, kneighbors)"
                    )
                settings = self._settings
                self._embedder = embedder_named(
                    schema.embedder, schema.identity, settings.device, content=schema.content, model=settings.model
                )
            return self._embedder

    @property
    def _state(self) -> Opened:
        if self._opened is None:
            raise IndexNotOpen(self.name, self._closed)
        return self._opened

    def _refuse_closed(self) -> None:
        if self._closed:
            raise IndexNotOpen(self.name, closed=True)

    @cached_property  # every search asks for its timeout, and reading the environment takes half as long as a search
    def _settings(self) -> Settings:
        return load_own_settings()

    @property
    def _connecting(self) -> dict[str, Any]:
        """How to connect."""
        return {"timeout": self.timeout, "protocol": self._settings.protocol}

    def _opening(self) -> Flow[Opened]:
        create = self._new_schema if self._create else None
        opened = yield from open_index(self._keys, self._wanted, create, self.timeout)
        self._opened_for = opened.schema
        return opened

    def _dropping(self) -> Flow[int]:
        keys = self._keys
        removed = yield from drop_index(keys) if self._opened else drop_unopened(keys, must_exist=not self._create)
        WRITING.info("index %r: dropped, with %d documents", self.name, removed)
        return removed

    def _wanted(self) -> Mapping[str, Any]:
        wanted = dict(self._named)
        if self._dim is not None:
            wanted["dim"] = self._dim
        if self._embedder is not None and not self._embedder_is_ours:  # which gives way to that of the index
            wanted.update(embedder_properties(self._embedder))
        return wanted

    def _new_schema(self) -> Schema:
        if self._dim is not None:
            schema = Schema(embedder=READY_VECTORS, dim=self._dim, **self._named)
        else:
            with self._lock:
                if self._embedder is None:
                    self._embedder = default_embedder(self._settings.model, self._settings.device)
            schema = Schema(**embedder_properties(self._embedder), **self._named)
        return replace(schema, dtype=schema.suggested_dtype) if self._chooses_dtype else schema

    @repeatable
    def _counting(self, where: Where | None) -> Flow[int]:
        return (yield from count_passages(self._place(), (yield from self._filtering(where))))

    @repeatable
    def _counting_documents(self, where: Where | None) -> Flow[int]:
        return (yield from count_documents(self._place(), (yield from self._filtering(where))))

    @repeatable
    def _counting_values(self, field: str, where: Where | None) -> Flow[dict[Any, int]]:
        return (yield from count_values(self._place(), field, (yield from self._filtering(where))))

    @repeatable
    def _finding_range(self, field: str, where: Where | None) -> Flow[tuple[float, float] | None]:
        return (yield from find_range(self._place(), field, (yield from self._filtering(where))))

    def _modernizing(self) -> Flow[None]:
        """Move an index of an earlier release to this one's form, before something is stored in it."""
        if self.schema.format != FORMAT:
            self._take((yield from moved(self._place())))

    def _adding_fields(self, fields: Mapping[str, FieldType]) -> Flow[IngestReport]:
        return self._adding(fields, Added())

    @repeatable
    def _adding(self, fields: Mapping[str, FieldType], added: Added) -> Flow[IngestReport]:
        yield from self._modernizing()
        schema, report = yield from add_fields(self._place(), fields, self.timeout, added)
        self._take(schema)
        return report

    def _adopting(self, splitter: Splitter) -> Flow[None]:
        self._take((yield from keep_splitter(self._place(), splitter)))
