"""Choose the media type of an answer from the request's `Accept` field (RFC 9110, section 12.5.1)."""

from falcon.asgi import Request
from falcon.util import mediatypes


def preferred_type(req: Request, *offered: str) -> str | None:
    """Return the offered media type that the client prefers: the first one on a tie, None if it accepts none."""
    # Media types ignore case (RFC 9110, section 8.3.1). Falcon compares them literally.
    accepted = req.accept.lower()
    try:
        return mediatypes.best_match(offered, accepted) or None
    except ValueError:  # the field is not well-formed
        return None
