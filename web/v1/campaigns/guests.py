"""Guest lists of events: the people whom a brand invites, with the size of their parties."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import guests
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted
from models.campaigns.events import NotAnEvent
from models.campaigns.guests import Guest, GuestListFull, GuestState, Invitation
from web.http.accepted import JobOut
from web.http.endpoint import Page, PageQuery, accept, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Email, EmailText, Id, Text200

GuestName = Annotated[Text200, Meta(description="Name of the guest, for the staff at the entrance.", examples=["Ana"])]
Party = Annotated[
    int, Meta(ge=1, le=100, description="Number of people who may come, the guest included.", examples=[4])
]


class GuestIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A guest to put on the list."""

    name: GuestName
    party: Annotated[Party, Meta(description="Number of people who may come, the guest included. Default: 1.")] = 1
    email: Annotated[Email | None, Meta(description="Address of the guest, to find the guest by. Default: null.")] = (
        None
    )
    contact_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the guest among the contacts of the brand: a check-in then counts for the contact's "
            "person. Default: null.",
            examples=[None],
        ),
    ] = None


class GuestsIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Guests to put on the list."""

    guests: Annotated[list[GuestIn], Meta(min_length=1, max_length=guests.MAX_AT_ONCE, description="1 to 500 guests.")]


class GuestOut(msgspec.Struct, kw_only=True):
    """A guest of an event."""

    id: Id
    name: GuestName
    email: Annotated[EmailText | None, Meta(description="Address of the guest; null: unknown.", examples=[None])]
    contact_id: Annotated[UUID | None, Meta(description="Id of the contact; null: none.", examples=[None])]
    party: Party
    state: Annotated[GuestState, Meta(description="Present state of the guest.", examples=["listed"])]
    created_at: CreatedAt

    @classmethod
    def of(cls, guest: Guest) -> "GuestOut":
        """Build the response for a guest."""
        return msgspec.convert(guest, cls, from_attributes=True)


class GuestsOut(msgspec.Struct):
    """Guests that were added."""

    items: Annotated[list[GuestOut], Meta(description="The guests in the order of the request.")]


class GuestFilter(PageQuery, kw_only=True):
    """Filter of a guest list."""

    q: Annotated[
        Text200 | None,
        Meta(description="Only guests with this text in name or address, in any case. Default: all.", examples=["ana"]),
    ] = None


class Guests:
    """`/api/v1/campaigns/{campaign_id}/guests`: the guest list of an event."""

    @endpoint(
        operation_id="listGuests",
        query=GuestFilter,
        response=Page[GuestOut],
        permission="check_ins:write",
        audit="guest.read",
        problems=(NotAnEvent,),
    )
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List the guests of an event, the first added first."""
        query: GuestFilter = req.context.query
        scope = f"guests:{campaign_id}:{query.q}"
        found = guests.find(
            campaign_id,
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, UUID, scope=scope),
            text=query.q,
        )
        audited(req, table="campaigns", record_id=campaign_id)
        resp.media = page_of([GuestOut.of(guest) for guest in found], query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        operation_id="addGuests",
        body=GuestsIn,
        example={"guests": [{"name": "Ana", "party": 4}, {"name": "Eva", "email": "eva@fan.example"}]},
        response=GuestsOut,
        status=201,
        permission="guests:write",
        audit="guest.add",
        idempotent=True,
        problems=(NotAnEvent, CampaignArchived, CampaignCompleted, GuestListFull),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Put guests on the list of an event.

        A job sends them to the event, without names and addresses; a guest can check in once `state` is `listed`.
        The guests of a draft are sent by its launch. Invite people who agreed to it: their data is used for the
        entrance only, and deleted with the guest or 365 days after the event.
        """
        body: GuestsIn = req.context.body
        invited = [Invitation(each.name, each.party, each.email, each.contact_id) for each in body.guests]
        added, job = guests.add(campaign_id, invited)
        audited(req, table="campaigns", record_id=campaign_id, after={"guests": len(added), "job_id": job.id})
        resp.media = GuestsOut([GuestOut.of(guest) for guest in added])


class OneGuest:
    """`/api/v1/campaigns/{campaign_id}/guests/{guest_id}`: one guest of an event."""

    @endpoint(
        operation_id="removeGuest",
        response=JobOut,
        status=202,
        permission="guests:write",
        audit="guest.remove",
    )
    def on_delete(self, req: Request, resp: Response, campaign_id: UUID, guest_id: UUID) -> None:
        """Take a guest off the list, and delete name and address. Check-ins of the guest stay."""
        job = guests.remove(campaign_id, guest_id)
        audited(req, table="guests", record_id=guest_id)
        accept(resp, job)


_GUESTS = "/api/v1/campaigns/{campaign_id:uuid}/guests"

ROUTES: list[tuple[str, object]] = [(_GUESTS, Guests()), (f"{_GUESTS}/{{guest_id:uuid}}", OneGuest())]
