"""When what has failed is tried again: after a connection broke, never after a time limit, and with pauses by chance.

During a restart or a failover a few connections are refused. A second attempt after a time limit would only reach it as
well.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

T = TypeVar("T")

RETRIES = 3
# Seconds: the longest pause after the first failure, which doubles with each, up to the longest of all.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5


def pause_after(failures: int) -> float:
    """Return the seconds to wait after so many failures.

    By chance between half of the time and all of it, so that those who were cut off together do not come back together.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
    return random.uniform(longest / 2, longest)


class NoSentinel(redis.ConnectionError):
    """None of the Sentinels answers; there are several so that one does."""


def may_pass(error: redis.ConnectionError) -> bool:
    """Whether another attempt may succeed; not where a login or a certificate is refused, or the time was up."""
    # The async client wraps what becomes of the first commands of a connection.
    wrapped = isinstance(error.__cause__, redis.AuthenticationError | redis.TimeoutError)
    return not (wrapped or isinstance(error, redis.AuthenticationError | NoSentinel) or "[SSL" in str(error))


class Reconnecting(Retry):
    """How a connection of ours is made again when that fails."""

    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(NoBackoff(), retries, (redis.ConnectionError,))

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *_: Any, **options: Any) -> T:
        """Call until it does not fail, as often as may be."""
        failures = 0
        while True:
            try:
                return do()
            except redis.ConnectionError as error:
                failures += 1
                fail(*_about(error, failures, options))
                if failures > self.get_retries() or not may_pass(error):
                    raise
            time.sleep(pause_after(failures))


class AsyncReconnecting(AsyncRetry):
    """Async twin of `Reconnecting`."""

    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(NoBackoff(), retries, (redis.ConnectionError,))

    async def call_with_retry(
        self, do: Callable[[], Awaitable[T]], fail: Callable[..., Any], *_: Any, **options: Any
    ) -> T:
        """Async twin of `Reconnecting.call_with_retry`."""
        failures = 0
        while True:
            try:
                return await do()
            except redis.ConnectionError as error:
                failures += 1
                await fail(*_about(error, failures, options))
                if failures > self.get_retries() or not may_pass(error):
                    raise
            await asyncio.sleep(pause_after(failures))


def _about(error: Exception, failures: int, options: dict[str, Any]) -> tuple[Any, ...]:
    return (error, failures) if options.get("with_failure_count") else (error,)


def retries_within(seconds: float) -> int:
    """Return how many retries, with the pauses between them, take about so long; at least the usual ones."""
    return RETRIES + math.ceil(seconds / (0.75 * LONGEST_PAUSE))


# For what is tried again by who calls it.
NEVER, ASYNC_NEVER = Retry(NoBackoff(), 0), AsyncRetry(NoBackoff(), 0)
