"""Assignments: the campaigns that a Creator may see. Members with other roles see all campaigns of their brand."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns
from models.core.errors import PreconditionFailed
from models.tenants import assignments
from models.tenants.assignments import NotACreator
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of, require_match
from web.http.fields import UserId
from web.http.person_fields import PersonEmail, PersonName


class AssignmentOut(msgspec.Struct):
    """The assignment of a Creator to a campaign."""

    user_id: Annotated[UserId, Meta(description="Id of the Creator.")]
    email: PersonEmail
    name: PersonName
    assigned_by: Annotated[
        UUID | None,
        Meta(
            description="Id of the member who made the assignment; null once the account is deleted.",
            examples=["01941f28-5de0-7f06-b3a9-0c7e2d4b8a61"],
        ),
    ]
    created_at: Annotated[Instant, Meta(description="Time of the assignment, in UTC.")]

    @classmethod
    def of(cls, assignment: assignments.Assignment) -> "AssignmentOut":
        """Build the response for an assignment."""
        return msgspec.convert(assignment, cls, from_attributes=True)


class Assignments:
    """`/api/v1/campaigns/{campaign_id}/assignments`: the Creators who are assigned to a campaign."""

    @endpoint(
        query=PageQuery, response=Page[AssignmentOut], permission="campaigns:assign", audit="campaign.list_assigned"
    )
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List the Creators who are assigned to a campaign, ordered by id.

        A Creator sees assigned campaigns only. Members with other roles see all campaigns of their brand.
        """
        query: PageQuery = req.context.query
        scope = f"assignments:{campaigns.get(campaign_id).id}"
        found = assignments.page(campaign_id, query.limit + 1, decode_cursor(query.cursor, UUID, scope=scope))
        items = [AssignmentOut.of(assignment) for assignment in found]
        shown = [item.user_id for item in items[: query.limit]]
        audited(req, table="campaigns", record_id=campaign_id, shown=shown)
        resp.media = page_of(items, query.limit, lambda item: item.user_id, scope=scope)


class Assignment:
    """`/api/v1/campaigns/{campaign_id}/assignments/{user_id}`: one assignment."""

    @endpoint(
        operation_id="assignCreator",
        status=204,
        permission="campaigns:assign",
        audit="campaign.assign",
        problems=(NotACreator, PreconditionFailed),
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID, user_id: UUID) -> None:
        """Assign a Creator to a campaign.

        The Creator sees the campaign from the next request on. An existing assignment stays as it is. `If-Match` refers
        to the campaign. `user_id` is a member with the role Creator.
        """
        require_match(req, campaigns.get(campaign_id).version)
        assignments.assign(campaign_id, user_id)
        audited(req, table="campaigns", record_id=campaign_id, after={"creator": user_id})

    @endpoint(operation_id="unassignCreator", status=204, permission="campaigns:assign", audit="campaign.unassign")
    def on_delete(self, req: Request, resp: Response, campaign_id: UUID, user_id: UUID) -> None:
        """Remove a Creator from a campaign. The Creator loses access to it with the next request."""
        assignments.unassign(campaign_id, user_id)
        audited(req, table="campaigns", record_id=campaign_id, before={"creator": user_id})


_ALL = "/api/v1/campaigns/{campaign_id:uuid}/assignments"

ROUTES: list[tuple[str, object]] = [(_ALL, Assignments()), (f"{_ALL}/{{user_id:uuid}}", Assignment())]
