"""Rate limits, counted in Redis, and in this process while Redis is gone.

A limit protects; it is never the reason for a 5xx, and Redis is never the reason that there is none. When Redis fails,
each process counts for itself and asks Redis again after `RETRY_AFTER` seconds: so long as Redis is gone a limit is at
the most as many times as large as there are web processes. It isn't divided by them: a client's connections may all
lead to one of them. Attempts on a password are counted in PostgreSQL and don't depend on this
(models/identity/sessions.py).
A limit that all requests count towards is wide: `take_batched` takes several requests of it at once,
and hands them out for some seconds without asking Redis.
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
REDIS_TIMEOUT = 0.25
SHARE = 50
"""The part of a wide limit that is taken at once: one in so many."""
BATCH_SECONDS = 5.0
"""How long what has been taken may be handed out."""
REFUSAL_SECONDS = 1.0
"""How long whoever has used a wide limit up is refused without asking Redis."""
MAX_CALLERS = 10_000
"""Whom a process counts for itself; with one more it begins anew, so that strangers can't fill its memory."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One or more limits that hold together, e.g. `10/minute; 100/day`."""

    name: str
    items: tuple[RateLimitItem, ...]

    @property
    def policy(self) -> str:
        """The `RateLimit-Policy` header."""
        return ", ".join(f"{self._label(item)};q={item.amount};w={item.get_expiry()}" for item in self.items)

    def _label(self, item: RateLimitItem) -> str:
        return f'"{self.name}"' if len(self.items) == 1 else f'"{self.name}-{item.get_expiry()}s"'

    def state(self, item: RateLimitItem, remaining: int, seconds: int) -> str:
        """The `RateLimit` header for the limit that is nearest to its end."""
        return f"{self._label(item)};r={remaining};t={seconds}"


def parse_rate(name: str, text: str) -> Rate:
    """Parse `10/minute` or `10/minute; 100/day`.

    Raises:
        ValueError: it can't be parsed.
    """
    return Rate(name, tuple(parse_many(text)))


@dataclass(frozen=True, slots=True)
class LimitState:
    """How a caller stands: what is left of the limit nearest to its end, and in how many seconds there is more."""

    item: RateLimitItem
    remaining: int
    seconds: int
    refused: bool


@dataclass(slots=True)
class _Taken:
    """Requests that were counted at once and not yet handed out."""

    standing: LimitState
    left: int


def _expiry(_key: tuple[str, ...], taken: _Taken, now: float) -> float:
    return now + (REFUSAL_SECONDS if taken.standing.refused else BATCH_SECONDS)


class RateLimiter:
    """Counts requests; lives in one event loop."""

    def __init__(self, redis_url: str | None) -> None:
        self._url = redis_url
        self._redis: SlidingWindowCounterRateLimiter | None = None
        self._forget()
        self._redis_again_at = 0.0
        self._taken: TLRUCache[tuple[str, ...], _Taken] = TLRUCache(MAX_CALLERS, _expiry)

    async def take(self, rate: Rate, *who: str) -> LimitState:
        """Count one request of `who`, and say how they stand.

        Raises:
            TooMany: one of the limits is used up; carries the headers.
        """
        standing = await self._count(rate, who)
        if standing.refused:
            raise self._refusal(rate, standing)
        return standing

    async def take_batched(self, rate: Rate, *who: str) -> LimitState:
        """The same for one wide limit: counted in parts of `SHARE`, so that few requests ask Redis.

        What another process has taken and not handed out is lost to `who`: up to one part for each process.

        Raises:
            TooMany: it is used up; carries the headers.
        """
        taken = self._taken.get((rate.name, *who))
        if taken is None or (taken.left == 0 and not taken.standing.refused):
            taken = await self._take_part(rate, who)
        if taken.standing.refused:
            raise self._refusal(rate, taken.standing)
        taken.left -= 1
        return replace(taken.standing, remaining=taken.standing.remaining + taken.left)

    async def _take_part(self, rate: Rate, who: Sequence[str]) -> _Taken:
        part = max(1, rate.items[0].amount // SHARE) if len(rate.items) == 1 else 1
        standing = await self._count(rate, who, part)
        if standing.refused and part > 1:
            part, standing = 1, await self._count(rate, who)
        taken = self._taken[rate.name, *who] = _Taken(standing, part)
        return taken

    @staticmethod
    def _refusal(rate: Rate, standing: LimitState) -> TooMany:
        refusal = TooMany("Slow down.", retry_after=standing.seconds)
        refusal.headers |= headers(rate, standing)
        return refusal

    async def _count(self, rate: Rate, who: Sequence[str], requests: int = 1) -> LimitState:
        if self._url and time.monotonic() >= self._redis_again_at:
            try:
                return await _hit(self._shared(self._url), rate, who, requests)
            except (RedisError, OSError) as error:
                logger.warning("rate limits are counted in this process, Redis fails: %s", error)
                if "WRONGTYPE" in str(error):
                    await self._discard_counters(rate, who)
                else:
                    self._redis_again_at = time.monotonic() + RETRY_AFTER
        if len(self._counts.storage) >= MAX_CALLERS:
            self._forget()
        return await _hit(self._memory, rate, who, requests)

    async def _discard_counters(self, rate: Rate, who: Sequence[str]) -> None:
        """Delete the counters of a caller. A key of another type has no expiry: it would fail every later request."""
        assert self._url
        with suppress(RedisError, OSError):
            for item in rate.items:
                await self._shared(self._url).clear(item, rate.name, *who)

    def _forget(self) -> None:
        """Begin to count anew in this process."""
        self._counts = MemoryStorage()
        self._memory = SlidingWindowCounterRateLimiter(self._counts)

    def _shared(self, url: str) -> SlidingWindowCounterRateLimiter:
        if self._redis is None:
            self._redis = SlidingWindowCounterRateLimiter(_redis_storage(url))
        return self._redis


def headers(rate: Rate, standing: LimitState) -> dict[str, str]:
    """The header fields that tell a caller how they stand."""
    return {
        "RateLimit-Policy": rate.policy,
        "RateLimit": rate.state(standing.item, standing.remaining, standing.seconds),
    }


async def _hit(
    limiter: SlidingWindowCounterRateLimiter, rate: Rate, who: Sequence[str], requests: int = 1
) -> LimitState:
    standings = [await _hit_one(limiter, item, (rate.name, *who), requests) for item in rate.items]
    return min(standings, key=lambda standing: (not standing.refused, standing.remaining))


async def _hit_one(
    limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, who: Sequence[str], requests: int
) -> LimitState:
    taken = await limiter.hit(item, *who, cost=requests)
    stats = await limiter.get_window_stats(item, *who)
    seconds = max(1, math.ceil(stats.reset_time - time.time()))
    return LimitState(item, stats.remaining if taken else 0, min(seconds, item.get_expiry()), not taken)


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
