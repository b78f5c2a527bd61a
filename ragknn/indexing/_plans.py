"""What an index is to become: the changes that are asked for, and what they mean for what is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

from ragknn._checks import check_embedder, check_mapping, check_type
from ragknn._protocol.schema import AUTO, Algorithm, FieldType, Schema
from ragknn._protocol.vectors import DType
from ragknn.embedding.protocols import Embedder
from ragknn.indexing._recipes import embedder_properties
from ragknn.indexing._splitters import splitter_of
from ragknn.records import Metric
from ragknn.text.splitting import Splitter

# Of these the passages hold something, so that they are written anew where one of them changes.
_STORED = ("dtype", "fields", "language", "stop_words", "fold_accents", "required_filter")
# These are made of what the passages hold, and can be left out of the search index; but not the other way round.
_LEFT_OUT = ("text_search", "any_field")
_GRAPH = ("m", "ef_construction")
_EMBEDDER = ("embedder", "dim", "identity", "content")


class Changes(TypedDict, total=False):
    """What can be changed of an index; explained at `Index.rebuild`."""

    algorithm: Algorithm | None
    m: int | None
    ef_construction: int | None
    metric: Metric | None
    dtype: DType | Literal["auto"] | None
    fields: Mapping[str, FieldType] | None
    any_field: bool | None
    text_search: bool | None
    language: str | None
    stop_words: Collection[str] | None
    fold_accents: bool | None
    required_filter: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of an index.

    Attributes:
        named: the changes, without those that are None.
        embeds: whether all documents are cut and embedded anew.
        embedder: by what; None: by the embedder of the index.
        splitter: how they are cut; None: as the index cuts them.
    """

    named: Mapping[str, Any]
    embeds: bool = False
    embedder: Embedder | None = None
    splitter: Splitter | None = field(default=None)

    def applied(self, old: Schema) -> Schema:
        """Return the schema with the changes.

        Raises:
            ValueError: an invalid value.
        """
        changes = dict(self.named)
        if "language" in changes and "stop_words" not in changes:
            changes["stop_words"] = None  # those of the language
        is_auto = changes.get("dtype") == AUTO
        if is_auto:
            del changes["dtype"]
        if self.embedder is not None:
            changes.update({"content": None, **embedder_properties(self.embedder)})
        if self.embeds:
            changes["splitter"] = self.splitter or splitter_of(old)
        new = replace(old, **changes)
        return replace(new, dtype=new.suggested_dtype) if is_auto else new

    def differing(self, old: Schema, new: Schema) -> dict[str, tuple[Any, Any]]:
        """Return what is to be changed; the settings of a graph only where there is one."""
        names = ["algorithm", "metric", *_LEFT_OUT, *(_GRAPH if new.algorithm == "hnsw" else ()), *_STORED]
        pairs = {name: (getattr(old, name), getattr(new, name)) for name in [*(_EMBEDDER * self.embeds), *names]}
        if self.embeds:
            pairs["splitter"] = (splitter_of(old).settings, splitter_of(new).settings)
        return {name: (before, after) for name, (before, after) in pairs.items() if before != after}

    def needs_store(self, old: Schema, new: Schema) -> bool:
        """Tell whether the passages are to be written anew, or only indexed in another way."""
        gained = any(getattr(new, name) and not getattr(old, name) for name in _LEFT_OUT)
        return self.embeds or gained or any(getattr(old, name) != getattr(new, name) for name in _STORED)


def plan_of(changes: Changes) -> Plan:
    """Return the plan to make these changes.

    Raises:
        TypeError: something else to change.
        ValueError: nothing to change.
    """
    named = _named(changes)
    if not named:
        raise ValueError(
            f"expected something to change, got nothing: name at least one of {', '.join(Changes.__annotations__)}"
        )
    return Plan(named)


def plan_to_embed(embedder: Embedder | None, splitter: Splitter | None, changes: Changes) -> Plan:
    """Return the plan to cut and embed all documents anew, and to make these changes.

    Raises:
        TypeError: no embedder, no splitter, or something else to change.
        ValueError: nothing is named.
    """
    if embedder is not None:
        check_embedder(embedder)
    if splitter is not None:
        check_type("splitter", splitter, Splitter, "pass Splitter(size, overlap)")
    if embedder is None and splitter is None:
        raise ValueError("expected an embedder, a splitter or both, got neither: rebuild() changes all else")
    return Plan(_named(changes), True, embedder, splitter)


def _named(changes: Changes) -> dict[str, Any]:
    if unknown := set(changes) - set(Changes.__annotations__):
        expected = ", ".join(Changes.__annotations__)
        raise TypeError(f"expected changes among {expected}, got {', '.join(sorted(unknown))}")
    named: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if "fields" in named:
        check_mapping("fields", named["fields"], '{"year": "numeric"}')
        named["fields"] = dict(named["fields"])
    return named
