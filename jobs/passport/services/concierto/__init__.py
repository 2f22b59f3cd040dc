"""Concierto: events, guest lists, tickets and check-ins. `docs/services/concierto.md` describes the service."""

from jobs.passport.gateway import connect
from jobs.passport.services.concierto.contract import SERVICE, Concierto
from jobs.passport.services.concierto.local import LocalConcierto


def concierto() -> Concierto:
    """Return Concierto as the configuration connects it: local or over HTTP."""
    return connect(SERVICE, LocalConcierto)
