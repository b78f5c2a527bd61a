"""Moving in: `import_index` in sync code, `aimport_index` in async code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from ragknn._checks import check_embedder, check_flag, check_type, check_unicode
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys
from ragknn.embedding.protocols import Embedder
from ragknn.errors import SchemaMismatch
from ragknn.indexing._own_settings import load_own_settings, resolve_url
from ragknn.indexing._policy import IngestOptions, Progress
from ragknn.indexing._writing import adopting_passages
from ragknn.indexing.async_index import AsyncIndex
from ragknn.indexing.index import Index
from ragknn.records import Passage
from ragknn.reports import ImportReport, IngestReport
from ragknn.server._connection import check_url, close, connect, run
from ragknn.transfer._passages import Losses, Plan
from ragknn.transfer._recognizing import recognized
from ragknn.transfer._source import Source, examine, read_entries, read_keys
from ragknn.transfer.layout import Layout

# Passages that are embedded to see whether the model is the one that made the vectors, and how near the two must be.
# Texts that were embedded with their titles or metadata come to about .8; those of another model to about 0.
_PROBES = 5
_LOOKED_AT = 200  # keys, among which those are that have a text and a vector
_LEAST_SIMILARITY = 0.5


def import_index(
    source: str,
    name: str,
    *,
    url: str | None = None,
    from_url: str | None = None,
    layout: Layout | None = None,
    embedder: Embedder | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make an index of a search index that another library has made; nothing is embedded.

    Texts, vectors and metadata are copied; the other index stays as it is. The new one has the same metric, dtype and
    algorithm, so that it finds the same neighbors at the same distances (those of l2 are Euclidean, of which Redis
    gives the squares). Fields that can be filtered on there can be here. Indexes on hashes and on JSON documents are
    read; those of redisvl, langchain-redis and llama-index are recognized. What was imported already and has not
    changed is not written again.

    Args:
        source: name of the search index, as FT._LIST shows it.
        name: of the index to make, or to bring up to date.
        url: Redis of the new index; None: `RAGKNN_URL`, or where that is not set the embedded server.
        from_url: Redis of the other index; None: the same.
        layout: where the other index has the text, the vector and so on; None: by what is recognized.
        embedder: the one that made the vectors, so that questions can be asked as texts. Some passages are embedded to
            see that it is that one. With it, documents that this index's splitter would cut in the same way are stored
            as if it had, so that a later `sync` of the same documents embeds nothing. None: an index of ready vectors.
        dry_run: whether to read everything, write nothing, and report what would be lost.
        progress: called with the report so far; None: a bar in a notebook.

    Raises:
        IndexNotFound: there is no such search index.
        SchemaMismatch: an index of that name is made of something else, or the embedder did not make the vectors.
        ValueError: where everything is cannot be told, or vectors of a type that cannot be stored.
        ServerError: a server cannot be reached or refuses a command.
    """
    moving = _Moving(source, name, url, from_url, layout, embedder, dry_run)
    with moving.reading() as passages:
        if dry_run:
            return moving.report(passages=sum(1 for _ in passages))
        with Index(name, url=url, **moving.settings) as index:
            return moving.report(index._run(moving.writing(index, passages, progress)))


async def aimport_index(
    source: str,
    name: str,
    *,
    url: str | None = None,
    from_url: str | None = None,
    layout: Layout | None = None,
    embedder: Embedder | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Async twin of `import_index`; the other index is read in a thread."""
    moving = await asyncio.to_thread(_Moving, source, name, url, from_url, layout, embedder, dry_run)
    with moving.reading() as passages:
        if dry_run:
            return moving.report(passages=await asyncio.to_thread(lambda: sum(1 for _ in passages)))
        async with AsyncIndex(name, url=url, **moving.settings) as index:
            return moving.report(await index._run(moving.writing(index, passages, progress)))


class _Moving:
    """What both faces share: one search index on its way."""

    def __init__(
        self,
        source: str,
        name: str,
        url: str | None,
        from_url: str | None,
        layout: Layout | None,
        embedder: Embedder | None,
        dry_run: bool,
    ) -> None:
        self._began = time.monotonic()
        check_type("source", source, str)
        check_unicode(source, "the name of the search index")
        Keys(name)  # refuses a name that no index can have
        check_url(url)
        check_url(from_url)
        check_flag("dry_run", dry_run)
        if layout is not None:
            check_type("layout", layout, Layout, 'pass Layout(vector="...", text="...")')
        if embedder is not None:
            check_embedder(embedder)
        settings = load_own_settings()
        self._client = connect(
            resolve_url(from_url or url, settings), timeout=settings.timeout, protocol=settings.protocol
        )
        self._name, self._embedder, self._read = name, embedder, 0
        try:
            found: Source = self._run(examine(source))
            self._keys: Sequence[str] = self._run(read_keys(found))
            self.plan = self._planned(found, layout)
            self._made = self.plan.settings
            self._lost = Losses(self.plan.losses())
            if embedder is not None:
                self._check_model(embedder)
        except BaseException:
            close(self._client)
            raise

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the index to make."""
        if self._embedder is None:
            return self._made
        return {**{key: value for key, value in self._made.items() if key != "dim"}, "embedder": self._embedder}

    def _run(self, flow: Flow[Any]) -> Any:
        return run(self._client, flow)

    def _planned(self, source: Source, layout: Layout | None) -> Plan:
        if layout is not None:
            return Plan(source, "", layout)
        sample = self._run(read_entries(source, self._keys[:1]))
        return Plan(source, *recognized(source, sample[0][1] if sample else {}))

    def _check_model(self, embedder: Embedder) -> None:
        """Refuse an embedder that did not make the vectors.

        Raises:
            SchemaMismatch: its dimension is another, or what it makes of some texts is something else.
        """
        if embedder.dim != self._made["dim"]:
            raise SchemaMismatch(self._name, {"dim": (embedder.dim, self._made["dim"])})
        found = self.plan.passages(self._run, self._keys[:_LOOKED_AT], lambda loss: None)
        probes = list(islice(((one.text, one.vector) for one in found if one.text and one.vector is not None), _PROBES))
        if not probes:
            return
        stored = np.stack([vector for _, vector in probes]).astype(np.float64)
        made = np.asarray(embedder.embed_documents([text for text, _ in probes]), np.float64)
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(made, axis=1)
        similarity = float(np.mean(np.sum(stored * made, axis=1) / np.maximum(lengths, np.finfo(float).tiny)))
        if similarity < _LEAST_SIMILARITY:
            raise SchemaMismatch(
                self._name,
                {"embedder": (embedder.name, "another one")},
                f"Of {len(probes)} passages it makes vectors with a mean cosine of {similarity:.2f} to those stored: "
                "name the model that made them, or none, for an index of ready vectors.",
            )

    @contextmanager
    def reading(self) -> Iterator[Iterator[Passage]]:
        """Provide the passages, and end the connection that they are read through."""
        try:
            yield self._passages()
        finally:
            close(self._client)

    def _passages(self) -> Iterator[Passage]:
        for passage in self.plan.passages(self._run, self._keys, self._lost.add):
            self._read += 1
            yield passage

    def writing(
        self, index: Index | AsyncIndex, passages: Iterator[Passage], progress: Progress | None
    ) -> Flow[IngestReport]:
        """Write the passages to the index."""
        options: IngestOptions = {"progress": progress, "on_bad_field": "leave_out"}
        return adopting_passages(index, passages, options, as_cut=self._embedder is not None)

    def report(self, written: IngestReport | None = None, passages: int = 0) -> ImportReport:
        """Return what became of it."""
        return ImportReport(
            source=self.plan.source.name,
            name=self._name,
            maker=self.plan.maker,
            layout=asdict(self.plan.layout),
            settings=self._made if self._embedder is None else {**self._made, "embedder": self._embedder.name},
            passages=passages or self._read,
            lost=self._lost.all(),
            written=written,
            seconds=time.monotonic() - self._began,
        )
