"""Campaigns: list, create, read, configure and clone them.

A campaign is created as a draft and launched by a job, which checks that nothing is missing.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.campaigns import campaigns, search
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted, FixedSinceLaunch, LaunchInProgress
from models.campaigns.config import EventConfig, LockerConfig, QrConfig, members_for
from models.campaigns.reward_stocks import BelowGiven
from models.campaigns.search import Archived, CampaignSort, Conditions
from models.campaigns.statuses import CampaignStatus, CampaignType, fields_fixed_by_launch
from models.core.errors import PreconditionFailed
from web.http.datetimes import Instant, in_utc
from web.http.decode import Body
from web.http.endpoint import Page, PageQuery, audited, changes, decode_cursor, endpoint, page_of
from web.http.fields import Text200
from web.http.merge_patch import merge
from web.http.preconditions import PreconditionRequired
from web.v1.campaigns._schemas import (
    CAMPAIGN,
    CONFIG,
    CampaignOut,
    Name,
    Type,
    campaigns_out,
    content_of,
    kind_of,
    require_version,
    respond,
)

_CHANGES = (BelowGiven, CampaignArchived, CampaignCompleted, FixedSinceLaunch, LaunchInProgress)
"""Refusals of every change of a campaign's contents."""


class CampaignFilter(PageQuery, kw_only=True):
    """Filter and order of the list of campaigns; all conditions must hold."""

    q: Annotated[
        Text200 | None,
        Meta(
            description="Words that must all occur in the name, or in the name or address of the venue, in any case. "
            "Default: all.",
            examples=["plaza madrid"],
        ),
    ] = None
    name: Annotated[
        Text200 | None,
        Meta(description="Only campaigns with this text in their name, in any case. Default: all.", examples=["plaza"]),
    ] = None
    status: Annotated[
        list[CampaignStatus] | None,
        Meta(
            description="Only campaigns with one of these statuses; repeat the parameter for several. Default: all.",
            examples=[["Active", "Paused"]],
        ),
    ] = None
    type: Annotated[
        CampaignType | None, Meta(description="Only campaigns of this type. Default: all.", examples=["QR"])
    ] = None
    archived: Annotated[Archived, Meta(description="Whether archived campaigns are listed. Default: `no`.")] = "no"
    created_from: Annotated[
        Instant | None, Meta(description="Only campaigns created at this time or later. Default: all.")
    ] = None
    created_to: Annotated[
        Instant | None, Meta(description="Only campaigns created before this time. Default: all.")
    ] = None
    starts_from: Annotated[
        Instant | None, Meta(description="Only campaigns with a `starts_at` at this time or later. Default: all.")
    ] = None
    starts_to: Annotated[
        Instant | None, Meta(description="Only campaigns with a `starts_at` before this time. Default: all.")
    ] = None
    ends_from: Annotated[
        Instant | None, Meta(description="Only campaigns with an `ends_at` at this time or later. Default: all.")
    ] = None
    ends_to: Annotated[
        Instant | None, Meta(description="Only campaigns with an `ends_at` before this time. Default: all.")
    ] = None
    sort: Annotated[CampaignSort, Meta(description="Order of the list. Default: `-created_at`, the newest first.")] = (
        "-created_at"
    )

    def conditions(self) -> Conditions:
        """Return the conditions of this filter."""

        def period(name: str) -> tuple[datetime | None, datetime | None]:
            start, end = f"{name}_from", f"{name}_to"
            return in_utc(start, getattr(self, start)), in_utc(end, getattr(self, end))

        return Conditions(
            text=self.q,
            name=self.name,
            statuses=self.status or (),
            kind=self.type,
            archived=self.archived,
            created=period("created"),
            starts=period("starts"),
            ends=period("ends"),
        )


class _Contents(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="type"):
    name: Name


_NEW = Meta(description=f"{CONFIG} Default: each member has its own default.")
_ALL = Meta(description=f"{CONFIG} A member that is left out gets its default: it does not keep its value.")


class LockerCampaignIn(_Contents, kw_only=True, tag="Locker"):
    """A new Locker Drop."""

    config: Annotated[LockerConfig, _NEW] = LockerConfig()


class EventCampaignIn(_Contents, kw_only=True, tag="Event"):
    """A new Event Partnership."""

    config: Annotated[EventConfig, _NEW] = EventConfig()


class QrCampaignIn(_Contents, kw_only=True, tag="QR"):
    """A new QR activation."""

    config: Annotated[QrConfig, _NEW] = QrConfig()


class LockerCampaignReplacement(_Contents, kw_only=True, tag="Locker"):
    """New contents of a Locker Drop."""

    config: Annotated[LockerConfig, _ALL]


class EventCampaignReplacement(_Contents, kw_only=True, tag="Event"):
    """New contents of an Event Partnership."""

    config: Annotated[EventConfig, _ALL]


class QrCampaignReplacement(_Contents, kw_only=True, tag="QR"):
    """New contents of a QR activation."""

    config: Annotated[QrConfig, _ALL]


_TYPE = "`type`, which the launch fixes, says which configuration it has."
CampaignIn = Annotated[
    LockerCampaignIn | EventCampaignIn | QrCampaignIn,
    Meta(title="CampaignIn", description=f"A new campaign; {_TYPE}"),
]
CampaignReplacement = Annotated[
    LockerCampaignReplacement | EventCampaignReplacement | QrCampaignReplacement,
    Meta(title="CampaignReplacement", description=f"All fields of a campaign that can be changed; {_TYPE}"),
]


class CampaignChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a campaign, as a merge patch (RFC 7396): a member that is left out stays as it is."""

    name: Annotated[Name | UnsetType, Meta(description="New name. Default: unchanged.")] = UNSET
    type: Annotated[Type | UnsetType, Meta(description="New type of a draft. Default: unchanged.")] = UNSET
    config: Annotated[
        dict[str, Any] | UnsetType,
        Meta(
            description="Rules to change, in the form of `config` of the campaign; null resets a rule to its default. "
            "Members of an object change one by one, a list is replaced as a whole. Fixed by the launch: "
            f"{fields_fixed_by_launch()}.",
            examples=[{"scan_limit": {"per_user": {"count": 2, "window": "day"}}, "ends_at": None}],
        ),
    ] = UNSET


class CloneIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The name of the new campaign."""

    name: Name


_REPLACEMENT = Body(CampaignReplacement)


class Campaigns:
    """`/api/v1/campaigns`: the campaigns of a brand."""

    @endpoint(query=CampaignFilter, response=Page[CampaignOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List campaigns, the newest first unless `sort` says otherwise. Archived ones are left out by default.

        A Creator sees assigned campaigns only. Their figures are in `GET /api/v1/analytics/overview`.
        """
        query: CampaignFilter = req.context.query
        conditions = query.conditions()
        scope = f"campaigns:{query.sort}:{conditions}"
        found = search.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, _KEYS[query.sort.removeprefix("-")], scope=scope),
            sort=query.sort,
            conditions=conditions,
        )
        page = page_of(found, query.limit, lambda campaign: search.key_of(query.sort, campaign), scope=scope)
        resp.media = Page(campaigns_out(page.items), page.next_cursor)

    @endpoint(
        body=CampaignIn,
        response=CampaignOut,
        status=201,
        permission="campaigns:write",
        audit="campaign.create",
        idempotent=True,
        example=CAMPAIGN,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a draft campaign.

        Scans of its codes are refused until `POST /api/v1/campaigns/{campaign_id}/launch`. Rules that a launch needs,
        such as the end of an `Event`, may be missing in a draft.
        """
        body: CampaignIn = req.context.body
        campaign = campaigns.create(name=body.name, kind=kind_of(body), config=body.config)
        audited(req, table="campaigns", record_id=campaign.id, after=content_of(campaign))
        resp.location = f"/api/v1/campaigns/{campaign.id}"
        respond(resp, campaign)


_KEYS: dict[str, Any] = {
    "created_at": tuple[datetime, UUID],
    "name": tuple[str, UUID],
    "starts_at": tuple[datetime | None, UUID],
}
"""Types of the cursor's key, by the order of the list."""


class Campaign:
    """`/api/v1/campaigns/{campaign_id}`: one campaign."""

    @endpoint(response=CampaignOut, permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Read a campaign.

        Send its `ETag` as `If-Match` with the next change, so that the change of another member is not overwritten.
        """
        respond(resp, campaigns.get(campaign_id))

    @endpoint(
        body=CampaignReplacement,
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.update",
        problems=(*_CHANGES, PreconditionFailed, PreconditionRequired),
        example=CAMPAIGN,
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Replace a campaign's name, type and configuration.

        Members of `config` that are left out get their defaults: read the campaign, change it, and send all of it, or
        use `PATCH`. The rules apply to scans that are received from then on. Some fields are fixed by the launch
        (`fixed_since_launch` names them). An `Active` campaign needs `If-Match`. While the launch job runs, the
        campaign can't be changed.
        """
        body: CampaignReplacement = req.context.body
        campaign = campaigns.get_for_update(campaign_id)
        require_version(req, campaign)
        _replace(req, resp, campaign, body)

    @endpoint(
        body=CampaignChange,
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.update",
        problems=(*_CHANGES, PreconditionFailed, PreconditionRequired),
        example={
            "name": "Plaza Mayor, evenings",
            "type": "QR",
            "config": {"scan_limit": {"per_user": {"count": 2, "window": "day"}}, "ends_at": None},
        },
    )
    def on_patch(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Change single fields of a campaign, as a merge patch (RFC 7396).

        The body may declare `application/json` or `application/merge-patch+json`. The result obeys the same rules as
        `PUT`. An `Active` campaign needs `If-Match`.
        """
        body: CampaignChange = req.context.body
        campaign = campaigns.get_for_update(campaign_id)
        require_version(req, campaign)
        kind = campaign.type if body.type is UNSET else body.type
        present = content_of(campaign) | {"config": members_for(kind, campaigns.config_of(campaign))}
        patched = merge(present, msgspec.to_builtins(body))
        _replace(req, resp, campaign, _REPLACEMENT.decode(msgspec.json.encode(patched)))


def _replace(req: Request, resp: Response, campaign: campaigns.Campaign, body: CampaignReplacement) -> None:
    replaced, _ = campaigns.replace(campaign, name=body.name, kind=kind_of(body), config=body.config)
    before, now = changes(content_of(campaign), content_of(replaced))
    audited(req, table="campaigns", record_id=campaign.id, before=before, after=now)
    respond(resp, replaced)


class CampaignClone:
    """`/api/v1/campaigns/{campaign_id}/clone`: create a campaign from another one."""

    @endpoint(
        body=CloneIn,
        response=CampaignOut,
        status=201,
        permission="campaigns:write",
        audit="campaign.clone",
        idempotent=True,
        example={"name": "Plaza Mayor, second edition"},
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Create a draft with the type and configuration of a campaign in any status.

        Dates that have passed are left out. Codes and assigned Creators are not copied.
        """
        body: CloneIn = req.context.body
        made = campaigns.clone(campaigns.get(campaign_id), name=body.name)
        audited(req, table="campaigns", record_id=made.id, after={"cloned_from": campaign_id, **content_of(made)})
        resp.location = f"/api/v1/campaigns/{made.id}"
        respond(resp, made)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/campaigns", Campaigns()),
    ("/api/v1/campaigns/{campaign_id:uuid}", Campaign()),
    ("/api/v1/campaigns/{campaign_id:uuid}/clone", CampaignClone()),
]
