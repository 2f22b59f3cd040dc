"""Compression of answers: zstd or gzip, as the client prefers (RFC 9110, section 12.5.3).

Compressed are texts of 1 kB and more that exist as a whole. Streams are not, and neither are answers with a secret:
the length of a compressed secret beside text that an attacker chooses betrays it (BREACH). An answer has another
ETag in each coding, because a strong ETag names bytes; `web.http.preconditions` treats them as one version.
"""

import asyncio
import sys
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from falcon.asgi import Request, Response

from web.http.endpoint_spec import EndpointSpec, spec_of
from web.http.preconditions import coded_tag, matched_tag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIN_BYTES = 1024
"""Smaller answers fit into one packet anyway."""
LOOP_BYTES = 65_536
"""Larger answers are compressed in a thread: they would delay other requests for more than a millisecond."""
TEXTS = frozenset(
    {"application/json", "application/problem+json", "application/javascript", "image/svg+xml", "application/xml"}
)
"""Media types that are compressed, beside `text/*`."""

Compress = Callable[[bytes, bool], bytes]


def _gzip(data: bytes, once: bool) -> bytes:
    # Not the gzip module: it writes the time into the header, and equal answers would have different bytes.
    compressor = zlib.compressobj(9 if once else 1, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


def _zstd(data: bytes, once: bool) -> bytes:
    return zstd.compress(data, 12 if once else 1)


CODINGS: dict[str, Compress] = {"zstd": _zstd, "gzip": _gzip}
"""The codings, the one that costs least first: it is chosen if the client has no preference."""


class Kept:
    """A constant answer. It is compressed when it is first asked for, and kept in each coding."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._coded: dict[str, bytes] = {}

    async def coded(self, coding: str) -> bytes:
        """Return the content in a coding."""
        if coding not in self._coded:
            self._coded[coding] = await asyncio.to_thread(CODINGS[coding], self.content, True)
        return self._coded[coding]


def send_kept(resp: Response, kept: Kept) -> None:
    """Send a constant answer."""
    resp.data = kept.content
    resp.context.kept = kept


class Compression:
    """Middleware that compresses answers. The access log, which counts their bytes, comes after it."""

    async def process_response(self, req: Request, resp: Response, resource: Any, req_succeeded: bool) -> None:
        """Compress the answer if it may be, is worth it, and the client accepts a coding."""
        data = resp.data
        if resp.status_code == 304:
            _repeat_tag(req, resp)
            return
        if data is None or len(data) < MIN_BYTES or not _is_text(resp.content_type or ""):
            return
        if resp.get_header("Content-Encoding") or holds_secret(spec_of(resource, req.method)):
            return
        resp.append_header("Vary", "Accept-Encoding")
        coding = preferred_coding(req.get_header("Accept-Encoding") or "")
        if coding is None:
            return
        resp.data = await _compressed(getattr(resp.context, "kept", None), data, coding)
        resp.set_header("Content-Encoding", coding)
        if tag := resp.get_header("ETag"):
            resp.set_header("ETag", coded_tag(tag, coding))


async def _compressed(kept: Kept | None, data: bytes, coding: str) -> bytes:
    if kept is not None:
        return await kept.coded(coding)
    if len(data) > LOOP_BYTES:
        return await asyncio.to_thread(CODINGS[coding], data, False)
    return CODINGS[coding](data, False)


def holds_secret(spec: EndpointSpec | None) -> bool:
    """Return whether the answers of an endpoint may hold a token, key, code or link."""
    return spec is not None and (spec.credentials or spec.own_sign_in or spec.secret)


def _repeat_tag(req: Request, resp: Response) -> None:
    """Let a 304 name the client's own copy: it has the ETag that the answer would have (RFC 9110, section 15.4.5)."""
    tag = matched_tag(req, resp)
    if tag is not None and tag != resp.get_header("ETag"):
        resp.set_header("ETag", tag)
        resp.append_header("Vary", "Accept-Encoding")


@lru_cache(maxsize=64)
def _is_text(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media in TEXTS or (media.startswith("text/") and media != "text/event-stream")


@lru_cache(maxsize=256)
def preferred_coding(accepted: str) -> str | None:
    """Return the coding of an answer for this `Accept-Encoding`; None for none.

    A malformed weight counts as 0: the client may not be able to read the coding.
    """
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        weights[name.strip()] = _weight(parameter)
    offered = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(offered, key=lambda coding: offered[coding])
    return best if offered[best] > 0 and offered[best] >= weights.get("identity", 0.0) else None


def _weight(parameter: str) -> float:
    if not parameter.strip():
        return 1.0
    name, _, text = parameter.partition("=")
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if name.strip() == "q" and 0 <= weight <= 1 else 0.0
