"""What can be said of adding documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict, get_args

from ragknn._checks import check_call, check_choice, check_flag, check_whole
from ragknn._protocol.schema import OnBadField
from ragknn.reports import IngestReport

# Documents looked up, and written, in one round trip: enough that the waiting between two does not count, few enough
# that a progress bar moves and a crash costs little.
DOCUMENTS_PER_BATCH = 64

Progress: TypeAlias = Callable[[IngestReport], None]
OnExisting: TypeAlias = Literal["replace", "skip", "fail"]
OnRepeated: TypeAlias = Literal["first", "last"]


class IngestOptions(TypedDict, total=False):
    """What can be said of adding documents; explained at `Indexer.add`."""

    on_existing: OnExisting
    on_repeated: OnRepeated
    on_bad_field: OnBadField
    batch_size: int
    progress: Progress | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """The options of an ingest, checked."""

    on_existing: OnExisting = "replace"
    on_repeated: OnRepeated = "first"
    on_bad_field: OnBadField = "fail"
    batch_size: int = DOCUMENTS_PER_BATCH
    progress: Progress | None = None
    dry_run: bool = False
    delete_most: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("on_existing", OnExisting), ("on_repeated", OnRepeated), ("on_bad_field", OnBadField)):
            check_choice(name, getattr(self, name), get_args(choices))
        check_whole("batch_size", self.batch_size)
        check_flag("dry_run", self.dry_run)
        check_flag("delete_most", self.delete_most)
        if self.progress is not None:
            check_call("progress", self.progress, "print")
