"""From what another library stored to passages, and what of it has no place in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ragknn._ids import passage_id
from ragknn._plain import plain_label
from ragknn._protocol.encoding import lookup
from ragknn._protocol.flows import Flow
from ragknn._protocol.schema import FieldType
from ragknn._protocol.vectors import DType, from_bytes
from ragknn.records import Metric, Passage
from ragknn.reports import Loss
from ragknn.transfer._recognizing import entry
from ragknn.transfer._source import (
    ENTRIES_PER_PART,
    KEYS_PER_PART,
    Attribute,
    Source,
    in_parts,
    read_entries,
)
from ragknn.transfer.layout import Layout

_METRICS: Mapping[str, Metric] = {"COSINE": "cosine", "L2": "l2", "IP": "ip"}
_RESERVED = ("label", "document_id")  # of a filter: the document's own
_RUN = Callable[[Flow[Any]], Any]


@dataclass(frozen=True)
class Plan:
    """How a search index becomes one of ragknn.

    Attributes:
        source: the search index.
        maker: the library that made it, as far as it shows; empty if it does not.
        layout: where everything is.
    """

    source: Source
    maker: str
    layout: Layout

    @cached_property
    def vector(self) -> Attribute:
        """The vector that is searched."""
        for one in self.source.attributes:
            if one.kind == "vector" and self.layout.vector in (one.field, one.name):
                return one
        there = ", ".join(one.name for one in self.source.attributes if one.kind == "vector")
        raise ValueError(
            f"expected a vector field {self.layout.vector!r} in the search index {self.source.name!r}, it has "
            f"{there or 'none'}"
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The arguments of the new `Index`, but for the embedder.

        Raises:
            ValueError: the vectors are of a dtype that cannot be stored.
        """
        made = self.vector.vector or {}
        dtype = made["data_type"].lower()
        if dtype not in get_args(DType):
            raise ValueError(
                f"expected vectors of {', '.join(get_args(DType))}, the search index {self.source.name!r} has {dtype}"
            )
        is_graph = made["algorithm"].upper() != "FLAT"
        graph = {name: int(made[name]) for name in ("m", "ef_construction") if name in made and is_graph}
        return {
            "dim": int(made["dim"]),
            "metric": _METRICS[made["distance_metric"].upper()],
            "dtype": dtype,
            "algorithm": "hnsw" if is_graph else "flat",
            **graph,
            "fields": self.fields,
            "text_search": self._searches_text,
        }

    @property
    def _searches_text(self) -> bool:
        return any(one.kind == "text" and one.field == self.layout.text for one in self.source.attributes)

    @cached_property
    def fields(self) -> dict[str, FieldType]:
        """What can be filtered on in the new index."""
        return {one.field: kind for one, kind in self._filters() if one.field not in _RESERVED and kind}

    def _filters(self) -> Iterator[tuple[Attribute, FieldType | None]]:
        """Iterate over the fields that are metadata, each with the type that it has in ragknn."""
        kinds: Mapping[str, FieldType] = {kind: kind for kind in get_args(FieldType)}
        for one in self.source.attributes:
            if one is not self.vector and one.field.partition(".")[0] not in self.layout.used:
                yield one, kinds.get(one.kind) if one.field else None

    def losses(self) -> Iterator[Loss]:
        """Iterate over what the new index cannot do as the other does."""
        made = self.vector.vector or {}
        if made["algorithm"].upper() not in ("FLAT", "HNSW"):
            yield Loss(self.vector.name, f"{made['algorithm']} becomes hnsw: other passages may be found")
        for one, kind in self._filters():
            if one.kind == "vector":
                yield Loss(one.name, "a second vector has no place: only one is searched")
            elif kind is None:
                why = f"{one.kind} cannot be filtered on" if one.field else "its path leads to no single entry"
                yield Loss(one.name, f"{why}; its values stay in the metadata")
            elif one.field in _RESERVED:
                yield Loss(one.name, "a filter cannot name it, since every document has one of its own; it stays")
            else:
                if one.name != one.field:
                    yield Loss(one.name, f"filters name it {one.field!r}, as the metadata do")
                if one.folds_case:
                    yield Loss(one.name, "tags that differ in case only were one for filters, and are told apart")
        if self.source.failures:
            # The server counts how often it failed, not with how many keys.
            yield Loss("keys", "those that the server could not index, which no search found, are not taken over")

    def passages(self, run: _RUN, keys: Sequence[str], count: Callable[[Loss], None]) -> Iterator[Passage]:
        """Iterate over the passages, those of one document after each other.

        Args:
            run: runs a flow on the server of the search index.
            keys: where they are.
            count: called with what is lost of one of them.
        """
        for part in in_parts(self._ordered(run, keys), ENTRIES_PER_PART):
            for key, stored, expires in run(read_entries(self.source, part)):
                if expires:
                    count(Loss("keys", "they expire on the server, and the passages will stay", 1, key))
                yield self._passage(key, stored, count)

    def _ordered(self, run: _RUN, keys: Sequence[str]) -> Sequence[str]:
        """Return the keys so that those of a document come one after the other, in their order in it."""
        if self.layout.document is None:
            return keys
        roots = [name.partition(".")[0] for name in (self.layout.document, self.layout.start) if name]
        places = {}
        for part in in_parts(keys, KEYS_PER_PART):
            for key, stored, _ in run(read_entries(self.source, part, list(dict.fromkeys(roots)))):
                start = entry(stored, self.layout.start)
                places[key] = (str(entry(stored, self.layout.document) or key), start if _is_whole(start) else 0, key)
        return sorted(places, key=lambda key: places[key])

    def _passage(self, key: str, stored: Mapping[str, Any], count: Callable[[Loss], None]) -> Passage:
        layout = self.layout
        own = entry(stored, layout.id)
        own_id = self.source.tail(key) if own in (None, "") else str(own)
        document = str((entry(stored, layout.document) if layout.document else None) or own_id)
        text = entry(stored, layout.text)
        text = text if isinstance(text, str) else ""
        start, end = entry(stored, layout.start), entry(stored, layout.end)
        if not (_is_whole(start) and _is_whole(end) and end - start == len(text)):
            start = end = 0  # not known, or of the text as it was before it was stripped
        metadata = self._metadata(stored, count)
        label = entry(stored, layout.label)
        return Passage(
            own_id if layout.document else passage_id(document, 0),
            document,
            text,
            start,
            end,
            label=None if label is None else plain_label(label, f"the entry under {key!r}"),
            metadata=metadata,
            vector=self._row(entry(stored, layout.vector)),
        )

    def _row(self, value: Any) -> NDArray[Any] | None:
        dtype = self.settings["dtype"]
        match value:
            case None:
                return None
            case str() | bytes():  # bytes may happen to be UTF-8
                return from_bytes(value.encode() if isinstance(value, str) else value, dtype)
            case _:
                return np.asarray(value, np.float64 if dtype == "float64" else np.float32)

    def _metadata(self, stored: Mapping[str, Any], count: Callable[[Loss], None]) -> dict[str, Any]:
        rest = {name: value for name, value in stored.items() if name not in self.layout.used}
        if self.layout.metadata:
            metadata = _as_mapping(entry(stored, self.layout.metadata))
            for name in rest.keys() - metadata.keys():
                count(Loss(name, f"stands beside {self.layout.metadata}, which has the metadata, and not in it", 1))
        else:
            metadata = rest if self.source.is_json else {name: self._typed(name, v, count) for name, v in rest.items()}
        for name in [name for name, value in metadata.items() if isinstance(value, bytes)]:
            count(Loss(name, "bytes that are no text have no place in the metadata", 1))
            del metadata[name]
        for name, kind in self.fields.items():
            if kind != "text" and isinstance(value := lookup(metadata, name), str) and not value:
                count(Loss(name, "an empty value is kept, and found by no filter", 1))
        return metadata

    @cached_property
    def _by_field(self) -> Mapping[str, Attribute]:
        return {one.field: one for one, _ in self._filters()}

    def _typed(self, name: str, value: Any, count: Callable[[Loss], None]) -> Any:
        """Return a value of a hash, which is text, as its declared field has it."""
        attribute = self._by_field.get(name)
        if attribute is None or not isinstance(value, str):
            return value
        if attribute.kind == "numeric":
            number = float(value)
            return int(number) if number.is_integer() and "." not in value and "e" not in value.lower() else number
        if attribute.separator and attribute.separator in value:
            reason = f"cut at each {attribute.separator!r}, as filters saw it, whether or not it was meant so"
            count(Loss(name, reason, 1, value))
            return [part.strip() for part in value.split(attribute.separator)]
        return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_mapping(kept: Any) -> dict[str, Any]:
    if isinstance(kept, str):
        with suppress(ValueError):
            kept = json.loads(kept)
    return dict(kept) if isinstance(kept, Mapping) else {}


class Losses:
    """What is lost, those of one kind as one."""

    def __init__(self, losses: Iterable[Loss]) -> None:
        self._found: dict[tuple[str, str], Loss] = {}
        for one in losses:
            self.add(one)

    def add(self, loss: Loss) -> None:
        """Count another one."""
        key = (loss.what, loss.reason)
        earlier = self._found.get(key)
        self._found[key] = replace(earlier, count=earlier.count + loss.count) if earlier else loss

    def all(self) -> tuple[Loss, ...]:
        """Return all of them."""
        return tuple(self._found.values())
