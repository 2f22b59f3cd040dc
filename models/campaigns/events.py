"""Events: the plan and the attendance of a campaign of the type `Event`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from models.campaigns import campaigns
from models.campaigns.campaigns import Campaign
from models.campaigns.config import Admission
from models.core.database import execute, now, row
from models.core.enumerations import enumeration
from models.core.errors import Conflict

KEEP_DAYS = 365
"""Days after the completion of an event for which its guest list, tickets and check-ins are kept."""

Refusal = Annotated[
    Literal[
        "already_checked_in",
        "at_capacity",
        "event_not_open",
        "not_on_guest_list",
        "party_exceeded",
        "ticket_cancelled",
        "ticket_held",
        "ticket_required",
        "tickets_not_offered",
        "unknown_event",
        "unknown_ticket",
    ],
    enumeration(
        "EventRefusal",
        "Reason why an event refused a ticket or an arrival. `event_not_open`: outside the hours of the event. "
        "`party_exceeded`: more people than the guest's party has left. `ticket_held`: the person has another ticket. "
        "`unknown_event`: the event is not published.",
    ),
]


class NotAnEvent(Conflict):
    """The campaign is not of the type `Event`."""

    code = "not_an_event"


@dataclass(frozen=True, slots=True)
class Attendance:
    """Figures of an event. `inside`, `pending` and `invited` count people; `refused` counts arrivals."""

    capacity: int | None
    admission: Admission
    tickets: int
    invited: int
    inside: int
    pending: int
    refused: int
    late: int
    as_of: datetime


_ATTENDANCE = """
SELECT
    (SELECT count(*) FROM public.tickets WHERE campaign_id = %(id)s AND state = 'issued') AS tickets,
    (SELECT coalesce(sum(party), 0) FROM public.guests WHERE campaign_id = %(id)s AND state <> 'removing') AS invited,
    coalesce(sum(people) FILTER (WHERE state = 'accepted'), 0) AS inside,
    coalesce(sum(people) FILTER (WHERE state = 'pending'), 0) AS pending,
    count(*) FILTER (WHERE state = 'refused') AS refused,
    count(*) FILTER (WHERE state = 'accepted' AND created_at > scanned_at + interval '5 minutes') AS late
FROM public.check_ins WHERE campaign_id = %(id)s
"""
_EXPIRE = """
WITH past AS (
        SELECT brand_id, id FROM public.campaigns
        WHERE type = 'Event' AND completed_at < now() - make_interval(days => %s)),
    check_ins AS (DELETE FROM public.check_ins WHERE (brand_id, campaign_id) IN (SELECT brand_id, id FROM past)),
    tickets AS (DELETE FROM public.tickets WHERE (brand_id, campaign_id) IN (SELECT brand_id, id FROM past))
DELETE FROM public.guests WHERE (brand_id, campaign_id) IN (SELECT brand_id, id FROM past)
"""


def get(campaign_id: UUID) -> Campaign:
    """Return a campaign that is an event.

    Raises:
        NotFound: there is no such campaign, or the caller may not see it.
        NotAnEvent: the campaign is of another type.
    """
    campaign = campaigns.get(campaign_id)
    if campaign.type != "Event":
        raise NotAnEvent
    return campaign


def plan_of(campaign: Campaign) -> dict[str, Any]:
    """Return the capacity and the admission of an event."""
    plan: dict[str, Any] = campaign.config.get("event") or {}
    return {"capacity": None, "admission": "open", **plan}


def venue_text(config: dict[str, Any]) -> str | None:
    """Return name and address of the venue in a configuration, in one line."""
    venue = config.get("venue")
    return venue and f"{venue['name']}, {venue['address']}"


def opening_of(config: dict[str, Any]) -> datetime | None:
    """Return the time from which an event admits people; None: from its launch on."""
    text = (config.get("event") or {}).get("doors_open_at") or config.get("starts_at")
    return datetime.fromisoformat(text) if text else None


def end_of(config: dict[str, Any]) -> datetime | None:
    """Return the end of an event; None while a draft has none."""
    text = config.get("ends_at")
    return datetime.fromisoformat(text) if text else None


def attendance(campaign_id: UUID) -> Attendance:
    """Return the figures of an event, from the answers of Concierto so far."""
    plan, counts = plan_of(get(campaign_id)), row(_ATTENDANCE, {"id": campaign_id})
    assert counts is not None
    return Attendance(plan["capacity"], plan["admission"], **counts, as_of=now())


def expire() -> None:
    """Delete guest lists, tickets and check-ins of events that were completed `KEEP_DAYS` ago, as a system job."""
    execute(_EXPIRE, (KEEP_DAYS,))
