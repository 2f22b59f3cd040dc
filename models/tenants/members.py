"""Members: who works for a brand, and which creators see which campaigns."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import keys
from models.core.database import Row, execute, row, rows, value
from models.core.errors import Conflict, NotFound, TooMany
from models.jobs.ledger import enqueue

ANNOUNCEMENTS = 5
"""Times within a day that a brand's people are mailed from when on they need a second factor."""
DAY = timedelta(days=1)


class LastBrandAdmin(Conflict):
    """A brand without admins could never have one again; somebody else has to be one first."""

    code = "last_brand_admin"


class NotACreator(Conflict):
    """Only creators are assigned to campaigns; everybody else in the brand sees all of them."""

    code = "not_a_creator"


class CampaignAssignment(Row):
    """That somebody who doesn't see all campaigns of the brand sees this one."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    assigned_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Where it lives."""

        table_name = "campaign_assignments"
        primary_key = peewee.CompositeKey("campaign_id", "user_id")


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who works for a brand."""

    id: UUID
    brand_id: UUID
    email: str | None
    name: str | None
    role: str
    locale: str
    created_at: datetime
    locked_at: datetime | None
    has_second_factor: bool | None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A creator who sees a campaign."""

    user_id: UUID
    email: str | None
    name: str | None
    assigned_by: UUID | None
    created_at: datetime


def announce_second_factor(brand_id: UUID) -> None:
    """Have everybody who works for a brand and has no second factor told by mail from when on it asks for one.

    Raises:
        NotFound: there is no such brand, or it isn't the caller's.
        TooMany: they have been told `ANNOUNCEMENTS` times within a day: nobody's inbox is filled by changing it.
    """
    counted = keys.keyed_hash("mails", b"second-factor-required", brand_id.bytes)
    wait: int = value("SELECT app.count_announcement(%s, %s, %s, %s)", (brand_id, counted, ANNOUNCEMENTS, DAY))
    if wait:
        raise TooMany("Everybody is mailed each time, and has been often enough today.", retry_after=wait)
    enqueue("brand.announce_second_factor", brand_id, brand_id=brand_id)


def to_enrol() -> list[UUID]:
    """Who of the brand that a job works for needs a second factor and has none that we know of."""
    return [found["user_id"] for found in rows("SELECT user_id FROM app.members_to_enrol() ORDER BY 1")]


def second_factor_mail(user_id: UUID) -> dict[str, Any] | None:
    """What the mail to one of them needs: `email`, `locale`, `timezone`, `brand`, `required_from`; None if by now there
    is nothing to tell.
    """
    return row(
        "SELECT email, locale, timezone, brand, required_from FROM app.members_to_enrol(%s)",
        (user_id,),
    )


def page(brand_id: UUID, limit: int, after: UUID | None = None, role: str | None = None) -> list[Member]:
    """The people of a brand, in the order of their accounts.

    Raises:
        NotFound: there is no such brand, or it isn't the caller's.
    """
    found = rows(
        "SELECT * FROM app.members(%s) WHERE (%s::uuid IS NULL OR id > %s) AND role = coalesce(%s, role)"
        " ORDER BY id LIMIT %s",
        (brand_id, after, after, role, limit),
    )
    return [Member(**member) for member in found]


def get(brand_id: UUID, user_id: UUID) -> Member:
    """One of them.

    Raises:
        NotFound: nobody of that id works for the brand, or it isn't the caller's.
    """
    found = row("SELECT * FROM app.members(%s) WHERE id = %s", (brand_id, user_id))
    if found is None:
        raise NotFound
    return Member(**found)


def hold(brand_id: UUID, user_id: UUID) -> Member:
    """One of them, whom nobody else changes before this transaction ends.

    Raises:
        NotFound: nobody of that id works for the brand, or the caller may not change its members.
    """
    execute("SELECT app.lock_member(%s, %s)", (brand_id, user_id))
    return get(brand_id, user_id)


def change_role(brand_id: UUID, user_id: UUID, role: str) -> tuple[Member, list[UUID]]:
    """Change a member's role; tokens with the old role are refused from the next request on.

    Returns:
        The member, and the open invitations that the member may no longer send, which are revoked.

    Raises:
        NotFound: nobody of that id works for the caller's brand.
        RoleNotGrantable: the caller may not give this role.
        LastBrandAdmin: the brand would have no Brand Admin.
    """
    revoked = value("SELECT app.change_member_role(%s, %s, %s)", (brand_id, user_id, role))
    return get(brand_id, user_id), revoked


def remove(brand_id: UUID, user_id: UUID) -> list[UUID]:
    """Remove a member from the brand; the person's sessions end, and the account stays, as a fan's.

    Returns:
        The open invitations that the person may no longer send, which are revoked.

    Raises:
        NotFound: nobody of that id works for the caller's brand.
        LastBrandAdmin: the brand would be left without one.
    """
    revoked: list[UUID] = value("SELECT app.remove_member(%s, %s)", (brand_id, user_id))
    return revoked


def assignments(campaign_id: UUID, limit: int, after: UUID | None = None) -> list[Assignment]:
    """Who is assigned to a campaign of the caller's brand, in the order of their accounts."""
    found = rows(
        "SELECT * FROM app.assignments(%s) WHERE %s::uuid IS NULL OR user_id > %s ORDER BY user_id LIMIT %s",
        (campaign_id, after, after, limit),
    )
    return [Assignment(**assignment) for assignment in found]


def assign(campaign_id: UUID, user_id: UUID) -> bool:
    """Let a creator see a campaign; False if they did already.

    Raises:
        NotFound: the brand has no such campaign, or no such member.
        NotACreator: the member sees all of them.
    """
    return bool(value("SELECT app.assign_campaign(%s, %s)", (campaign_id, user_id)))


def unassign(campaign_id: UUID, user_id: UUID) -> None:
    """Take a creator's sight of a campaign away.

    Raises:
        NotFound: they didn't have it.
    """
    execute("SELECT app.unassign_campaign(%s, %s)", (campaign_id, user_id))
