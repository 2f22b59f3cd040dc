"""MediaID: identity of a fan across anonymous visits and accounts, and the traits ("DNA") that are known of it."""

from jobs.passport.gateway import connect
from jobs.passport.services.mediaid.contract import SERVICE, MediaId
from jobs.passport.services.mediaid.local import LocalMediaId


def mediaid() -> MediaId:
    """Return the service, as it is configured."""
    return connect(SERVICE, LocalMediaId)
