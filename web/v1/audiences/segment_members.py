"""Members of segments, now and at a time in the past."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import membership, segments
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, decode_cursor, endpoint, page_of
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
        found = membership.members(segment.id, limit=query.limit + 1, after=after, at=query.as_of)
        shown = [SegmentMemberOut(contact_id, entered_at) for contact_id, entered_at in found]
        resp.media = page_of(shown, query.limit, lambda item: item.contact_id, scope=scope)


ROUTES: list[tuple[str, object]] = [("/api/v1/audiences/{segment_id:uuid}/members", SegmentMembers())]
