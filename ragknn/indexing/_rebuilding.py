"""Changing an index while it serves: the flows behind `rebuild`, `reembed` and `abandon_rebuild`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ragknn._checks import check_call, check_flag, check_number
from ragknn._display.bars import bar_in_notebook
from ragknn._protocol.closing import close, reopen
from ragknn._protocol.comparing import Agreement, compare, compare_with_itself
from ragknn._protocol.copying import mean_size
from ragknn._protocol.counting import index_info
from ragknn._protocol.finding import scan
from ragknn._protocol.flows import Flow, Progress
from ragknn._protocol.holding import HoldLost, claim, hold, let_go, lost, while_held
from ragknn._protocol.kept import Kept
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import stored_manifest
from ragknn._protocol.replies import checked
from ragknn._protocol.schema import Schema
from ragknn._protocol.server import memory_of
from ragknn._protocol.vectors import find_faults, from_bytes
from ragknn._protocol.versions import abandon, begin, begun_as, build, drop_others, give_up, left_behind, switch
from ragknn._protocol.watch import Watch
from ragknn.embedding.protocols import Embedder
from ragknn.errors import ConnectionFailed, IndexNotFound, RagKNNError, RebuildFailed
from ragknn.indexing._embedding_anew import EmbeddingAnew
from ragknn.indexing._filling import ATTEMPTS, FEW, LOOKS, Copier, Filling, WritingAnew
from ragknn.indexing._plans import Changes, Plan, plan_of, plan_to_embed
from ragknn.indexing._recipes import reads_of
from ragknn.indexing._splitters import splitter_of
from ragknn.reports import RebuildReport
from ragknn.text.splitting import Splitter

if TYPE_CHECKING:
    from ragknn.indexing.async_index import AsyncIndex
    from ragknn.indexing.index import Index

# Share of the neighbors that a new version must find, where nobody says another.
LEAST_RECALL = 0.9

# Field of the manifest by which estimators know their rows.
_OF_AN_ESTIMATOR = "fit"


def rebuilding(
    index: Index | AsyncIndex, changes: Changes, recall: float, progress: Progress | None, dry_run: bool
) -> Flow[RebuildReport]:
    """Return what became of the index; `Index.rebuild` explains the arguments."""
    return (yield from _carried_out(index, plan_of(changes), recall, progress, dry_run))


def reembedding(
    index: Index | AsyncIndex,
    embedder: Embedder | None,
    splitter: Splitter | None,
    changes: Changes,
    recall: float,
    progress: Progress | None,
    dry_run: bool,
) -> Flow[RebuildReport]:
    """Return what became of the index; `Index.reembed` explains the arguments."""
    plan = plan_to_embed(embedder, splitter, changes)
    splitter_of(plan.applied(index.schema)).check(*reads_of(embedder or index.embedder))
    return (yield from _carried_out(index, plan, recall, progress, dry_run))


def abandoning(index: Index | AsyncIndex) -> Flow[bool]:
    """Return whether there was something to give up; `Index.abandon_rebuild` explains it."""
    mark = yield from claim(index._keys)
    given_up = yield from abandon(index._keys)
    yield from let_go(index._keys, mark)
    return given_up


def _carried_out(
    index: Index | AsyncIndex, plan: Plan, recall: float, progress: Progress | None, dry_run: bool
) -> Flow[RebuildReport]:
    started = time.monotonic()
    if not 0 <= check_number("recall", recall) <= 1:
        raise ValueError(f"expected a recall from 0 to 1, got {recall}")
    if progress is not None:
        check_call("progress", progress, "print")
    if check_flag("dry_run", dry_run):
        schema = Schema.loads(index.name, (yield from stored_manifest(index._keys)))
        info = yield from index_info(index._keys)
        changed = plan.differing(schema, plan.applied(schema))
        return RebuildReport(index.name, changed, info.passages, dry_run=True)
    yield from index._modernizing()
    mark = yield from claim(index._keys)
    with bar_in_notebook("done") as shown:
        try:
            yield from index._keeping_up()  # another process may have rebuilt it before this one could
            report = yield from _rebuild(index, mark, plan, recall, progress or shown)
        except ConnectionFailed:  # who cannot be reached cannot be asked, and the index is free again in some seconds
            raise
        except Exception as error:
            dropped = yield from left_behind(index._keys)
            yield from let_go(index._keys, mark)
            if dropped and isinstance(error, RagKNNError):
                raise IndexNotFound(f"expected index {index.name!r}, got it dropped while it was rebuilt") from error
            raise
    yield from let_go(index._keys, mark)
    return replace(report, seconds=time.monotonic() - started)


def _rebuild(
    index: Index | AsyncIndex, mark: str, plan: Plan, recall: float, progress: Progress
) -> Flow[RebuildReport]:
    keys = index._keys
    index._successor = plan.embedder  # for all threads, from when they find the index embedded by it
    done: tuple[Keys, RebuildReport] | None = None
    while done is None:
        manifest = yield from stored_manifest(keys)
        old = Schema.loads(keys.name, manifest)
        keys = keys.of_version(old.version or keys.version, old.store)  # as others may have made its search index again
        new = plan.applied(old)
        if not (changed := plan.differing(old, new)):
            yield from abandon(keys)
            yield from drop_others(keys)
            return RebuildReport(keys.name, {})
        anew = plan.needs_store(old, new)
        yield from _check_room(keys, new, anew=anew, nodes=max(1, index.server.primaries))
        if anew:
            done = yield from _of_passages_made_anew(index, mark, plan, old, new, manifest, recall, progress)
        else:
            done = yield from _of_these_passages(keys, mark, old, new, manifest, recall, progress)
    target, report = done
    yield from drop_others(target)
    yield from index._keeping_up()
    index._opened_for = index.schema
    if plan.embedder is not None:
        index._dim = None
    index._named.update((name, getattr(index.schema, name)) for name in changed if name in index._named)
    return replace(report, changed=changed)


def _of_these_passages(
    keys: Keys, mark: str, old: Schema, new: Schema, manifest: str, recall: float, progress: Progress
) -> Flow[tuple[Keys, RebuildReport] | None]:
    """Let another version of the search index serve, of the passages as they are; None if the manifest has changed."""
    yield from _check_directions(keys, old, new)
    new, resumed = yield from begin(keys, new)
    target = keys.of_version(new.version)
    yield from build(keys, mark, target, progress)
    try:
        agreement = yield from while_held(keys, mark, compare(keys, target, old, new))
        _check(keys.name, agreement, old, new, recall)
    except RebuildFailed:
        yield from give_up(keys, target)
        raise
    memory = (yield from _memory(keys)), (yield from _memory(target))
    if not (yield from switch(keys, mark, manifest, new)):
        return None
    return target, _report(keys, agreement, memory, resumed)


def _of_passages_made_anew(
    index: Index | AsyncIndex,
    mark: str,
    plan: Plan,
    old: Schema,
    new: Schema,
    manifest: str,
    recall: float,
    progress: Progress,
) -> Flow[tuple[Keys, RebuildReport] | None]:
    """Let another store of passages serve, and the search index of it; None if the manifest has changed."""
    keys = index._keys
    new, resumed = yield from begin(keys, new, another_store=True, cut=plan.embeds)
    target, begun = keys.of_version(new.version, new.store), begun_as(new, cut=plan.embeds)
    serves = replace(index._place(), schema=old)
    filling = Filling(serves, replace(serves, keys=target, schema=new, watch=Watch(), kept=Kept()), begun, progress)
    copier: Copier = WritingAnew(filling)
    if plan.embeds:
        copier = EmbeddingAnew(filling, plan.embedder or index.embedder)
    for _ in range(ATTEMPTS):
        for _ in range(LOOKS):
            if (yield from while_held(keys, mark, filling.up_to_now(copier), begun)) <= FEW:
                break
        yield from hold(keys, mark, begun)
        try:
            report = yield from _exchange(keys, mark, filling, copier, plan, manifest, recall)
        except HoldLost:
            continue  # it was away for long, and the store is open again: there may be more to copy
        return None if report is None else (target, replace(report, resumed=resumed))
    raise lost(keys)


def _exchange(
    keys: Keys, mark: str, filling: Filling, copier: Copier, plan: Plan, manifest: str, recall: float
) -> Flow[RebuildReport | None]:
    """Close the store that serves, and let the other one take its place; None if the manifest has changed."""
    target, old, new = filling.new.keys, filling.old.schema, filling.new.schema
    if not (yield from close(keys, mark)):
        raise lost(keys)
    try:
        yield from while_held(keys, mark, filling.up_to_now(copier))
        documents, _ = yield from while_held(keys, mark, filling.check())
        comparison = compare_with_itself(target, new)
        if not plan.embeds:
            comparison = compare(keys, target, old, new, filling.unchanged)
        agreement = yield from while_held(keys, mark, comparison)
        _check(keys.name, agreement, old, new, recall)
        memory = (yield from _memory(keys)), (yield from _memory(target))
        switched = yield from switch(keys, mark, manifest, new)
    except ConnectionFailed:  # as above: the next writer opens it again
        raise
    except Exception:
        yield from reopen(keys, mark)
        raise
    if not switched:
        yield from reopen(keys, mark)
        return None
    left_out = tuple(failure for some in copier.left_out.values() for failure in some)
    report = _report(keys, agreement, memory, False)
    return replace(report, documents=documents, embedded=copier.embedded, left_out=left_out)


def _report(keys: Keys, agreement: Agreement, memory: tuple[int, int], resumed: bool) -> RebuildReport:
    return RebuildReport(
        keys.name,
        {},
        agreement.passages,
        agreement.sampled,
        agreement.exact,
        agreement.approximate,
        memory,
        resumed=resumed,
    )


def _check_room(keys: Keys, new: Schema, *, anew: bool, nodes: int) -> Flow[None]:
    """Refuse an index of an estimator, which makes its own anew, and one whose second version has no room.

    Of a cluster, one of so many nodes tells of its memory, and has its share of the index.
    """
    fitted, memory = yield [("HEXISTS", keys.manifest, _OF_AN_ESTIMATOR), ("INFO", "memory")]
    if checked(fitted):
        raise ValueError(
            f"expected an index of documents, got {keys.name!r} with an estimator's rows: fit it with other settings"
        )
    used, limit = memory_of(memory)
    if not limit:
        return
    needed = yield from _memory(keys)
    if anew:
        passages = (yield from index_info(keys, keys.searched)).passages
        needed += passages * (yield from mean_size(keys, new))
    needed //= nodes
    if used + needed > limit:
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
