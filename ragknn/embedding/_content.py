"""Telling a model in a folder by what is in its files, wherever the folder lies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO
from uuid import UUID

# What sentence-transformers loads; notes, pictures, checkpoints, and what a training leaves behind it does not.
_SUFFIXES = frozenset({".json", ".txt", ".model", ".py"})
_LEFT_BY_TRAINING = ("trainer_state.json", "*_results.json")

# A file up to this size is read whole, of a larger one some blocks: opening an index must not read gigabytes.
_WHOLE = 128 << 20  # bytes
_BLOCK = 1 << 12  # bytes
_BLOCKS = 512
_TICK = 2_000_000_000  # nanoseconds; the coarsest clock of a file system is that of FAT
_LONGEST_LIST = 100_000_000  # bytes; safetensors reads no longer list of tensors


def content_of(folder: Path, remembered: Path | None = None) -> str:
    """Return a digest of the files that a model in a folder is loaded from: equal ones are the same model.

    Of weights above 128 MiB, the digest is of the size, the list of tensors, and two blocks of each tensor, since a
    training may have changed only some of them.

    Args:
        folder: folder of the model.
        remembered: folder of digests that were made before. One is taken from there if no file has changed since; None:
            all files are read.

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted(_files(folder))
    known = None if remembered is None else _known(remembered, folder, files)
    if known is not None:
        with suppress(OSError, ValueError):
            return str(UUID(known.read_text(encoding="ascii")).hex)
    hashed = blake2b(digest_size=16)
    for path in files:
        for part in (path.relative_to(folder).as_posix().encode(), _digest(path)):
            hashed.update(len(part).to_bytes(8, "big") + part)
    content = hashed.hexdigest()
    if known is not None and known == _known(known.parent, folder, files):
        _remember(known, content)
    return content


def _known(remembered: Path, folder: Path, files: Iterable[Path]) -> Path | None:
    """Return the file in which the digest of the files stands, by when they were changed; None if that was just now.

    What is written to a file within one tick of the file system's clock cannot be told by its time.
    """
    hashed = blake2b(str(folder.resolve()).encode("utf-8", "surrogateescape"), digest_size=16)
    changed = 0
    for path in files:
        found = path.stat()
        changed = max(changed, found.st_ctime_ns)
        one = path.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        hashed.update(repr(one).encode())
    return remembered / hashed.hexdigest() if changed < time.time_ns() - _TICK else None


def _remember(known: Path, content: str) -> None:
    with suppress(OSError):  # a folder that cannot be written to: then files are read again
        known.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=known.parent, delete=False, encoding="ascii") as file:
            file.write(content)
        Path(file.name).replace(known)


def _files(folder: Path) -> set[Path]:
    found: set[Path] = set()
    for place in {folder, *(folder / name for name in _modules(folder))}:
        settings = {path for path in place.glob("*") if path.suffix in _SUFFIXES}
        settings -= set(chain.from_iterable(place.glob(pattern) for pattern in _LEFT_BY_TRAINING))
        weights = set(place.glob("*.safetensors")) or set(place.glob("pytorch_model*.bin"))
        found |= {path for path in settings | weights if path.is_file()}
    return found


def _modules(folder: Path) -> list[str]:
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return [module["path"] for module in modules if isinstance(module["path"], str)]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return []  # a model of transformers alone, or a file that the loader will complain of


def _digest(path: Path) -> bytes:
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        hashed.update(size.to_bytes(8, "big"))
        file.seek(0)
        if size <= _WHOLE:
            while part := file.read(1 << 20):
                hashed.update(part)
        else:
            for place in _places(file, size):
                file.seek(place)
                hashed.update(file.read(_BLOCK))
    return hashed.digest()


def _places(file: BinaryIO, size: int) -> Iterator[int]:
    """Return where the blocks of a large file begin: at its start and all along it, and in each tensor where told."""
    yield from range(0, size, max(_BLOCK, size // _BLOCKS))
    # A file of safetensors begins with the length of a JSON object, which tells where each tensor lies behind it.
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_LIST:
        return
    try:
        tensors = json.loads(file.read(length))
        spans = sorted(tensor["data_offsets"] for name, tensor in tensors.items() if name != "__metadata__")
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    yield from range(0, 8 + length, _BLOCK)
    for start, end in spans:
        yield 8 + length + start
        yield 8 + length + (start + end) // 2
