"""What runs the model of a `SentenceEmbedder`, and why: decided without importing torch where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding import _graph_cache as cache
from ragknn.embedding._devices import may_have_gpu
from ragknn.embedding._facts import Facts
from ragknn.embedding._graph_cache import Converted
from ragknn.embedding._openvino import is_installed
from ragknn.embedding._sources import files_of
from ragknn.embedding._tokens import Tokens
from ragknn.embedding._torch import TorchModel
from ragknn.embedding.engines import Backend, Engine
from ragknn.errors import EmbeddingError, MissingDependency

EXTRA = "fast"  # of this package, with OpenVINO
_QUICKEST = "the quickest way on this processor"


class Runner(Protocol):
    """What runs a model."""

    def embed(self, texts: Any) -> NDArray[np.float32]:
        """Return one vector for each pair of a prompt and a text, shape (n, dim)."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What an embedder asks for.

    Attributes:
        model: name or folder.
        revision: of a model on the hub.
        backend: what shall run it.
        needs_torch: why nothing but torch can; empty if something else can.
        texts_per_call: texts in a batch; None: by their tokens.
    """

    model: str
    revision: str | None
    backend: Backend
    needs_torch: str
    texts_per_call: int | None

    def why_torch(self) -> str:
        """Return why torch runs it, as far as that can be told without torch; empty if OpenVINO may.

        Raises:
            MissingDependency: OpenVINO is asked for, and not installed.
        """
        if self.backend == "torch":
            return "backend is 'torch'"
        if self.needs_torch:
            return self.needs_torch
        if not is_installed():
            if self.backend == "openvino":
                raise MissingDependency("openvino", "backend='openvino'", EXTRA)
            return "openvino is not installed"
        return ""

    @property
    def asks_for_gpu(self) -> bool:
        """Whether a GPU is to be preferred, and there may be one."""
        return self.backend == "auto" and may_have_gpu()

    def kept(self) -> Converted | None:
        """Return the converted model, or why there is none, from the cache."""
        place = self.place()
        return None if place is None else cache.read(place)

    def place(self) -> Path | None:
        """Return where the converted model is kept; None if that cannot be told before it is loaded."""
        with suppress(OSError):
            source = files_of(self.model, self.revision)
            return None if source is None else cache.place_of(cache.cache_folder(), source)
        return None


@dataclass(frozen=True, slots=True)
class Running:
    """A model that is ready.

    Attributes:
        runner: what embeds.
        engine: what that is, in words.
        facts: what is known of the model.
        tokens: its tokenizer.
        model: the loaded model of sentence-transformers, where torch runs it.
    """

    runner: Runner
    engine: Engine
    facts: Facts
    tokens: Tokens
    model: Any = None


def start(wish: Wish, load: Callable[[str | None], Any]) -> Running:
    """Return the model that is asked for, ready to embed.

    Args:
        wish: what is asked for.
        load: loads the model of sentence-transformers, on a device; None: the one that is asked for.

    Raises:
        MissingDependency: OpenVINO is asked for, and not installed.
        EmbeddingError: OpenVINO is asked for, and cannot run the model.
        ModelNotFound: there is no such model.
    """
    reason = wish.why_torch()
    if not reason and not wish.asks_for_gpu and (made := wish.kept()) is not None and not made.refused:
        return _by_openvino(made, wish)
    model = load("cpu" if wish.backend == "openvino" else None)
    by_torch = TorchModel(model, wish.model, wish.texts_per_call)
    if not by_torch.is_on_cpu and wish.backend == "auto" and not wish.needs_torch:
        by_torch.halve()
        return running_torch(by_torch, "there is a GPU")
    if not reason:
        made = wish.kept()
        if made is None:
            from ragknn.embedding._converting import converted  # late, since most processes find the model converted

            made = converted(model, wish.model, wish.place())
        if not made.refused:
            return _by_openvino(made, wish)
        if wish.backend == "openvino":
            raise EmbeddingError(
                f"expected a model that OpenVINO can run for backend='openvino', got {wish.model}: {made.refused}; "
                "leave backend out"
            )
        reason = f"OpenVINO does not run the model: {made.refused}"
    return running_torch(by_torch, reason)


def running_torch(by_torch: TorchModel, reason: str) -> Running:
    """Return a loaded model, ready to embed by torch."""
    engine = Engine("torch", by_torch.device, by_torch.precision, reason)
    return Running(by_torch, engine, by_torch.facts, by_torch.tokens, by_torch.model)


def _by_openvino(made: Converted, wish: Wish) -> Running:
    from ragknn.embedding._converting import ready, tokens_of  # late, as above

    tokens = tokens_of(made)
    return Running(ready(made, wish.texts_per_call, tokens), _engine_of(made), made.facts, tokens)


def _engine_of(made: Converted) -> Engine:
    precision = {"f32": "float32", "bf16": "bfloat16"}[made.precision]
    return Engine("openvino", "cpu", precision, f"{_QUICKEST}; mean cosine to float32 {made.agreement:.5f}")


def foreseen(wish: Wish) -> str:
    """Return in words what will run a model, as far as that can be told without loading it."""
    reason = wish.why_torch()
    made = None if reason else wish.kept()
    if made is not None and made.refused:
        reason = f"openvino does not run the model: {made.refused}"
    if wish.asks_for_gpu and not wish.needs_torch:
        return f"torch if there is a GPU that it can use, else {f'on the CPU: {reason}' if reason else 'openvino'}"
    if reason:
        return f"torch: {reason}"
    return str(_engine_of(made)) if made else "openvino, once it has converted the model, on first use in some seconds"
