"""Actors of the domain audiences."""

from uuid import UUID

from jobs.engine import actor
from models.audiences import contacts, engagements
from models.jobs.ledger import enqueue


@actor("contact.upsert", runs_as="brand")
def upsert_contact(user_id: UUID) -> None:
    """Create or update the brand's contact of a person."""
    contacts.upsert(user_id)


@actor("engagements.fold", runs_as="brand", time_limit=60.0)
def fold_engagements(campaign_id: UUID) -> None:
    """Fold the new engagement events of a campaign."""
    if engagements.fold(campaign_id):
        enqueue("engagements.fold", campaign_id, unique="while_waiting")


@actor("engagements.rotate", runs_as="system", time_limit=300.0)
def rotate_engagement_events() -> None:
    """Create the next monthly partitions of the engagement events and drop the oldest."""
    engagements.rotate_events()
