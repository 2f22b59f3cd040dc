"""Reading a request's body in the event loop, and no more of it than allowed."""

from falcon.asgi import Request

from models.errors import Malformed
from web.problems import TooLarge, UnsupportedMediaType


async def read_json_bytes(req: Request, max_bytes: int) -> bytes:
    """The body's bytes.

    Raises:
        TooLarge: more than `max_bytes`, announced or sent in chunks.
        UnsupportedMediaType: not declared as uncompressed JSON in UTF-8.
        Malformed: the client went away in the middle.
    """
    length = req.content_length
    if length is not None and length > max_bytes:
        raise TooLarge(f"More than {max_bytes} bytes.")
    if length != 0 or req.content_type is not None:
        _require_json(req)
    body = await (_read(req, max_bytes) if length is None else req.stream.readall())
    if length is not None and len(body) != length:
        raise Malformed("The body ended early.")
    return body


async def _read(req: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in req.stream:
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"More than {max_bytes} bytes.")
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
