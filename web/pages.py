"""The pages that the API serves itself: its documentation, and what mails link to. Nothing comes from elsewhere."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from falcon.asgi import App, Request, Response

from web.openapi import document
from web.preconditions import etag, not_modified

STATIC = Path(__file__).parent / "static"

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "x-robots-tag": "noindex",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class File:
    """One file of `web/static`, read once."""

    def __init__(self, name: str) -> None:
        self._content = (STATIC / name).read_bytes()
        self._type = f"{TYPES[Path(name).suffix]}; charset=utf-8"
        self._version = hashlib.sha256(self._content).hexdigest()[:16]

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send it, unless the browser has it."""
        resp.set_headers(PAGE_HEADERS)
        etag(resp, self._version)
        if not_modified(req, resp):
            resp.status = 304
            return
        resp.content_type = self._type
        resp.data = self._content


class Root:
    """`/`: where to go from here."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send people to the documentation, and tell programs where everything is."""
        if "text/html" in req.accept:
            resp.status = 303
            resp.location = "/docs"
            return
        resp.content_type = "application/json"
        resp.data = msgspec.json.encode(
            {"name": "Compañon", "docs": "/docs", "openapi": "/api/v1/openapi.json", "health": "/healthz"}
        )


class OpenApi:
    """`/api/v1/openapi.json`: the document, made once, when it is first asked for."""

    def __init__(self, app: App[Any, Any]) -> None:
        self._app = app
        self._content: bytes | None = None

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send the document."""
        if self._content is None:
            self._content = msgspec.json.encode(document(self._app))
        resp.set_header("Cache-Control", "no-cache")
        etag(resp, hashlib.sha256(self._content).hexdigest()[:16])
        if not_modified(req, resp):
            resp.status = 304
            return
        resp.content_type = "application/json"
        resp.data = self._content


def install(app: App[Any, Any]) -> None:
    """Add the pages to `app`."""
    app.add_route("/", Root())
    app.add_route("/api/v1/openapi.json", OpenApi(app))
    app.add_route("/docs", File("docs.html"))
    app.add_route("/verify-email", File("verify-email.html"))
    app.add_route("/accept-invitation", File("accept-invitation.html"))
    for name in ("docs.js", "docs.css", "pages.css", "mail-link.js"):
        app.add_route(f"/static/{name}", File(name))
