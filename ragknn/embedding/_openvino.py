"""Models that OpenVINO runs on a CPU: converted from a loaded one, compiled, and called."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding._batches import Batch, in_order, tokenized
from ragknn.embedding._forks import Unforkable
from ragknn.embedding._inputs import INPUTS, Padding, features
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._tokens import Tokens
from ragknn.errors import EmbeddingError

# Tokens in one call, padding counted: more do not go quicker through the caches of a core.
TOKENS_PER_CALL = 2048
# Calls after which all are waited for, so that a fork waits for a second at most.
_CALLS_IN_A_ROW = 24
_STREAMS = 2  # calls that run beside each other

_running = Unforkable()


def is_installed() -> bool:
    """Return whether OpenVINO is installed, without importing it."""
    return find_spec("openvino") is not None


def load_openvino() -> Any:
    """Import OpenVINO, without the module by which it reports each import to its makers."""
    hidden = "openvino_telemetry"
    if "openvino" in sys.modules or hidden in sys.modules:
        import openvino

        return openvino
    sys.modules[hidden] = None  # type: ignore[assignment]  # which is how Python marks a module that is not there
    try:
        import openvino
    finally:
        sys.modules.pop(hidden, None)
    return openvino


def convert(model: Any) -> Any:
    """Return a model of sentence-transformers on a CPU as a graph of OpenVINO: from tokens to finished vectors.

    Its inputs are those of `INPUTS` that the model reads, each of shape (texts, tokens), by these names.
    """
    import torch  # late, as above

    openvino = load_openvino()

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.model(dict(zip(names, tensors, strict=True)))["sentence_embedding"]
            return vectors

    example = features(model, ["a text", "another text, which is longer"])
    names = [name for name in INPUTS if name in example]
    with _quietly(), torch.inference_mode():
        graph = openvino.convert_model(Whole().eval(), example_input=tuple(example[name] for name in names))
    for name, place in zip(names, graph.inputs, strict=True):
        place.get_tensor().set_names({name})
    return graph


@contextmanager
def _quietly() -> Iterator[None]:
    # The tracer warns of each condition in the model's code; whether the graph is right, vectors must tell.
    loggers = [logging.getLogger(name) for name in ("transformers", "openvino", "nncf")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def quickest_precisions() -> tuple[str, ...]:
    """Return the numbers to compute with, the quickest first: bf16 only where the processor has it."""
    able = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if "BF16" in able else ("f32",)


def write(graph: Any, path: Path) -> None:
    """Write a graph to PATH.xml and its weights to PATH.bin, in half precision: as many bytes again as a wheel has."""
    load_openvino().save_model(graph, path, compress_to_fp16=True)


class OpenVinoModel:
    """A converted model, ready to embed.

    Args:
        graph: what `convert` returned, or the path to which it was written.
        tokens: the model's tokenizer.
        padding: how rows of tokens are filled up.
        precision: numbers to compute with, "bf16" or "f32".
        compiled: folder in which what was compiled is kept; None: nowhere.
        texts_per_call: texts in a batch; None: as many as have `TOKENS_PER_CALL` together.
    """

    device = "cpu"

    def __init__(
        self,
        graph: Any,
        tokens: Tokens,
        padding: Padding,
        precision: str,
        compiled: Path | None = None,
        texts_per_call: int | None = None,
    ) -> None:
        self.precision = precision
        self.texts_per_call = texts_per_call
        self._graph = graph
        self._tokens = tokens
        self._padding = padding
        self._folder = compiled
        self._compiled: dict[int, Any] = {}  # by number of streams
        self._free: dict[int, list[list[Any]]] = {}  # by number of streams: requests that no thread uses
        self._lock = ProcessLock()
        _MODELS.add(self)

    def embed(self, texts: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return one vector for each pair of a prompt and a text, shape (n, dim).

        Raises:
            EmbeddingError: OpenVINO fails.
        """
        # One after the other is tokenized while those before it are embedded.
        parts = tokenized(texts, self._tokens, TOKENS_PER_CALL, self.texts_per_call)
        found: list[tuple[list[int], NDArray[np.float32]]] = []
        try:
            first = list(islice(parts, 2))
            streams = min(len(first), _STREAMS)
            rest = chain(first, parts)
            while some := self._run(islice(rest, _CALLS_IN_A_ROW), streams):
                found += some
        except RuntimeError as error:  # OpenVINO's class for all of its errors
            raise EmbeddingError(f"OpenVINO failed: {error}; try backend='torch'") from error
        return in_order(len(texts), found)

    def _run(self, parts: Iterator[Batch], streams: int) -> list[tuple[list[int], NDArray[np.float32]]]:
        with _running:
            requests = self._requests(streams)
            try:
                return self._answered(parts, requests)
            finally:
                self._free[streams].append(requests)

    def _answered(self, parts: Iterator[Batch], requests: Sequence[Any]) -> list[tuple[list[int], NDArray[np.float32]]]:
        found = []
        running: deque[tuple[Any, list[int]]] = deque()

        def finish() -> Any:
            request, rows = running[0]
            request.wait()
            found.append((rows, np.array(request.get_output_tensor(0).data, dtype=np.float32)))
            running.popleft()
            return request

        free = list(requests)
        try:
            for batch in parts:
                inputs = self._inputs(requests[0], batch.ids)
                request = free.pop() if free else finish()
                request.start_async(inputs)
                running.append((request, batch.rows))
            while running:
                finish()
        finally:
            for request, _ in running:  # on an error: a request that runs must not be used by another call
                with suppress(RuntimeError):
                    request.wait()
        return found

    def _inputs(self, request: Any, ids: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int64]]:
        arrays = self._padding.fill(ids)
        return [arrays[place.get_any_name()] for place in request.model_inputs]

    def _requests(self, streams: int) -> list[Any]:
        """Return as many requests as can run beside each other, which no other thread uses."""
        with self._lock:
            if streams not in self._compiled:
                self._compiled[streams], self._free[streams] = self._compile(streams), []
            if self._free[streams]:
                return self._free[streams].pop()
            return [self._compiled[streams].create_infer_request() for _ in range(streams)]

    def _enter_fork(self) -> None:
        # The threads of a compiled model do not exist in a forked process: it compiles its own, and must never clear
        # away that of its parent, which would wait for them.
        for left in (self._compiled, self._free):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(left))
        self._compiled, self._free = {}, {}

    def _compile(self, streams: int) -> Any:
        core = load_openvino().Core()
        graph = core.read_model(self._graph) if isinstance(self._graph, Path) else self._graph
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self.precision}
        if streams > 1:
            return core.compile_model(
                graph, "CPU", {**options, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(streams)}
            )
        options["PERFORMANCE_HINT"] = "LATENCY"
        if self._folder is not None:
            with suppress(RuntimeError):  # what was kept cannot be read, or nothing can be kept
                kept = {"CACHE_DIR": str(self._folder), "CACHE_MODE": "OPTIMIZE_SPEED"}
                return core.compile_model(graph, "CPU", {**options, **kept})
        return core.compile_model(graph, "CPU", options)


_MODELS: WeakSet[OpenVinoModel] = WeakSet()


def _enter_fork() -> None:
    for model in list(_MODELS):
        model._enter_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_enter_fork)
