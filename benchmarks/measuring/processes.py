"""Whole processes, from their start to their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence


def process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command.

    Raises:
        RuntimeError: it failed; with what it wrote to standard error.
    """
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
