"""What became of an index that was moved in or out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragknn._display.inert import visible
from ragknn._plain import Plain
from ragknn.reports.ingests import IngestReport


@dataclass(frozen=True, slots=True)
class Loss(Plain):
    """Something of another library's index that the index made of it does not have, or has in another way.

    Attributes:
        what: the field, or "keys" where it is about whole passages.
        reason: what becomes of it.
        count: number of passages that it is about; 0 where it is about the index.
        example: one of them.
    """

    what: str
    reason: str
    count: int = 0
    example: str = ""

    def __str__(self) -> str:
        times = f" ({self.count:,} times{f', such as {self.example}' if self.example else ''})" if self.count else ""
        return visible(f"{self.what}: {self.reason}{times}")


@dataclass(frozen=True, slots=True)
class ImportReport(Plain):
    """What became of another library's index.

    Attributes:
        source: its name.
        name: name of the index made of it.
        maker: the library that made it, as far as it shows; empty if it does not.
        layout: where the library has the text, the vector and all else; see `ragknn.transfer.Layout`.
        settings: what the new index is made of: dimension, metric, algorithm, dtype, fields and so on.
        passages: number of passages read.
        lost: what the new index does not have, or has in another way.
        written: what became of the documents; None where nothing was written.
        seconds: how long it took.
    """

    source: str
    name: str
    maker: str
    layout: Mapping[str, Any]
    settings: Mapping[str, Any]
    passages: int
    lost: tuple[Loss, ...] = ()
    written: IngestReport | None = None
    seconds: float = 0.0

    @property
    def dry_run(self) -> bool:
        """Whether nothing was written."""
        return self.written is None

    def __str__(self) -> str:
        made = ", ".join(f"{key} {value}" for key, value in self.settings.items() if key != "fields")
        fields = ", ".join(f"{name} ({kind})" for name, kind in self.settings.get("fields", {}).items())
        where = ", ".join(f"{key} in {value!r}" for key, value in self.layout.items() if value and key != "left_out")
        begin = "dry run, nothing written: " if self.dry_run else ""
        lines = [
            f"{begin}{self.source} to {self.name}: {self.passages:,} passages{' of ' * bool(self.maker)}{self.maker}",
            *([f"read: {where}"] if where else []),
            f"made: {made}{'; fields ' * bool(fields)}{fields}",
            *(f"not as it was: {loss}" for loss in self.lost),
            *([] if self.written is None else [str(self.written)]),
        ]
        return visible("\n".join(lines))


@dataclass(frozen=True, slots=True)
class ExportReport(Plain):
    """What became of an index that was written to a file.

    Attributes:
        name: name of the index.
        path: of the file.
        documents: number of documents written.
        passages: number of passages written.
        damaged: ids of documents that are not in the file, since the server has lost something of them.
        size_bytes: size of the file.
        seconds: how long it took.
    """

    name: str
    path: str
    documents: int
    passages: int
    damaged: tuple[str, ...] = ()
    size_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        line = (
            f"{self.name} to {self.path}: {self.documents:,} documents, {self.passages:,} passages, "
            f"{self.size_bytes / 2**20:,.1f} MB in {self.seconds:.1f} s"
        )
        if self.damaged:
            some = ", ".join(self.damaged[:3]) + ", ..." * (len(self.damaged) > 3)
            line += (
                f"\nnot written: {len(self.damaged):,} documents of which the server has lost something, such as "
                f"{some}; `ragknn check {self.name}` tells of them"
            )
        return visible(line)
