"""`ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13): nobody overwrites what they haven't seen."""

from datetime import datetime

from falcon import ETag
from falcon.asgi import Request, Response

from models.core.errors import PreconditionFailed, Problem


class PreconditionRequired(Problem):
    """The change would be made blindly."""

    code = "precondition_required"


def etag(resp: Response, version: object) -> None:
    """Tell the client which version it got: a counter, a timestamp, anything whose text has no quotes."""
    resp.etag = ETag(_tag(version))


def require_match(req: Request, version: object, *, required: bool = False) -> None:
    """Hold the request's `If-Match` against the current version.

    Raises:
        PreconditionFailed: the client means another version.
        PreconditionRequired: it doesn't say which one it means, and `required` says that it has to.
    """
    condition = req.get_header("If-Match")
    if condition is None:
        if required:
            raise PreconditionRequired
        return
    if condition.strip() == "*":
        return
    # A condition that can't be read is one that isn't met: whoever states one doesn't want to overwrite blindly.
    tags = [tag for tag in req.if_match or () if isinstance(tag, ETag) and not tag.is_weak]
    if _tag(version) not in tags:
        raise PreconditionFailed


def not_modified(req: Request, resp: Response) -> bool:
    """Whether the client has what would be sent."""
    tag = resp.get_header("ETag")
    tags = req.if_none_match
    if not tag or not tags:
        return False
    return any(known == "*" or f'"{known}"' == tag for known in tags)


def _tag(version: object) -> str:
    return version.isoformat() if isinstance(version, datetime) else str(version)
