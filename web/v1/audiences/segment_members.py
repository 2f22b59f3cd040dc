"""Members of segments now and at a time in the past, their number over time, and the explanation of one."""

from datetime import date, timedelta
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import explanation, membership_history, segments
from models.audiences.contacts import ContactMerged
from models.audiences.explanation import Explanation, NodeKind
from models.audiences.membership_history import MAX_PERIODS, Count, Interval
from models.core.database import now
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import Id
from web.v1.audiences._schemas import require_contacts


class MemberQuery(PageQuery, kw_only=True):
    """Page of the members of a segment."""

    as_of: Annotated[
        Instant | None,
        Meta(description="Members at this time, at most 400 days ago. Default: now."),
    ] = None


class SegmentMemberOut(msgspec.Struct):
    """A contact in a segment."""

    contact_id: Id
    entered_at: Annotated[Instant, Meta(description="Time since which it has been a member, in UTC.")]


class SegmentMembers:
    """`/api/v1/audiences/{segment_id}/members`: the contacts in a segment."""

    @endpoint(query=MemberQuery, response=Page[SegmentMemberOut], permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """List the members of a segment by the id of the contact, now or at a time in the past.

        The members follow each change within a second; `computation` of the segment says whether they are up to date.
        API keys also need the scope `contacts:read`.
        """
        require_contacts(req)
        query: MemberQuery = req.context.query
        segment = segments.get(segment_id)
        scope = f"members:{segment.id}:{query.as_of}"
        after = decode_cursor(query.cursor, UUID, scope=scope)
        found = membership_history.members(segment.id, limit=query.limit + 1, after=after, at=query.as_of)
        shown = [SegmentMemberOut(contact_id, entered_at) for contact_id, entered_at in found]
        resp.media = page_of(shown, query.limit, lambda item: item.contact_id, scope=scope)


class CountQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """Days and periods to count, in the time zone of the brand."""

    first: Annotated[
        date | None,
        Meta(description="First day, at most 400 days ago. Default: 29 days before `to`.", examples=["2026-11-01"]),
    ] = None
    last: Annotated[
        date | None, Meta(description="Last day, not in the future. Default: today.", examples=["2026-11-30"])
    ] = None
    interval: Annotated[
        Interval, Meta(description=f"Length of a period; at most {MAX_PERIODS} periods. Default: `day`.")
    ] = "day"


class PeriodOut(msgspec.Struct):
    """Members at the end of a period."""

    start: Annotated[Instant, Meta(description="Beginning of the period, in UTC.")]
    end: Annotated[
        Instant, Meta(description="End of the period, in UTC: the present time for a period that has not ended.")
    ]
    members: Annotated[int, Meta(ge=0, description="Members at its end.", examples=[1800])]
    entered: Annotated[int, Meta(ge=0, description="Contacts that entered in it.", examples=[25])]
    left: Annotated[int, Meta(ge=0, description="Contacts that left in it.", examples=[4])]

    @classmethod
    def of(cls, found: Count) -> "PeriodOut":
        """Build the response for a period."""
        return cls(found.start, found.at, found.members, found.entered, found.left)


class SegmentCounts(msgspec.Struct):
    """Members of a segment over time."""

    timezone: Annotated[str, Meta(description="Time zone of the brand.", examples=["Europe/Madrid"])]
    periods: Annotated[list[PeriodOut], Meta(description="Periods, the earliest first, without gaps.")]


class SegmentCountsOverTime:
    """`/api/v1/audiences/{segment_id}/counts`: the number of members over time."""

    @endpoint(operation_id="countAudience", query=CountQuery, response=SegmentCounts, permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Count the members of a segment at the end of each period, and those that entered and left in it.

        The counts come from the history of memberships, which is kept for 400 days. They are exact, also if small: a
        caller may list the members. API keys also need the scope `contacts:read`.
        """
        require_contacts(req)
        query: CountQuery = req.context.query
        segment = segments.get(segment_id)
        zone = segments.timezone(segment.brand_id)
        last = query.last or now().astimezone(ZoneInfo(zone)).date()
        first = query.first or last - timedelta(days=29)
        found = membership_history.counts(segment.id, first, last, query.interval, zone)
        resp.media = SegmentCounts(zone, [PeriodOut.of(one) for one in found])


class NodeOut(msgspec.Struct):
    """A node of the definition, and its value for the contact."""

    path: Annotated[str, Meta(description="Path of the node.", examples=["definition.all[0]"])]
    kind: Annotated[NodeKind, Meta(description="Kind of the node.", examples=["event"])]
    holds: Annotated[bool, Meta(description="Whether the contact fulfils it.")]
    since: Annotated[
        Instant | None,
        Meta(
            description="Time since when a leaf has this value, in UTC. Of an event it is the beginning of the day on "
            "which the contact reached the number, of a consent the time of its state, of a segment the time at which "
            "the contact entered or left. null: the data doesn't show it, or the node is no leaf."
        ),
    ]


class ExplanationOut(msgspec.Struct, kw_only=True):
    """Why a contact is a member of a segment, or why not."""

    contact_id: Id
    member_since: Annotated[
        Instant | None, Meta(description="Time at which the contact entered, in UTC; null if it is no member.")
    ]
    left_at: Annotated[
        Instant | None,
        Meta(description="Time at which it last left, in UTC; null if it is a member, or never was one."),
    ]
    holds: Annotated[
        bool,
        Meta(description="Whether the contact fulfils the definition now. The membership follows within a second."),
    ]
    nodes: Annotated[list[NodeOut], Meta(description="All nodes in the order of the definition, the outermost first.")]
    as_of: Annotated[Instant, Meta(description="Time for which the definition was evaluated, in UTC.")]

    @classmethod
    def of(cls, contact_id: UUID, found: Explanation) -> "ExplanationOut":
        """Build the response for an explanation."""
        return cls(
            contact_id=contact_id,
            member_since=found.member_since,
            left_at=found.left_at,
            holds=found.holds,
            nodes=[NodeOut(one.path, one.kind, one.holds, one.since) for one in found.nodes],
            as_of=found.as_of,
        )


class MemberExplanation:
    """`/api/v1/audiences/{segment_id}/members/{contact_id}/explain`: why a contact is a member, or why not."""

    @endpoint(
        operation_id="explainAudienceMember",
        response=ExplanationOut,
        permission="audiences:read",
        audit="contact.read",
        problems=(ContactMerged,),
    )
    def on_get(self, req: Request, resp: Response, segment_id: UUID, contact_id: UUID) -> None:
        """Evaluate the definition of a segment for one contact, with the value of each node.

        The audit trail records who has read about the contact. A segment that can't be evaluated any more returns 422
        with the path of the leaf. API keys also need the scope `contacts:read`.
        """
        require_contacts(req)
        found = explanation.explain(segments.get(segment_id), contact_id)
        audited(req, table="contacts", record_id=contact_id)
        resp.media = ExplanationOut.of(contact_id, found)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/audiences/{segment_id:uuid}/members", SegmentMembers()),
    ("/api/v1/audiences/{segment_id:uuid}/members/{contact_id:uuid}/explain", MemberExplanation()),
    ("/api/v1/audiences/{segment_id:uuid}/counts", SegmentCountsOverTime()),
]
