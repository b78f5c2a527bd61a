"""Whether there may be a GPU, told without importing torch."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA, of AMD, and of both under WSL


def may_have_gpu() -> bool:
    """Return False only where torch finds no GPU for sure; torch, which takes seconds to import, knows."""
    try:
        build = version("torch").partition("+")[2]
    except PackageNotFoundError:
        return False
    if build in ("cpu", "xpu"):
        return build == "xpu"
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if not sys.platform.startswith("linux"):
        return True
    return os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and any(Path(path).exists() for path in _GPUS)
