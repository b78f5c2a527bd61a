"""How long each stage of a retrieval took, for retrievers that are asked to tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ragknn._protocol.flows import Each, Flow, Step, Work, within
from ragknn.errors import IncompleteRetrieval
from ragknn.records import Retrieval

P = ParamSpec("P")
R = TypeVar("R", bound=Any)

_EMBED, _SEARCH, _PARSE = "embed", "search", "parse"


def timed(
    flow: Callable[Concatenate[R, P], Flow[list[Retrieval]]],
) -> Callable[Concatenate[R, P], Flow[list[Retrieval]]]:
    """Let what a flow finds tell how long each stage took, if the retriever, its first argument, is `timed`."""

    @wraps(flow)
    def begun(retriever: R, /, *args: P.args, **options: P.kwargs) -> Flow[list[Retrieval]]:
        steps = flow(retriever, *args, **options)
        return _timing(steps) if retriever.timed else steps

    return begun


def _timing(steps: Flow[list[Retrieval]]) -> Flow[list[Retrieval]]:
    watch = _Watch()
    try:
        found = yield from watch.over(steps)
    except IncompleteRetrieval as incomplete:
        incomplete.retrieval.timings = watch.timings()
        raise
    for retrieval in found:
        retrieval.timings = watch.timings()
    return found


class _Watch:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._spent: dict[str, float] = {_EMBED: 0.0, _SEARCH: 0.0}
        self._read = 0.0  # of the step under way

    def over(self, steps: Flow[list[Retrieval]]) -> Flow[list[Retrieval]]:
        """Run the flow, and take the time of each of its steps."""
        return within(steps, self._answer)

    def _answer(self, step: Step) -> Flow[Any]:
        stage = (step.stage if isinstance(step, Work) else "") or _SEARCH  # or vectors in memory are compared
        self._read, began = 0.0, time.perf_counter()
        sent = yield self._watched(step)
        self._spent[stage] = self._spent.get(stage, 0.0) + time.perf_counter() - began - self._read
        return sent

    def _watched(self, step: Step) -> Step:
        """Return the step such that the reading of replies, which goes on while others come, counts as such."""
        if not isinstance(step, Each):
            return step
        read = step.read

        def reading(number: int, reply: Any) -> Any:
            began = time.perf_counter()
            result = read(number, reply)
            self._read += time.perf_counter() - began
            return result

        return replace(step, read=reading)

    def timings(self) -> dict[str, float]:
        """Return the seconds of each stage; what is left of the whole is the making of questions and results."""
        rest = time.perf_counter() - self._began - sum(self._spent.values())
        return {**self._spent, _PARSE: max(rest, 0.0)}
