"""CALS: synchronisation of contacts and activities. `docs/services/cals.md` describes the service."""

from jobs.passport.gateway import connect
from jobs.passport.services.cals.contract import SERVICE, Cals
from jobs.passport.services.cals.local import LocalCals


def cals() -> Cals:
    """Return CALS as the configuration connects it: local or over HTTP."""
    return connect(SERVICE, LocalCals)
