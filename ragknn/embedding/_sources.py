"""Where the files of a model lie on this machine, found without asking the hub or importing its client."""

from __future__ import annotations

import os
from pathlib import Path

from ragknn.embedding._loading import find_weights


def files_of(model: str, revision: str | None) -> Path | None:
    """Return the folder from which a model is loaded here; None if it is not on this machine."""
    if Path(model).is_dir():
        return Path(model)
    if revision is None and (weights := find_weights(model)):
        return weights
    names = [model] if "/" in model else [f"sentence-transformers/{model}", model]
    for name in names:
        place = _hub_cache() / f"models--{name.replace('/', '--')}"
        try:
            commit = (place / "refs" / (revision or "main")).read_text().strip()
        except OSError:
            commit = revision or "main"  # a commit is its own name
        if (folder := place / "snapshots" / commit).is_dir():
            return folder
    return None


def _hub_cache() -> Path:
    """Return the folder in which models of the hub are kept, by the variables of huggingface_hub."""
    for variable in ("SENTENCE_TRANSFORMERS_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"
