"""Actors of the domain tenants."""

from uuid import UUID

from jobs.engine import actor
from models.jobs.ledger import enqueue
from models.tenants import members


@actor("brand.announce_mfa", runs_as="brand")
def announce_mfa(brand_id: UUID) -> None:
    """Enqueue one mail for each member of the brand who needs MFA and has no authenticator."""
    for user_id in members.to_enrol():
        enqueue("mail.mfa_required", user_id, unique="while_waiting")
