"""The stored form of a configuration (`campaigns.config`): every member, in one form, with the version of its schema.

The SQL of the scan decision reads this form. A change of a member that SQL reads needs a migration of the stored rows.
Other changes need an entry in `UPGRADES` only: forms of any age are read through it, also from the history.
"""

from collections.abc import Callable, Mapping
from datetime import UTC
from itertools import groupby
from typing import Any

import msgspec

from models.campaigns.config.geofence import Geofence, Polygon
from models.campaigns.config.rules import contradictions
from models.campaigns.config.scan_rules import WEEKDAYS
from models.campaigns.config.types import CONFIGS, Config, EventConfig
from models.consents.consents import TIERS
from models.core.errors import Invalid

VERSION_KEY = "schema_version"

Stored = dict[str, Any]


def _name_version(stored: Stored) -> Stored:
    """Version 1 had no number, and its members were the rules for scans. All others have defaults."""
    return stored


UPGRADES: dict[int, Callable[[Stored], Stored]] = {1: _name_version}
"""Version of a stored form → the step to the next version."""

SCHEMA_VERSION = max(UPGRADES) + 1
"""Version of the form that `canonical` returns."""


def canonical(config: Config) -> Stored:
    """Return the configuration in its stored form: tiers and days in a fixed order, times in UTC.

    Needs a transaction if the geofence is a polygon: PostGIS checks it.

    Raises:
        Invalid: the configuration contradicts itself; carries every contradiction.
    """
    config = msgspec.structs.replace(config, geofence=config.geofence and _without_repetitions(config.geofence))
    if errors := contradictions(config):
        raise Invalid(errors=errors)
    return {VERSION_KEY: SCHEMA_VERSION, **msgspec.to_builtins(_in_order(config))}


def load(kind: str, stored: Mapping[str, Any]) -> Config:
    """Return the configuration of a campaign type from a stored form of any version."""
    return msgspec.convert(upgraded(stored), CONFIGS[kind])


def members_for(kind: str, config: Config) -> Stored:
    """Return the members of a configuration that campaigns of another type have, too."""
    members = CONFIGS[kind].__struct_fields__
    return {name: value for name, value in msgspec.to_builtins(config).items() if name in members}


def upgraded(stored: Mapping[str, Any]) -> Stored:
    """Return a stored form in the newest version, without the version's number."""
    found = dict(stored)
    for version in range(found.pop(VERSION_KEY, 1), SCHEMA_VERSION):
        found = UPGRADES[version](found)
    return found


def _in_order(config: Config) -> Config:
    """Return the configuration with one order and one spelling of equal values."""
    changes: Stored = {
        "consent_tiers": sorted(config.consent_tiers, key=TIERS.index),
        "starts_at": config.starts_at and config.starts_at.astimezone(UTC),
        "ends_at": config.ends_at and config.ends_at.astimezone(UTC),
        "scan_windows": [
            msgspec.structs.replace(window, days=sorted(window.days, key=WEEKDAYS.index))
            for window in config.scan_windows
        ],
    }
    if isinstance(config, EventConfig) and config.event.doors_open_at is not None:
        at = config.event.doors_open_at.astimezone(UTC)
        changes["event"] = msgspec.structs.replace(config.event, doors_open_at=at)
    return msgspec.structs.replace(config, **changes)


def _without_repetitions(geofence: Geofence) -> Geofence:
    """Drop positions that repeat the one before: drawing programs write them for a double click."""
    if geofence.polygon is None:
        return geofence
    rings = [[position for position, _ in groupby(ring)] for ring in geofence.polygon.coordinates]
    return msgspec.structs.replace(geofence, polygon=Polygon(rings))
