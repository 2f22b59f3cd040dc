"""Assignments: the campaigns that a Creator may see. Members with other roles see all campaigns of their brand."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.core.database import execute, rows, value
from models.core.errors import Conflict


class NotACreator(Conflict):
    """The member has a role that sees all campaigns of the brand."""

    code = "not_a_creator"


@dataclass(frozen=True, slots=True)
class Assignment:
    """The assignment of a Creator to a campaign."""

    user_id: UUID
    email: str | None
    name: str | None
    assigned_by: UUID | None
    created_at: datetime


def page(campaign_id: UUID, limit: int, after: UUID | None = None) -> list[Assignment]:
    """Return the assignments to a campaign of the caller's brand, ordered by the Creators' ids."""
    found = rows(
        "SELECT * FROM app.assignments(%s) WHERE %s::uuid IS NULL OR user_id > %s ORDER BY user_id LIMIT %s",
        (campaign_id, after, after, limit),
    )
    return [Assignment(**assignment) for assignment in found]


def assign(campaign_id: UUID, user_id: UUID) -> bool:
    """Assign a Creator to a campaign. Return False if the assignment exists already.

    Raises:
        NotFound: the brand has no such campaign, or no such member.
        NotACreator: the member sees all campaigns.
    """
    return bool(value("SELECT app.assign_campaign(%s, %s)", (campaign_id, user_id)))


def unassign(campaign_id: UUID, user_id: UUID) -> None:
    """Delete the assignment of a Creator to a campaign.

    Raises:
        NotFound: there is no such assignment.
    """
    execute("SELECT app.unassign_campaign(%s, %s)", (campaign_id, user_id))
