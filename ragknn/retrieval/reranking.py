"""Reranking: the passages that a search found are scored against the query again, and sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragknn._checks import check_embedder, check_several, check_type, check_whole
from ragknn.embedding._loading import loading_model
from ragknn.embedding._locks import ProcessLock
from ragknn.embedding._long_texts import embed_queries
from ragknn.embedding._models import folder_of
from ragknn.embedding.protocols import Embedder
from ragknn.errors import EmbeddingError, ModelNotFound
from ragknn.records import Passage
from ragknn.retrieval._scores import checked_scores
from ragknn.text._folding import fold

Reranker: TypeAlias = Callable[[str, Sequence[Passage]], ArrayLike]
"""Scores passages against a query: (query, n passages) to n finite scores, larger is better."""

_DEFAULT_CROSS_ENCODER = "cross-encoder/ms-marco-MiniLM-L6-v2"


class CrossEncoderReranker:
    """Score with a cross-encoder of sentence-transformers, which reads query and passage together.

    This is more accurate than comparing two vectors, and as slow as embedding every candidate again. The model is
    loaded on first use. If a pair is longer than the model's limit, its end is cut off.

    Args:
        model: a name on the model hub, or a folder, of a cross-encoder that gives one score to a pair.
        device: torch device; None chooses cuda, then mps, then cpu, by what is there.
        batch_size: pairs that the model reads at a time.

    Raises:
        ModelNotFound: on first use, if the model is neither in a folder nor on the hub, or was not trained to
            score pairs.
    """

    def __init__(
        self, model: str | Path = _DEFAULT_CROSS_ENCODER, *, device: str | None = None, batch_size: int = 32
    ) -> None:
        batch_size = check_whole("batch_size", batch_size)
        self.model = folder_of(model) or str(model)
        self.device = device
        self.batch_size = batch_size
        self._loaded: Any = None
        self._lock = ProcessLock()

    def __repr__(self) -> str:
        return f"CrossEncoderReranker({self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}  # it does not travel to another process, and is loaded again there

    def __call__(self, query: str, passages: Sequence[Passage]) -> NDArray[np.float64]:
        """Return a score for each passage, larger is better, shape (n,).

        Raises:
            ModelNotFound: on first use, as above.
            EmbeddingError: the device failed.
            ValueError: a passage without text, or a model that gives several scores to a pair.
        """
        pairs = [(fold(query), fold(text)) for text in _texts(passages)]
        if not pairs:
            return np.empty(0)
        with self._lock:  # the tokenizer is not safe to use from two threads
            if self._loaded is None:
                self._loaded = _load_cross_encoder(self.model, self.device)
            model = self._loaded
            try:
                scores = model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False)
            except RuntimeError as error:  # torch's class for whatever goes wrong on a device
                raise EmbeddingError(
                    f"{self.model} failed on {model.device}: {error}; try a smaller batch_size or device='cpu'"
                ) from error
        return checked_scores(scores, len(pairs), self)


class EmbeddingReranker:
    """Score by the cosine of another embedder's vectors: a quick model finds, a larger one sorts.

    Args:
        embedder: such as a `SentenceEmbedder` of a larger model. Its limit must be at least the length of the
            passages of the index.
    """

    def __init__(self, embedder: Embedder) -> None:
        check_embedder(embedder)
        self.embedder = embedder

    def __repr__(self) -> str:
        return f"EmbeddingReranker({self.embedder!r})"

    def __call__(self, query: str, passages: Sequence[Passage]) -> NDArray[np.float64]:
        """Return for each passage the cosine of its vector and the query's, shape (n,); 0 where one has no length.

        Raises:
            EmbeddingError: the embedder failed, or a passage is longer than it reads; a longer query is cut in pieces.
            ValueError: a passage without text, or vectors that are not finite.
        """
        check_type("query", query, str)
        texts = _texts(passages)
        if not texts:
            return np.empty(0)
        [wanted] = np.asarray(embed_queries(self.embedder, [query])[0], dtype=np.float64)
        vectors = np.asarray(self.embedder.embed_documents([fold(text) for text in texts]), dtype=np.float64)
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
        return checked_scores(vectors @ wanted / np.where(lengths == 0, 1.0, lengths), len(texts), self)


def _texts(passages: Sequence[Passage]) -> list[str]:
    passages = check_several("passages", passages, "retrieval.passages")
    for passage in passages:
        check_type("each passage", passage, Passage)
        if not passage.text:
            raise ValueError(
                f"expected passages with text to rerank, got {passage.id!r} without: "
                "an index of ready vectors keeps none, so rerank with a callable of your own"
            )
    return [passage.text for passage in passages]


def _load_cross_encoder(name: str, device: str | None) -> Any:
    advice = "name a folder with a cross-encoder, or rerank with EmbeddingReranker or a callable of your own"
    with loading_model(name, f"a cross-encoder named {name!r}", advice, device=device):
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(name, device=device)
        trained = model.config.architectures or []
        loaded = type(model[0].auto_model).__name__
        if trained and loaded not in trained:
            # It would be given a last layer of random numbers, and so would the scores be.
            raise ValueError(f"a {trained[0]}, which was not trained to score pairs")
    if model.num_labels != 1:
        raise ModelNotFound(
            f"expected a cross-encoder that gives one score to a pair, got {model.num_labels} from {name!r}: "
            "choose one that was trained to rank passages"
        )
    return model
