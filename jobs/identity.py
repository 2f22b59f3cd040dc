"""Actors of the domain identity."""

from jobs.engine import actor
from models.identity import accounts


@actor("accounts.expire", runs_as="system")
def expire_accounts() -> None:
    """Delete expired sign-ups, sessions, links and counters, and idle anonymous people without scans or consents."""
    accounts.delete_expired()
