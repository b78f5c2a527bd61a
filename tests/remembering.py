"""Lets programs that show how ragknn is used share one embedding of the corpora: each text is embedded once.

To be imported first in such a program. The vectors are those of the real model, which the first program that needs
them embeds; all else is done anew by each program. TESTS_VECTORS names the folder in which they are kept.
"""

import fcntl
import os
import pickle
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ragknn import SentenceEmbedder

FOLDER = Path(os.environ["TESTS_VECTORS"])

_vectors: dict[tuple, np.ndarray] = {}
_read: set[Path] = set()


def remembering(embed: Callable) -> Callable:
    """Return the method of the embedder so that it embeds only texts that no program has embedded."""

    def recall(embedder: SentenceEmbedder, texts: Sequence[str]) -> np.ndarray:
        keys = [(embed.__name__, embedder.name, *embedder.identity.items(), text) for text in texts]
        if not _vectors.keys() >= set(keys):
            with (FOLDER / "lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # who comes while another embeds waits for the vectors
                _learn(dict(zip(keys, texts, strict=True)), lambda new: embed(embedder, new))
        return np.array([_vectors[key] for key in keys], dtype=np.float32).reshape(len(texts), embedder.dim)

    return recall


def _learn(texts: dict[tuple, str], embed: Callable) -> None:
    for path in set(FOLDER.glob("*.pickle")) - _read:
        _vectors.update(pickle.loads(path.read_bytes()))
        _read.add(path)
    new = {key: text for key, text in texts.items() if key not in _vectors}
    if new:
        found = dict(zip(new, embed(list(new.values())), strict=True))
        _vectors.update(found)
        (FOLDER / f"{uuid.uuid4()}.pickle").write_bytes(pickle.dumps(found))


SentenceEmbedder.embed_documents = remembering(SentenceEmbedder.embed_documents)
SentenceEmbedder.embed_queries = remembering(SentenceEmbedder.embed_queries)
