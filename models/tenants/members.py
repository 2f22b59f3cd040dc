"""Members of a brand: list, read, change of role, removal, and the notification that the brand requires MFA."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core import keys
from models.core.database import execute, row, rows, value
from models.core.errors import Conflict, NotFound, TooMany
from models.jobs.ledger import enqueue

MAX_ANNOUNCEMENTS_PER_DAY = 5
"""Maximum number of MFA announcements of one brand within a day; each one mails all members without MFA."""
_DAY = timedelta(days=1)


class LastBrandAdmin(Conflict):
    """The member is the brand's only Brand Admin who can sign in."""

    code = "last_brand_admin"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a brand. `has_mfa` is None if an external identity provider signs the member in."""

    id: UUID
    brand_id: UUID
    email: str | None
    name: str | None
    role: str
    locale: str
    created_at: datetime
    suspended_at: datetime | None
    has_mfa: bool | None


def announce_mfa(brand_id: UUID) -> None:
    """Enqueue mails to all members of a brand who have no authenticator: the brand is going to require MFA.

    Raises:
        NotFound: there is no such brand, or it is another brand than the caller's.
        TooMany: `MAX_ANNOUNCEMENTS_PER_DAY` announcements have been made within a day.
    """
    counted = keys.keyed_hash("mails", b"second-factor-required", brand_id.bytes)
    wait: int = value(
        "SELECT app.count_mfa_announcement(%s, %s, %s, %s)", (brand_id, counted, MAX_ANNOUNCEMENTS_PER_DAY, _DAY)
    )
    if wait:
        raise TooMany("Each change mails all members without MFA. Try again tomorrow.", retry_after=wait)
    enqueue("brand.announce_mfa", brand_id, brand_id=brand_id)


def to_enrol() -> list[UUID]:
    """Return ids of members of the job's brand who need MFA and have no authenticator, ordered by id."""
    return [found["user_id"] for found in rows("SELECT user_id FROM app.members_to_enrol() ORDER BY 1")]


def mfa_mail(user_id: UUID) -> dict[str, Any] | None:
    """Return the contents of a member's MFA mail: `email`, `locale`, `timezone`, `brand`, `required_from`.

    None if the member has enrolled or left, or the brand no longer requires MFA.
    """
    return row("SELECT email, locale, timezone, brand, required_from FROM app.members_to_enrol(%s)", (user_id,))


def page(brand_id: UUID, limit: int, after: UUID | None = None, role: str | None = None) -> list[Member]:
    """Return the members of a brand, ordered by id.

    Raises:
        NotFound: there is no such brand, or it is another brand than the caller's.
    """
    found = rows(
        "SELECT * FROM app.members(%s) WHERE (%s::uuid IS NULL OR id > %s) AND role = coalesce(%s, role)"
        " ORDER BY id LIMIT %s",
        (brand_id, after, after, role, limit),
    )
    return [Member(**member) for member in found]


def get(brand_id: UUID, user_id: UUID) -> Member:
    """Return a member of a brand.

    Raises:
        NotFound: the brand has no such member, or it is another brand than the caller's.
    """
    found = row("SELECT * FROM app.members(%s) WHERE id = %s", (brand_id, user_id))
    if found is None:
        raise NotFound
    return Member(**found)


def get_for_update(brand_id: UUID, user_id: UUID) -> Member:
    """Lock a member's row until the transaction ends and return the member.

    Raises:
        NotFound: the brand has no such member, or the caller may not change its members.
    """
    execute("SELECT app.lock_member(%s, %s)", (brand_id, user_id))
    return get(brand_id, user_id)


def change_role(brand_id: UUID, user_id: UUID, role: str) -> tuple[Member, list[UUID]]:
    """Change a member's role. Tokens with the old role are refused from the next request on.

    Returns:
        The member, and the ids of open invitations that were revoked because the member may no longer send them.

    Raises:
        NotFound: the caller's brand has no such member.
        RoleNotGrantable: the caller may not grant this role.
        LastBrandAdmin: the brand would have no Brand Admin.
    """
    revoked = value("SELECT app.change_member_role(%s, %s, %s)", (brand_id, user_id, role))
    return get(brand_id, user_id), revoked


def remove(brand_id: UUID, user_id: UUID) -> list[UUID]:
    """Remove a member from the brand and end the member's sessions. The account stays, with the role Fan.

    Returns:
        Ids of open invitations that were revoked because the member may no longer send them.

    Raises:
        NotFound: the caller's brand has no such member.
        LastBrandAdmin: the brand would have no Brand Admin.
    """
    revoked: list[UUID] = value("SELECT app.remove_member(%s, %s)", (brand_id, user_id))
    return revoked
