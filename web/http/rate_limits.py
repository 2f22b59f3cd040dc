"""Rate limits, counted in Redis, or in this process while Redis fails.

A limit never causes a 5xx, and a failure of Redis never disables limits. When Redis fails, each process counts for
itself and tries Redis again after `RETRY_AFTER` seconds. Meanwhile a limit is multiplied by the number of web processes
at most. It is not divided by them, because all connections of a client may lead to one process. Password attempts are
counted in PostgreSQL and don't depend on this module (models/identity/sessions.py).
For a wide limit, which all requests count towards, `take_batched` reserves several requests at once and uses them for
some seconds without a query of Redis.
The answer carries `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).
"""

import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from cachetools import TLRUCache
from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from models.core.errors import TooMany

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0
"""Seconds until Redis is tried again after a failure."""
REDIS_TIMEOUT = 0.25
"""Seconds."""
BATCH_FRACTION = 50
"""One batch reserves the limit divided by this number."""
BATCH_SECONDS = 5.0
"""Seconds for which a batch may be used."""
REFUSAL_SECONDS = 1.0
"""Seconds for which a caller is refused without a query of Redis after a wide limit was used up."""
MAX_CALLERS = 10_000
"""Maximum number of callers counted in this process. Beyond it the counters are reset, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One or more limits that apply together, e.g. `10/minute; 100/day`."""

    name: str
    items: tuple[RateLimitItem, ...]

    @property
    def policy(self) -> str:
        """Return the value of the `RateLimit-Policy` header."""
        return ", ".join(f"{self._label(item)};q={item.amount};w={item.get_expiry()}" for item in self.items)

    def _label(self, item: RateLimitItem) -> str:
        return f'"{self.name}"' if len(self.items) == 1 else f'"{self.name}-{item.get_expiry()}s"'

    def state(self, item: RateLimitItem, remaining: int, seconds: int) -> str:
        """Return the value of the `RateLimit` header for one of the limits."""
        return f"{self._label(item)};r={remaining};t={seconds}"


def parse_rate(name: str, text: str) -> Rate:
    """Parse `10/minute` or `10/minute; 100/day`.

    Raises:
        ValueError: the text is not a list of limits.
    """
    return Rate(name, tuple(parse_many(text)))


@dataclass(frozen=True, slots=True)
class LimitState:
    """State of a caller's most restrictive limit: remaining requests, and seconds until it is reset."""

    item: RateLimitItem
    remaining: int
    seconds: int
    refused: bool


@dataclass(slots=True)
class _Batch:
    """Requests that were counted at once and not yet handed out."""

    state: LimitState
    left: int


def _expiry(_key: tuple[str, ...], batch: _Batch, now: float) -> float:
    return now + (REFUSAL_SECONDS if batch.state.refused else BATCH_SECONDS)


class RateLimiter:
    """Counts requests. Belongs to one event loop."""

    def __init__(self, redis_url: str | None) -> None:
        self._url = redis_url
        self._redis: SlidingWindowCounterRateLimiter | None = None
        self._reset_memory()
        self._redis_again_at = 0.0
        self._batches: TLRUCache[tuple[str, ...], _Batch] = TLRUCache(MAX_CALLERS, _expiry)

    async def take(self, rate: Rate, *caller: str) -> LimitState:
        """Count one request of a caller. Return the state of the most restrictive limit.

        Raises:
            TooMany: one of the limits is used up; carries the headers.
        """
        state = await self._count(rate, caller)
        if state.refused:
            raise self._refusal(rate, state)
        return state

    async def take_batched(self, rate: Rate, *caller: str) -> LimitState:
        """Count one request towards a wide limit, in batches that save queries of Redis.

        A batch that another process has reserved and not used is lost to the caller: up to one per process.

        Raises:
            TooMany: it is used up; carries the headers.
        """
        batch = self._batches.get((rate.name, *caller))
        if batch is None or (batch.left == 0 and not batch.state.refused):
            batch = await self._reserve_batch(rate, caller)
        if batch.state.refused:
            raise self._refusal(rate, batch.state)
        batch.left -= 1
        return replace(batch.state, remaining=batch.state.remaining + batch.left)

    async def _reserve_batch(self, rate: Rate, caller: Sequence[str]) -> _Batch:
        part = max(1, rate.items[0].amount // BATCH_FRACTION) if len(rate.items) == 1 else 1
        state = await self._count(rate, caller, part)
        if state.refused and part > 1:
            part, state = 1, await self._count(rate, caller)
        batch = self._batches[rate.name, *caller] = _Batch(state, part)
        return batch

    @staticmethod
    def _refusal(rate: Rate, state: LimitState) -> TooMany:
        refusal = TooMany("Wait until the limit is reset, then send the request again.", retry_after=state.seconds)
        refusal.headers |= headers(rate, state)
        return refusal

    async def _count(self, rate: Rate, caller: Sequence[str], requests: int = 1) -> LimitState:
        if self._url and time.monotonic() >= self._redis_again_at:
            try:
                return await _hit(self._shared(self._url), rate, caller, requests)
            except (RedisError, OSError) as error:
                logger.warning("rate limits are counted in this process because Redis fails: %s", error)
                if "WRONGTYPE" in str(error):
                    await self._discard_counters(rate, caller)
                else:
                    self._redis_again_at = time.monotonic() + RETRY_AFTER
        if len(self._counts.storage) >= MAX_CALLERS:
            self._reset_memory()
        return await _hit(self._memory, rate, caller, requests)

    async def _discard_counters(self, rate: Rate, caller: Sequence[str]) -> None:
        """Delete the counters of a caller. A key of another type has no expiry: it would fail every later request."""
        assert self._url
        with suppress(RedisError, OSError):
            for item in rate.items:
                await self._shared(self._url).clear(item, rate.name, *caller)

    def _reset_memory(self) -> None:
        """Reset the counters of this process."""
        self._counts = MemoryStorage()
        self._memory = SlidingWindowCounterRateLimiter(self._counts)

    def _shared(self, url: str) -> SlidingWindowCounterRateLimiter:
        if self._redis is None:
            self._redis = SlidingWindowCounterRateLimiter(_redis_storage(url))
        return self._redis


def headers(rate: Rate, state: LimitState) -> dict[str, str]:
    """Return the `RateLimit` header fields."""
    return {
        "RateLimit-Policy": rate.policy,
        "RateLimit": rate.state(state.item, state.remaining, state.seconds),
    }


async def _hit(
    limiter: SlidingWindowCounterRateLimiter, rate: Rate, caller: Sequence[str], requests: int = 1
) -> LimitState:
    states = [await _hit_one(limiter, item, (rate.name, *caller), requests) for item in rate.items]
    # A refusing limit decides. Of several, the one that refuses for longest: an earlier retry would be refused again.
    return min(states, key=lambda state: (not state.refused, state.remaining, -state.seconds))


async def _hit_one(
    limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, caller: Sequence[str], requests: int
) -> LimitState:
    accepted = await limiter.hit(item, *caller, cost=requests)
    stats = await limiter.get_window_stats(item, *caller)
    # In the millisecond in which a window begins, limits reports a reset after 0 seconds instead of the whole window.
    wait = stats.reset_time - time.time()
    seconds = math.ceil(wait) if wait > 0 else item.get_expiry()
    return LimitState(item, stats.remaining if accepted else 0, min(seconds, item.get_expiry()), not accepted)


def _redis_storage(url: str) -> Storage:
    uri = url.replace("unix:", "async+redis+unix:", 1) if url.startswith("unix:") else f"async+{url}"
    return RedisStorage(
        uri,
        implementation="redispy",
        key_prefix="limits",
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # passed on to redis-py
    )
