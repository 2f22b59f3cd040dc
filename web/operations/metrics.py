"""`/metrics` for Prometheus, and `/healthz/{process}` for a platform that probes processes which don't speak HTTP."""

import math
from collections.abc import Callable, Iterable
from hmac import compare_digest
from ipaddress import ip_address
from itertools import chain
from typing import Generic, TypeVar

import msgspec
from falcon.asgi import Request, Response

from models.audit import chain as seals
from models.audit import checkpoints
from models.core import database
from models.core.context import unauthenticated
from models.core.errors import Forbidden, NotFound, Problem
from models.operations import metrics
from models.operations.metrics import FRESH, Metric
from settings import settings
from web.http.endpoint import endpoint
from web.http.shared_result import Shared
from web.http.thread_pool import Pool
from web.operations import health

T = TypeVar("T")

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Probe(Generic[T]):
    """A query that all callers share for `health.SHARED_SECONDS`: these paths are public."""

    def __init__(self, query: Callable[[], T]) -> None:
        self._query = query
        self._shared: Shared[T] | None = None

    async def get(self, pool: Pool) -> T:
        """Return the result of the query, at most `health.SHARED_SECONDS` old. It runs in a thread of `pool`."""
        if self._shared is None:
            self._shared = Shared(lambda: pool.run(self._run))
        return await self._shared.get(health.SHARED_SECONDS)

    def _run(self) -> T:
        with database.transaction(unauthenticated(), timeout=health.PROBE_TIMEOUT):
            return self._query()


class Stuck(Problem):
    """A process has shown no sign of life for too long."""

    code = "no_heartbeat"


class Heartbeat(msgspec.Struct):
    """How long ago a kind of process last showed that it does its work."""

    process: str
    seconds: float


class Metrics:
    """`/metrics`: the jobs and the audit trail in Prometheus's text format."""

    @endpoint(permission="public", rate=None, media=TEXT, problems=(Forbidden,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Read measures of jobs and audit. For this machine only, unless METRICS_TOKEN is set and sent as a bearer."""
        _require_reader(req)
        resp.text = render(chain(metrics.job_metrics(), metrics.audit_metrics()))
        resp.content_type = TEXT


class ProcessHealth:
    """`/healthz/{process}`: whether any relay, worker, clock or seal process does its work."""

    def __init__(self) -> None:
        self._ages = Probe(metrics.heartbeat_ages)

    @endpoint(permission="public", rate=None, mode="async", response=Heartbeat, problems=(Stuck,))
    async def on_get(self, req: Request, resp: Response, process: str) -> None:
        """Ask whether a process of a kind has shown a sign of life lately. 503 if none has."""
        ages = await self._ages.get(req.context.kit.pool)
        if process not in ages:
            raise NotFound
        if ages[process] > FRESH:
            raise Stuck(f"No {process} has shown a sign of life within {FRESH:.0f} s.")
        resp.media = Heartbeat(process, round(ages[process], 1))


class AuditBehind(Problem):
    """What has been recorded is not sealed, or not vouched for from outside, as it should be."""

    code = "audit_behind"


class AuditHealthOut(msgspec.Struct):
    """Entries without a seal and the age of the oldest, and of the newest stored checkpoint; in seconds."""

    unsealed: int
    oldest_unsealed_seconds: float
    checkpoint_seconds: float | None


class AuditHealth:
    """`/healthz/audit`: whether the audit trail is being sealed."""

    def __init__(self) -> None:
        self._gauges = Probe(checkpoints.gauges)

    @endpoint(permission="public", rate=None, mode="async", response=AuditHealthOut, problems=(AuditBehind,))
    async def on_get(self, req: Request, resp: Response) -> None:
        """Ask whether audit entries get their seal, and checkpoints are stored. 503 if not."""
        found = await self._gauges.get(req.context.kit.pool)
        if found.oldest_unsealed_seconds > seals.OVERDUE:
            raise AuditBehind(f"An entry has had no seal for {found.oldest_unsealed_seconds:.0f} s.")
        if found.checkpoint_overdue:
            raise AuditBehind(f"No checkpoint has been stored within {checkpoints.OVERDUE:.0f} s.")
        age = found.checkpoint_seconds
        resp.media = AuditHealthOut(
            found.unsealed, round(found.oldest_unsealed_seconds, 1), None if age is None else round(age, 1)
        )


def render(measures: Iterable[Metric]) -> str:
    """Prometheus's text exposition format, version 0.0.4."""
    lines: list[str] = []
    for metric in measures:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} gauge"]
        for labels, value in metric.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{f'{{{told}}}' if told else ''} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """Return every digit of a value: as Go reads numbers, which knows `+Inf` and `NaN` besides Python's forms."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(value) if isinstance(value, int) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _require_reader(req: Request) -> None:
    """Raise Forbidden unless the caller has the token, or is on this machine where there is none."""
    if settings.metrics_token:
        scheme, _, token = (req.auth or "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(token.encode(), settings.metrics_token.encode()):
            raise Forbidden
    elif not ip_address(req.context.info.address or "0.0.0.0").is_loopback:
        raise Forbidden


def routes() -> list[tuple[str, object]]:
    """Return the resources of one application by URI template. What they share lives in its event loop."""
    return [
        ("/metrics", Metrics()),
        ("/healthz/audit", AuditHealth()),
        ("/healthz/{process}", ProcessHealth()),
    ]
