"""Names of the indexes that estimators make for themselves, and the sweeping of those whose process was killed.

A name tells which process the index belongs to, so that another process of the same machine can see whether it lives.
Of processes elsewhere, or in another container, nothing is known: their indexes are left alone.
"""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from ragknn._logs import WRITING
from ragknn._protocol.dropping import drop_index
from ragknn._protocol.flows import Flow
from ragknn._protocol.keys import Keys, index_names
from ragknn._protocol.replies import as_text, checked

_OWN = re.compile(r"sklearn-([0-9a-f]{12})-(\d+)-(\d+)-[0-9a-f]{32}")


def own_name() -> str:
    """Return a name for an index that is removed with its estimator."""
    pid = os.getpid()
    return f"sklearn-{_place()}-{pid}-{_start(pid)}-{uuid4().hex}"


def sweep() -> Flow[None]:
    """Remove the indexes of estimators whose processes have ended without removing them."""
    [listed] = yield [("FT._LIST",)]
    for name in index_names([as_text(one) for one in checked(listed)]):
        if (owner := _OWN.fullmatch(name)) and owner[1] == _place() and not _lives(int(owner[2]), int(owner[3])):
            yield from drop_index(Keys(name))
            WRITING.info("removed index %r of an estimator, whose process %s has ended", name, owner[2])


def _lives(pid: int, start: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's, or none that can be asked about
    return start == 0 or _start(pid) in (start, 0)


def _start(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; 0 where that is not told, -1 of one that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if fields[0] in b"ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


@cache
def _place() -> str:
    """Return what is the same for two processes if each can see the other: the running machine, and its container."""
    known = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            known.append(str(Path(path).stat().st_ino) if path.endswith("pid") else Path(path).read_text())
        except OSError:
            continue
    return sha256("\n".join(known).encode()).hexdigest()[:12]
