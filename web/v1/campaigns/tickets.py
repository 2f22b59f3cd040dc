"""Tickets of events: fans get them, show their codes at the entrance, and return them."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import events, tickets
from models.campaigns.events import Refusal
from models.campaigns.tickets import OwnTicket, TicketState
from models.jobs.ledger import JobRef
from models.passport.refusals import (
    AlreadyCheckedIn,
    AtCapacity,
    EventNotOpen,
    TicketHeld,
    TicketsNotOffered,
    UnknownEvent,
)
from models.scans.outcomes import REFUSALS
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of, wait_for
from web.http.fields import CampaignId, CreatedAt, Id


class TicketIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An event that the caller wants to attend."""

    campaign_id: CampaignId


class TicketOut(msgspec.Struct, kw_only=True):
    """A ticket of the caller."""

    id: Id
    campaign_id: CampaignId
    campaign_name: Annotated[str, Meta(description="Name of the event.", examples=["Noche en la Plaza"])]
    venue: Annotated[
        str | None,
        Meta(
            description="Name and address of the place; null: unknown.",
            examples=["Chocolatería San Ginés, Pasadizo de San Ginés 5, 28013 Madrid"],
        ),
    ]
    opens_at: Annotated[Instant | None, Meta(description="Time from which people are admitted, in UTC; null: any.")]
    ends_at: Annotated[Instant | None, Meta(description="End of the event, in UTC.")]
    state: Annotated[TicketState, Meta(description="Present state of the ticket.", examples=["issued"])]
    refusal: Annotated[
        Refusal | None, Meta(description="Why the event did not issue it; null otherwise.", examples=[None])
    ]
    code: Annotated[
        str | None,
        Meta(
            description="Signed text to show at the entrance as a QR code; null unless the ticket is valid.",
            examples=["AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng"],
        ),
    ]
    checked_in_at: Annotated[Instant | None, Meta(description="Time of the check-in, in UTC; null before it.")]
    created_at: CreatedAt

    @classmethod
    def of(cls, ticket: OwnTicket) -> "TicketOut":
        """Build the response for a ticket of the caller."""
        config = ticket.config
        return cls(
            id=ticket.id,
            campaign_id=ticket.campaign_id,
            campaign_name=ticket.campaign_name,
            venue=events.venue_text(config),
            opens_at=events.opening_of(config),
            ends_at=events.end_of(config),
            state=ticket.state,
            refusal=ticket.refusal,
            code=ticket.code,
            checked_in_at=ticket.checked_in_at,
            created_at=ticket.created_at,
        )


class Tickets:
    """`/api/v1/tickets`: the tickets of the caller."""

    @endpoint(operation_id="listOwnTickets", query=PageQuery, response=Page[TicketOut], permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's tickets of all brands, newest first."""
        query: PageQuery = req.context.query
        found = tickets.find_own(limit=query.limit + 1, after=decode_cursor(query.cursor, UUID, scope="own-tickets"))
        items = [TicketOut.of(ticket) for ticket in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope="own-tickets")

    @endpoint(
        operation_id="requestTicket",
        body=TicketIn,
        example={"campaign_id": "01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"},
        response=TicketOut,
        permission="authenticated",
        audit="ticket.request",
        rate="30/minute",
        waits=True,
        problems=(
            AtCapacity,
            EventNotOpen,
            TicketHeld,
            TicketsNotOffered,
            UnknownEvent,
            REFUSALS["account_required"],
            REFUSALS["campaign_ended"],
            REFUSALS["campaign_not_active"],
        ),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Get a ticket of an event for the caller.

        A person has one valid ticket of an event; it is returned if there is one. The code of the ticket is shown at
        the entrance. If the answer is 202, poll `GET /api/v1/tickets/{ticket_id}` until `state` is not `requested`.
        """
        campaign_id: UUID = req.context.body.campaign_id
        ticket = tickets.request(campaign_id)
        audited(req, table="tickets", record_id=ticket.id, after={"campaign_id": campaign_id})
        if ticket.state == "issued":
            resp.media = TicketOut.of(ticket)
        else:
            _wait(req, resp, JobRef(ticket.job_id), ticket.id)


class OneTicket:
    """`/api/v1/tickets/{ticket_id}`: one ticket of the caller."""

    @endpoint(operation_id="getOwnTicket", response=TicketOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response, ticket_id: UUID) -> None:
        """Read a ticket of the caller."""
        resp.media = TicketOut.of(tickets.get_own(ticket_id))


class TicketCancellation:
    """`/api/v1/tickets/{ticket_id}/cancel`: return a ticket."""

    @endpoint(
        operation_id="cancelTicket",
        response=TicketOut,
        permission="authenticated",
        audit="ticket.cancel",
        waits=True,
        problems=(AlreadyCheckedIn,),
    )
    def on_post(self, req: Request, resp: Response, ticket_id: UUID) -> None:
        """Return a ticket, so that another fan can have its place. A ticket that is not valid stays as it is."""
        job = tickets.request_cancellation(ticket_id)
        audited(req, table="tickets", record_id=ticket_id)
        if job is None:
            resp.media = TicketOut.of(tickets.get_own(ticket_id))
        else:
            _wait(req, resp, job, ticket_id, tickets.get_cancelled)


def _wait(
    req: Request,
    resp: Response,
    job: JobRef,
    ticket_id: UUID,
    get: Callable[[UUID], OwnTicket] = tickets.get_granted,
) -> None:
    def answer() -> TicketOut:
        return TicketOut.of(get(ticket_id))

    wait_for(req, resp, job, answer, location=f"/api/v1/tickets/{ticket_id}")


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/tickets", Tickets()),
    ("/api/v1/tickets/{ticket_id:uuid}", OneTicket()),
    ("/api/v1/tickets/{ticket_id:uuid}/cancel", TicketCancellation()),
]
