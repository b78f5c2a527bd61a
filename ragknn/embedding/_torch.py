"""Models that torch runs, on a GPU or on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding._batches import batches, by_key, longest_first, size_of
from ragknn.embedding._probe import AGREEMENT, PROBE, agreement
from ragknn.errors import EmbeddingError

# Tokens in one call, padding counted. A GPU needs many to be busy; on a CPU more would only pad more.
_TOKENS_PER_CALL = {"cpu": 4_096}
_TOKENS_PER_CALL_OF_GPU = 32_768


class TorchModel:
    """A loaded model of sentence-transformers.

    Args:
        model: the model.
        name: its name, for messages.
        texts_per_call: texts in a batch; None: as many as have a number of tokens together that suits the device.
    """

    def __init__(self, model: Any, name: str, texts_per_call: int | None = None) -> None:
        self.model = model
        self.texts_per_call = texts_per_call
        self._name = name

    @property
    def device(self) -> str:
        """Where the model is."""
        return str(self.model.device)

    @property
    def is_on_cpu(self) -> bool:
        """Whether the model is on the CPU."""
        return str(self.model.device.type) == "cpu"

    @property
    def precision(self) -> str:
        """Numbers that it computes with."""
        return str(getattr(self.model, "dtype", None) or "float32").removeprefix("torch.")

    def halve(self) -> None:
        """Compute with half precision from now on, if the vectors stay the same."""
        import torch  # late, because it takes seconds to import; here it is loaded already

        expected = probed(self.model)
        self.model.to(torch.float16)
        if agreement(probed(self.model), expected) < AGREEMENT:
            self.model.to(torch.float32)

    def embed(self, texts: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return one vector for each pair of a prompt and a text, shape (n, dim).

        Raises:
            EmbeddingError: torch fails, for want of memory for example.
        """
        tokens = _TOKENS_PER_CALL.get(self.model.device.type, _TOKENS_PER_CALL_OF_GPU)
        found: list[tuple[list[int], NDArray[np.float32]]] = []
        for prompt, own in by_key([prompt for prompt, _ in texts]):
            order = longest_first([texts[row][1] for row in own])
            sized = ((own[row], size_of(prompt + texts[own[row]][1])) for row in order)
            for batch in batches(sized, tokens, self.texts_per_call):
                found.append((batch, self._encode(prompt, [texts[row][1] for row in batch])))
        rows = np.empty((len(texts), found[0][1].shape[1]), dtype=np.float32)
        for batch, vectors in found:
            rows[batch] = vectors
        return rows

    def _encode(self, prompt: str, texts: list[str]) -> NDArray[np.float32]:
        try:
            vectors = self.model.encode(
                texts, prompt=prompt, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True
            )
        except RuntimeError as error:  # torch's class for all errors on a device
            raise EmbeddingError(
                f"{self._name} failed on {self.device}: {error}; try a smaller batch_size or device='cpu'"
            ) from error
        return np.asarray(vectors, dtype=np.float32)


def probed(model: Any) -> NDArray[np.float32]:
    """Return the vectors of the probe by a loaded model, not truncated, shape (n, dim)."""
    vectors = model.encode(list(PROBE), prompt="", show_progress_bar=False, truncate_dim=1 << 30)
    return np.asarray(vectors, dtype=np.float32)
