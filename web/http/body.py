"""Read request bodies in the event loop, up to a size or part by part, and within a time limit."""

import asyncio
from collections.abc import AsyncIterator

from falcon.asgi import Request

from models.core.errors import Malformed
from models.core.messages import Message
from web.http.problems import TooLarge, TooSlow, UnsupportedMediaType

SECONDS = 20.0
"""Seconds in which a whole body has to arrive."""

STALL_SECONDS = 8.0
"""Seconds in which `LEAST_BYTES` more of a body have to arrive, or the rest of it."""

LEAST_BYTES = 1024

MERGE_PATCH = "application/merge-patch+json"
"""Media type of RFC 7396. Bodies of PATCH are merge patches, whichever of the two types they declare."""

STREAM_LEAST_BYTES = 65_536
"""Bytes of an uploaded file that have to arrive within `STALL_SECONDS`."""


async def read_json_bytes(req: Request, max_bytes: int) -> bytes:
    """Return the bytes of a JSON body.

    Raises:
        TooLarge: more than `max_bytes`, announced or sent in chunks.
        UnsupportedMediaType: not declared as uncompressed JSON in UTF-8.
        TooSlow: it did not arrive within `SECONDS`, or less than `LEAST_BYTES` of it within `STALL_SECONDS`.
        Malformed: the client went away in the middle.
    """
    length = req.content_length
    if length is not None and length > max_bytes:
        raise TooLarge(Message("The body has more than {most} bytes.", most=max_bytes))
    if length != 0 or req.content_type is not None:
        _require_json(req)
    try:
        async with asyncio.timeout(min(STALL_SECONDS, SECONDS)) as limit:
            body = await _read(req, max_bytes, limit)
    except TimeoutError:
        raise TooSlow(
            Message(
                "Send the whole body within {seconds:.0f} s, and {least} bytes of it within {stall:.0f} s.",
                seconds=SECONDS,
                least=LEAST_BYTES,
                stall=STALL_SECONDS,
            )
        ) from None
    if length is not None and len(body) != length:
        raise Malformed("The body ended before its announced length.")
    return body


async def chunks(req: Request) -> AsyncIterator[bytes]:
    """Yield the parts of a body of any size as they arrive.

    Raises:
        TooSlow: less than `STREAM_LEAST_BYTES` arrived within `STALL_SECONDS`.
        Malformed: the client went away in the middle.
    """
    receive = req._receive  # noqa: SLF001 (see `_read`)
    loop = asyncio.get_running_loop()
    deadline, arrived, more = loop.time() + STALL_SECONDS, 0, True
    while more:
        try:
            async with asyncio.timeout_at(deadline) as limit:
                event = await receive()
        except TimeoutError:
            raise _too_slow(STREAM_LEAST_BYTES) from None
        if limit.expired():  # see `_read`
            raise _too_slow(STREAM_LEAST_BYTES)
        if event["type"] == "http.disconnect":
            raise Malformed("The body ended before its announced length.")
        data = event.get("body", b"")
        arrived += len(data)
        if arrived >= STREAM_LEAST_BYTES:
            deadline, arrived = loop.time() + STALL_SECONDS, 0
        more = event.get("more_body", False)
        yield data


def _too_slow(least: int) -> TooSlow:
    return TooSlow(Message("Send {least} bytes of the body within {stall:.0f} s.", least=least, stall=STALL_SECONDS))


async def _read(req: Request, max_bytes: int, limit: asyncio.Timeout) -> bytes:
    # Falcon's stream ends in the same way after a complete body and after a disconnect.
    receive = req._receive  # noqa: SLF001
    loop = asyncio.get_running_loop()
    latest, marked = loop.time() + SECONDS, 0
    body, more = bytearray(), True
    while more:
        event = await receive()
        if limit.expired():
            # Gunicorn uses `asyncio.wait_for`. In Python 3.11 it loses a cancellation if a byte arrives at the same
            # moment: without this check, a client that keeps sending would be read without end.
            raise TimeoutError
        if event["type"] == "http.disconnect":
            raise Malformed("The body ended before its announced length.")
        body += event.get("body", b"")
        if len(body) > max_bytes:
            raise TooLarge(Message("The body has more than {most} bytes.", most=max_bytes))
        if len(body) - marked >= LEAST_BYTES:
            marked = len(body)
            limit.reschedule(min(loop.time() + STALL_SECONDS, latest))
        more = event.get("more_body", False)
    return bytes(body)


def _require_json(req: Request) -> None:
    declared = req.content_type
    if declared is None and req.content_length is None and not req.get_header("Transfer-Encoding"):
        return  # no body counts as an empty body
    if declared != "application/json":
        media_type, _, parameters = (declared or "").partition(";")
        charset = parameters.strip().lower().replace('"', "")
        accepted = ("application/json", MERGE_PATCH) if req.method == "PATCH" else ("application/json",)
        if media_type.strip().lower() not in accepted or charset not in ("", "charset=utf-8"):
            raise UnsupportedMediaType("Send the body as application/json in UTF-8.")
    if (req.get_header("Content-Encoding") or "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without `Content-Encoding`: compressed bodies are not accepted.")
    if (req.get_header("Transfer-Encoding") or "chunked").strip().lower() != "chunked":
        raise UnsupportedMediaType(
            "Send the body with `Transfer-Encoding: chunked` or with a length: no other coding is accepted."
        )
