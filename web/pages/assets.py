"""Files that pages load: the files of `web/static`, and the bundle of Scalar.

The URL of an asset contains a hash of its content, so browsers keep it for a year, and a new version has a new URL.
"""

import hashlib
import re
from importlib import resources
from pathlib import Path

from falcon.asgi import Request, Response

from models.core.errors import NotFound
from web.http.compression import Kept, send_kept
from web.http.preconditions import etag, not_modified

STATIC = Path(__file__).parents[1] / "static"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
}
SCALAR = "scalar.js"
FOR_EVER = "public, max-age=31536000, immutable"
_LINK = re.compile(r"/static/([\w-]+)(\.\w+)")
_URL = re.compile(r"([\w-]+?)(?:\.([0-9a-f]{16}))?(\.\w+)")


class Asset:
    """A file with its media type and the hash of its content."""

    def __init__(self, name: str, content: bytes) -> None:
        path = Path(name)
        self.kept = Kept(content)
        self.media_type = TYPES[path.suffix]
        self.version = hashlib.sha256(content).hexdigest()[:16]
        self.url = f"/static/{path.stem}.{self.version}{path.suffix}"


def load() -> dict[str, Asset]:
    """Return all assets by name."""
    files = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}
    bundle = resources.files("flask_openapi_scalar") / "templates" / "scalar" / "js" / "scalar.standalone.js"
    return {name: Asset(name, content) for name, content in (files | {SCALAR: bundle.read_bytes()}).items()}


class Assets:
    """`/static/{name}`: the assets, by their name with or without the hash."""

    def __init__(self, assets: dict[str, Asset], headers: dict[str, str]) -> None:
        self._assets = assets
        self._headers = headers

    def link(self, html: str) -> str:
        """Return a page whose `/static/NAME` are the URLs with hashes."""
        return _LINK.sub(lambda found: self._assets[found[1] + found[2]].url, html)

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Send an asset.

        A hash of another version gets the present content: the page may be of a process of the previous release.

        Raises:
            NotFound: no asset has this name.
        """
        found = _URL.fullmatch(name)
        asset = self._assets.get(found[1] + found[3]) if found else None
        if not found or not asset:
            raise NotFound
        is_present = found[2] == asset.version
        await _send(req, resp, asset, {**self._headers, "cache-control": FOR_EVER if is_present else "no-cache"})


class Icon:
    """`/favicon.ico`, which browsers request for pages that name no icon, such as the OpenAPI document."""

    def __init__(self, asset: Asset, headers: dict[str, str]) -> None:
        self._asset = asset
        self._headers = {**headers, "cache-control": "public, max-age=86400"}

    async def on_get(self, req: Request, resp: Response) -> None:
        """Send the icon."""
        await _send(req, resp, self._asset, self._headers)


async def _send(req: Request, resp: Response, asset: Asset, headers: dict[str, str]) -> None:
    """Send an asset with these headers, or 304 if the client has it."""
    resp.set_headers(headers)
    etag(resp, asset.version)
    if not_modified(req, resp):
        resp.status = 304
        return
    resp.content_type = asset.media_type
    send_kept(resp, asset.kept)
