"""Campaigns: create, replace, list, and the transitions of their status."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import TRANSITIONS, CampaignCompleted, FixedSinceLaunch, IllegalTransition
from models.campaigns.codes import LabelTaken
from models.campaigns.config import Config
from models.core.database import now
from models.core.errors import NotFound


def config(**values):
    return msgspec.convert(values, Config)


def test_draft_is_stored_with_every_key_of_its_configuration(campaign):
    draft = campaign(launched=False, geofence={"lat": 40.4, "lon": -3.7, "radius_m": 250})

    assert draft.status == "Draft"
    assert draft.config == {
        "geofence": {"lat": 40.4, "lon": -3.7, "radius_m": 250, "when_uncertain": "accept"},
        "scan_limit": {"per_user": None, "per_device": None, "total": None},
        "consent_tiers": ["essential"],
        "timezone": "UTC",
        "starts_at": None,
        "ends_at": None,
        "max_accuracy_m": 200,
        "max_location_age_s": 120,
        "max_lateness_s": 86400,
        "requires_account": False,
        "notice_key": "default",
    }


def test_times_are_stored_in_utc(campaign, manager):
    draft = campaign(launched=False)

    assert draft.created_at.utcoffset() == timedelta(0)
    assert datetime(2026, 1, 1, tzinfo=UTC) < draft.created_at <= now()


def test_replacement_changes_one_draft(campaign, manager):
    draft, other = campaign(launched=False), campaign(launched=False)

    with manager.acting():
        for name in ("Autumn", "Winter"):
            changed = campaigns.replace(
                campaigns.get_for_update(draft.id), name=name, kind="Locker", config=config(timezone="Europe/Madrid")
            )
        untouched = campaigns.get(other.id)

    assert (changed.name, changed.type, changed.config["timezone"]) == ("Winter", "Locker", "Europe/Madrid")
    assert changed.version == draft.version + 2
    assert changed.updated_at > draft.updated_at
    assert (untouched.name, untouched.version) == (other.name, other.version)


@pytest.mark.parametrize("transitions", [[], ["pause"]])
def test_launched_campaign_keeps_type_and_time_zone(campaign, manager, transitions):
    launched = campaign()
    with manager.acting():
        for name in transitions:
            campaigns.transition(launched.id, name)
    stricter = config(scan_limit={"per_user": {"count": 1, "window": "day"}}, consent_tiers=["essential", "analytics"])

    def replace(kind, new):
        with manager.acting():
            return campaigns.replace(campaigns.get_for_update(launched.id), name="Summer", kind=kind, config=new)

    changed = replace("QR", stricter)
    refused = []
    for kind, timezone in (("Event", "Asia/Tokyo"), ("Event", "UTC"), ("QR", "Asia/Tokyo")):
        with pytest.raises(FixedSinceLaunch) as error:
            replace(kind, config(timezone=timezone))
        refused.append(error.value.extra["fields"])

    assert changed.config["scan_limit"]["per_user"] == {"count": 1, "window": "day"}
    assert refused == [["type", "config.timezone"], ["type"], ["config.timezone"]]


def test_completed_campaign_is_not_changed(campaign, manager):
    launched = campaign()
    with manager.acting():
        completed = campaigns.transition(launched.id, "complete")

    assert completed.completed_at is not None
    with pytest.raises(CampaignCompleted), manager.acting():
        campaigns.replace(campaigns.get_for_update(launched.id), name="Other", kind="QR", config=Config())
    with pytest.raises(CampaignCompleted), manager.acting():
        codes.add(launched.id, "Late")


@settings(max_examples=15)
@given(names=st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=6))
def test_campaign_changes_status_as_the_table_says(campaign, manager, names):
    subject, other = campaign(launched=False), campaign(launched=False)
    status = "Draft"

    for name in names:
        if status in TRANSITIONS[name].sources:
            with manager.acting():
                changed = campaigns.transition(subject.id, name)
            status = changed.status
            assert status == TRANSITIONS[name].target
            assert (changed.completed_at is not None) == (status == "Completed")
        else:
            with pytest.raises(IllegalTransition) as refused, manager.acting():
                campaigns.transition(subject.id, name)
            assert refused.value.current == status
            assert refused.value.allowed == [other for other, rule in TRANSITIONS.items() if status in rule.sources]
    with manager.acting():
        assert campaigns.get(other.id).status == "Draft"


def test_one_of_two_concurrent_transitions_is_refused(campaign, manager):
    launched = campaign()

    def pause(_):
        try:
            with manager.acting():
                return campaigns.transition(launched.id, "pause").status
        except IllegalTransition as refused:
            return refused.current

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(pause, range(2))) == ["Paused", "Paused"]
    with manager.acting():
        assert campaigns.get(launched.id).version == launched.version + 1


def test_campaigns_are_listed_newest_first_page_by_page(campaign, manager):
    made = [campaign(f"Number {n}", launched=False) for n in range(5)]

    with manager.acting():
        first = campaigns.find(limit=3)
        rest = campaigns.find(limit=3, after=(first[-1].created_at, first[-1].id))

    assert [c.id for c in [*first, *rest]] == [c.id for c in reversed(made)]


def test_campaigns_created_at_one_time_are_listed_by_id(campaign, manager, query):
    made = sorted(campaign(f"Number {n}", launched=False).id for n in range(3))
    query("update public.campaigns set created_at = '2026-01-01T00:00:00Z'")

    with manager.acting():
        first = campaigns.find(limit=1)
        rest = campaigns.find(limit=3, after=(first[0].created_at, first[0].id))

    assert [c.id for c in [*first, *rest]] == made[::-1]


def test_campaigns_are_found_by_status_and_type(campaign, manager):
    campaign("Draft", launched=False)
    active = campaign("Active")
    campaign("Locker", kind="Locker", launched=False)

    with manager.acting():
        by_status = campaigns.find(limit=9, status="Active")
        by_type = campaigns.find(limit=9, status="Draft", kind="Locker")

    assert [c.id for c in by_status] == [active.id]
    assert [c.name for c in by_type] == ["Locker"]


def test_campaign_of_another_brand_is_not_found(campaign, make_brand, member):
    stranger = member("Brand Admin", make_brand("Other"))
    foreign, own = campaign(), campaign("Own", by=stranger)

    for attempt in (
        lambda: campaigns.get(foreign.id),
        lambda: campaigns.get_for_update(foreign.id),
        lambda: campaigns.transition(foreign.id, "pause"),
        lambda: launch.start(foreign.id),
        lambda: codes.add(foreign.id, "Mine"),
    ):
        with pytest.raises(NotFound), stranger.acting():
            attempt()
    with stranger.acting():
        assert [c.id for c in campaigns.find(limit=9)] == [own.id]
        assert codes.find(foreign.id, limit=9) == []


def test_label_is_unique_within_a_campaign(campaign, manager):
    here, there = campaign(launched=False), campaign(launched=False)

    with manager.acting():
        code = codes.add(here.id, "Entrance")
        elsewhere = codes.add(there.id, "Entrance")
    with pytest.raises(LabelTaken) as refused, manager.acting():
        codes.add(here.id, "Entrance")

    assert refused.value.extra["label"] == "Entrance"
    with manager.acting():
        assert codes.find(here.id, limit=9) == [code]
        with pytest.raises(NotFound):
            codes.get(here.id, elsewhere.id)


def test_codes_are_listed_oldest_first_page_by_page(campaign, manager):
    summer = campaign(launched=False)
    with manager.acting():
        made = [codes.add(summer.id, label) for label in ("Entrance", "Bar", "Stage")]
        first = codes.find(summer.id, limit=1)
        rest = codes.find(summer.id, limit=9, after=first[0].id)

    assert [*first, *rest] == made
