"""Keeping what brands know of people up to date."""

from uuid import UUID

from jobs.engine import actor
from models.audiences import contacts


@actor("contact.upsert", runs_as="brand")
def upsert_contact(user_id: UUID) -> None:
    """Bring the contact of a person with the brand up to date."""
    contacts.upsert(user_id)
