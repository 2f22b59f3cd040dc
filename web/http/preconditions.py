"""`ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13): protection against lost updates."""

from datetime import datetime

from falcon import ETag
from falcon.asgi import Request, Response

from models.core.errors import PreconditionFailed, Problem

SEPARATOR = ";"
"""Between version and coding in an ETag. Versions contain none."""

DETAIL = "~"
"""Between a version and what the answer shows besides the record. Versions contain none."""


class PreconditionRequired(Problem):
    """The request has no `If-Match`, so it could overwrite a version that the client has not read."""

    code = "precondition_required"


def etag(resp: Response, version: object, *details: str) -> None:
    """Set the `ETag` of an answer to a version: a counter, a timestamp, or another text without quotes.

    Args:
        resp: the answer.
        version: of the record; `If-Match` compares it.
        details: texts that differ where the answer shows something that is no part of the version. `If-None-Match`
            compares them as well.
    """
    resp.etag = ETag(DETAIL.join((_tag(version), *details)))


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
    sent = (tag for tag in req.if_match or () if isinstance(tag, ETag) and not tag.is_weak)
    tags = [_version(tag).partition(DETAIL)[0] for tag in sent]
    if _tag(version) not in tags:
        raise PreconditionFailed


def not_modified(req: Request, resp: Response) -> bool:
    """Return whether the client has the current version."""
    return matched_tag(req, resp) is not None


def matched_tag(req: Request, resp: Response) -> str | None:
    """Return the entry of `If-None-Match` that names the version of this answer, in any coding; None without one."""
    tag = resp.get_header("ETag")
    tags = req.if_none_match
    if not tag or not tags:
        return None
    version = _version(tag.strip('"'))
    if "*" in tags:
        return tag
    return next((f'"{known}"' for known in tags if _version(known) == version), None)


def coded_tag(tag: str, coding: str) -> str:
    """Return the ETag of an answer in a content coding: other bytes, hence another strong ETag."""
    return f'{tag[:-1]}{SEPARATOR}{coding}"'


def _version(tag: str) -> str:
    """Return an ETag without the coding: a client may change the version that it has read in any coding."""
    version, separator, coding = tag.rpartition(SEPARATOR)
    return version if separator and coding in ("gzip", "zstd") else tag


def _tag(version: object) -> str:
    return version.isoformat() if isinstance(version, datetime) else str(version)
