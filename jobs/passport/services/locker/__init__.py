"""Locker: inventory and claims of rewards. `docs/services/locker.md` describes the service."""

from jobs.passport.gateway import connect
from jobs.passport.services.locker.contract import SERVICE, Locker
from jobs.passport.services.locker.local import LocalLocker


def locker() -> Locker:
    """Return Locker as the configuration connects it: local or over HTTP."""
    return connect(SERVICE, LocalLocker)
