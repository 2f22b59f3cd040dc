"""Middleware of all requests: ids, limits of the head, security headers, CORS, the access log."""

import re
import time
from collections.abc import Mapping
from typing import Any

from falcon.asgi import Request, Response

from models.core.context import RequestInfo, set_request_info
from models.core.errors import NotFound
from models.core.messages import Message
from settings import Settings
from web.http.access_log import AccessLog
from web.http.client_address import Proxies
from web.http.dependencies import Dependencies
from web.http.problems import BadRequest, HeadersTooLarge, Misdirected, UriTooLong
from web.http.request_metrics import measure
from web.http.trace import continue_trace, new_id, valid_id

MAX_URL_BYTES = 4096
MAX_HEADER_BYTES = 16_384
MAX_USER_AGENT = 300

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

PROBES = re.compile(r"/healthz(/.*)?|/readyz|/metrics")
"""Paths that health checks and scrapers request by a process's address, without one of our host names."""

_PORT = re.compile(rb":[0-9]*\Z")
_HOST = re.compile(rb"[A-Za-z0-9.:%\[\]!$&'()*+,;=_~-]*")

API_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
ALLOWED_HEADERS = (
    "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, traceparent,"
    " x-correlation-id, x-request-id"
)
EXPOSED_HEADERS = (
    "location, etag, retry-after, ratelimit, ratelimit-policy, idempotent-replayed, deprecation, sunset, link,"
    " x-correlation-id, x-request-id"
)


def security_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every answer, also of those that the server sends without the application."""
    if settings.public_url.startswith("https:"):
        return API_HEADERS | {"strict-transport-security": "max-age=63072000; includeSubDomains"}
    return API_HEADERS


class RequestContext:
    """Sets the ids of each request and the common headers of each response."""

    def __init__(self, dependencies: Dependencies, settings: Settings, access_log: AccessLog) -> None:
        self._kit = dependencies
        self._proxies = Proxies(settings.trusted_proxies, settings.proxy_networks)
        self._log = access_log
        self._hosts = settings.hosts
        self._headers = security_headers(settings)

    async def process_request(self, req: Request, resp: Response) -> None:
        """Set ids and client address, then check host and size of the head."""
        req.context.started = time.perf_counter()
        req.context.dependencies = self._kit
        req.context.identity = None
        request_id = valid_id(req.get_header("X-Request-Id")) or new_id()
        info = RequestInfo(
            request_id=request_id,
            correlation_id=valid_id(req.get_header("X-Correlation-Id")) or request_id,
            traceparent=continue_trace(req.get_header("traceparent"), request_id),
            address=self._address(req),
            user_agent=_CONTROL.sub("", req.user_agent or "")[:MAX_USER_AGENT],
        )
        req.context.info = info
        set_request_info(info)
        _require_host(req, self._hosts)
        _require_small_head(req)
        if "\x00" in req.path:
            raise NotFound  # no route contains NUL, and PostgreSQL refuses it

    def _address(self, req: Request) -> str:
        # Health checks and scrapers bypass the proxies: do not warn about them.
        report = not PROBES.fullmatch(req.path)
        return self._proxies.client_address(_peer(req), req.get_header("X-Forwarded-For"), report=report)

    async def process_response(self, req: Request, resp: Response, resource: Any, req_succeeded: bool) -> None:
        """Set the common headers and write the access log."""
        info: RequestInfo = req.context.info
        present = resp.headers
        resp.set_headers({name: value for name, value in self._headers.items() if name not in present})
        resp.set_header("X-Request-Id", info.request_id)
        resp.set_header("X-Correlation-Id", info.correlation_id)
        measure(req, resp, resource)
        self._log.write(req, resp, info)

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Flush the access log."""
        self._log.flush()


def _peer(req: Request) -> str:
    client = req.scope.get("client")
    return str(next(iter(client))) if client else ""  # ASGI guarantees only an iterable


def _require_host(req: Request, ours: frozenset[str]) -> None:
    """Refuse a request with no host, several hosts, or a host that is not ours (RFC 9112, section 3.2).

    An empty host counts as one. Health checks and scrapers use the address of a process: their paths accept
    any host.
    """
    host = req._asgi_headers.get(b"host")  # noqa: SLF001
    if host is None:
        if req.scope["http_version"] == "1.1":
            raise BadRequest("Send a Host field.")
    elif not _HOST.fullmatch(host):
        raise BadRequest("The Host field is not a valid host.")
    if ours and not PROBES.fullmatch(req.path) and _name_of(host or b"") not in ours:
        raise Misdirected


def _name_of(host: bytes) -> str:
    """Return the host name in lower case, without port and final dot."""
    return _PORT.sub(b"", host).rstrip(b".").lower().decode("ascii")


def _require_small_head(req: Request) -> None:
    if len(req.path) + len(req.query_string) > MAX_URL_BYTES:
        raise UriTooLong(Message("The URL has more than {most} bytes.", most=MAX_URL_BYTES))
    size = 0
    for name, value in req._asgi_headers.items():  # noqa: SLF001  (`req.headers` would decode all of them)
        size += len(name) + len(value)
    if size > MAX_HEADER_BYTES:
        raise HeadersTooLarge(Message("The header fields have more than {most} bytes.", most=MAX_HEADER_BYTES))


class Cors:
    """Allows pages of configured origins to call the API. There are no cookies, so credentials are not allowed."""

    def __init__(self, origins: str) -> None:
        self._origins = {origin.strip() for origin in origins.split(",") if origin.strip()}

    async def process_response(self, req: Request, resp: Response, resource: Any, req_succeeded: bool) -> None:
        """Set the CORS headers for an allowed origin."""
        if not self._origins:
            return
        resp.append_header("Vary", "Origin")
        origin = req.get_header("Origin")
        if origin not in self._origins:
            return
        resp.set_header("Access-Control-Allow-Origin", origin)
        resp.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.set_headers(
                {
                    "Access-Control-Allow-Methods": resp.get_header("Allow") or "",
                    "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                    "Access-Control-Max-Age": "600",
                }
            )
        else:
            resp.set_header("Access-Control-Expose-Headers", EXPOSED_HEADERS)
