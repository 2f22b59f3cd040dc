"""Schemas of campaigns that several resources use."""

from collections.abc import Iterable
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, codes, launch
from models.campaigns.config import EventConfig, LockerConfig, QrConfig
from models.campaigns.launch import LaunchState, LaunchStep
from models.campaigns.statuses import CampaignStatus, CampaignType
from models.scans import received_tests
from models.scans.received_tests import ReceivedTests
from web.http.accepted import JobError, error_of
from web.http.datetimes import Instant
from web.http.endpoint import etag, require_match
from web.http.fields import CreatedAt, Id, Text200, UpdatedAt, Version

Name = Annotated[
    Text200, Meta(description="Name of the campaign; fans see it before a scan.", examples=["Plaza Mayor"])
]
Type = Annotated[CampaignType, Meta(description="Type of the campaign; fixed by the launch.", examples=["QR"])]
CONFIG = "Rules for the scans of the campaign, and its plans."
LockerConfigField = Annotated[LockerConfig, Meta(description=CONFIG)]
EventConfigField = Annotated[EventConfig, Meta(description=CONFIG)]
QrConfigField = Annotated[QrConfig, Meta(description=CONFIG)]

CAMPAIGN = {
    "name": "Plaza Mayor",
    "type": "QR",
    "config": {
        "geofence": {"lat": 40.41541, "lon": -3.7074, "radius_m": 300, "when_uncertain": "flag"},
        "scan_limit": {
            "per_user": {"count": 1, "window": "day"},
            "per_device": {"count": 3, "window": "day"},
            "total": {"count": 5000, "window": "lifetime"},
        },
        "consent_tiers": ["essential", "analytics"],
        "timezone": "Europe/Madrid",
        "starts_at": "2026-12-01T09:00:00Z",
        "ends_at": "2036-12-24T22:00:00Z",
    },
}
"""Example of a campaign that can be launched."""


class LaunchOut(msgspec.Struct):
    """The launch of a draft that runs or has failed."""

    job_id: Annotated[UUID, Meta(description="Id of the launch job, for `GET /api/v1/jobs/{job_id}`.")]
    state: Annotated[LaunchState, Meta(description="`running`, or `failed` until it is launched again.")]
    step: Annotated[LaunchStep, Meta(description="Step that runs, or in which the launch has failed.")]
    steps: Annotated[
        list[LaunchStep], Meta(description="All steps in their order. Those before `step` are done, and stay done.")
    ]
    error: Annotated[
        JobError | None, Meta(description="Error of the last failed attempt, also before the next one; null without.")
    ]

    @classmethod
    def of(cls, found: launch.Progress) -> "LaunchOut":
        """Build the response for a launch."""
        return cls(found.job_id, found.state, found.step, list(launch.STEPS), error_of(found.error))


class TestScansOut(msgspec.Struct):
    """Scans that the campaign received in test mode. They count nowhere else."""

    count: Annotated[int, Meta(description="Number of test scans, accepted or rejected.", examples=[0])]
    last_at: Annotated[Instant | None, Meta(description="Time at which the last one was received, in UTC; null: none.")]

    @classmethod
    def of(cls, found: ReceivedTests) -> "TestScansOut":
        """Build the response for the test scans of a campaign."""
        return cls(found.count, found.last_at)


class _Campaign(msgspec.Struct, kw_only=True, tag_field="type"):
    id: Id
    name: Name
    status: Annotated[
        CampaignStatus,
        Meta(description="Present status: `Draft` until the launch, then `Active`.", examples=["Active"]),
    ]
    version: Version
    code_count: Annotated[
        int, Meta(description="Number of enabled codes. The launch creates one if there is none.", examples=[2])
    ]
    test_scans: Annotated[TestScansOut, Meta(description="Scans received in test mode.")]
    launch: Annotated[
        LaunchOut | None,
        Meta(
            description="The launch that runs or has failed; null before the launch and after its success. Null for "
            "members without `jobs:read`."
        ),
    ]
    launch_job_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the launch job that runs or has failed, for `GET /api/v1/jobs/{job_id}`; null before "
            "the launch and after its success."
        ),
    ]
    launch_at: Annotated[
        Instant | None, Meta(description="Time of the scheduled launch of a draft, in UTC; null without one.")
    ]
    launched_at: Annotated[
        Instant | None, Meta(description="Time at which the campaign became active, in UTC; null for a draft.")
    ]
    completed_at: Annotated[
        Instant | None, Meta(description="Time at which the campaign was completed, in UTC; null before.")
    ]
    archived_at: Annotated[
        Instant | None, Meta(description="Time at which the campaign was archived, in UTC; null if it is not archived.")
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt


class LockerCampaignOut(_Campaign, kw_only=True, tag="Locker"):
    """A Locker Drop."""

    config: LockerConfigField


class EventCampaignOut(_Campaign, kw_only=True, tag="Event"):
    """An Event Partnership."""

    config: EventConfigField


class QrCampaignOut(_Campaign, kw_only=True, tag="QR"):
    """A QR activation."""

    config: QrConfigField


CampaignOut = Annotated[
    LockerCampaignOut | EventCampaignOut | QrCampaignOut,
    Meta(title="CampaignOut", description="A campaign; `type` says which configuration it has."),
]
_OUT: dict[str, type[Any]] = {"Locker": LockerCampaignOut, "Event": EventCampaignOut, "QR": QrCampaignOut}


def campaigns_out(found: Iterable[campaigns.Campaign]) -> list[CampaignOut]:
    """Build the responses for campaigns, with one query each for all launches, codes and test scans."""
    listed = list(found)
    launches, enabled = launch.progress_of(listed), codes.counts(campaign.id for campaign in listed)
    tests = received_tests.find(campaign.id for campaign in listed)
    return [
        _OUT[campaign.type](
            id=campaign.id,
            name=campaign.name,
            status=cast(CampaignStatus, campaign.status),
            config=campaigns.config_of(campaign),
            version=campaign.version,
            code_count=enabled.get(campaign.id, 0),
            test_scans=TestScansOut.of(tests.get(campaign.id, ReceivedTests())),
            launch=LaunchOut.of(launches[campaign.id]) if campaign.id in launches else None,
            launch_job_id=campaign.launch_job_id,
            launch_at=campaign.launch_at,
            launched_at=campaign.launched_at,
            completed_at=campaign.completed_at,
            archived_at=campaign.archived_at,
            created_at=campaign.created_at,
            updated_at=campaign.updated_at,
        )
        for campaign in listed
    ]


def kind_of(body: msgspec.Struct) -> str:
    """Return the campaign type of a decoded body."""
    return str(body.__struct_config__.tag)


def content_of(campaign: campaigns.Campaign) -> dict[str, Any]:
    """Return the fields of a campaign that a client can change, for its audit entries."""
    return {"name": campaign.name, "type": campaign.type, "config": campaign.config}


def require_version(req: Request, campaign: campaigns.Campaign) -> None:
    """Compare `If-Match` with a locked campaign. An active campaign needs it: fans are scanning by its rules.

    Raises:
        PreconditionFailed: `If-Match` names another version.
        PreconditionRequired: the campaign is active, and there is no `If-Match`.
    """
    require_match(req, campaign.version, required=campaign.status == "Active")


def respond(resp: Response, campaign: campaigns.Campaign) -> None:
    """Answer with a campaign and its `ETag`."""
    (shown,) = campaigns_out([campaign])
    progress = shown.launch and f"{shown.launch.step}.{shown.launch.state}.{int(shown.launch.error is not None)}"
    etag(resp, campaign.version, *(str(part) for part in (shown.code_count, shown.test_scans.count, progress) if part))
    resp.media = shown
