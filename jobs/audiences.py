"""Actors of the domain audiences."""

from uuid import UUID

from jobs.engine import actor
from models.audiences import contacts


@actor("contact.upsert", runs_as="brand")
def upsert_contact(user_id: UUID) -> None:
    """Create or update the brand's contact of a person."""
    contacts.upsert(user_id)
