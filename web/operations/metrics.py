"""`/metrics`: metrics for Prometheus."""

from collections.abc import Iterable, Iterator
from hmac import compare_digest
from ipaddress import ip_address
from itertools import chain

from falcon.asgi import Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from models.core.errors import Forbidden
from models.operations import metrics
from settings import settings
from web.http.endpoint import endpoint
from web.http.request_metrics import METRICS
from web.server import shared_metrics


class Metrics:
    """`/metrics`: metrics of requests, jobs and the audit trail in Prometheus's text format."""

    @endpoint(permission="public", rate=None, media=CONTENT_TYPE_PLAIN_0_0_4, problems=(Forbidden,))
    def on_get(self, req: Request, resp: Response) -> None:
        """Read metrics of requests to all web processes of this machine, of jobs and of the audit trail.

        Requests from this machine only, unless `METRICS_TOKEN` is set and sent as a bearer token.
        """
        _require_reader(req)
        stored = chain(metrics.job_metrics(), metrics.audit_metrics(), metrics.service_metrics())
        resp.data = generate_latest(_Scrape(chain(stored, _web_metrics())))
        resp.content_type = CONTENT_TYPE_PLAIN_0_0_4


def _web_metrics() -> Iterator[Metric]:
    """Yield the metrics of all web processes; outside gunicorn, those of this process."""
    if shared_metrics.directory() is None:
        yield from METRICS.collect()
        return
    with shared_metrics.files() as files:
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


class _Scrape(Collector):
    """Metrics of one scrape. Those of jobs and of the audit trail come from the database."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _require_reader(req: Request) -> None:
    """Raise Forbidden unless the request has the token or, if no token is set, comes from this machine."""
    if settings.metrics_token:
        scheme, _, token = (req.auth or "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(token.encode(), settings.metrics_token.encode()):
            raise Forbidden("Send METRICS_TOKEN as a bearer token.")
    elif not ip_address(req.context.info.address or "0.0.0.0").is_loopback:
        raise Forbidden("Only this machine may read the metrics: METRICS_TOKEN is not set.")


ROUTES: list[tuple[str, object]] = [("/metrics", Metrics())]
