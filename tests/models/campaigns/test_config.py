"""Configuration of campaigns: bounds, contradictions and the stored form."""

import msgspec
import pytest

from models.campaigns.config import Config, canonical
from models.core.errors import Invalid


def config(**values):
    return msgspec.convert(values, Config)


def refused_fields(**values):
    with pytest.raises(Invalid) as refused:
        canonical(config(**values))
    return [error["field"] for error in refused.value.extra["errors"]]


def test_configuration_is_stored_in_one_form():
    stored = canonical(
        config(
            consent_tiers=["marketing", "essential"],
            starts_at="2026-12-01T10:00:00+02:00",
            ends_at="2026-12-02T00:00:00Z",
        )
    )

    assert stored["consent_tiers"] == ["essential", "marketing"]
    assert stored["starts_at"] == "2026-12-01T08:00:00Z"
    assert msgspec.convert(stored, Config) == config(**stored)


def test_contradictions_are_reported_together():
    fields = refused_fields(
        consent_tiers=["essential", "essential"],
        timezone="Europe/Atlantis",
        starts_at="2026-12-02T00:00:00Z",
        ends_at="2026-12-02T00:00:00Z",
    )

    assert fields == ["config.consent_tiers", "config.timezone", "config.ends_at"]


def test_end_must_be_later_than_start():
    start, later = "2026-12-02T00:00:00Z", "2026-12-02T00:00:01Z"

    assert refused_fields(starts_at=later, ends_at=start) == ["config.ends_at"]
    assert canonical(config(starts_at=start, ends_at=later))["ends_at"] == later


def test_names_outside_of_the_time_zone_database_are_refused():
    names = ("../../etc/passwd", "America", "localtime", "Factory", "", "utc ", "+02:00")

    assert [refused_fields(timezone=name) for name in names] == [["config.timezone"]] * len(names)


def test_dates_outside_of_2000_to_2200_are_refused():
    outside = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z", "2200-01-01T00:00:00Z")

    for field in ("starts_at", "ends_at"):
        assert [refused_fields(**{field: at}) for at in outside] == [[f"config.{field}"]] * len(outside)
    canonical(config(starts_at="2000-01-01T00:00:00Z", ends_at="2199-12-31T23:59:59Z"))


OUT_OF_BOUNDS = [
    {"geofence": {"lat": 91, "lon": 0, "radius_m": 10}},
    {"geofence": {"lat": 0, "lon": 0, "radius_m": 0.5}},
    {"geofence": {"lat": 0, "lon": 0, "radius_m": 10, "shape": "square"}},
    {"scan_limit": {"per_user": {"count": 0, "window": "day"}}},
    {"scan_limit": {"per_user": {"count": 1, "window": "week"}}},
    {"consent_tiers": ["everything"]},
    {"starts_at": "2026-12-02T00:00:00"},
    {"max_accuracy_m": 9},
    {"max_location_age_s": 3601},
    {"max_lateness_s": -1},
    {"max_lateness_s": 86401},
    {"notice_key": "Not a key"},
    {"unknown": 1},
]


def test_value_out_of_bounds_or_unknown_is_refused():
    for wrong in OUT_OF_BOUNDS:
        with pytest.raises(msgspec.ValidationError):
            config(**wrong)
