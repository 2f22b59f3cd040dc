"""Structs of the configuration: the common members, and one struct for each campaign type."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from models.campaigns.config.geofence import Geofence
from models.campaigns.config.plans import Budget, EventPlan, Goal, Reward, Venue
from models.campaigns.config.scan_rules import ScanLimit, ScanWindow
from models.campaigns.config.survey import Survey
from models.consents.consents import ConsentTier
from models.core import timezones
from models.core.messages import NORMALISE, REASON, Message


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for the scans of a campaign, and its plans.

    An answer has every member, with its default if none was sent.
    """

    # Stored with every key: the SQL of the scan decision reads it.
    geofence: Annotated[
        Geofence | None,
        Meta(description="Area of valid scans; null: scans count anywhere, without a position. Default: null."),
    ] = None
    scan_limit: Annotated[ScanLimit, Meta(description="Limits on accepted scans. Default: no limits.")] = ScanLimit()
    scan_windows: Annotated[
        list[ScanWindow],
        Meta(
            max_length=21,
            description="Weekly hours in which scans count, by the time of the scan; others are refused with "
            "`scan_window_closed`. The windows must not overlap. Default: an empty list, at any hour.",
        ),
    ] = []
    consent_tiers: Annotated[
        list[ConsentTier],
        Meta(
            description="Consents that a scan needs, for this brand or for all brands; without one it is refused with "
            "`consent_required`. Each tier at most once. Default: `essential` alone.",
            examples=[["essential", "analytics"]],
        ),
    ] = msgspec.field(default_factory=lambda: ["essential"])
    timezone: Annotated[
        str,
        Meta(
            max_length=64,
            description="Time zone of `scan_windows` and of the windows `hour` and `day`: a name from the IANA "
            "database. The launch fixes it. Default: `UTC`.",
            examples=["Europe/Madrid"],
            extra={NORMALISE: timezones.known},
        ),
    ] = "UTC"
    starts_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="Scans before this time are refused with `campaign_not_active`, with a tolerance of 5 minutes; "
            "null: from the launch on. From 2000 to 2199. Default: null.",
            examples=["2026-12-01T09:00:00Z"],
        ),
    ] = None
    ends_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="Scans after this time are refused with `campaign_ended`; null: no end. Later than "
            "`starts_at`, up to 2199. An `Event` needs it for its launch. Default: null.",
            examples=["2026-12-24T22:00:00Z"],
        ),
    ] = None
    max_accuracy_m: Annotated[
        float,
        Meta(
            ge=10,
            le=5_000,
            description="Largest accepted `accuracy_m` of a position, in metres; a larger one is refused with "
            "`location_inaccurate`. Read only with a `geofence`. Default: 200.",
            examples=[200],
        ),
    ] = 200.0
    max_location_age_s: Annotated[
        int,
        Meta(
            ge=1,
            le=3_600,
            description="Most seconds between the scan and the measurement of its position; more are refused with "
            "`location_stale`. Read only with a `geofence`. Default: 120.",
            examples=[120],
        ),
    ] = 120
    max_lateness_s: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="Most seconds between a scan and its receipt, for phones without a network, with a tolerance "
            "of 5 minutes; later ones are refused with `scan_too_old`. Default: 86400 (a day).",
            examples=[86_400],
        ),
    ] = 86_400
    requires_account: Annotated[
        bool,
        Meta(
            description="Whether scans of anonymous fans are refused with `account_required`. `per_user` then limits "
            "accounts, and each account needs an email address of its own. Default: false."
        ),
    ] = False
    test_mode: Annotated[
        bool,
        Meta(
            description="Whether scans are tests: decided by the same rules and answered with `is_test`, but counted "
            "nowhere, without limits, contacts, rewards and check-ins. It is switched on before the launch, and off at "
            "any time before the end. A scan that is received in test mode is a test. Default: false."
        ),
    ] = False
    notice_key: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=r"^[a-z][a-z0-9_-]*$(?!\n)",
            description="Key of the consent notice that fans see. For a launch, a notice with this key must be in "
            "force and contain all `consent_tiers`. Default: `default`.",
            examples=["default"],
            extra={REASON: Message("must begin with a letter, and have only a to z, digits, hyphens and underscores")},
        ),
    ] = "default"
    venue: Annotated[Venue | None, Meta(description="Place of the activation; null: none. Default: null.")] = None
    survey: Annotated[Survey | None, Meta(description="Questions to fans after a scan; null: none. Default: null.")] = (
        None
    )
    budget: Annotated[Budget | None, Meta(description="Planned cost; null: none. Default: null.")] = None
    goals: Annotated[
        list[Goal],
        Meta(
            max_length=20,
            description="Numbers to reach, each metric at most once. Default: an empty list.",
            examples=[[{"metric": "reach", "target": 2000}]],
        ),
    ] = []
    segment_ids: Annotated[
        list[UUID],
        Meta(
            max_length=100,
            description="Segments of the brand that the campaign addresses, each at most once. Default: an empty list.",
            examples=[[]],
        ),
    ] = []


class LockerConfig(Config, frozen=True, forbid_unknown_fields=True):
    """Configuration of a Locker Drop."""

    rewards: Annotated[
        list[Reward],
        Meta(
            max_length=50,
            description="Rewards and their inventory, in the order in which they are granted. Default: an empty list.",
        ),
    ] = []


class EventConfig(Config, frozen=True, forbid_unknown_fields=True):
    """Configuration of an Event Partnership."""

    event: Annotated[
        EventPlan, Meta(description="Capacity and admission. Default: open to every fan, without a limit.")
    ] = EventPlan()


class QrConfig(Config, frozen=True, forbid_unknown_fields=True):
    """Configuration of a QR activation."""


CONFIGS: dict[str, type[Config]] = {"Locker": LockerConfig, "Event": EventConfig, "QR": QrConfig}
"""The struct of each campaign type."""
