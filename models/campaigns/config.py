"""Configuration of a campaign: the rules for its scans, as brands write it and as it is stored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from models.consents.consents import TIERS, ConsentTier
from models.core import timezones
from models.core.enumerations import enumeration
from models.core.errors import FieldError, Invalid
from models.core.messages import NORMALISE, REASON, Message

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of every date of a campaign: from `EARLIEST` on, before `LATEST`."""

OUT_OF_RANGE = Message("must be from {first} on and before {last}", first=EARLIEST.year, last=LATEST.year)
"""Reason for a date outside of the bounds."""


WhenUncertain = Annotated[
    Literal["accept", "flag", "reject"],
    enumeration(
        "WhenUncertain",
        "Decision on a position that may be inside or outside the geofence within its accuracy. `accept`: count the "
        "scan. `flag`: count it and send it to review. `reject`: refuse it with `geofence_uncertain`.",
    ),
]
LimitWindow = Annotated[
    Literal["lifetime", "day", "hour"],
    enumeration(
        "LimitWindow",
        "Window of a limit. `hour`, `day`: a calendar hour or day in the campaign's time zone, by the time of "
        "receipt; a scan over the limit is refused with `limit_reached`. `lifetime`: the whole campaign; it is "
        "refused with `cap_exhausted`.",
    ),
]


class Geofence(Struct, frozen=True, forbid_unknown_fields=True):
    """A circle in which scans must be made. Phones must then send their position."""

    lat: Annotated[
        float,
        Meta(
            ge=-90,
            le=90,
            description="Latitude of the centre in degrees (WGS-84), north positive.",
            examples=[40.41541],
        ),
    ]
    lon: Annotated[
        float,
        Meta(
            ge=-180,
            le=180,
            description="Longitude of the centre in degrees (WGS-84), east positive.",
            examples=[-3.7074],
        ),
    ]
    radius_m: Annotated[
        float, Meta(ge=1, le=100_000, description="Radius of the circle in metres: from 1 m to 100 km.", examples=[300])
    ]
    when_uncertain: Annotated[
        WhenUncertain,
        Meta(description="Decision on positions near the border. Default: `accept`."),
    ] = "accept"


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """Maximum number of accepted scans in a window."""

    count: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Accepted scans in one window; the next scan is refused.", examples=[3]),
    ]
    window: Annotated[
        LimitWindow,
        Meta(description="Window in which the scans are counted."),
    ]


class ScanLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on accepted scans.

    `per_user` and `per_device` limit honest phones. A script creates a new anonymous account and a new fingerprint for
    each scan. Where a scan has value, also set `requires_account`, `total` and a `geofence` with
    `when_uncertain: reject`. Before rewards are given, check the counts of the rules `network.new_devices`
    and `scan.late_batch` in the overview.
    """

    per_user: Annotated[Share | None, Meta(description="Limit for each person; null: no limit. Default: null.")] = None
    per_device: Annotated[
        Share | None,
        Meta(description="Limit for each device, by its fingerprint; null: no limit. Default: null."),
    ] = None
    total: Annotated[
        Share | None, Meta(description="Limit for all scans of the campaign; null: no limit. Default: null.")
    ] = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for the scans of a campaign. An answer has every member, with its default if none was sent."""

    # Stored with every key: the SQL of the scan decision reads it.
    geofence: Annotated[
        Geofence | None,
        Meta(description="Area of valid scans; null: scans count anywhere, without a position. Default: null."),
    ] = None
    scan_limit: Annotated[ScanLimit, Meta(description="Limits on accepted scans. Default: no limits.")] = ScanLimit()
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
            description="Time zone of the windows `hour` and `day`: a name from the IANA database. The launch fixes "
            "it. Default: `UTC`.",
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


def canonical(config: Config) -> dict[str, Any]:
    """Return the configuration in its stored form: every key, tiers in a fixed order, times in UTC.

    Raises:
        Invalid: the configuration contradicts itself; carries every contradiction.
    """
    if errors := contradictions(config):
        raise Invalid(errors=errors)
    in_utc = {field: at and at.astimezone(UTC) for field, at in _dates(config).items()}
    ordered = sorted(config.consent_tiers, key=TIERS.index)
    stored: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(config, consent_tiers=ordered, **in_utc))
    return stored


def contradictions(config: Config) -> list[FieldError]:
    """Return violations of rules that the types can't express."""
    found = []
    if len(set(config.consent_tiers)) < len(config.consent_tiers):
        found.append(FieldError("config.consent_tiers", "must not name a tier twice"))
    if config.timezone not in timezones.names():
        found.append(FieldError("config.timezone", timezones.UNKNOWN))
    found += [
        FieldError(f"config.{field}", OUT_OF_RANGE)
        for field, at in _dates(config).items()
        if at is not None and not EARLIEST <= at < LATEST
    ]
    if config.starts_at and config.ends_at and config.starts_at >= config.ends_at:
        found.append(FieldError("config.ends_at", "must be later than `starts_at`"))
    return found


def _dates(config: Config) -> dict[str, datetime | None]:
    return {"starts_at": config.starts_at, "ends_at": config.ends_at}
