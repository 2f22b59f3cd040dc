"""Configuration of a campaign: the rules for its scans, as brands write it and as it is stored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from models.consents.consents import Tier
from models.core import timezones
from models.core.errors import Invalid

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of every date of a campaign: from `EARLIEST` on, before `LATEST`."""


class Geofence(Struct, frozen=True, forbid_unknown_fields=True):
    """A circle in which scans must be made. `radius_m` in metres.

    `when_uncertain`: decision on a scan whose accuracy circle crosses the border.
    """

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    radius_m: Annotated[float, Meta(ge=1, le=100_000)]
    when_uncertain: Literal["accept", "flag", "reject"] = "accept"


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """Maximum number of accepted scans in a window: a calendar hour or day in the campaign's time zone, or for ever."""

    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    window: Literal["lifetime", "day", "hour"]


class ScanLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on accepted scans; null is no limit.

    `per_user` and `per_device` limit honest phones. A script creates a new anonymous account and a new fingerprint for
    each scan. Where a scan has value, also set `requires_account`, `total` and a `geofence` with
    `when_uncertain: reject`. Before rewards are given, check the counts of the rules `network.new_devices`
    and `scan.late_batch` in the overview.
    """

    per_user: Share | None = None
    per_device: Share | None = None
    total: Share | None = None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules for the scans of a campaign. Stored with every key; the SQL of the scan decision reads it.

    `requires_account`: refuse scans of anonymous fans with `account_required`. `per_user` then limits accounts, and
    each account needs an e-mail address of its own.
    """

    geofence: Geofence | None = None
    scan_limit: ScanLimit = ScanLimit()
    consent_tiers: list[Tier] = msgspec.field(default_factory=lambda: ["essential"])
    timezone: Annotated[str, Meta(max_length=64)] = "UTC"
    starts_at: Annotated[datetime, Meta(tz=True)] | None = None
    ends_at: Annotated[datetime, Meta(tz=True)] | None = None
    max_accuracy_m: Annotated[float, Meta(ge=10, le=5_000)] = 200.0
    max_location_age_s: Annotated[int, Meta(ge=1, le=3_600)] = 120
    max_lateness_s: Annotated[int, Meta(ge=0, le=86_400)] = 86_400
    requires_account: bool = False
    notice_key: Annotated[str, Meta(max_length=64, pattern=r"^[a-z][a-z0-9_-]*$(?!\n)")] = "default"


def canonical(config: Config) -> dict[str, Any]:
    """Return the configuration in its stored form: every key, tiers in a fixed order, times in UTC.

    Raises:
        Invalid: the configuration contradicts itself; carries every contradiction.
    """
    if errors := [{"field": f"config.{field}", "reason": reason} for field, reason in contradictions(config)]:
        raise Invalid(errors=errors)
    in_utc = {field: at and at.astimezone(UTC) for field, at in _dates(config).items()}
    ordered = sorted(config.consent_tiers, key=get_args(Tier).index)
    stored: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(config, consent_tiers=ordered, **in_utc))
    return stored


def contradictions(config: Config) -> list[tuple[str, str]]:
    """Return violations of rules that the types can't express, as (field, reason)."""
    found = []
    if len(set(config.consent_tiers)) < len(config.consent_tiers):
        found.append(("consent_tiers", "must not name a tier twice"))
    if config.timezone not in timezones.names():
        found.append(("timezone", "must be a time zone of the IANA database"))
    found += [
        (field, f"must be between {EARLIEST:%Y} and {LATEST:%Y}")
        for field, at in _dates(config).items()
        if at is not None and not EARLIEST <= at < LATEST
    ]
    if config.starts_at and config.ends_at and config.starts_at >= config.ends_at:
        found.append(("ends_at", "must be later than starts_at"))
    return found


def _dates(config: Config) -> dict[str, datetime | None]:
    return {"starts_at": config.starts_at, "ends_at": config.ends_at}
