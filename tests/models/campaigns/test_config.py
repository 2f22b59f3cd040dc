"""Configuration of campaigns: bounds, contradictions and the stored form."""

import msgspec
import pytest

from models.campaigns.config import CONFIGS, QrConfig, canonical, load
from models.core.errors import Invalid

END = "2026-12-24T22:00:00Z"
OPEN = {"days": ["fri"], "opens": "18:00", "closes": "02:00"}
QUESTION = {"kind": "text", "id": "taste", "text": {"en": "How was it?"}}
REWARD = {"key": "churros", "name": "Six churros", "quantity": 9}
SEGMENT = "0197a000-0000-7000-8000-000000000001"
CITY = {"name": "Madrid", "address": "Madrid", "lat": 40.4165, "lon": -3.7026, "precision": "city"}
VENUE = {"name": "San Ginés", "address": "Pasadizo de San Ginés 5, Madrid"}


def config(**values):
    return msgspec.convert(values, QrConfig)


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
    assert canonical(load("QR", stored)) == stored


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


def test_stored_form_of_first_version_is_read_with_defaults():
    first = {"consent_tiers": ["essential"], "timezone": "Europe/Madrid", "max_lateness_s": 60}

    assert load("QR", first) == config(**first)
    assert canonical(load("Locker", first))["schema_version"] == 2


@pytest.mark.parametrize(
    ("kind", "wrong", "field"),
    [
        ("Locker", {"rewards": [REWARD, REWARD]}, "config.rewards[1].key"),
        ("Locker", {"rewards": [REWARD | {"per_user": 10}]}, "config.rewards[0].per_user"),
        ("Event", {"event": {"doors_open_at": END}, "ends_at": END}, "config.event.doors_open_at"),
        ("Event", {"event": {"doors_open_at": "1999-12-31T23:59:59Z"}}, "config.event.doors_open_at"),
        ("QR", {"goals": [{"metric": "reach", "target": 1}] * 2}, "config.goals[1].metric"),
        ("QR", {"segment_ids": [SEGMENT, SEGMENT]}, "config.segment_ids[1]"),
        ("QR", {"venue": VENUE | {"lat": 40.4}}, "config.venue.lon"),
        ("QR", {"venue": VENUE | {"precision": "city"}}, "config.venue.precision"),
        (
            "QR",
            {"venue": CITY, "geofence": {"lat": CITY["lat"], "lon": CITY["lon"], "radius_m": 9}},
            "config.geofence.lat",
        ),
        ("QR", {"scan_windows": [OPEN, OPEN]}, "config.scan_windows[1]"),
        ("QR", {"scan_windows": [OPEN, OPEN | {"days": ["sat"], "opens": "01:59"}]}, "config.scan_windows[1]"),
        ("QR", {"scan_windows": [OPEN | {"days": ["fri", "fri"]}]}, "config.scan_windows[0].days"),
        ("QR", {"survey": {"questions": [QUESTION, QUESTION]}}, "config.survey.questions[1].id"),
        (
            "QR",
            {"survey": {"questions": [QUESTION, QUESTION | {"id": "b", "text": {"es": "x"}}]}},
            "config.survey.questions[1].text",
        ),
    ],
)
def test_contradiction_of_plans_is_refused_with_its_field(kind, wrong, field):
    with pytest.raises(Invalid) as refused:
        canonical(msgspec.convert(wrong, CONFIGS[kind]))

    assert field in [error["field"] for error in refused.value.extra["errors"]]


def test_adjacent_windows_and_plans_in_range_are_accepted():
    saturday = OPEN | {"days": ["sat"], "opens": "02:00"}
    accepted = {
        "QR": {
            "scan_windows": [OPEN, saturday],
            "survey": {"questions": [QUESTION]},
            "venue": CITY | {"precision": "street"},
            "geofence": {"lat": CITY["lat"], "lon": CITY["lon"], "radius_m": 9},
        },
        "Locker": {"rewards": [REWARD | {"per_user": 9}, REWARD | {"key": "other"}]},
        "Event": {"event": {"doors_open_at": "2026-12-24T21:59:59Z"}, "ends_at": END},
    }

    assert [canonical(msgspec.convert(config, CONFIGS[kind])) is not None for kind, config in accepted.items()]


def test_scan_decision_reads_no_plans_and_no_positions(campaign, query):
    ring = [[-3.71, 40.41], [-3.70, 40.41], [-3.70, 40.42], [-3.71, 40.41]]
    survey = {"questions": [{"kind": "text", "id": "taste", "text": {"es": "¿Te ha gustado?"}}]}
    fence = {"polygon": {"type": "Polygon", "coordinates": [ring]}, "when_uncertain": "flag"}
    campaign(geofence=fence, survey=survey)

    ((rules, columns),) = query(
        "select scan_config, (select array_agg(attname::text) from pg_attribute"
        " where attrelid = 'app.scan_rules'::regclass and attnum > 0) from public.campaigns"
    )

    assert set(rules) == set(columns)
    assert set(rules["geofence"]) == {"lat", "lon", "radius_m", "when_uncertain"}
