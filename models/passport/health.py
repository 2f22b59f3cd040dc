"""Health of a service: its circuit breaker and its retry budget, shared by all workers through Redis.

The rules are pure functions of the stored state and the time. The state is updated by compare-and-set, so workers on
several machines see one breaker. While Redis fails, each process keeps a state of its own.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
import redis

from models.core.enumerations import enumeration
from models.jobs import brokers

log = logging.getLogger(__name__)

T = TypeVar("T")

BreakerState = Annotated[
    Literal["closed", "open", "half_open"],
    enumeration(
        "BreakerState",
        "State of a circuit breaker. `closed`: calls are sent. `open`: the service fails, and no call is sent. "
        "`half_open`: one call at a time is sent, and its outcome closes or opens the breaker.",
    ),
]


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of the breaker and the retry budget. Times are in seconds.

    Attributes:
        window: period in which calls are counted; the counts cover between half of it and all of it.
        min_calls: calls within the window before the breaker may open.
        failure_share: share of failed calls, 0 to 1, from which it opens.
        open_for: time for which it stays open.
        probe_for: time after which the outcome of a probe is no longer awaited.
        retry_share: share of calls, 0 to 1, that may be retries of jobs.
        min_retries: retries within the window that are always allowed.
    """

    window: float = 30.0
    min_calls: int = 10
    failure_share: float = 0.5
    open_for: float = 15.0
    probe_for: float = 30.0
    retry_share: float = 0.2
    min_retries: int = 10


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Calls, failures and retries of half a window."""

    calls: int = 0
    failures: int = 0
    retries: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.calls + other.calls, self.failures + other.failures, self.retries + other.retries)


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of one service. Times are seconds since the epoch.

    Attributes:
        slot: number of the current half-window.
        recent: counts of the current half-window.
        earlier: counts of the half-window before.
        open_until: end of the open state; 0 if the breaker is closed.
        probe_until: time until which the outcome of a probe is awaited.
    """

    slot: int = 0
    recent: Counts = Counts()
    earlier: Counts = Counts()
    open_until: float = 0.0
    probe_until: float = 0.0

    @property
    def counts(self) -> Counts:
        """Return the counts of the window."""
        return self.recent + self.earlier

    def state(self, now: float) -> BreakerState:
        """Return the state of the breaker."""
        if not self.open_until:
            return "closed"
        return "open" if now < self.open_until else "half_open"


@dataclass(frozen=True, slots=True)
class Admission:
    """Decision on one call: sent as usual, as a probe, or refused for `wait` seconds."""

    is_probe: bool = False
    refusal: Literal["circuit_open", "retry_budget"] | None = None
    wait: float = 0.0


def admit(health: Health, rules: Rules, now: float, *, is_retry: bool) -> tuple[Health, Admission]:
    """Decide whether a call is sent, and count it if it is."""
    health = _at(health, rules, now)
    state = health.state(now)
    if state == "open" or (state == "half_open" and now < health.probe_until):
        wait = max(health.open_until, health.probe_until) - now
        return health, Admission(refusal="circuit_open", wait=wait)
    if state == "half_open":
        return msgspec.structs.replace(health, probe_until=now + rules.probe_for), Admission(is_probe=True)
    seen = health.counts
    if is_retry and seen.retries >= max(rules.min_retries, rules.retry_share * seen.calls):
        return health, Admission(refusal="retry_budget", wait=rules.window / 2)
    counted = health.recent + Counts(calls=1, retries=int(is_retry))
    return msgspec.structs.replace(health, recent=counted), Admission()


def settle(health: Health, rules: Rules, now: float, *, failed: bool, is_probe: bool) -> Health:
    """Count the outcome of a call that was sent. Open or close the breaker."""
    health = _at(health, rules, now)
    if is_probe:
        return Health(slot=health.slot, open_until=now + rules.open_for if failed else 0.0)
    if not failed or health.open_until:
        return health
    health = msgspec.structs.replace(health, recent=health.recent + Counts(failures=1))
    seen = health.counts
    if seen.calls >= rules.min_calls and seen.failures >= rules.failure_share * seen.calls:
        return Health(slot=health.slot, open_until=now + rules.open_for)
    return health


def _at(health: Health, rules: Rules, now: float) -> Health:
    """Return the health with the half-windows of the present time."""
    slot = int(now // (rules.window / 2))
    if slot == health.slot:
        return health
    earlier = health.recent if slot == health.slot + 1 else Counts()
    return msgspec.structs.replace(health, slot=slot, recent=Counts(), earlier=earlier)


_KEY = "passport:health:"
_EXPIRY = 3600  # seconds
_REDIS_PATIENCE = 0.25  # seconds
_REDIS_AGAIN_AFTER = 5.0  # seconds
_CONFLICTS = 20  # attempts of one update
_COMPARE_AND_SET = """
if (redis.call('get', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3])
return 1
"""
_encode = msgspec.json.Encoder().encode


class HealthStore:
    """Keeps the health of services in Redis, or in this process while Redis fails. May be shared by threads."""

    def __init__(self, redis_url: str, rules: Rules | None = None, clock: Callable[[], float] = time.time) -> None:
        self.rules = rules or Rules()
        self.clock = clock
        self._client = brokers.redis_client(redis_url, patience=_REDIS_PATIENCE, connect_patience=_REDIS_PATIENCE)
        self._redis_again_at = 0.0
        self._lock = threading.Lock()
        self._local: dict[str, Health] = {}

    def admit(self, service: str, *, is_retry: bool) -> Admission:
        """Decide whether a call of a service is sent, and count it."""
        return self._update(service, lambda health: admit(health, self.rules, self.clock(), is_retry=is_retry))

    def settle(self, service: str, *, failed: bool, is_probe: bool) -> None:
        """Count the outcome of a call that was admitted."""

        def step(health: Health) -> tuple[Health, None]:
            return settle(health, self.rules, self.clock(), failed=failed, is_probe=is_probe), None

        self._update(service, step)

    def read(self, service: str) -> tuple[Health, bool]:
        """Return the health of a service, and whether it is shared: False if it is of this process only."""
        if self._is_redis_tried():
            try:
                return _decode(str(self._client.get(_KEY + service) or "")) or Health(), True
            except redis.RedisError as error:
                self._give_up(error)
        with self._lock:
            return self._local.get(service, Health()), False

    def _update(self, service: str, step: Callable[[Health], tuple[Health, T]]) -> T:
        if self._is_redis_tried():
            try:
                for _ in range(_CONFLICTS):
                    stored = str(self._client.get(_KEY + service) or "")
                    before = _decode(stored)
                    if before is None:
                        self._client.delete(_KEY + service)
                        continue
                    health, result = step(before)
                    changed = _encode(health).decode()
                    if changed == stored or self._replace(service, stored, changed):
                        return result
            except redis.RedisError as error:
                self._give_up(error)
        with self._lock:
            self._local[service], result = step(self._local.get(service, Health()))
            return result

    def _replace(self, service: str, stored: str, changed: str) -> bool:
        return bool(self._client.eval(_COMPARE_AND_SET, 1, _KEY + service, stored, changed, _EXPIRY))

    def _is_redis_tried(self) -> bool:
        return time.monotonic() >= self._redis_again_at

    def _give_up(self, error: redis.RedisError) -> None:
        log.warning("the health of services is kept in this process because Redis fails: %s", error)
        self._redis_again_at = time.monotonic() + _REDIS_AGAIN_AFTER


def _decode(stored: str) -> Health | None:
    """Return the stored health, a new one if none is stored, or None if another program has written it."""
    try:
        return msgspec.json.decode(stored, type=Health) if stored else Health()
    except (msgspec.MsgspecError, UnicodeError):
        return None
