"""Spans of OpenTelemetry, with the names and attributes of its conventions for generative models.

Nothing is imported for them: a program that wants spans has imported OpenTelemetry, and set a tracer provider.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any

from ragknn._plain import plain
from ragknn.records import Retrieval, Vote
from ragknn.version import __version__


def tracer() -> Any | None:
    """Return a tracer; None where the program has set no provider, or one that makes no spans."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if not hasattr(trace, "get_tracer_provider"):  # nor has a module that another thread is importing
        return None
    provider = trace.get_tracer_provider()
    silent = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return None if silent else _tracer_of(provider)


@lru_cache(maxsize=1)  # a program has one provider
def _tracer_of(provider: Any) -> Any:
    return provider.get_tracer("ragknn", __version__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked in a retrieval or a vote, as it was passed: nobody has looked at it yet.

    Attributes:
        operation: "retrieve" or "vote".
        retriever: who searches.
        k: number of passages or votes.
        options: of the retrieval.
        texts: the questions; None for ready vectors.
    """

    operation: str
    retriever: Any
    k: Any
    options: Mapping[str, Any]
    texts: Any = None


class RetrievalSpan:
    """The span of one call, and that of its embedding within.

    Args:
        tracing: the tracer.
        asked: what is asked, of an open index.
    """

    def __init__(self, tracing: Any, asked: Asked) -> None:
        self._trace, self._tracer = sys.modules["opentelemetry.trace"], tracing
        index = asked.retriever.index
        self._model = index.schema.embedder
        texts = _strings(asked.texts)
        attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": index.name,
            "gen_ai.request.model": self._model,
            # Its name until version 1.41 of the conventions, and since.
            "gen_ai.request.top_k": _integer(asked.k),
            "gen_ai.retrieval.top_k": _integer(asked.k),
            "db.system.name": "redis",
            "ragknn.operation": asked.operation,
            "ragknn.mode": str(asked.options.get("mode", "vector")),
            "ragknn.queries": len(texts) or None,
            **_address(index.client),
        }
        self._span = tracing.start_span(
            f"retrieval {index.name}", kind=self._trace.SpanKind.CLIENT, attributes=_known(attributes)
        )
        self._tells_content = index._settings.trace_content and self._span.is_recording()
        if self._tells_content and texts:
            self._span.set_attribute("gen_ai.retrieval.query.text", "\n".join(texts))

    def embedding(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """Return the call with a span of its own around it, in which the embedder's own spans are."""

        def embed() -> Any:
            attributes = _known({"gen_ai.operation.name": "embeddings", "gen_ai.request.model": self._model})
            within = self._trace.set_span_in_context(self._span)
            span = self._tracer.start_span(f"embeddings {self._model}", within, attributes=attributes)
            try:
                with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
                    return call()
            except BaseException as error:
                self._fail(span, error)
                raise
            finally:
                span.end()

        return embed

    def end(self, found: Sequence[Retrieval | Vote], error: BaseException | None = None) -> None:
        """End the span with what was found, or with what went wrong."""
        if found:
            self._span.set_attribute("ragknn.complete", all(one.complete for one in found))
            self._span.set_attribute("ragknn.neighbors", sum(len(one.neighbors) for one in found))
            if self._tells_content:
                self._span.set_attribute("gen_ai.retrieval.documents", _documents(found))
        if error is not None:
            self._fail(self._span, error)
        self._span.end()

    def _fail(self, span: Any, error: BaseException) -> None:
        """Let a span tell the kind of an error; its message may quote a question or a document."""
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))


def _documents(found: Sequence[Retrieval | Vote]) -> str:
    shown = [
        {"id": one.passage.id, "score": plain(one.similarity if one.score is None else one.score)}
        for each in found
        for one in each.neighbors
    ]
    return json.dumps(shown)


def _strings(texts: Any) -> list[str]:
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list | tuple) else []


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, Integral) else None


def _address(client: Any) -> dict[str, Any]:
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    return {"server.address": options.get("host", options.get("path")), "server.port": options.get("port")}


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
