"""Models that torch runs, on a GPU or on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding._batches import batches, by_key, in_order, longest_first, size_of, tokenized
from ragknn.embedding._facts import Facts
from ragknn.embedding._inputs import Padding, features, why_not
from ragknn.embedding._models import copy_tokenizer
from ragknn.embedding._probe import AGREEMENT, PROBE, agreement
from ragknn.embedding._tokens import Tokens
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

    Raises:
        EmbeddingError: its tokenizer does not report the positions of tokens.
    """

    def __init__(self, model: Any, name: str, texts_per_call: int | None = None) -> None:
        self.model = model
        self.texts_per_call = texts_per_call
        self.facts = Facts.of(model)
        self.tokens = Tokens(copy_tokenizer(model, name), self.facts.limit, on_all_cores=not self.is_on_cpu)
        self._name = name
        self._padding = Padding.of(model)
        self._inputs = self._inputs_of_tokens()

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
        try:
            return self._embed_tokens(texts, tokens) if self._inputs else self._embed_texts(texts, tokens)
        except RuntimeError as error:  # torch's class for all errors on a device
            raise EmbeddingError(
                f"{self._name} failed on {self.device}: {error}; try a smaller batch_size or device='cpu'"
            ) from error

    def _inputs_of_tokens(self) -> tuple[str, ...]:
        """Return the names of what the model is called with; empty if it must be called with texts."""
        if why_not(self.model) is not None:
            return ()
        made = {name: tensor.numpy() for name, tensor in features(self.model, list(PROBE)).items()}
        filled = self._padding.fill([self.tokens.ids(text) for text in PROBE])
        same = all(np.array_equal(filled[name], array) for name, array in made.items())
        return tuple(made) if same else ()

    def _embed_tokens(self, texts: Sequence[tuple[str, str]], tokens: int) -> NDArray[np.float32]:
        import torch  # late, as above

        self.model.eval()
        rows: list[int] = []
        parts = []
        with torch.inference_mode(), _kernels_for_any_shape(self.model.device.type):
            # A GPU is not waited for before all have been sent: what follows is tokenized while it works.
            for batch in tokenized(texts, self.tokens, tokens, self.texts_per_call):
                filled = self._padding.fill(batch.ids)
                read = {name: torch.from_numpy(filled[name]).to(self.model.device) for name in self._inputs}
                parts.append(self.model(read)["sentence_embedding"].float())
                rows += batch.rows
            vectors: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
        return in_order(len(texts), [(rows, vectors)])

    def _embed_texts(self, texts: Sequence[tuple[str, str]], tokens: int) -> NDArray[np.float32]:
        found: list[tuple[list[int], NDArray[np.float32]]] = []
        for prompt, own in by_key([prompt for prompt, _ in texts]):
            order = longest_first([texts[row][1] for row in own])
            sized = ((own[row], size_of(prompt + texts[own[row]][1])) for row in order)
            for batch in batches(sized, tokens, self.texts_per_call):
                vectors = self.model.encode(
                    [texts[row][1] for row in batch],
                    prompt=prompt,
                    batch_size=len(batch),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
                found.append((batch, np.asarray(vectors, dtype=np.float32)))
        return in_order(len(texts), found)


def _kernels_for_any_shape(device: str) -> AbstractContextManager[Any]:
    # For half precision torch asks cuDNN first, which plans anew for each number of texts and of tokens that it has
    # not seen: tens of milliseconds for most batches, which take five.
    if device != "cuda":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel  # late, as above

    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def probed(model: Any) -> NDArray[np.float32]:
    """Return the vectors of the probe by a loaded model, not truncated, shape (n, dim)."""
    vectors = model.encode(list(PROBE), prompt="", show_progress_bar=False, truncate_dim=1 << 30)
    return np.asarray(vectors, dtype=np.float32)
