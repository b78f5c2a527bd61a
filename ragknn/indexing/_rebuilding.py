"""Rebuilding an index while it serves: the flow behind `Index.rebuild` and `AsyncIndex.rebuild`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ragknn._checks import check_call, check_flag, check_number
from ragknn._display.bars import bar_in_notebook
from ragknn._protocol.comparing import Agreement, compare
from ragknn._protocol.counting import index_info
from ragknn._protocol.examining import memory_of
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Flow, Progress
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import stored_manifest
from ragknn._protocol.replies import checked
from ragknn._protocol.schema import Algorithm, Schema
from ragknn._protocol.vectors import find_faults, from_bytes
from ragknn._protocol.versions import begin, build, claim, drop_others, give_up, left_behind, let_go, switch
from ragknn.errors import IndexNotFound, RagKNNError, RebuildFailed
from ragknn.records import Metric
from ragknn.reports import RebuildReport

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Share of the neighbors that a new version must find, where nobody says another.
LEAST_RECALL = 0.9

# Field of the manifest by which estimators know their rows.
_OF_AN_ESTIMATOR = "fit"


class Changes(TypedDict, total=False):
    """What can be changed of an index; explained at `Index.rebuild`."""

    algorithm: Algorithm | None
    m: int | None
    ef_construction: int | None
    metric: Metric | None
    text_search: bool | None
    any_field: bool | None


def rebuilding(
    index: Index | AsyncIndex, changes: Changes, recall: float, progress: Progress | None, dry_run: bool
) -> Flow[RebuildReport]:
    """Return what became of the index; `Index.rebuild` explains the arguments."""
    started = time.monotonic()
    expected = ", ".join(Changes.__annotations__)
    if unknown := set(changes) - set(Changes.__annotations__):
        raise TypeError(f"expected changes among {expected}, got {', '.join(sorted(unknown))}")
    named: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if not named:
        raise ValueError(
            f"expected something to change, got nothing: name at least one of {', '.join(Changes.__annotations__)}"
        )
    if not 0 <= check_number("recall", recall) <= 1:
        raise ValueError(f"expected a recall from 0 to 1, got {recall}")
    if progress is not None:
        check_call("progress", progress, "print")
    if check_flag("dry_run", dry_run):
        schema = Schema.loads(index.name, (yield from stored_manifest(index._keys)))
        info = yield from index_info(index._keys)
        return RebuildReport(index.name, _differing(schema, _changed(schema, named)), info.passages, dry_run=True)
    yield from index._modernizing()
    mark = yield from claim(index._keys)
    with bar_in_notebook("passages") as shown:
        try:
            yield from index._keeping_up()  # another process may have rebuilt it before this one could
            report = yield from _rebuild(index, mark, named, recall, progress or shown)
        except (RagKNNError, ValueError) as error:
            dropped = yield from left_behind(index._keys)
            yield from let_go(index._keys, mark)
            if dropped:
                raise IndexNotFound(f"expected index {index.name!r}, got it dropped while it was rebuilt") from error
            raise
    yield from let_go(index._keys, mark)
    return replace(report, seconds=time.monotonic() - started)


def _rebuild(
    index: Index | AsyncIndex, mark: str, named: dict[str, Any], recall: float, progress: Progress
) -> Flow[RebuildReport]:
    keys = index._keys
    while True:
        manifest = yield from stored_manifest(keys)
        old = Schema.loads(keys.name, manifest)
        new = _changed(old, named)
        if not (changed := _differing(old, new)):
            yield from drop_others(keys)
            return RebuildReport(keys.name, {})
        yield from _check_room(index)
        yield from _check_directions(keys, old, new)
        new, resumed = yield from begin(keys, new)
        target = keys.of_version(new.version)
        yield from build(keys, mark, target, progress)
        try:
            agreement = yield from compare(keys, target, old, new)
            _check(keys.name, agreement, old, new, recall)
        except RebuildFailed:
            yield from give_up(keys, target)
            raise
        memory = (yield from _memory(keys)), (yield from _memory(target))
        if (yield from switch(keys, mark, manifest, new)):
            break
    yield from drop_others(target)
    yield from index._keeping_up()
    index._named.update((name, value) for name, value in named.items() if name in index._named)
    return RebuildReport(
        keys.name,
        changed,
        agreement.passages,
        agreement.sampled,
        agreement.exact,
        agreement.approximate,
        memory,
        resumed=resumed,
    )


def _changed(old: Schema, named: dict[str, Any]) -> Schema:
    """Return the schema with the changes.

    Raises:
        ValueError: an invalid value, or something that the stored passages lack.
    """
    new = replace(old, **named)
    for name, what in (("text_search", "words"), ("any_field", "tags of undeclared fields")):
        if getattr(new, name) and not getattr(old, name):
            raise ValueError(
                f"expected {name}=False or nothing, got True: the passages were stored without their {what}; make a "
                "new index with them, of Index.documents(vectors=True)"
            )
    return new


def _differing(old: Schema, new: Schema) -> dict[str, tuple[Any, Any]]:
    """Return what is to be changed; the settings of a graph only where there is one."""
    names = [
        "algorithm",
        "metric",
        "text_search",
        "any_field",
        *(("m", "ef_construction") if new.algorithm == "hnsw" else ()),
    ]
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in names}
    return {name: (before, after) for name, (before, after) in pairs.items() if before != after}


def _check_room(index: Index | AsyncIndex) -> Flow[None]:
    """Refuse an index of an estimator, which makes its own anew, and one whose second version has no room."""
    keys = index._keys
    fitted, memory = yield [("HEXISTS", keys.manifest, _OF_AN_ESTIMATOR), ("INFO", "memory")]
    if checked(fitted):
        raise ValueError(
            f"expected an index of documents, got {keys.name!r} with an estimator's rows: fit it with other settings"
        )
    used, limit = memory_of(memory)
    needed = yield from _memory(keys)
    if limit and used + needed > limit:
        raise RebuildFailed(
            f"expected room for a second version of index {keys.name!r}, some {needed:,} bytes, got {limit - used:,} "
            "until the server's maxmemory: raise it until the index is rebuilt"
        )


def _memory(keys: Keys) -> Flow[int]:
    return (yield from index_info(keys, keys.searched)).memory_bytes


def _check_directions(keys: Keys, old: Schema, new: Schema) -> Flow[None]:
    """Refuse vectors that have no cosine distance, where there was another metric before."""
    if new.metric != "cosine" or old.metric == "cosine":
        return
    cursor = 0
    while True:
        cursor, found = yield from scan(keys.passage_prefix, cursor)
        blobs = map(checked, (yield [("HGET", key, "vector") for key in found]))
        there = [(key, blob) for key, blob in zip(found, blobs, strict=True) if blob is not None]
        if there:
            vectors = np.stack([from_bytes(blob, old.dtype) for _, blob in there])
            for row, reason in find_faults(vectors, new.metric, new.dtype).items():
                document_id, _ = keys.split_passage(there[row][0])
                raise RebuildFailed(
                    f"expected vectors with a direction in {keys.name!r}, got in document {document_id!r}: {reason}"
                )
        if not cursor:
            return


def _check(name: str, agreement: Agreement, old: Schema, new: Schema, recall: float) -> None:
    least = 1.0 if old.dtype == new.dtype else recall
    if agreement.exact < least:
        raise RebuildFailed(
            f"expected of the neighbors in the new version of index {name!r} {least:.1%} as before, got "
            f"{agreement.exact:.1%} for {agreement.sampled} vectors: the version before goes on serving"
        )
    if agreement.approximate < recall:
        raise RebuildFailed(
            f"expected a recall of {recall} of the new version of index {name!r}, got {agreement.approximate:.3f} for "
            f"{agreement.sampled} vectors: the version before goes on serving; use larger m and ef_construction, or "
            "accept less with recall="
        )
