"""The errors of ragknn.

    RagKNNError
    ├── ConfigurationError        a setting, or what is installed, cannot work
    │   └── MissingDependency     (also an ImportError) an optional package is not installed
    ├── ServerError               the Redis server
    │   ├── ServerNotFound        no redis-server or search module for the embedded server
    │   ├── ServerStartError      the embedded server did not start; carries the end of its log
    │   ├── ConnectionFailed      no server answers at the URL, or it refuses the login
    │   ├── UnsupportedServer     too old, or without search
    │   └── CommandRefused        the server answered a command with an error
    ├── IndexNotFound             no index of that name
    │   ├── ManifestMissing       what it keeps is there, but not what it is made of
    │   └── IndexRebuilt          another version serves by now, and the call cannot go on in it
    ├── IndexNotOpen              the index is closed, or not open yet
    ├── SchemaMismatch            the index was built with different settings; carries the differences
    ├── EmbeddingError            the model failed
    │   ├── ModelNotFound         neither installed nor available from the hub
    │   ├── TextTooLong           (also a ValueError) more tokens than the model reads
    │   └── InvalidVectors        (also a ValueError) wrong shape, NaN, infinite or zero vectors
    ├── ReadError                 a file or a record in it cannot be read
    ├── RebuildFailed             an index could not be rebuilt; it serves as it was
    ├── IngestFailed              some documents were not stored; carries the report
    ├── DeletionRefused           a sync would have deleted most of the index; carries the report
    └── IncompleteRetrieval       the server stopped before the search was complete

A wrong argument is a plain `ValueError` or `TypeError`. Messages name what was expected, what came and
the next step. Errors that redis-py raises are translated in `ragknn.server` and nowhere else; an error that is the
reply to a command is translated in `ragknn._protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragknn.records import Retrieval
    from ragknn.reports import IngestReport


class RagKNNError(Exception):
    """Base class of the errors of ragknn."""


class ConfigurationError(RagKNNError):
    """A setting, or what is installed, cannot work."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional package is not installed; the message holds the install command."""

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: expected it installed; pip install 'ragknn[{extra}]'")
        self._made_of = (package, purpose, extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of


class ServerError(RagKNNError):
    """A problem with the Redis server."""


class ServerNotFound(ServerError):
    """The embedded server finds no redis-server or no search module."""


class ServerStartError(ServerError):
    """The embedded server did not start. The message ends with the last lines of its log."""


class ConnectionFailed(ServerError):
    """No server answers at the URL in time, it refused the login, or no connection became free.

    What was being written then is whole, document by document, or not there; to call again is safe.
    """


class UnsupportedServer(ServerError):
    """The server is too old, or has no search module."""


class CommandRefused(ServerError):
    """The server answered a command with an error."""


class IndexNotFound(RagKNNError):
    """The server has no index of that name: it never had one, or the index was dropped while it was open.

    Attributes:
        others: names of those that it has, where they were asked for. The message does not tell them: it may reach
            people who are to know nothing of them.
    """

    def __init__(self, message: str, others: Sequence[str] = ()) -> None:
        self.others = tuple(others)
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.others)


class ManifestMissing(IndexNotFound):
    """The server has what the index keeps, and not its manifest: it was evicted, or deleted by others."""


class IndexRebuilt(IndexNotFound):
    """Another version of the index serves by now, and what was asked cannot go on in it.

    The index is there, and the next call takes it as it is. Most calls go on, or begin again, by themselves: this is
    raised where neither could be right.
    """


class IndexNotOpen(RagKNNError):
    """The index is closed, or not open yet."""

    def __init__(self, name: str, closed: bool = False) -> None:
        self.name = name
        self.closed = closed
        state = "is closed" if closed else "was not opened yet"
        super().__init__(
            f"expected index {name!r} to be open, but it {state}: use it in a `with` block, or call open() first"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.closed)


class SchemaMismatch(RagKNNError):
    """The index was built with different settings than it is opened with.

    Attributes:
        differences: for each property that differs, the pair (expected, found).
    """

    def __init__(self, name: str, differences: Mapping[str, tuple[Any, Any]], advice: str = "") -> None:
        self.name = name
        self.differences = dict(differences)
        self._advice = advice
        listed = "; ".join(f"{key}: expected {e!r}, found {f!r}" for key, (e, f) in self.differences.items())
        super().__init__(
            f"index {name!r} was built with different settings: {listed}. "
            "Open it with the settings found, choose another name, or drop the index and build it again."
            + (f" {advice}" if advice else "")
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.differences, self._advice)


class EmbeddingError(RagKNNError):
    """The embedding model failed."""


class ModelNotFound(EmbeddingError):
    """The model is neither installed nor available from the hub."""


class TextTooLong(EmbeddingError, ValueError):
    """A text has more tokens than the model reads; the rest would be cut silently."""


class InvalidVectors(EmbeddingError, ValueError):
    """Vectors of a wrong shape, or with values that have no distance."""


class ReadError(RagKNNError):
    """A file, or a record in it, cannot be read as documents."""


class RebuildFailed(RagKNNError):
    """An index could not be rebuilt: another process does it, memory is short, or the new version is not right.

    The index serves as it was.
    """


class IngestFailed(RagKNNError):
    """Some documents were not stored in the index.

    Attributes:
        report: the outcome for all documents.
    """

    def __init__(self, report: IngestReport) -> None:
        self.report = report
        first, others = report.failed[0], len(report.failed) - 1
        more = f" (and {others} more: see report.failed)" if others else ""
        super().__init__(f"expected all documents in the index, got {len(report.failed)} failures: {first}{more}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.report,)


class DeletionRefused(RagKNNError):
    """A sync would have removed most of the index, and was not told that it may; nothing was removed.

    Attributes:
        name: name of the index.
        before: documents that were there.
        report: what became of the input; `kept` is how many would have been removed.
    """

    def __init__(self, name: str, before: int, report: IngestReport) -> None:
        self.name, self.before, self.report = name, before, report
        super().__init__(
            f"expected an input with most of the {before} documents of index {name!r}, got one without {report.kept} "
            "of them: is it the right one? They were kept; sync with delete_most=True (--delete-most) removes them"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.before, self.report)


class IncompleteRetrieval(RagKNNError):
    """The server stopped before the search was complete: nearer neighbors may be missing.

    Attributes:
        retrieval: the neighbors found until then, with `complete` False.
    """

    def __init__(self, retrieval: Retrieval) -> None:
        self.retrieval = retrieval
        super().__init__(
            f"expected a complete answer, got {len(retrieval)} neighbors and the warning: "
            f"{'; '.join(retrieval.warnings)}. Raise the timeout, or accept a partial answer: on_incomplete='return'."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.retrieval,)
