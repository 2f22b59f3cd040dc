"""`/metrics` for Prometheus, and `/healthz/{process}` for a platform that probes processes which don't speak HTTP."""

from collections.abc import Iterable
from hmac import compare_digest
from ipaddress import ip_address

import msgspec
from falcon.asgi import Request, Response

from models import metrics
from models.errors import Forbidden, NotFound, Problem
from models.metrics import FRESH, Metric
from settings import settings
from web.endpoint import endpoint

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Stuck(Problem):
    """A process has shown no sign of life for too long."""

    status = 503
    code = "no_heartbeat"
    title = "No sign of life"


class Heartbeat(msgspec.Struct):
    """How long ago a kind of process last showed that it does its work."""

    process: str
    seconds: float


class Metrics:
    """`/metrics`: the jobs in Prometheus's text format."""

    @endpoint(permission="public", media=TEXT, problems=(Forbidden,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Measures of the jobs. For this machine only, unless METRICS_TOKEN is set and given as a bearer token."""
        _require_reader(req)
        resp.text = render(metrics.job_metrics())
        resp.content_type = TEXT


class ProcessHealth:
    """`/healthz/{process}`: whether any relay, worker or clock does its work."""

    @endpoint(permission="public", response=Heartbeat, problems=(Stuck,))
    def on_get(self, req: Request, resp: Response, process: str) -> None:
        """Whether a process of this kind has shown a sign of life lately: 503 if none has."""
        ages = metrics.heartbeat_ages()
        if process not in ages:
            raise NotFound
        if ages[process] > FRESH:
            raise Stuck(f"No {process} has shown a sign of life within {FRESH:.0f} s.")
        resp.media = Heartbeat(process, round(ages[process], 1))


def render(measures: Iterable[Metric]) -> str:
    """Prometheus's text exposition format, version 0.0.4."""
    lines: list[str] = []
    for metric in measures:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} gauge"]
        for labels, value in metric.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{{{told}}} {'+Inf' if value == float('inf') else f'{value:g}'}")
    return "\n".join(lines) + "\n"


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


ROUTES: list[tuple[str, object]] = [("/metrics", Metrics()), ("/healthz/{process}", ProcessHealth())]
