"""Reading a request's body in the event loop, and no more of it than allowed."""

import asyncio

from falcon.asgi import Request

from models.core.errors import Malformed
from web.http.problems import TooLarge, TooSlow, UnsupportedMediaType

SECONDS = 20.0
"""That a body has to arrive in, however slow the network is."""

STALL_SECONDS = 8.0
"""Seconds in which `LEAST_BYTES` more of a body have to arrive, or the rest of it."""

LEAST_BYTES = 1024


async def read_json_bytes(req: Request, max_bytes: int) -> bytes:
    """The body's bytes.

    Raises:
        TooLarge: more than `max_bytes`, announced or sent in chunks.
        UnsupportedMediaType: not declared as uncompressed JSON in UTF-8.
        TooSlow: it did not arrive within `SECONDS`, or less than `LEAST_BYTES` of it within `STALL_SECONDS`.
        Malformed: the client went away in the middle.
    """
    length = req.content_length
    if length is not None and length > max_bytes:
        raise TooLarge(f"More than {max_bytes} bytes.")
    if length != 0 or req.content_type is not None:
        _require_json(req)
    try:
        async with asyncio.timeout(min(STALL_SECONDS, SECONDS)) as limit:
            body = await _read(req, max_bytes, limit)
    except TimeoutError:
        raise TooSlow(f"No whole body within {SECONDS:.0f} s, or too little within {STALL_SECONDS:.0f} s.") from None
    if length is not None and len(body) != length:
        raise Malformed("The body ended early.")
    return body


async def _read(req: Request, max_bytes: int, limit: asyncio.Timeout) -> bytes:
    # Falcon's stream ends in the same way whether the body does or the client has gone.
    receive = req._receive  # noqa: SLF001
    loop = asyncio.get_running_loop()
    latest, marked = loop.time() + SECONDS, 0
    body, more = bytearray(), True
    while more:
        event = await receive()
        if limit.expired():
            # Gunicorn waits with `asyncio.wait_for`, which Python 3.11 lets forget that it was cancelled when a byte
            # comes at that very moment: whoever sends one all the time would be read for ever.
            raise TimeoutError
        if event["type"] == "http.disconnect":
            raise Malformed("The body ended early.")
        body += event.get("body", b"")
        if len(body) > max_bytes:
            raise TooLarge(f"More than {max_bytes} bytes.")
        if len(body) - marked >= LEAST_BYTES:
            marked = len(body)
            limit.reschedule(min(loop.time() + STALL_SECONDS, latest))
        more = event.get("more_body", False)
    return bytes(body)


def _require_json(req: Request) -> None:
    declared = req.content_type
    if declared is None and req.content_length is None and not req.get_header("Transfer-Encoding"):
        return  # no body at all, which is an empty one
    if declared != "application/json":
        media_type, _, parameters = (declared or "").partition(";")
        charset = parameters.strip().lower().replace('"', "")
        if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
            raise UnsupportedMediaType
    if (req.get_header("Content-Encoding") or "identity").lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not taken.")
    if (req.get_header("Transfer-Encoding") or "chunked").strip().lower() != "chunked":
        raise UnsupportedMediaType("The only transfer coding that is taken is chunked.")
