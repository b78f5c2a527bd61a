"""Converted models on disk: all that another process needs to embed with one, without torch."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ragknn.embedding._content import content_of
from ragknn.embedding._facts import Facts
from ragknn.embedding._inputs import Padding

_FORMAT = "1"  # counts up when what is kept changes, or how it is made
_SHAPING = ("openvino", "sentence-transformers", "transformers", "torch", "tokenizers")
_LIST = "kept.json"
_TOKENIZER = "tokenizer.json"
GRAPH, COMPILED = "model.xml", "compiled"


@dataclass(frozen=True, slots=True)
class Converted:
    """A model that was converted, or why it was not.

    Attributes:
        facts: what is known of the model.
        tokenizer: the tokenizer of its `tokenizers`, as JSON.
        padding: how rows of tokens are filled up.
        precision: numbers to compute with.
        agreement: with float32, as `_probe.agreement` has it.
        refused: why the model is not run so; empty if it is.
        graph: the graph, or the path of it in the cache.
        compiled: folder in the cache with what was compiled of it.
    """

    facts: Facts
    tokenizer: str
    padding: Padding
    precision: str
    agreement: float
    refused: str = ""
    graph: Any = None
    compiled: Path | None = None


def cache_folder() -> Path:
    """Return the folder for what can be made again, by the settings."""
    # Late, because pydantic-settings takes longer to import than all the rest of ragknn.
    from ragknn.settings import load_settings

    return load_settings().cache


def place_of(cache: Path, source: Path) -> Path:
    """Return the folder in which the model of a folder is kept once it is converted.

    Its name depends on all that shapes the result: the model's files, the versions of what converts and runs it, and
    the processor.

    Raises:
        OSError: a file of the model cannot be read.
    """
    parts = [_FORMAT, content_of(source, cache / "contents"), _processor(), *map(_version, _SHAPING)]
    return cache / "models" / blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
        return f"{platform.machine()} {flags.strip()}"
    return f"{platform.machine()} {platform.processor()}"


def read(place: Path) -> Converted | None:
    """Return the model that is kept in a folder; None if there is none, or a file is not as it was written."""
    try:
        kept = json.loads((place / _LIST).read_text(encoding="utf-8"))
        if not all(_is_as_written(place / name, written) for name, written in kept.pop("files").items()):
            return None
        kept["facts"] = Facts(**kept["facts"])
        number, before = kept.pop("padding")
        found = Converted(
            **kept,
            padding=Padding(number, before),
            tokenizer=(place / _TOKENIZER).read_text(encoding="utf-8"),
            graph=place / GRAPH,
            compiled=place / COMPILED,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found


def _is_as_written(path: Path, written: dict[str, Any]) -> bool:
    found = path.stat()
    if found.st_size != written["size"]:
        return False
    if found.st_mtime_ns == written["changed"]:
        return True
    return bool(_digest(path) == written["digest"])  # copied, perhaps


def _digest(path: Path) -> str:
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


@contextmanager
def drafting(place: Path | None) -> Iterator[Path]:
    """Make a folder to write to, beside the one in which a model is to be kept if that can be; it is removed after."""
    parent: Path | None = None
    if place is not None:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            parent = place.parent if os.access(place.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=parent, ignore_cleanup_errors=True) as draft:
        yield Path(draft) / "model"


def keep(draft: Path, place: Path | None, made: Converted) -> Converted:
    """Move what was drafted to the folder in which it is kept, whole or not at all, and return it as kept there.

    Two processes may do so at once; that of one is kept. Where nothing can be kept, it is returned as it was made.
    """
    if place is None:
        return made
    try:
        (draft / _TOKENIZER).write_text(made.tokenizer, encoding="utf-8")
        files = {
            path.relative_to(draft).as_posix(): {
                "size": path.stat().st_size,
                "changed": path.stat().st_mtime_ns,
                "digest": _digest(path),
            }
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
        listed = {
            "facts": asdict(made.facts),
            "padding": made.padding,
            "precision": made.precision,
            "agreement": made.agreement,
            "refused": made.refused,
            "files": files,
        }
        (draft / _LIST).write_text(json.dumps(listed), encoding="utf-8")
        _put(draft, place)
    except OSError:
        return made
    return read(place) or made


def _put(draft: Path, place: Path) -> None:
    try:
        draft.rename(place)
    except OSError:  # there is one: broken, or of a process that was quicker
        # What other processes have mapped into their memory stays there until they end.
        with tempfile.TemporaryDirectory(prefix=".gone-", dir=place.parent, ignore_cleanup_errors=True) as aside:
            place.rename(Path(aside) / "old")
            draft.rename(place)
