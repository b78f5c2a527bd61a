"""The index in sync code: a name, a manifest and a client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from ragknn._protocol.counting import wait_until_searchable
from ragknn._protocol.flows import Flow, Progress, Repeatable
from ragknn._protocol.presence import while_there
from ragknn._protocol.schema import FieldType
from ragknn.embedding.protocols import Embedder
from ragknn.errors import IndexNotFound
from ragknn.filters import Where
from ragknn.indexing._checking import checking
from ragknn.indexing._describing import describing
from ragknn.indexing._mapping import SAMPLE, mapping
from ragknn.indexing._plans import Changes
from ragknn.indexing._projection import Method
from ragknn.indexing._reading import (
    DOCUMENTS_PER_PART,
    PASSAGES_PER_PART,
    checked_ids,
    finding,
    in_parts,
    in_whole_documents,
    reading_at,
    reading_documents,
    reading_ids,
    reading_passages,
    reading_spots,
)
from ragknn.indexing._rebuilding import LEAST_RECALL, abandoning, rebuilding, reembedding
from ragknn.indexing._shared_index import SharedIndex
from ragknn.indexing.mapping import IndexMap
from ragknn.records import Document, Passage
from ragknn.reports import CheckReport, IndexInfo, IngestReport, RebuildReport
from ragknn.server._connection import close, connect, run
from ragknn.text.splitting import Splitter

_T = TypeVar("_T")


class Index(SharedIndex):
    """An index of passages in Redis: used in a `with` block, or opened on first use and closed with `close()`.

    Threads may share it, and so may event loops an `AsyncIndex`, which has a client for each of them. A copy, by `copy`
    or by pickle, is not open and connects by itself when it is used. A password in `url` is not in the pickle: another
    process takes it from `RAGKNN_PASSWORD`.

    Where others drop the index while it is open, or empty the server, every call on it and on what was made of it
    raises `IndexNotFound`; `open` makes it anew. Where they have made it anew themselves, calls go on in the new one.
    Where that has another embedder than was handed in, or vectors are passed that were made for the one before, they
    raise `SchemaMismatch`.

    Args:
        name: letters, digits, `_`, `.` and `-`.
        url: Redis to use; None: `RAGKNN_URL`, or where that is not set the embedded server.
        client: a client of redis-py, of one server or of a cluster, to use instead of a URL (`redis.asyncio` for the
            async face); ragknn does not close it. Such an index cannot be pickled, and one of `redis.asyncio` works
            under one event loop.
        cluster: whether the URL is that of a node of a Redis Cluster, as redis+cluster://host:port,host:port says too.
        embedder: what turns texts into vectors; None: the one that the index was built with, and for a new
            index sentence-transformers' all-MiniLM-L6-v2.
        dim: for a new index of ready vectors without an embedder: values in a vector.
        metric: "cosine", "ip" or "l2"; None: as the index was built, and cosine for a new one. The same
            holds for each of the following.
        algorithm: "flat" (exact; the default) or "hnsw" (approximate, quicker from about 100,000 passages on).
        m: hnsw only: edges of a node; 16.
        ef_construction: hnsw only: candidates looked at while a node is added; 200.
        dtype: "float32", "float16", "bfloat16" or "float64" for the stored vectors; float32. "auto" makes a new index
            of embedded texts float16 if its metric is cosine: half the memory, and rankings as they were but for near
            ties. Any other it makes float32, and one that is there it takes as it is. `describe` tells.
        fields: entries of the metadata to filter on, each "tag", "numeric" or "text"; none. A dotted name such as
            "author.name" is an entry within another.
        any_field: whether all other entries can be filtered on too, by equality, at the price of a tag for each; False.
        text_search: whether the words of the passages are indexed too; True. Without it, storing is several
            times quicker on the server, which matters for ready vectors.
        language: language by whose rules the stems of words are found, such as "german"; "english".
        stop_words: words that are not indexed; a short list for "english", none for other languages.
        fold_accents: whether words are found without regard to accents, "café" by "cafe"; True. Stems are then made
            of words without accents: with False, more forms of a word find each other in Turkish ("gün" and "günler"),
            and some in French, Portuguese and Romanian.
        required_filter: a declared tag field, such as "tenant", that every retrieval, vote, count and deletion must
            filter on and every document must have, however the index is opened. None.
        create: whether to create the index where there is none.
        timeout: seconds that one search or count may take; a server that hangs is waited for a little longer. None:
            `RAGKNN_TIMEOUT`, or 10.
        read_from_replicas: whether retrievals and votes are answered by a replica, of those that the Sentinels of the
            URL name. What was written a moment ago may be missing there. Everything else is asked of the primary.

    Raises:
        TypeError: a URL, a client or an embedder of another type.
        ValueError: an invalid name, choice or field name.
    """

    def _renew(self) -> None:
        super()._renew()
        self._client: Any = self._reach.client
        self._reader: Any = None

    @property
    def client(self) -> Any:
        """The client that the index talks through; None where it is not open and was handed none."""
        return self._client

    def open(self) -> Self:
        """Connect, check the server and the manifest, and create the index where there is none.

        Raises:
            ServerError: the server cannot be reached, started or used.
            IndexNotFound: there is none, and it was opened with `create=False`.
            SchemaMismatch: it was built with different settings.
        """
        with self._lock:
            try:
                self._opened = run(self._connected(), self._opening())
            except BaseException:
                self.close()
                self._closed = False
                raise
            self._closed = False
            return self

    def _connected(self) -> Any:
        if self._client is None:
            url = self._reach.resolved_url(self._settings)
            if self._reach.asks_replicas(url):
                self._reader = connect(url, **self._connecting, from_replicas=True)
            self._client = connect(url, **self._connecting)
        return self._client

    def _run(self, flow: Flow[_T], *, asks: bool = False) -> _T:
        """Drive a flow on this index, which must still be there; by a replica if it only asks and that is wanted."""
        keys = self._keys
        try:
            return self._drive(while_there(keys, flow), asks=asks)
        except IndexNotFound:
            if self._opened is None:
                raise
            self._watch.doubt()  # what is not there now may be there again when it is asked next, and not whole
            # Another thread or task may have kept up already.
            if not (self._keys != keys or self._drive(self._mending())) or not isinstance(flow, Repeatable):
                raise
        again: Flow[_T] = flow.again()
        return self._run(again, asks=asks)

    def _drive(self, flow: Flow[_T], *, asks: bool = False) -> _T:
        """Drive a flow on this index, which is opened first where it never was; of several threads one does so."""
        opened, client = self._opened, self._client
        if opened is None or client is None:
            with self._lock:
                if self._opened is None:
                    self._refuse_closed()
                    self.open()
                client = self._client
        return run(self._reader if asks and self._reader is not None else client, flow)

    def close(self) -> None:
        """Close the connections; a client passed in stays open."""
        with self._lock:
            self._opened, self._closed = None, True
            self._kept.drop()
            clients = (self._client, self._reader)
            self._client, self._reader = self._reach.client, None
            for client in clients:
                if client is not None and client is not self._reach.client:
                    close(client)

    def __enter__(self) -> Self:
        return self if self._opened else self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def count(self, where: Where | None = None) -> int:
        """Return the number of passages in the index, or of those that match; `ragknn.filters` explains `where`.

        An index that the server is still building is waited for, as wherever something is counted, or chosen by a
        filter.

        Raises:
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command, or goes on building the index for longer
                than the timeout.
        """
        return self._run(self._counting(where))

    def documents(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> Iterator[Document]:
        """Read documents back: text to the character, label and metadata.

        They are read a part at a time while you iterate, so that any number of them needs little memory.

        Args:
            ids: which documents, in this order; ids that are not there are left out, and one that is given twice comes
                twice. None: all, sorted by id.
            where: only those that match; `ragknn.filters` explains it.
            vectors: whether to read the stored vectors of the passages too, as `Document.vectors`.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command.
        """
        wanted = None if ids is None else checked_ids(ids)
        return self._documents(wanted, where, vectors)

    def _documents(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> Iterator[Document]:
        among = self._run(reading_ids(self, where)) if ids is None else ids
        for part in in_parts(among, DOCUMENTS_PER_PART):
            yield from self._run(reading_documents(self, part, where, vectors, matched=ids is None))

    def passages(
        self, ids: Iterable[str] | None = None, *, where: Where | None = None, vectors: bool = False
    ) -> Iterator[Passage]:
        """Read passages back.

        They are read a part at a time while you iterate, those of a document together, so that any number of them needs
        little memory. Where the index is rebuilt meanwhile, the documents that are left come as they are cut then.

        Args:
            ids: which passages, in this order; ids that are not there are left out. None: all, sorted by document and
                place in it.
            where: only those that match; `ragknn.filters` explains it.
            vectors: whether to read the stored vectors too, as `Passage.vector`.

        Raises:
            IndexNotFound: the index was dropped while you iterate.
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command.
        """
        wanted = None if ids is None else checked_ids(ids)
        return self._passages(wanted, where, vectors)

    def _passages(self, ids: Iterable[str] | None, where: Where | None, vectors: bool) -> Iterator[Passage]:
        if ids is None:
            found, store = self._run(reading_spots(self, where))
            for spots in in_whole_documents(found, PASSAGES_PER_PART):
                yield from self._run(reading_at(self, spots, store, where, vectors))
        else:
            for part in in_parts(ids, PASSAGES_PER_PART):
                yield from self._run(reading_passages(self, part, where, vectors))

    def exists(self, ids: Iterable[str], *, where: Where | None = None) -> list[bool]:
        """Return for each document id whether the index has it, and whether it matches.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(finding(self, ids, where))

    def count_documents(self, where: Where | None = None) -> int:
        """Return the number of documents in the index, or of those that match.

        Raises:
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(self._counting_documents(where))

    def values(self, field: str, where: Where | None = None) -> dict[Any, int]:
        """Return the values of a field with the number of documents that have each, most frequent first.

        Args:
            field: "label", "document_id", a field declared as tag or numeric, or any field of an index built with
                `any_field`. Numbers come back as floats; of a list each element counts. True and 1 are other values,
                yet one key of a dict: their counts are added. A value longer than 4 KB of such a field is left out.
            where: only documents that match; `ragknn.filters` explains it.

        Raises:
            ValueError: a field that cannot be filtered on or holds text; an invalid filter.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(self._counting_values(field, where))

    def value_range(self, field: str, where: Where | None = None) -> tuple[float, float] | None:
        """Return the smallest and the largest value of a numeric field; None where no document has one.

        Args:
            field: declared as numeric; dates are seconds since 1970 UTC.
            where: only documents that match; `ragknn.filters` explains it.

        Raises:
            ValueError: a field that is not numeric; an invalid filter.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(self._finding_range(field, where))

    def add_fields(self, fields: Mapping[str, FieldType]) -> IngestReport:
        """Declare more fields to filter on, and fill them from the stored metadata; nothing is embedded.

        Other processes that have the index open must open it again before they write or filter on the new fields.

        Args:
            fields: as for `Index`; those that are declared already are left as they are.

        Returns:
            A report whose `updated` counts the documents that were filled. A value that does not fit its field is left
            out, and listed in `left_out`.

        Raises:
            SchemaMismatch: a field is declared already as another type.
            ValueError: an invalid name or type.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(self._adding_fields(fields))

    def rebuild(
        self,
        *,
        recall: float = LEAST_RECALL,
        progress: Progress | None = None,
        dry_run: bool = False,
        **changes: Unpack[Changes],
    ) -> RebuildReport:
        """Change what the index is made of while it serves; nothing is embedded.

        The server builds a second version of the search index beside the one that serves. When everything is in it,
        both are compared: the number of passages, and the neighbors of some stored vectors. Then the new one takes the
        place of the other in one step, and the other is dropped. Searches and writes go on meanwhile, in this process
        and in others, which notice it by themselves. Until it is dropped, the server needs memory for both.

        Where the passages hold other things by the changes, each is written anew beside the one that serves. Writers
        wait while the last of them are, the longer the more documents there are; searches do not.

        Where this is interrupted, the index serves as it was; to call it again with the same arguments goes on where it
        was, and with others begins anew. What is left of it after the switch is dropped when the index is opened next.

        Args:
            recall: share of the exact neighbors that a search as usual must find in the new version, from 0 to 1; with
                another dtype, also the share of those before that an exact search must find.
            progress: called with how much is done and how much there is: of passages that the server indexes, or of
                documents that are written anew; None: a bar in a notebook.
            dry_run: whether to tell only what would be changed.
            **changes: what to change, as for `Index`. `algorithm`, `m`, `ef_construction`, `metric`, and `text_search`
                and `any_field` with False take the passages as they are. These need them written anew: `dtype`;
                `fields`, which are then all that there are, and of which values that do not fit are left out and
                reported; `language`, `stop_words`, `fold_accents`; `required_filter`; `text_search` and `any_field`
                with True.

        Raises:
            RebuildFailed: another process rebuilds the index, the server has no room for a second version, a document
                is damaged or does not fit, or the new version is not as it should be. The index serves as it was.
            TypeError: something else to change.
            ValueError: nothing to change is named, an invalid value, or the index belongs to an estimator.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._drive(rebuilding(self, changes, recall, progress, dry_run))

    def reembed(
        self,
        embedder: Embedder | None = None,
        splitter: Splitter | None = None,
        *,
        recall: float = LEAST_RECALL,
        progress: Progress | None = None,
        dry_run: bool = False,
        **changes: Unpack[Changes],
    ) -> RebuildReport:
        """Move the index to another model or another splitter while it serves, from the documents that are stored.

        Each document is cut and embedded anew, beside the one that serves. What others write meanwhile is embedded too.
        When the last of it is, for which writers wait a moment, the new documents take the place of the others in one
        step, and those are dropped. An index that is open elsewhere notices it by itself and takes the new model,
        unless an embedder was handed to it: then its calls raise `SchemaMismatch` from then on.

        Where this is interrupted, the index serves as it was; to call it again with the same arguments goes on where it
        was, and embeds again what was under way. With others it begins anew; `abandon_rebuild` gives it up.

        Documents whose passages were cut elsewhere (`Indexer.add_passages`, with ids, labels or metadata of their own)
        keep them. The vectors of documents that came with ready ones are made of their texts.

        Args:
            embedder: what turns texts into vectors; None: the one of the index.
            splitter: how documents are cut; None: as the index cuts them.
            recall: share of the exact neighbors that a search as usual must find, from 0 to 1.
            progress: called with how many documents are done and how many there are; None: a bar in a notebook.
            dry_run: whether to tell only what would be changed.
            **changes: what else to change, as for `rebuild`.

        Raises:
            RebuildFailed: as for `rebuild`; or a document without a text, which cannot be embedded.
            EmbeddingError: the model failed.
            TypeError: no embedder, no splitter, or something else to change.
            ValueError: neither embedder nor splitter, an invalid value, or the index belongs to an estimator.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._drive(reembedding(self, embedder, splitter, changes, recall, progress, dry_run))

    def abandon_rebuild(self) -> bool:
        """Remove what an interrupted `rebuild` or `reembed` has made, and return whether there was something.

        Raises:
            RebuildFailed: another process rebuilds the index now.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._drive(abandoning(self))

    def check(self, *, repair: bool = False, progress: Progress | None = None) -> CheckReport:
        """Look at every document: whether it is stored whole, and found by searches.

        Searches and writes may go on meanwhile: what looks wrong is looked at once more before it is reported. In an
        index with a `required_filter` it looks at the documents of all, so it is for who administers the index. Memory
        is needed for 16 bytes of each passage, and 1,000 ids of each kind of damage.

        Args:
            repair: whether to mend what can be. Passages that belong to no document are removed, and those that no
                search finds are indexed again. A document of which something is lost counts as not stored from then on,
                so that the next `add` or `sync` that has it stores it whole; the report has it in `index_again`.
            progress: called with the number of passages that were looked at and of all; None: a bar in a notebook.

        Raises:
            TimeoutError: the server was still indexing what is stored after a minute.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(checking(self, repair, progress))

    def describe(self, where: Where | None = None) -> IndexInfo:
        """Return what the index is made of, how much it holds, and how it fares.

        Args:
            where: count only documents and passages that match; `ragknn.filters` explains it. Where the index requires
                a filter, they are not counted without.

        Raises:
            ValueError: an invalid filter, or one without what the index requires.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(describing(self, where))

    def map(
        self,
        method: Method = "pca",
        *,
        where: Where | None = None,
        sample: int = SAMPLE,
        include: Iterable[str] = (),
        seed: int = 0,
    ) -> IndexMap:
        """Return the passages as points in a plane; near to each other where their vectors are, as far as a plane can.

        Args:
            method: "pca", the two directions in which the vectors spread most; or "umap", which keeps neighbors
                together and takes longer (`pip install 'ragknn[umap]'`).
            where: only passages that match; `ragknn.filters` explains it.
            sample: number of passages; of more, so many are drawn by chance.
            include: ids of passages that are on the map in any case, such as the neighbors of a retrieval.
            seed: of the sample and of UMAP.

        Raises:
            TypeError: a str in place of several ids.
            ValueError: an invalid choice or filter, or fewer than four passages for UMAP.
            MissingDependency: UMAP is not installed.
            ServerError: the server cannot be reached or refuses a command.
        """
        return self._run(mapping(self, method, where, sample, include, seed))

    def wait_until_searchable(self, timeout: float = 60.0) -> None:
        """Wait until everything stored can be found; the server may index in the background.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: it took longer.
            ServerError: the server cannot be reached or refuses a command.
        """
        self._run(wait_until_searchable(self._keys, timeout))

    def drop(self) -> int:
        """Remove the index with all its documents, close it, and return how many documents there were.

        One that is gone already is no error. It need not be open, so that what is left of an index without its manifest
        can be removed too. If this is interrupted, the next who opens or drops an index of this name goes on.

        Raises:
            IndexNotFound: nothing of it is there, and it was made with `create=False` and never opened.
            ServerError: the server cannot be reached or refuses a command.
        """
        self._refuse_closed()
        with self._lock:
            removed = run(self._connected(), self._dropping())
        self.close()
        return removed
