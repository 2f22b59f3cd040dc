"""Composition root of the web tier: gunicorn serves `application`."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote_from_bytes
from uuid import UUID

import falcon.asgi

from models.audit import refusals, trail
from models.core import database
from models.core.context import unauthenticated
from models.identity import permissions, step_up
from models.jobs import endings
from models.operations import settings_check
from settings import Settings, settings
from web import files
from web.http import problems, request_metrics
from web.http.access_log import AccessLog
from web.http.authentication import verifier
from web.http.compression import Compression
from web.http.dependencies import Dependencies
from web.http.grants import Grants
from web.http.idempotency import DatabaseIdempotencyStore
from web.http.middleware import Cors, RequestContext
from web.http.rate_limits import RateLimiter, parse_rate
from web.http.refusals import Refusals
from web.http.thread_pool import ThreadPool
from web.http.waiting import JobWaiter
from web.operations import health, metrics, probes
from web.pages import error_page, pages
from web.v1 import ROUTES

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10.0

Routes = Iterable[tuple[str, object]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application(falcon.asgi.App[Any, Any]):
    """Falcon's application for requests that Falcon fails on before an error handler runs."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serve one connection of the ASGI protocol."""
        if scope["type"] == "websocket":
            await _refuse_websocket(receive, send)
            return
        if scope["type"] == "http":
            receive = _with_immediate_start(receive)
            if not _is_readable(scope):
                scope = _readable(scope)
        await super().__call__(scope, receive, send)

    def add_route(self, uri_template: str, resource: object, **options: Any) -> None:
        """Add a resource. HEAD is answered like GET (RFC 9110, section 9.3.2)."""
        get = getattr(resource, "on_get", None)
        if get is not None and not hasattr(resource, "on_head"):
            resource.on_head = get  # type: ignore[attr-defined]
        super().add_route(uri_template, resource, **options)


def _with_immediate_start(receive: Receive) -> Receive:
    """Return a `receive` that first yields an empty event, then the events of the original.

    Falcon handles a request only after the first part of its body. Without the empty event, a refusal would wait for
    the body, and a client that sends no body would get a 500.
    """
    started = False

    async def next_event() -> Any:
        nonlocal started
        if started:
            return await receive()
        started = True
        return _EMPTY_START

    return next_event


_EMPTY_START = {"type": "http.request", "body": b"", "more_body": True}


def _is_readable(scope: dict[str, Any]) -> bool:
    return bool(scope["query_string"].isascii() and scope["path"].startswith("/") and scope["method"] != "WEBSOCKET")


def _readable(scope: dict[str, Any]) -> dict[str, Any]:
    """Return a scope that Falcon can read.

    An absolute URL is reduced to its path (RFC 9112, section 3.2.2), the query is escaped (RFC 3986), and a method
    with a special meaning in Falcon is replaced by an unknown one.
    """
    headers = scope["headers"]
    if named := _ABSOLUTE.match(scope["path"]):
        # The host of the URL replaces the Host field (RFC 9112, section 3.2.2).
        headers = [field for field in headers if field[0] != b"host"] + [(b"host", named[1].encode("latin-1"))]
    query = quote_from_bytes(scope["query_string"], safe="=&%+").encode()
    method = "UNKNOWN" if scope["method"] == "WEBSOCKET" else scope["method"]
    path = _ABSOLUTE.sub("/", scope["path"])
    return {**scope, "path": path, "query_string": query, "method": method, "headers": headers}


_ABSOLUTE = re.compile(r"^https?://([^/]*)/?", re.IGNORECASE)


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    """Close a WebSocket before it is accepted, which answers its handshake with 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1000})


def build_dependencies(config: Settings) -> Dependencies:
    """Build the dependencies of this installation's endpoints."""
    pool = ThreadPool("responder", config.web_threads, config.web_queue, on_exit=database.close_thread_connections)
    return Dependencies(
        pool=pool,
        slow_pool=ThreadPool("slow", config.slow_threads, config.web_queue, on_exit=database.close_thread_connections),
        new_password_pool=ThreadPool(
            "choice", config.slow_threads, config.web_queue, on_exit=database.close_thread_connections
        ),
        limiter=RateLimiter(config.redis_url),
        verify=verifier(config, pool),
        key_rate=parse_rate("apiKey", config.api_key_rate),
        person_rate=parse_rate("person", config.person_rate),
        address_rate=parse_rate("address", config.address_rate),
        grants=Grants(pool, permissions.granted),
        transaction=database.transaction,
        record=trail.record,
        refusals=Refusals(pool, refusals.record, on_exit=database.close_thread_connections),
        require_recent=step_up.require_recent,
        idempotency=DatabaseIdempotencyStore(),
        jobs=JobWaiter(config.redis_url, partial(pool.run, _ended_jobs)),
        max_body_bytes=config.max_body_bytes,
        signs_in=config.auth_mode == "own",
    )


def _ended_jobs(ids: list[UUID]) -> set[UUID]:
    with database.transaction(unauthenticated()):
        return endings.ended(ids)


@runtime_checkable
class Closable(Protocol):
    """An object with threads: the pools, and some resources."""

    def open(self) -> None:
        """Start the threads."""

    def close(self, timeout: float) -> bool:
        """Stop the threads within `timeout` seconds. Return whether all have ended."""
        ...


class _Lifespan:
    """Opens and closes objects with threads. Threads and connections start with the first request."""

    def __init__(self, dependencies: Dependencies, routes: Routes) -> None:
        # Closed in this order: calls in the pools may use the threads of resources.
        self._closables: list[Closable] = [
            dependencies.pool,
            dependencies.slow_pool,
            dependencies.new_password_pool,
            dependencies.refusals,
        ]
        self._closables += [resource for _, resource in routes if isinstance(resource, Closable)]
        self._sampler: asyncio.Task[None] | None = None
        self._jobs = dependencies.jobs

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Accept requests."""
        for part in self._closables:
            part.open()
        self._sampler = asyncio.create_task(request_metrics.sample(self._closables))

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Let the threads finish their calls and close their connections."""
        if self._sampler is not None:
            self._sampler.cancel()
        self._jobs.stop()
        for part in self._closables:
            if not await asyncio.to_thread(part.close, SHUTDOWN_SECONDS):
                logger.error("%s did not end within %.0f s", type(part).__name__, SHUTDOWN_SECONDS)


def create_app(
    config: Settings = settings, dependencies: Dependencies | None = None, routes: Routes = ROUTES
) -> Application:
    """Build an application.

    Args:
        config: the settings.
        dependencies: dependencies of the endpoints; built from `config` by default.
        routes: resources by URI template.
    """
    dependencies = dependencies or build_dependencies(config)
    operations = [
        ("/healthz", health.Health()),
        ("/readyz", health.ready(config)),
        *metrics.ROUTES,
        *probes.routes(),
        *files.routes(),
    ]
    routes = [*operations, *routes]
    context = RequestContext(dependencies, config, AccessLog(enabled=config.log_level in ("DEBUG", "INFO")))
    # Answers pass them in reverse: the access log counts the compressed bytes.
    app = Application(middleware=[context, Compression(), Cors(config.cors_origins), _Lifespan(dependencies, routes)])
    request_metrics.begin()
    problems.install(app)
    for template, resource in routes:
        app.add_route(template, resource)
    pages.install(app, signs_in=dependencies.signs_in)
    error_page.install(app)
    return app


settings_check.require_fit(settings, "web")
application = create_app()
