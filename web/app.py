"""The composition root of the web tier: `application` is what gunicorn serves."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote_from_bytes

import falcon.asgi

from models import audit, db, permissions, tokens
from models.context import Identity, of_claims
from settings import Settings, settings
from web import health, pages, problems
from web.grants import Grants
from web.idempotency import InDatabase
from web.kit import Kit
from web.limits import Limiter
from web.logs import AccessLog
from web.middleware import Context, Cors
from web.pool import Pool
from web.v1 import ROUTES

SHUTDOWN_SECONDS = 10.0

Routes = Iterable[tuple[str, object]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application(falcon.asgi.App[Any, Any]):
    """Falcon's application, made safe against request lines that Falcon can't read."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serve one connection of the ASGI protocol."""
        if scope["type"] == "http" and not scope["query_string"].isascii():
            # RFC 3986 knows no such bytes; escaped, they are an invalid parameter instead of a crash.
            scope = {**scope, "query_string": quote_from_bytes(scope["query_string"], safe="=&%+").encode()}
        await super().__call__(scope, receive, send)


def kit_of(config: Settings) -> Kit:
    """The collaborators of this installation's endpoints."""
    pool = Pool("responder", config.web_threads, config.web_queue, on_exit=db.close_thread)
    return Kit(
        pool=pool,
        slow_pool=Pool("slow", config.slow_threads, config.web_queue, on_exit=db.close_thread),
        limiter=Limiter(config.redis_url),
        verify=_identity_of,
        grants=Grants(pool, permissions.allowed),
        transaction=db.transaction,
        record=audit.record,
        idempotency=InDatabase(),
        max_body_bytes=config.max_body_bytes,
    )


def _identity_of(token: str) -> Identity:
    return of_claims(tokens.verify(token))


class _Lifespan:
    """Begins and ends what the application works with. Threads and connections come with the first request."""

    def __init__(self, kit: Kit, ready: health.Ready) -> None:
        self._kit = kit
        self._ready = ready

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Admit requests."""
        for pool in (self._kit.pool, self._kit.slow_pool, self._ready):
            pool.open()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Let the threads finish what they do, and close their connections."""
        for pool in (self._kit.pool, self._kit.slow_pool):
            await asyncio.to_thread(pool.close, SHUTDOWN_SECONDS)
        await asyncio.to_thread(self._ready.close)


def create_app(config: Settings = settings, kit: Kit | None = None, routes: Routes = ROUTES) -> Application:
    """Put an application together.

    Args:
        config: its settings.
        kit: what its endpoints stand on; made from `config` by default.
        routes: its resources by URI template.
    """
    kit = kit or kit_of(config)
    ready = health.ready(config)
    context = Context(kit, config, AccessLog(enabled=config.log_level in ("DEBUG", "INFO")))
    app = Application(middleware=[context, Cors(config.cors_origins), _Lifespan(kit, ready)])
    problems.install(app)
    app.add_route("/healthz", health.Health())
    app.add_route("/readyz", ready)
    for template, resource in routes:
        app.add_route(template, resource)
    pages.install(app)
    return app


application = create_app()
