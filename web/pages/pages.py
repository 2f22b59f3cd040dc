"""The pages that the API serves itself: its documentation, and what mails and codes link to. All comes from here."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from falcon.asgi import App, Request, Response

from models.core.errors import NotFound
from web.http.negotiation import preferred_type
from web.http.preconditions import etag, not_modified
from web.openapi.document import document
from web.pages import mail_pages

STATIC = Path(__file__).parents[1] / "static"

PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "permissions-policy": "camera=(), display-capture=(), geolocation=(self), microphone=(), payment=(), usb=()",
    "cache-control": "no-cache",
    "x-robots-tag": "noindex",
}
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""What `POST /api/v1/qr/scan` takes as a code, as far as it is base64url."""
MAIL_LINK = "mail-link.html"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class File:
    """One file of `web/static`, read once; `content` stands in for what is in it."""

    def __init__(self, name: str, content: bytes | None = None) -> None:
        self._content = (STATIC / name).read_bytes() if content is None else content
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


class Scan:
    """`/s/{token}`: what a phone opens that has read a code. Whether the token is ours, the scan is told."""

    def __init__(self) -> None:
        self._file = File("scan.html")

    async def on_get(self, req: Request, resp: Response, token: str) -> None:
        """Send the page, also for a token that has been cut short: it can say so in words.

        Raises:
            NotFound: no token has such letters, or so many.
        """
        if not TOKEN.fullmatch(token):
            raise NotFound
        await self._file.on_get(req, resp)


class MailLink:
    """A page that mails link to, in the language of the mail: `?lang=es`, or English."""

    def __init__(self, template: str, page: Mapping[str, mail_pages.MailPage]) -> None:
        self._files = {language: File(MAIL_LINK, one.render(template, language)) for language, one in page.items()}

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send the page. The token is in the fragment of the link, so no request contains it."""
        language = req.get_param("lang", default=mail_pages.ENGLISH)
        await self._files.get(language, self._files[mail_pages.ENGLISH]).on_get(req, resp)


class Root:
    """`/`: where to go from here."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send people to the documentation, and tell programs where everything is."""
        resp.append_header("Vary", "Accept")
        if preferred_type(req, "application/json", "text/html") == "text/html":
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


async def _redirect_without_slash(req: Request, resp: Response) -> None:
    """Redirect a page's URL that ends in a slash, as scanners and mail programs write it, to the page."""
    resp.status = 308
    resp.location = req.path.rstrip("/") + (f"?{req.query_string}" if req.query_string else "")


def install(app: App[Any, Any], *, signs_in: bool) -> None:
    """Add the pages to `app`; `signs_in`: people sign in here, and not at somebody else's."""
    app.add_route("/", Root())
    app.add_route("/api/v1/openapi.json", OpenApi(app))
    app.add_route("/docs", File("docs.html"))
    template = (STATIC / MAIL_LINK).read_text(encoding="utf-8")
    mail_links = mail_pages.pages(signs_in=signs_in)
    for name, page in mail_links.items():
        app.add_route(f"/{name}", MailLink(template, page))
    app.add_route("/s/{token}", Scan())
    names = "|".join(map(re.escape, ("docs", *mail_links)))
    pattern = re.compile(rf"/(?:{names}|s/{TOKEN.pattern})/\Z")
    app.add_sink(_redirect_without_slash, pattern)  # type: ignore[arg-type]  # it would have no `resp` for a WebSocket
    scripts = ("docs.js", "mail-link.js", "scan.js", "scan-client.js", "scan-words.js")
    for name in (*scripts, "docs.css", "pages.css", "scan.css"):
        app.add_route(f"/static/{name}", File(name))
