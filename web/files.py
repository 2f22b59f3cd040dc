"""Files of the storage: uploads and downloads of the local driver, and public media of both drivers.

`PUT /files/uploads/{name}` and `GET /files/private/{name}` need a signed query string. `GET /media/{name}` is public:
it sends checked files only, because nothing else is stored in that area.
"""

import asyncio
import re
from contextlib import ExitStack
from urllib.parse import parse_qsl

from falcon.asgi import Request, Response
from falcon.routing import StaticRouteAsync

from models.assets.storage import tickets
from models.assets.storage.base import FOR_EVER, NOT_STORED, attachment
from models.assets.storage.by_url import storage
from models.assets.storage.folder import Folder, Incoming
from models.assets.types import MEDIA_TYPES
from models.core.errors import Conflict, NotFound
from models.core.messages import Message
from web.http import body
from web.http.problems import BadRequest, TooLarge, UnsupportedMediaType
from web.http.routes import Routes

REDIRECT_SECONDS = 300
"""Seconds for which a redirect to a bucket may be cached; less than the signed URL is valid."""
WRITE_BYTES = 1 << 18
"""Bytes that are collected before a thread writes them."""

_MEDIA = re.compile(r"[0-9a-f-]{36}-[0-9a-f]{16}\.([a-z0-9]{3,4})")
_HEADERS = {
    # A file of a brand must never run as a page of this origin, whatever its content is.
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
}


class AlreadyUploaded(Conflict):
    """The file has been uploaded before: the signed request is for one upload."""

    code = "already_uploaded"


class Media:
    """`/media/{name}`: public files, which never change."""

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Send a public file, or a part of it (`Range`).

        Raises:
            NotFound: there is no such file.
        """
        found = _MEDIA.fullmatch(name)
        if not found or found[1] not in MEDIA_TYPES:
            raise NotFound
        resp.set_headers(_HEADERS)
        store = storage()
        if not isinstance(store, Folder):
            resp.status = 307
            resp.location = store.public_url(name) or ""
            resp.set_header("Cache-Control", f"public, max-age={REDIRECT_SECONDS}")
            return
        await StaticRouteAsync("/media", store.root / "media")(req, resp)
        resp.set_header("Cache-Control", FOR_EVER)
        resp.content_type = MEDIA_TYPES[found[1]]


class PrivateFile:
    """`/files/private/{name}`: a private file, by a signed URL."""

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        """Send a private file under its name.

        Raises:
            LinkInvalid: the URL is not signed for this file, or has expired.
            NotFound: the file was deleted.
        """
        store = _folder()
        signed = tickets.verify("GET", f"private/{name}", dict(parse_qsl(req.query_string)))
        await StaticRouteAsync("/files/private", store.root / "private")(req, resp)
        resp.set_headers(_HEADERS)
        resp.set_header("Cache-Control", NOT_STORED)
        resp.set_header("Content-Disposition", attachment(signed["name"]))
        resp.content_type = signed["type"]


class Upload:
    """`/files/uploads/{name}`: the upload of a file, by a signed URL."""

    async def on_put(self, req: Request, resp: Response, name: str) -> None:
        """Receive a file of the signed type and size.

        Raises:
            LinkInvalid: the URL is not signed for this file, or has expired.
            UnsupportedMediaType: the type is another one than the signed one.
            TooLarge, BadRequest: the size is another one than the signed one.
            AlreadyUploaded: there is a file already.
        """
        store, key = _folder(), f"uploads/{name}"
        signed = tickets.verify("PUT", key, dict(parse_qsl(req.query_string)))
        size = int(signed["size"])
        if req.content_type != signed["type"]:
            raise UnsupportedMediaType(Message("Send the file as {media}.", media=signed["type"]))
        if req.content_length is not None and req.content_length > size:
            raise TooLarge(Message("The body has more than {most} bytes.", most=size))
        path = store.path(key)
        if path.exists():
            raise AlreadyUploaded
        with ExitStack() as stack:
            incoming = await asyncio.to_thread(stack.enter_context, Incoming(path))
            await _receive(req, incoming, size)
            try:
                await asyncio.to_thread(incoming.create)
            except FileExistsError:
                raise AlreadyUploaded from None
        resp.status = 201


async def _receive(req: Request, incoming: Incoming, size: int) -> None:
    """Write the body to a file as it arrives; hold no more than `WRITE_BYTES` of it in memory."""
    collected = bytearray()
    received = 0
    async for data in body.chunks(req):
        received += len(data)
        if received > size:
            raise TooLarge(Message("The body has more than {most} bytes.", most=size))
        collected += data
        if len(collected) >= WRITE_BYTES:
            await asyncio.to_thread(incoming.write, bytes(collected))
            collected.clear()
    if received < size:
        raise BadRequest("The body ended before its announced length.")
    await asyncio.to_thread(incoming.write, bytes(collected))


def _folder() -> Folder:
    store = storage()
    if not isinstance(store, Folder):
        raise NotFound
    return store


def routes() -> Routes:
    """Return the routes of files."""
    return [
        ("/media/{name}", Media()),
        ("/files/private/{name}", PrivateFile()),
        ("/files/uploads/{name}", Upload()),
    ]
