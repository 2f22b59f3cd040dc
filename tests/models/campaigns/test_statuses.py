"""The table of fields and statuses, tried out field by field, and its documentation."""

import msgspec
import pytest

from models.campaigns import campaigns
from models.campaigns.campaigns import CampaignCompleted, FixedSinceLaunch
from models.campaigns.config import CONFIGS
from models.campaigns.statuses import CHANGEABLE, CampaignStatus, table_of_fields
from models.core.enumerations import values_of
from scripts.devstack.environment import ROOT

SEGMENT = "0197a000-0000-7000-8000-000000000001"

OTHER_VALUES = {
    "type": "Locker",
    "name": "Winter",
    "config.timezone": "Asia/Tokyo",
    "config.geofence": {"lat": 40.4, "lon": -3.7, "radius_m": 250},
    "config.scan_limit": {"total": {"count": 9, "window": "day"}},
    "config.consent_tiers": ["essential", "analytics"],
    "config.starts_at": "2026-01-01T00:00:00Z",
    "config.ends_at": "2100-01-01T00:00:00Z",
    "config.max_accuracy_m": 90.0,
    "config.max_location_age_s": 90,
    "config.max_lateness_s": 90,
    "config.requires_account": True,
    "config.test_mode": False,
    "config.notice_key": "other",
    "config.scan_windows": [{"days": ["fri"], "opens": "18:00", "closes": "02:00"}],
    "config.venue": {"name": "San Ginés", "address": "Pasadizo de San Ginés 5, Madrid"},
    "config.survey": {"questions": [{"kind": "text", "id": "taste", "text": {"en": "How was it?"}}]},
    "config.budget": {"amount": 250_000, "currency": "EUR"},
    "config.goals": [{"metric": "reach", "target": 2000}],
    "config.segment_ids": [SEGMENT],
    "config.rewards": [{"key": "churros", "name": "Six churros", "quantity": 9}],
    "config.event": {"capacity": 250},
}
"""A value of each field that differs from that of the campaigns below."""

TYPES = {"config.rewards": "Locker", "config.event": "Event"}
"""Type of the campaigns that have a field; `QR` for all others."""

TRANSITIONS_TO = {"Draft": [], "Active": [], "Paused": ["pause"], "Completed": ["complete"]}


def add_segment(superuser, brand_id, segment_id=SEGMENT):
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into audience_segments (id, brand_id, name) values (%s, %s, 'Regulars')", (segment_id, brand_id)
        )


def change(campaign_id, field):
    """Replace a campaign with its own contents and another value of one field. Return the changed fields."""
    campaign = campaigns.get_for_update(campaign_id)
    contents = {"name": campaign.name, "type": campaign.type}
    config = msgspec.to_builtins(campaigns.config_of(campaign))
    target = config if field.startswith("config.") else contents
    target[field.removeprefix("config.")] = OTHER_VALUES[field]
    new = msgspec.convert(config, CONFIGS[contents["type"]])
    return campaigns.replace(campaign, name=contents["name"], kind=contents["type"], config=new)[1]


def test_table_has_every_field_of_a_campaign():
    members = {f"config.{field.encode_name}" for kind in CONFIGS.values() for field in msgspec.structs.fields(kind)}

    assert set(CHANGEABLE) == {"name", "type"} | members
    assert set(OTHER_VALUES) == set(CHANGEABLE)


@pytest.mark.parametrize("status", values_of(CampaignStatus))
def test_each_field_changes_in_the_statuses_of_the_table_only(campaign, manager, superuser, publish_notice, status):
    add_segment(superuser, manager.brand_id)
    publish_notice(key=OTHER_VALUES["config.notice_key"], version=1)
    subjects = {}
    for kind in CONFIGS:
        needed = {"ends_at": "2099-01-01T00:00:00Z"} if kind == "Event" else {}
        subjects[kind] = campaign(kind=kind, launched=status != "Draft", test_mode=True, **needed).id
        with manager.acting():
            for name in TRANSITIONS_TO[status]:
                campaigns.transition(subjects[kind], name)
    outcomes = {}

    for field in CHANGEABLE:
        try:
            with manager.acting():
                outcomes[field] = change(subjects[TYPES.get(field, "QR")], field)
        except FixedSinceLaunch as refused:
            outcomes[field] = refused.extra["fields"], "fixed"
        except CampaignCompleted:
            outcomes[field] = "completed"

    refusal = {"Completed": lambda field: "completed"}.get(status, lambda field: ([field], "fixed"))
    assert outcomes == {
        field: [field] if status in allowed else refusal(field) for field, allowed in CHANGEABLE.items()
    }


def test_documentation_has_the_table_of_fields():
    page = (ROOT / "docs" / "campaigns.md").read_text()

    shown = page.partition("<!-- fields -->")[2].partition("<!-- /fields -->")[0]
    assert shown.strip() == table_of_fields(), "put the new table between the comments of docs/campaigns.md"
