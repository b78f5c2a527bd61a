"""Retrievals and votes as spans, in programs that have set a tracer provider of OpenTelemetry.

In all others a flow is run as it is, with nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

from ragknn._protocol.flows import Flow, Step, Work, within
from ragknn.errors import IncompleteRetrieval
from ragknn.records import Retrieval, Vote
from ragknn.retrieval._spans import Asked, RetrievalSpan, tracer

P = ParamSpec("P")
Found = TypeVar("Found", bound=Retrieval | Vote)


def traced(asked: Callable[..., Asked]) -> Callable[[Callable[P, Flow[list[Found]]]], Callable[P, Flow[list[Found]]]]:
    """Make a span of each flow of a function.

    Args:
        asked: returns what is asked, from the arguments of the function; called for spans alone.
    """

    def decorated(flow: Callable[P, Flow[list[Found]]]) -> Callable[P, Flow[list[Found]]]:
        @wraps(flow)
        def begun(*args: P.args, **options: P.kwargs) -> Flow[list[Found]]:
            steps, tracing = flow(*args, **options), tracer()
            return steps if tracing is None else _tracing(steps, tracing, asked(*args, **options))

        return begun

    return decorated


def _tracing(steps: Flow[list[Found]], tracing: Any, asked: Asked) -> Flow[list[Found]]:
    span = RetrievalSpan(tracing, asked)  # not before the flow is run: the index may be opened by then alone
    try:
        found = yield from within(steps, partial(_with_embedding, span=span))
    except IncompleteRetrieval as error:
        span.end([error.retrieval], error)
        raise
    except GeneratorExit as leaving:
        span.end([], _why(leaving))
        raise
    except BaseException as error:
        span.end([], error)
        raise
    span.end(found)
    return found


def _with_embedding(step: Step, span: RetrievalSpan) -> Flow[Any]:
    if isinstance(step, Work) and step.stage == "embed":
        step = replace(step, call=span.embedding(step.call))
    return (yield step)


def _why(leaving: GeneratorExit) -> BaseException | None:
    """Return for what a flow was closed: an interrupt, or the end of its task, does not come to it otherwise."""
    error: BaseException | None = leaving
    while isinstance(error, GeneratorExit):
        error = error.__context__
    return error
