"""Check-ins at events: at a gate by the staff, or by a fan's own scan; attendance.

Concierto decides each arrival in a job. While it is down, a check-in is `pending` and is decided later by the time of
the arrival, so a gate that admits people meanwhile reports them all the same.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import check_ins, events
from models.campaigns.check_ins import CheckInNotAccepted, CheckInState, ScanRequired
from models.campaigns.config import Admission
from models.campaigns.events import NotAnEvent, Refusal
from models.jobs.ledger import JobRef
from models.passport.refusals import ARRIVAL_REFUSALS, UnknownCheckIn, UnknownTicket
from models.scans import check_ins as own_check_ins
from models.scans.outcomes import REFUSALS
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of, wait_for
from web.http.fields import CampaignId, CreatedAt, Id, Text200, UpdatedAt

People = Annotated[int, Meta(ge=1, le=100, description="Number of people who arrive together.", examples=[1])]
GateName = Annotated[Text200, Meta(description="The entrance.", examples=["North gate"])]
ScannedAt = Annotated[Instant, Meta(description="Time of the arrival, in UTC.")]
Count = Annotated[int, Meta(ge=0)]


class ArrivalIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """People at a gate: with a ticket, as guests, or, at an open event, with neither."""

    ticket: Annotated[
        Annotated[str, Meta(min_length=1, max_length=100)] | None,
        Meta(
            description="Code of a ticket, as the fan shows it; null: no ticket. Default: null.",
            examples=["AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng"],
        ),
    ] = None
    guest_id: Annotated[
        UUID | None, Meta(description="Guest to whose party the people belong; null: none. Default: null.")
    ] = None
    people: Annotated[
        People, Meta(description="Number of people who arrive together; 1 with `ticket`. Default: 1.")
    ] = 1
    gate: Annotated[GateName | None, Meta(description="The entrance; null: unknown. Default: null.")] = None
    scanned_at: Annotated[
        Instant | None,
        Meta(
            description="Time of the arrival if it is reported later, up to 24 hours; null: now. The event decides by "
            "this time. Default: null.",
            examples=[None],
        ),
    ] = None


class CheckInOut(msgspec.Struct, kw_only=True):
    """A check-in of one or more people."""

    id: Id
    campaign_id: CampaignId
    ticket_id: Annotated[UUID | None, Meta(description="Ticket that was shown; null: none.", examples=[None])]
    guest_id: Annotated[UUID | None, Meta(description="Guest of the party; null: none.", examples=[None])]
    user_id: Annotated[UUID | None, Meta(description="Person, if known; null otherwise.", examples=[None])]
    people: People
    gate: Annotated[GateName | None, Meta(description="The entrance; null: unknown.")]
    scanned_at: ScannedAt
    state: Annotated[CheckInState, Meta(description="Present state of the check-in.", examples=["accepted"])]
    refusal: Annotated[
        Refusal | None, Meta(description="Why the people were not admitted; null otherwise.", examples=[None])
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt

    @classmethod
    def of(cls, check_in: check_ins.CheckIn) -> "CheckInOut":
        """Build the response for a check-in."""
        return msgspec.convert(check_in, cls, from_attributes=True)


class CheckInFilter(PageQuery, kw_only=True):
    """Filter of the check-ins of an event."""

    state: Annotated[
        CheckInState | None, Meta(description="Only check-ins in this state. Default: all.", examples=["accepted"])
    ] = None


class AttendanceOut(msgspec.Struct, kw_only=True):
    """Attendance of an event, from the decided check-ins."""

    capacity: Annotated[int | None, Meta(description="Maximum number of people; null: no limit.", examples=[250])]
    admission: Annotated[Admission, Meta(description="Who may check in.", examples=["tickets"])]
    tickets: Annotated[Count, Meta(description="Valid tickets.", examples=[180])]
    invited: Annotated[Count, Meta(description="People whom the guest list invites.", examples=[40])]
    inside: Annotated[Count, Meta(description="People who are checked in.", examples=[97])]
    pending: Annotated[Count, Meta(description="People whose check-in is not decided yet.", examples=[1])]
    refused: Annotated[Count, Meta(description="Arrivals that were refused.", examples=[3])]
    late: Annotated[
        Count, Meta(description="Accepted check-ins that were reported more than 5 minutes later.", examples=[0])
    ]
    as_of: Annotated[Instant, Meta(description="Time of the figures, in UTC.")]


class CampaignCheckIns:
    """`/api/v1/campaigns/{campaign_id}/check-ins`: check-ins of an event."""

    @endpoint(
        operation_id="listCheckIns",
        query=CheckInFilter,
        response=Page[CheckInOut],
        permission="check_ins:write",
        problems=(NotAnEvent,),
    )
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List the check-ins of an event, newest first."""
        query: CheckInFilter = req.context.query
        scope = f"check-ins:{campaign_id}:{query.state}"
        after = decode_cursor(query.cursor, UUID, scope=scope)
        found = check_ins.find(campaign_id, limit=query.limit + 1, after=after, state=query.state)
        items = [CheckInOut.of(check_in) for check_in in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        operation_id="checkIn",
        body=ArrivalIn,
        example={"people": 1, "gate": "North gate"},
        response=CheckInOut,
        permission="check_ins:write",
        audit="check_in.request",
        rate="600/minute",
        idempotent=True,
        waits=True,
        problems=(NotAnEvent, *ARRIVAL_REFUSALS),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Check people in at a gate.

        A ticket checks in once: of two gates at the same moment, one gets 200 and the other `already_checked_in` with
        the time and the place of the first. A party may arrive in groups. After 202, poll the check-in: the event is
        slow or down, and decides later. A gate without a network reports `scanned_at` afterwards; send an
        `Idempotency-Key`, so that a repeated report counts once.
        """
        body: ArrivalIn = req.context.body
        check_in, job = check_ins.request(
            campaign_id,
            ticket=body.ticket,
            guest_id=body.guest_id,
            people=body.people,
            gate=body.gate,
            scanned_at=body.scanned_at,
        )
        audited(req, table="check_ins", record_id=check_in.id, after={"campaign_id": campaign_id, "gate": body.gate})
        _wait(req, resp, job, campaign_id, check_in.id)


class CampaignCheckIn:
    """`/api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}`: one check-in."""

    @endpoint(operation_id="getCheckIn", response=CheckInOut, permission="check_ins:write")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, check_in_id: UUID) -> None:
        """Read a check-in. Poll it while `state` is `pending`."""
        resp.media = CheckInOut.of(check_ins.get(campaign_id, check_in_id))


def _wait(req: Request, resp: Response, job: JobRef, campaign_id: UUID, check_in_id: UUID) -> None:
    def answer() -> CheckInOut:
        return CheckInOut.of(check_ins.get_admitted(campaign_id, check_in_id))

    location = f"/api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}"
    wait_for(req, resp, job, answer, location=location)


class CheckInUndo:
    """`/api/v1/campaigns/{campaign_id}/check-ins/{check_in_id}/undo`: undo a check-in."""

    @endpoint(
        operation_id="undoCheckIn",
        response=CheckInOut,
        permission="check_ins:write",
        audit="check_in.undo",
        waits=True,
        problems=(CheckInNotAccepted, UnknownCheckIn),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID, check_in_id: UUID) -> None:
        """Undo a check-in. Its places are free, and its ticket can check in again."""
        job = check_ins.request_undo(campaign_id, check_in_id)
        audited(req, table="check_ins", record_id=check_in_id)
        if job is None:
            resp.media = CheckInOut.of(check_ins.get(campaign_id, check_in_id))
        else:
            _wait(req, resp, job, campaign_id, check_in_id)


class CampaignAttendance:
    """`/api/v1/campaigns/{campaign_id}/attendance`: attendance of an event."""

    @endpoint(
        operation_id="getAttendance",
        response=AttendanceOut,
        permission="check_ins:write",
        problems=(NotAnEvent,),
    )
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Read the attendance of an event."""
        resp.media = msgspec.convert(events.attendance(campaign_id), AttendanceOut, from_attributes=True)


class OwnCheckInIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A scan of the caller at the event."""

    campaign_id: CampaignId
    scan_id: Annotated[
        UUID, Meta(description="Accepted scan of a code of the event by the caller, within the last 15 minutes.")
    ]


class OwnCheckIns:
    """`/api/v1/check-ins`: check-ins of the caller."""

    @endpoint(
        operation_id="checkInByScan",
        body=OwnCheckInIn,
        example={
            "campaign_id": "01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8",
            "scan_id": "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f",
        },
        response=CheckInOut,
        permission="authenticated",
        audit="check_in.request",
        rate="30/minute",
        waits=True,
        problems=(
            ScanRequired,
            *(refusal for refusal in ARRIVAL_REFUSALS if refusal is not UnknownTicket),
            REFUSALS["account_required"],
            REFUSALS["campaign_ended"],
            REFUSALS["campaign_not_active"],
        ),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Check the caller in at an event, by a scan of one of its codes.

        The scan proves place and time: it is accepted only within the geofence, with the consents and under the limits
        of the campaign. The caller's ticket is used if there is a valid one.
        """
        body: OwnCheckInIn = req.context.body
        check_in = own_check_ins.request(body.campaign_id, body.scan_id)
        audited(req, table="check_ins", record_id=check_in.id, after={"campaign_id": body.campaign_id})
        if check_in.state == "pending":
            location = f"/api/v1/check-ins/{check_in.id}"
            wait_for(req, resp, JobRef(check_in.job_id), lambda: _own(check_in.id), location=location)
        else:
            resp.media = _own(check_in.id)


def _own(check_in_id: UUID) -> CheckInOut:
    return CheckInOut.of(own_check_ins.get_admitted(check_in_id))


class OwnCheckIn:
    """`/api/v1/check-ins/{check_in_id}`: one check-in of the caller."""

    @endpoint(operation_id="getOwnCheckIn", response=CheckInOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response, check_in_id: UUID) -> None:
        """Read a check-in that the caller's own scan has requested. Poll it while `state` is `pending`."""
        resp.media = CheckInOut.of(own_check_ins.get(check_in_id))


_CAMPAIGN = "/api/v1/campaigns/{campaign_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    (f"{_CAMPAIGN}/check-ins", CampaignCheckIns()),
    (f"{_CAMPAIGN}/check-ins/{{check_in_id:uuid}}", CampaignCheckIn()),
    (f"{_CAMPAIGN}/check-ins/{{check_in_id:uuid}}/undo", CheckInUndo()),
    (f"{_CAMPAIGN}/attendance", CampaignAttendance()),
    ("/api/v1/check-ins", OwnCheckIns()),
    ("/api/v1/check-ins/{check_in_id:uuid}", OwnCheckIn()),
]
