"""Coliseum: analytics events and live metrics. `docs/services/coliseum.md` describes the service."""

from jobs.passport.gateway import connect
from jobs.passport.services.coliseum.contract import SERVICE, Coliseum
from jobs.passport.services.coliseum.local import LocalColiseum


def coliseum() -> Coliseum:
    """Return Coliseum as the configuration connects it: local or over HTTP."""
    return connect(SERVICE, LocalColiseum)
