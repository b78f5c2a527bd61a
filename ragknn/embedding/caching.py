"""An embedder that embeds no text twice."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_call, check_embedder, check_whole, checked_texts, described
from ragknn.embedding._batches import distinct
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding.protocols import Embedder, Identified, Located, Tokenizing

# Vectors in memory; of 384 values, these are 75 MB.
_SIZE = 50_000
# Texts embedded in one call: enough to keep a model's batches full; then they are kept, whatever comes.
_TEXTS_PER_CALL = 256
_KEYS_PER_QUERY = 500  # SQLite takes 999 at least
_PATIENCE = 600.0  # seconds to wait for another process, which may be embedding the same texts

_Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many texts have their vectors, and how many different texts there are."""


class VectorCache:
    """Vectors by what they were made of: the last ones in memory, and all of them in a folder if one is given.

    Several threads and processes may use one folder. A file that cannot be read or written is done without; one that is
    no cache is replaced. To empty a cache, delete its folder.

    Args:
        folder: folder for the file `vectors.sqlite`; None: memory alone.
        size: vectors kept in memory at most.

    Raises:
        TypeError: a folder of another type.
        ValueError: size < 1.
    """

    def __init__(self, folder: str | Path | None = None, *, size: int = _SIZE) -> None:
        if not isinstance(folder, str | Path | None):
            raise TypeError(f"expected a folder as a str or a Path, or None, got {described(folder)}")
        self.folder = None if folder is None else Path(folder).expanduser().absolute()
        self.size = check_whole("size", size)
        self._memory: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = ProcessLock()

    def __repr__(self) -> str:
        return f"VectorCache({'' if self.folder is None else repr(str(self.folder))})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": OrderedDict()}

    def vectors(
        self, keys: Sequence[bytes], make: Callable[[Sequence[int]], NDArray[np.float32]], progress: _Progress
    ) -> list[NDArray[np.float32]]:
        """Return the vector of each key; those that are missing are made, some at a time, and kept.

        Args:
            keys: different keys.
            make: returns the vectors for some places among the keys.
            progress: told how many vectors are there.
        """
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._lock:
            for key in keys:
                if (vector := self._memory.get(key)) is not None:
                    self._memory.move_to_end(key)
                    found[key] = vector
        missing = [place for place, key in enumerate(keys) if key not in found]
        while missing:
            some, missing = missing[:_TEXTS_PER_CALL], missing[_TEXTS_PER_CALL:]
            found.update(self._kept_or_made([keys[place] for place in some], some, make))
            progress(len(found), len(keys))
        return [found[key] for key in keys]

    def _kept_or_made(
        self, keys: Sequence[bytes], places: Sequence[int], make: Callable[[Sequence[int]], NDArray[np.float32]]
    ) -> dict[bytes, NDArray[np.float32]]:
        if self.folder is None:
            found = dict(zip(keys, make(places), strict=True))
        else:
            found = self._on_disk(self.folder, keys, places, make)
        with self._lock:
            self._memory.update(found)
            while len(self._memory) > self.size:
                self._memory.popitem(last=False)
        return found

    def _on_disk(
        self,
        folder: Path,
        keys: Sequence[bytes],
        places: Sequence[int],
        make: Callable[[Sequence[int]], NDArray[np.float32]],
    ) -> dict[bytes, NDArray[np.float32]]:
        made: dict[bytes, NDArray[np.float32]] = {}

        def completed(kept: Mapping[bytes, NDArray[np.float32]]) -> dict[bytes, NDArray[np.float32]]:
            lacking = [(key, place) for key, place in zip(keys, places, strict=True) if key not in {**kept, **made}]
            if lacking:
                made.update(zip([key for key, _ in lacking], make([place for _, place in lacking]), strict=True))
            return {**kept, **made}

        try:
            with closing(_opened(folder)) as database:
                kept = _read(database, keys)
                if len(kept) == len(keys):
                    return kept
                # From here to the end of the transaction, other processes that lack vectors wait: theirs may be these.
                database.execute("BEGIN IMMEDIATE")
                found = completed(_read(database, keys))
                database.executemany(
                    "INSERT OR REPLACE INTO vectors VALUES (?, ?)", [(key, made[key].tobytes()) for key in made]
                )
                database.execute("COMMIT")
                return found
        except (sqlite3.Error, OSError):
            return completed({})


def _opened(folder: Path) -> sqlite3.Connection:
    """Return a connection for one call: one that is kept would not survive a fork.

    Raises:
        OSError: the folder cannot be made.
        sqlite3.Error: the file cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vectors.sqlite"
    try:
        return _with_table(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # the file is no database, or a broken one
        with suppress(FileNotFoundError):
            path.unlink()
        return _with_table(path)


def _with_table(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        database.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
    except BaseException:
        database.close()
        raise
    return database


def _read(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
    found: dict[bytes, NDArray[np.float32]] = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(some))
        rows = database.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
        found.update((key, np.frombuffer(vector, dtype=np.float32)) for key, vector in rows)
    return found


class CachedEmbedder:
    """Embed with another embedder, each text once.

    Vectors are kept by the text and by what the other embedder says it is (name, content, identity), not by what runs
    its model; they come back to the last bit. So with a `FunctionEmbedder`, choose a new name whenever the function
    changes. Everywhere else this embedder is the other one: an index that was built with either opens with both.

    Args:
        embedder: the other embedder.
        cache: where vectors are kept: a `VectorCache`, or a folder; None: in the memory of this embedder.
        progress: called in each call for many texts, as some of them have their vectors.

    Example:
        >>> embedder = CachedEmbedder(OpenAIEmbedder(), "~/.cache/vectors")
    """

    def __init__(
        self,
        embedder: Embedder,
        cache: VectorCache | str | Path | None = None,
        *,
        progress: _Progress | None = None,
    ) -> None:
        check_embedder(embedder)
        if progress is not None:
            check_call("progress", progress, "print")
        self.embedder = embedder
        self.cache = cache if isinstance(cache, VectorCache) else VectorCache(cache)
        self.progress = progress
        if isinstance(embedder, Tokenizing):
            self.token_spans = embedder.token_spans  # only then is this embedder `Tokenizing`

    def __repr__(self) -> str:
        return f"CachedEmbedder({self.embedder!r})"

    @property
    def name(self) -> str:
        """Name of the other embedder."""
        return self.embedder.name

    @property
    def dim(self) -> int:
        """Number of values in a vector."""
        return self.embedder.dim

    @property
    def max_tokens(self) -> int | None:
        """The model's limit in tokens, special tokens not counted; None for no limit."""
        return self.embedder.max_tokens

    @property
    def content(self) -> str | None:
        """Digest of what the model is made of; None where the name tells."""
        return self.embedder.content if isinstance(self.embedder, Located) else None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What else the vectors depend on."""
        return self.embedder.identity if isinstance(self.embedder, Identified) else {}

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each passage, shape (n, dim); raises what the other embedder raises."""
        return self._embed("document", texts, self.embedder.embed_documents)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each query, shape (n, dim); raises what the other embedder raises."""
        return self._embed("query", texts, self.embedder.embed_queries)

    def _embed(self, role: str, texts: Sequence[str], embed: Callable[[Sequence[str]], Any]) -> NDArray[np.float32]:
        once, rows = distinct(checked_texts(texts, "text"))
        if not once:
            return np.empty((0, self.dim), dtype=np.float32)
        made_of = json.dumps([self.name, self.content, dict(self.identity), role], sort_keys=True, default=str)
        by = blake2b(made_of.encode(), digest_size=32).digest()
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32, key=by).digest() for text in once]

        def make(places: Sequence[int]) -> NDArray[np.float32]:
            return np.asarray(embed([once[place] for place in places]), dtype=np.float32)

        return np.stack(self.cache.vectors(keys, make, self.progress or _nobody))[rows]


def _nobody(done: int, total: int) -> None:
    """Take no notice."""
