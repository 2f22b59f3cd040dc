"""Guest lists of events: the people whom a brand invites, with the size of their parties.

A row is `pending` until a job has sent the guest to Concierto, which gets the id and the size of the party only. Names
and addresses stay here; they are deleted with the guest, or `events.KEEP_DAYS` after the event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences.contacts import Contact
from models.campaigns import events
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted
from models.core.database import Row, execute, new_id, now
from models.core.enumerations import enumeration
from models.core.errors import Conflict, FieldError, Invalid, NotFound
from models.jobs.ledger import JobRef, enqueue

MAX_AT_ONCE = 500
"""Maximum number of guests in one request."""
MAX_GUESTS = 20_000
"""Maximum number of guests of an event. Requests at the same time may exceed it together."""

GuestState = Annotated[
    Literal["pending", "listed", "removing"],
    enumeration(
        "GuestState",
        "State of a guest. `pending`: to be sent to the event, also while its campaign is a draft. `listed`: can check "
        "in. `removing`: a job takes the guest off the list.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""


class GuestListFull(Conflict):
    """The guest list would have more than 20,000 guests."""

    code = "guest_list_full"


class Guest(Row):
    """A guest of an event."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    contact_id = peewee.UUIDField(null=True)
    user_id = peewee.UUIDField(null=True)
    name = peewee.TextField()
    email = peewee.TextField(null=True)
    party = peewee.IntegerField()
    state = peewee.TextField(default="pending")
    created_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "guests"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A guest to put on the list."""

    name: str
    party: int
    email: str | None
    contact_id: UUID | None


def add(campaign_id: UUID, invitations: Sequence[Invitation]) -> tuple[list[Guest], JobRef]:
    """Put guests on the list of an event, and enqueue the job that sends them to Concierto.

    Raises:
        NotFound: the brand has no such campaign.
        NotAnEvent: the campaign is of another type.
        CampaignArchived, CampaignCompleted: the event is over.
        Invalid: a contact is not one of the brand.
        GuestListFull: the list would be too long.
    """
    campaign = events.get(campaign_id)
    if campaign.archived_at is not None:
        raise CampaignArchived
    if campaign.status == "Completed":
        raise CampaignCompleted
    people = _people_of_contacts(invitations)
    execute("SELECT app.reserve_guests(%s, %s, %s)", (campaign_id, len(invitations), MAX_GUESTS))
    listed = [
        {
            "id": new_id(),
            "brand_id": campaign.brand_id,
            "campaign_id": campaign_id,
            "contact_id": each.contact_id,
            "user_id": people.get(each.contact_id),
            "name": each.name,
            "email": each.email,
            "party": each.party,
            "created_at": now(),
        }
        for each in invitations
    ]
    added = list(Guest.insert_many(listed).returning(Guest).execute())
    return added, _enqueue_sync(campaign_id)


def remove(campaign_id: UUID, guest_id: UUID) -> JobRef:
    """Take a guest off the list. Check-ins of the guest stay.

    Raises:
        NotFound: the event has no such guest.
    """
    update = Guest.update(state="removing").where(Guest.id == guest_id, Guest.campaign_id == campaign_id)
    if not update.execute():
        raise NotFound
    return _enqueue_sync(campaign_id)


def find(campaign_id: UUID, *, limit: int, after: UUID | None = None, text: str | None = None) -> list[Guest]:
    """Return up to `limit` guests of an event in the order of their ids, after the guest `after`.

    Args:
        campaign_id: the event.
        limit: maximum number of guests.
        after: id of the last guest of the previous page.
        text: part of the name or the address, in any case.

    Raises:
        NotFound: the brand has no such campaign.
        NotAnEvent: the campaign is of another type.
    """
    query = Guest.select().where(Guest.campaign_id == events.get(campaign_id).id).order_by(Guest.id).limit(limit)
    if after is not None:
        query = query.where(Guest.id > after)
    if text is not None:
        said = peewee.fn.lower(Guest.name.concat(" ").concat(peewee.fn.coalesce(Guest.email, "")))
        query = query.where(peewee.fn.strpos(said, text.lower()) > 0)
    return list(query)


def unsettled(campaign_id: UUID, state: GuestState) -> list[Guest]:
    """Return up to `MAX_AT_ONCE` guests of an event in this state, in the order of their ids."""
    return list(
        Guest.select()
        .where(Guest.campaign_id == campaign_id, Guest.state == state)
        .order_by(Guest.id)
        .limit(MAX_AT_ONCE)
    )


def settle_listed(guest_ids: Sequence[UUID]) -> None:
    """Record that Concierto knows these guests. Guests who are being removed stay so."""
    Guest.update(state="listed").where(Guest.id.in_(guest_ids), Guest.state == "pending").execute()


def settle_removed(guest_ids: Sequence[UUID]) -> None:
    """Delete guests whom Concierto has taken off the list."""
    Guest.delete().where(Guest.id.in_(guest_ids)).execute()


def _enqueue_sync(campaign_id: UUID) -> JobRef:
    return enqueue("guest_list.sync", campaign_id, unique="while_waiting", subject=("campaign", campaign_id))


def _people_of_contacts(invitations: Sequence[Invitation]) -> dict[UUID | None, UUID | None]:
    """Return the person of each contact, if known.

    Raises:
        Invalid: a contact is not one of the brand.
    """
    asked = {each.contact_id for each in invitations if each.contact_id is not None}
    found = Contact.select(Contact.id, Contact.user_id).where(Contact.id.in_(asked)) if asked else ()
    people: dict[UUID | None, UUID | None] = {contact.id: contact.user_id for contact in found}
    unknown = [
        FieldError(f"guests[{number}].contact_id", "must be the id of a contact of the brand")
        for number, each in enumerate(invitations)
        if each.contact_id is not None and each.contact_id not in people
    ]
    if unknown:
        raise Invalid(errors=unknown)
    return people
