"""`ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13): protection against lost updates."""

from datetime import datetime

from falcon import ETag
from falcon.asgi import Request, Response

from models.core.errors import PreconditionFailed, Problem


class PreconditionRequired(Problem):
    """The request has no `If-Match`, so it could overwrite a version that the client has not read."""

    code = "precondition_required"


def etag(resp: Response, version: object) -> None:
    """Set the `ETag` of an answer to a version: a counter, a timestamp, or another text without quotes."""
    resp.etag = ETag(_tag(version))


def require_match(req: Request, version: object, *, required: bool = False) -> None:
    """Compare the request's `If-Match` with the current version.

    Raises:
        PreconditionFailed: `If-Match` names another version.
        PreconditionRequired: there is no `If-Match`, and `required` is true.
    """
    condition = req.get_header("If-Match")
    if condition is None:
        if required:
            raise PreconditionRequired
        return
    if condition.strip() == "*":
        return
    # A malformed condition counts as unmet: its client must not overwrite an unknown version.
    tags = [tag for tag in req.if_match or () if isinstance(tag, ETag) and not tag.is_weak]
    if _tag(version) not in tags:
        raise PreconditionFailed


def not_modified(req: Request, resp: Response) -> bool:
    """Return whether the client has the current version."""
    tag = resp.get_header("ETag")
    tags = req.if_none_match
    if not tag or not tags:
        return False
    return any(known == "*" or f'"{known}"' == tag for known in tags)


def _tag(version: object) -> str:
    return version.isoformat() if isinstance(version, datetime) else str(version)
