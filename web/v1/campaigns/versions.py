"""History of a campaign's name, type and configuration, and the way back to an earlier version."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, history
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted, FixedSinceLaunch, LaunchInProgress
from models.campaigns.reward_stocks import BelowGiven
from models.core.errors import PreconditionFailed
from web.http.endpoint import Page, PageQuery, audited, changes, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, UserId
from web.http.preconditions import PreconditionRequired
from web.v1.campaigns._schemas import (
    CampaignOut,
    EventConfigField,
    LockerConfigField,
    Name,
    QrConfigField,
    content_of,
    require_version,
    respond,
)


class _Version(msgspec.Struct, kw_only=True, tag_field="type"):
    version: Annotated[
        int,
        Meta(
            description="Version of the campaign that the change made. Transitions have versions of the campaign, too, "
            "and none in this list.",
            examples=[3],
        ),
    ]
    name: Name
    changed: Annotated[
        list[str],
        Meta(
            description="Paths of the fields that differ from the version before; empty for the first version.",
            examples=[["name", "config.geofence"]],
        ),
    ]
    reverted_to: Annotated[
        int | None, Meta(description="Version whose contents the change restored; null if it was no revert.")
    ]
    created_by: Annotated[
        UserId | None,
        Meta(description="Member who made the change; null for an API key, or if the account was erased."),
    ]
    created_at: CreatedAt


class LockerVersionOut(_Version, kw_only=True, tag="Locker"):
    """The contents of a Locker Drop after one change."""

    config: LockerConfigField


class EventVersionOut(_Version, kw_only=True, tag="Event"):
    """The contents of an Event Partnership after one change."""

    config: EventConfigField


class QrVersionOut(_Version, kw_only=True, tag="QR"):
    """The contents of a QR activation after one change."""

    config: QrConfigField


CampaignVersionOut = Annotated[
    LockerVersionOut | EventVersionOut | QrVersionOut,
    Meta(title="CampaignVersionOut", description="The contents of a campaign after one change."),
]
_OUT: dict[str, type[Any]] = {"Locker": LockerVersionOut, "Event": EventVersionOut, "QR": QrVersionOut}


def _version_out(found: history.CampaignVersion) -> CampaignVersionOut:
    """Build the response for a version."""
    shown: CampaignVersionOut = _OUT[found.type](
        version=found.version,
        name=found.name,
        config=campaigns.config_of(found),
        changed=found.changed,
        reverted_to=found.reverted_to,
        created_by=found.created_by,
        created_at=found.created_at,
    )
    return shown


class CampaignVersions:
    """`/api/v1/campaigns/{campaign_id}/versions`: the history of a campaign's contents."""

    @endpoint(query=PageQuery, response=Page[CampaignVersionOut], permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List the versions of a campaign's contents, the newest first. The newest 1,000 are kept."""
        query: PageQuery = req.context.query
        scope = f"versions:{campaigns.get(campaign_id).id}"
        before = decode_cursor(query.cursor, int, scope=scope)
        found = history.find(campaign_id, limit=query.limit + 1, before=before)
        items = [_version_out(version) for version in found]
        resp.media = page_of(items, query.limit, lambda item: item.version, scope=scope)


class CampaignVersion:
    """`/api/v1/campaigns/{campaign_id}/versions/{version_number}`: one version."""

    @endpoint(response=CampaignVersionOut, permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID, version_number: int) -> None:
        """Read a version of a campaign's contents."""
        resp.media = _version_out(history.get(campaign_id, version_number))


class CampaignVersionRevert:
    """`/api/v1/campaigns/{campaign_id}/versions/{version_number}/revert`: restore a version."""

    @endpoint(
        operation_id="revertCampaign",
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.revert",
        problems=(
            BelowGiven,
            CampaignArchived,
            CampaignCompleted,
            FixedSinceLaunch,
            LaunchInProgress,
            PreconditionFailed,
            PreconditionRequired,
        ),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID, version_number: int) -> None:
        """Restore the name, type and configuration of an earlier version, as a new version.

        The rules of `PUT` apply: fields that are fixed by the launch must be equal in both, and an `Active` campaign
        needs `If-Match`.
        """
        campaign = campaigns.get_for_update(campaign_id)
        require_version(req, campaign)
        reverted, _ = campaigns.revert(campaign, version_number)
        before, now = changes(content_of(campaign), content_of(reverted))
        audited(
            req, table="campaigns", record_id=campaign_id, before=before, after={"reverted_to": version_number, **now}
        )
        respond(resp, reverted)


_VERSIONS = "/api/v1/campaigns/{campaign_id:uuid}/versions"

ROUTES: list[tuple[str, object]] = [
    (_VERSIONS, CampaignVersions()),
    (f"{_VERSIONS}/{{version_number:int(min=1, max=2147483647)}}", CampaignVersion()),
    (f"{_VERSIONS}/{{version_number:int(min=1, max=2147483647)}}/revert", CampaignVersionRevert()),
]
