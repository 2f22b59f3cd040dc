"""Schemas of campaigns that several resources use."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from models.campaigns import campaigns
from models.campaigns.campaigns import CampaignStatus, CampaignType
from models.campaigns.config import Config
from web.http.datetimes import Instant
from web.http.fields import CreatedAt, Id, Text200, UpdatedAt, Version

Name = Annotated[
    Text200, Meta(description="Name of the campaign; fans see it before a scan.", examples=["Plaza Mayor"])
]
Type = Annotated[CampaignType, Meta(description="Type of the campaign; fixed by the launch.", examples=["QR"])]
ConfigField = Annotated[Config, Meta(description="Rules for the scans of the campaign.")]

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


class CampaignOut(msgspec.Struct):
    """A campaign."""

    id: Id
    type: Type
    name: Name
    status: Annotated[
        CampaignStatus,
        Meta(description="Present status: `Draft` until the launch, then `Active`.", examples=["Active"]),
    ]
    config: ConfigField
    version: Version
    launch_job_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the launch job that runs or has failed, for `GET /api/v1/jobs/{job_id}`; null before "
            "the launch and after its success."
        ),
    ]
    launched_at: Annotated[
        Instant | None, Meta(description="Time at which the campaign became active, in UTC; null for a draft.")
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt

    @classmethod
    def of(cls, campaign: campaigns.Campaign) -> "CampaignOut":
        """Build the response for a campaign."""
        return msgspec.convert(campaign, cls, from_attributes=True)


def content_of(campaign: campaigns.Campaign) -> dict[str, Any]:
    """Return the fields of a campaign that a client can change, for its audit entries."""
    return {"name": campaign.name, "type": campaign.type, "config": campaign.config}
