"""The two drivers of flows, one for sync and one for async code.

All commands go through this file and those of the exchange and the lane, except those that start, stop and examine the
embedded server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from logging import DEBUG
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import redis
import redis.asyncio

from ragknn._logs import SERVER
from ragknn._protocol.flows import Ahead, Begun, Command, Each, Flow, Once, Pause, Step, Work
from ragknn.server._exchange import Read, aexchange, all_read, exchange, is_cluster, is_plain
from ragknn.server._lane import Lane
from ragknn.server._translation import FOREIGN, reraise

T = TypeVar("T")


class Driver:
    """Runs a flow in sync code.

    Of what the flow begins, computations go on in a thread, one at a time; commands are sent at once, and their replies
    read when they are waited for.
    """

    _worker: _Worker | None = None
    _lane: Lane | None = None
    _begun: frozenset[_Sent] = frozenset()

    def __init__(self, client: Any) -> None:
        self._client = client
        self._exchange = _cluster_exchanges()[0] if is_cluster(client) else exchange

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._lane is not None:
                self._lane.close()
        finally:
            if self._worker is not None:
                self._worker.end(wait=True)
            for begun in self._begun:
                begun.flow.close()

    def run(self, flow: Flow[T], step: Step | _UnderWay | None = None) -> T:
        """Run the flow to its end, from the step that it has yielded where it was begun."""
        try:
            if step is None:
                step = flow.send(None)
            while True:
                try:
                    sent = self._result(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(sent)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    def _result(self, step: Step | _UnderWay) -> Any:
        if isinstance(step, list):
            return self._replies(step)
        match step:
            case Each(commands, read):
                return self._replies(commands, read)
            case Once(commands):
                return self._replies(commands, once=True)
            case Work(call):
                return call()
            case Pause(seconds):
                return time.sleep(seconds)
            case Ahead(flow):
                begun = self._begin(flow)
                self._begun |= {begun}
                return begun
            case _Sent():
                self._begun -= {step}
                return self.run(step.flow, step.first)
            case _UnderWay(result):
                return result()

    def _replies(self, commands: list[Command], read: Read | None = None, *, once: bool = False) -> list[Any]:
        if self._lane is not None and self._lane.is_busy:
            replies = self._lane.replies(self._lane.send(commands, once=once))
            return all_read(replies, read)
        began = time.perf_counter()
        try:
            return self._exchange(self._client, commands, read, once=once)
        except FOREIGN as error:
            reraise(error, self._client)
        finally:
            if SERVER.isEnabledFor(DEBUG):
                _tell(commands, began)

    def _begin(self, flow: Flow[Any]) -> _Sent:
        try:
            step = next(flow)
        except StopIteration as stop:
            return _Sent(_returning(stop.value), None, lambda: True)
        match step:
            case Work(call):
                self._worker = self._worker or _Worker()
                future = self._worker.submit(call)
                return _Sent(flow, _UnderWay(future.result), future.done)
            case list() if not is_plain(self._client):
                replies = self._replies(step)
                return _Sent(flow, _UnderWay(lambda: replies), lambda: True)
            case list():
                lane = self._lane = self._lane or Lane(cast(redis.Redis, self._client))
                letter = lane.send(step)
                return _Sent(flow, _UnderWay(lambda: lane.replies(letter)), lambda: letter.replies is not None)
            case _:
                return _Sent(flow, step, lambda: False)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A step that has begun, and what to call for what comes of it."""

    result: Callable[[], Any]


class _Sent(Begun):
    """A flow whose first step has begun, or was left for later; None where the flow has ended."""

    def __init__(self, flow: Flow[Any], first: Step | _UnderWay | None, done: Callable[[], bool]) -> None:
        self.flow = flow
        self.first = first
        self._done = done

    @property
    def done(self) -> bool:
        return self._done()


def _returning(value: T) -> Flow[T]:
    return value
    yield


class AsyncDriver:
    """Async twin of `Driver`: what the flow begins are tasks; computations of theirs go on in a thread."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._exchange = _cluster_exchanges()[1] if is_cluster(client) else aexchange
        self._worker: _Worker | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lane = asyncio.Lock()  # held by who waits for replies, so that one connection is enough

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.end(wait=False)
        if self._tasks:
            await _ended(*self._tasks)
        if self._worker is not None:
            self._worker.end(wait=True)  # of its thread alone, which has nothing left to do

    async def run(self, flow: Flow[T], *, ahead: bool = False) -> T:
        """Run the flow to its end; `ahead` says that it was begun by another."""
        try:
            step = flow.send(None)
            while True:
                try:
                    sent = await self._result(step, ahead)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(sent)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    async def _result(self, step: Step, ahead: bool) -> Any:
        if isinstance(step, list):
            return await self._replies(step)
        match step:
            case Each(commands, read):
                return await self._replies(commands, read)
            case Once(commands):
                return await self._replies(commands, once=True)
            case Work(call) if ahead:
                self._worker = self._worker or _Worker()
                return await asyncio.wrap_future(self._worker.submit(call))
            case Work(call, borrows=True):
                working = asyncio.get_running_loop().run_in_executor(None, copy_context().run, call)
                await _ended(working)
                return working.result()
            case Work(call):
                return await asyncio.to_thread(call)
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Ahead(flow):
                task = asyncio.ensure_future(self.run(flow, ahead=True))
                self._tasks.add(task)
                await asyncio.sleep(0)  # it begins
                return _Task(task)
            case _Task(task=task):
                await _ended(task)
                self._tasks.discard(task)
                return task.result()

    async def _replies(self, commands: list[Command], read: Read | None = None, *, once: bool = False) -> list[Any]:
        if not self._tasks:
            return await self._exchanged(commands, read, once)
        async with self._lane:
            return await self._exchanged(commands, read, once)

    async def _exchanged(self, commands: list[Command], read: Read | None, once: bool) -> list[Any]:
        began = time.perf_counter()
        try:
            return await self._exchange(self._client, commands, read, once=once)
        except FOREIGN as error:
            reraise(error, self._client)
        finally:
            if SERVER.isEnabledFor(DEBUG):
                _tell(commands, began)


def _cluster_exchanges() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from ragknn.server._cluster.nodes import acluster_exchange, cluster_exchange  # late: few use a cluster

    return cluster_exchange, acluster_exchange


def _tell(commands: list[Command], began: float) -> None:
    if commands:
        milliseconds = 1000 * (time.perf_counter() - began)
        SERVER.debug("round trip of %d commands, the first %s, in %.1f ms", len(commands), commands[0][0], milliseconds)


class _Task(Begun):
    """A flow that is a task."""

    def __init__(self, task: asyncio.Future[Any]) -> None:
        self.task = task

    @property
    def done(self) -> bool:
        return self.task.done()


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Wait for the end of the tasks, whatever it is; who is cancelled meanwhile waits for it all the same, once."""
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                if not task.cancel() and not task.cancelled():
                    task.exception()  # nobody is told, and asyncio is not to complain
        raise
    for task in tasks:
        if not task.cancelled():
            task.exception()


class _Worker:
    """A thread for computations, one at a time."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "ragknn")

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        return self._executor.submit(copy_context().run, call)

    def end(self, *, wait: bool) -> None:
        """Begin nothing any more; wait for what is under way."""
        self._executor.shutdown(wait=wait, cancel_futures=True)
