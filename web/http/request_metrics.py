"""Metrics of requests, kept by each web process: latencies, refusals, outcomes and the use of its pools.

`web.server.shared_metrics` adds up those of all web processes. Labels have few values: a route is a template, and all
unknown paths share one label.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import prometheus_client
from falcon.asgi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from models.core.database import open_connections
from models.core.errors import REGISTRY
from models.scans.outcomes import REFUSALS as SCAN_REFUSALS
from web.http.endpoint_spec import spec_of

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

METRICS = CollectorRegistry()
SAMPLE_SECONDS = 1.0
"""Seconds between two samples of the pools."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latencies, in seconds."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Label of unknown methods and paths, of which clients may send any number."""

LATENCIES = Histogram(
    "companon_http_request_seconds",
    "Requests and their time until the head of the answer, by route, method and class of status.",
    ("route", "method", "status"),
    registry=METRICS,
    buckets=BUCKETS,
)
REFUSALS = Counter("companon_http_refusals", "Refused requests by error code.", ("code",), registry=METRICS)
OUTCOMES = {
    "scans": Counter("companon_scans", "Reported scans by outcome.", ("outcome",), registry=METRICS),
    "sign_ins": Counter(
        "companon_sign_ins", "Sign-ins, second factors and refreshes by outcome.", ("outcome",), registry=METRICS
    ),
}
"""Counters of the endpoints that declare `counts`, by its value."""
ACCEPTED, REPLAYED = "accepted", "replayed"
RUNNING = Gauge(
    "companon_pool_running",
    "Calls that a pool of the web processes runs, sampled once a second.",
    ("pool",),
    registry=METRICS,
    multiprocess_mode="livesum",
)
WAITING = Gauge(
    "companon_pool_waiting",
    "Calls that wait for a thread of a pool, sampled once a second.",
    ("pool",),
    registry=METRICS,
    multiprocess_mode="livesum",
)
CAPACITY = Gauge(
    "companon_pool_capacity",
    "Calls that may run and wait in a pool. More are refused with 503.",
    ("pool",),
    registry=METRICS,
    multiprocess_mode="livesum",
)
CONNECTIONS = Gauge(
    "companon_database_connections",
    "Database connections of the web processes, sampled once a second.",
    registry=METRICS,
    multiprocess_mode="livesum",
)


class Load(NamedTuple):
    """Load of one pool: running and waiting calls, and the most of both together."""

    pool: str
    running: int
    waiting: int
    capacity: int


@runtime_checkable
class Loaded(Protocol):
    """A pool, or a resource with one."""

    @property
    def load(self) -> Load:
        """Return the present load."""
        ...


class _Series(NamedTuple):
    observe: Callable[[float], None]
    outcomes: Counter | None


_series: dict[tuple[str | None, str, int], _Series] = {}
"""The series of a route, method and class of status. Finding them by their labels costs as much as the rest."""


def begin() -> None:
    """Create the series that alerts watch, with the value 0: Prometheus computes no rate of a first value."""
    for code, registered in REGISTRY.items():
        if registered.status in (429, 503):
            REFUSALS.labels(code)
    for outcome in (ACCEPTED, REPLAYED, *SCAN_REFUSALS):
        OUTCOMES["scans"].labels(outcome)
    for outcome in (ACCEPTED, "invalid_credentials", "invalid_code", "refresh_token_invalid", "rate_limited"):
        OUTCOMES["sign_ins"].labels(outcome)


def measure(req: Request, resp: Response, resource: object) -> None:
    """Count an answered request. Runs in the event loop."""
    key = (req.uri_template, req.method, resp.status_code // 100)
    series = _series.get(key) or _series_of(key, resource)
    series.observe(time.perf_counter() - req.context.started)
    code = getattr(resp.context, "code", None)
    if code is not None:
        count_refusal(code)
    if series.outcomes is not None:
        replayed = series.outcomes is OUTCOMES["scans"] and resp.status_code == 200
        series.outcomes.labels(code or (REPLAYED if replayed else ACCEPTED)).inc()


def count_refusal(code: str) -> None:
    """Count a refusal, also one of the server that no application answers."""
    REFUSALS.labels(code if code in REGISTRY else OTHER).inc()


def _series_of(key: tuple[str | None, str, int], resource: object) -> _Series:
    route, method, status_class = key
    labels = (route or OTHER, method if method in METHODS else OTHER, f"{status_class}xx")
    spec = spec_of(resource, method)
    found = _Series(LATENCIES.labels(*labels).observe, OUTCOMES.get(spec.counts) if spec and spec.counts else None)
    if method in METHODS:
        _series[key] = found  # the keys are bounded: templates of routes, known methods, five classes
    return found


async def sample(pools: Iterable[Any]) -> None:
    """Sample the load of these pools, and the database connections, until cancelled."""
    loaded = [pool for pool in pools if isinstance(pool, Loaded)]
    while True:
        for load in (pool.load for pool in loaded):
            RUNNING.labels(load.pool).set(load.running)
            WAITING.labels(load.pool).set(load.waiting)
            CAPACITY.labels(load.pool).set(load.capacity)
        CONNECTIONS.set(open_connections())
        await asyncio.sleep(SAMPLE_SECONDS)
