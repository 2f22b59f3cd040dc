"""Accounts: what of them runs out."""

from jobs.engine import actor
from models import accounts


@actor("accounts.expire", runs_as="system")
def expire_accounts() -> None:
    """Delete sign-ups nobody verified, sessions and invitations long over, and counts of attempts to sign in."""
    accounts.clean_up()
