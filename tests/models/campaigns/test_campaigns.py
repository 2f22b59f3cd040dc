"""Campaigns: configuration, replacement, launch and moves."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import (
    TRANSITIONS,
    CampaignCompleted,
    FixedSinceLaunch,
    IllegalTransition,
    LaunchInProgress,
)
from models.campaigns.codes import LabelTaken
from models.campaigns.config import Config, canonical
from models.campaigns.launch import NotReady
from models.core import context, keys
from models.core.database import now, transaction
from models.core.errors import Invalid, NotFound


def config(**values):
    return msgspec.convert(values, Config)


def in_days(days):
    return (now() + timedelta(days=days)).isoformat()


def test_a_draft_is_stored_with_every_key_of_its_configuration(campaign):
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


def test_a_configuration_is_stored_in_one_form():
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


def test_a_configuration_that_contradicts_itself_says_everything_at_once():
    contradictory = config(
        consent_tiers=["essential", "essential"],
        timezone="Europe/Atlantis",
        starts_at="2026-12-02T00:00:00Z",
        ends_at="2026-12-02T00:00:00Z",
    )

    with pytest.raises(Invalid) as refused:
        canonical(contradictory)

    assert [error["field"] for error in refused.value.extra["errors"]] == [
        "config.consent_tiers",
        "config.timezone",
        "config.ends_at",
    ]


@pytest.mark.parametrize("name", ["../../etc/passwd", "America", "localtime", "Factory", "", "utc ", "+02:00"])
def test_only_names_of_the_time_zone_database_are_time_zones(name):
    with pytest.raises(Invalid):
        canonical(config(timezone=name))


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z"])
def test_dates_that_no_calendar_of_ours_holds_are_refused(at):
    with pytest.raises(Invalid) as refused:
        canonical(config(starts_at=at))

    assert refused.value.extra["errors"][0]["field"] == "config.starts_at"


@pytest.mark.parametrize(
    "wrong",
    [
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
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_no_configuration(wrong):
    with pytest.raises(msgspec.ValidationError):
        config(**wrong)


def test_a_launch_is_a_job_and_asking_again_gives_the_same_one(campaign, manager):
    draft = campaign(launched=False)

    with manager.acting():
        first = launch.start(draft.id)
    with manager.acting():
        second = launch.start(draft.id)
        launching = campaigns.get(draft.id)

    assert (first.created, second.created) == (True, False)
    assert first.id == second.id == launching.launch_job_id
    assert launching.status == "Draft"


def test_launches_at_the_same_time_are_one(campaign, manager):
    draft = campaign(launched=False)

    def start(_):
        with manager.acting():
            return launch.start(draft.id)

    with ThreadPoolExecutor(4) as pool:
        jobs = list(pool.map(start, range(4)))

    assert len({job.id for job in jobs}) == 1
    assert sum(job.created for job in jobs) == 1


def test_while_a_launch_is_under_way_nothing_else_changes(campaign, manager):
    draft = campaign(launched=False)
    with manager.acting():
        job = launch.start(draft.id)

    with pytest.raises(LaunchInProgress) as refused, manager.acting():
        campaigns.replace(campaigns.get_for_update(draft.id), name="Other", kind="QR", config=Config())

    assert refused.value.extra["job_id"] == job.id
    with manager.acting():
        assert campaigns.get(draft.id).name == "Summer"


def test_everything_that_keeps_a_campaign_from_its_launch_is_said_at_once(campaign, manager):
    passed = campaign(kind="Event", launched=False, ends_at=in_days(-1))
    endless = campaign(kind="Event", launched=False)

    for draft, reason in ((passed, "has passed"), (endless, "an event needs an end")):
        with pytest.raises(NotReady) as refused, manager.acting():
            launch.start(draft.id)

        assert refused.value.status == 422
        assert refused.value.extra["errors"] == [{"field": "config.ends_at", "reason": reason}]


def test_a_draft_may_become_anything(campaign, manager):
    draft = campaign(launched=False)

    with manager.acting():
        changed = campaigns.replace(
            campaigns.get_for_update(draft.id), name="Winter", kind="Locker", config=config(timezone="Europe/Madrid")
        )

    assert (changed.name, changed.type, changed.config["timezone"]) == ("Winter", "Locker", "Europe/Madrid")
    assert changed.version == draft.version + 1
    assert changed.updated_at > draft.updated_at


@pytest.mark.parametrize("moves", [[], ["pause"]])
def test_a_launched_campaign_changes_its_rules_but_neither_type_nor_time_zone(campaign, manager, moves):
    launched = campaign()
    with manager.acting():
        for name in moves:
            campaigns.transition(launched.id, name)
    stricter = config(scan_limit={"per_user": {"count": 1, "window": "day"}}, consent_tiers=["essential", "analytics"])

    with manager.acting():
        changed = campaigns.replace(campaigns.get_for_update(launched.id), name="Summer", kind="QR", config=stricter)
    with pytest.raises(FixedSinceLaunch) as refused, manager.acting():
        campaigns.replace(
            campaigns.get_for_update(launched.id), name="Summer", kind="Event", config=config(timezone="Asia/Tokyo")
        )

    assert changed.config["scan_limit"]["per_user"] == {"count": 1, "window": "day"}
    assert refused.value.extra["fields"] == ["type", "config.timezone"]


def test_a_completed_campaign_stays_as_it_was(campaign, manager):
    launched = campaign()
    with manager.acting():
        campaigns.transition(launched.id, "complete")

    with pytest.raises(CampaignCompleted), manager.acting():
        campaigns.replace(campaigns.get_for_update(launched.id), name="Other", kind="QR", config=Config())
    with pytest.raises(CampaignCompleted), manager.acting():
        codes.add(launched.id, "Late")


def test_a_completed_campaign_says_why_it_cannot_launch(campaign, manager):
    launched = campaign()
    with manager.acting():
        campaigns.transition(launched.id, "complete")

    with pytest.raises(IllegalTransition) as refused, manager.acting():
        launch.start(launched.id)

    assert refused.value.current == "Completed"
    assert refused.value.allowed == []


@settings(max_examples=15)
@given(names=st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=6))
def test_a_campaign_moves_as_the_table_says_and_never_otherwise(campaign, manager, names):
    subject = campaign(launched=False)
    status = "Draft"

    for name in names:
        if status in TRANSITIONS[name].sources:
            with manager.acting():
                status = campaigns.transition(subject.id, name).status
            assert status == TRANSITIONS[name].target
        else:
            with pytest.raises(IllegalTransition) as refused, manager.acting():
                campaigns.transition(subject.id, name)
            assert refused.value.current == status
            assert refused.value.allowed == [move for move, step in TRANSITIONS.items() if status in step.sources]


def test_of_two_moves_at_the_same_time_one_is_refused(campaign, manager):
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


def test_the_key_of_devices_is_pinned_once(campaign, monkeypatch):
    launched = campaign()
    monkeypatch.setattr(keys, "active_version", lambda: 99)

    with transaction(context.for_brand_job(launched.brand_id)):
        launch.pin_fingerprint_key(launched.id)
        pinned = campaigns.get(launched.id).fingerprint_key_version

    assert pinned == launched.fingerprint_key_version != 99


def test_campaigns_come_newest_first_and_page_by_page(campaign, manager):
    made = [campaign(f"Number {n}", launched=False) for n in range(5)]

    with manager.acting():
        first = campaigns.find(limit=3)
        rest = campaigns.find(limit=3, after=(first[-1].created_at, first[-1].id))

    assert [c.id for c in [*first, *rest]] == [c.id for c in reversed(made)]


def test_campaigns_are_found_by_status_and_type(campaign, manager):
    campaign("Draft", launched=False)
    live = campaign("Live")
    campaign("Locker", kind="Locker", launched=False)

    with manager.acting():
        active = campaigns.find(limit=9, status="Active")
        lockers = campaigns.find(limit=9, status="Draft", kind="Locker")

    assert [c.id for c in active] == [live.id]
    assert [c.name for c in lockers] == ["Locker"]


def test_another_brands_campaign_is_not_there(campaign, make_brand, member):
    stranger = member("Brand Admin", make_brand("Other"))
    foreign = campaign()

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
        assert campaigns.find(limit=9) == []
        assert codes.find(foreign.id, limit=9) == []


def test_a_label_names_one_code_of_a_campaign(campaign, manager):
    here, there = campaign(launched=False), campaign(launched=False)

    with manager.acting():
        code = codes.add(here.id, "Entrance")
        codes.add(there.id, "Entrance")
    with pytest.raises(LabelTaken) as refused, manager.acting():
        codes.add(here.id, "Entrance")

    assert refused.value.extra["label"] == "Entrance"
    with manager.acting():
        assert codes.find(here.id, limit=9) == [code]


def test_a_first_code_is_made_only_where_there_is_none(campaign, manager):
    launched = campaign()

    with transaction(context.for_brand_job(launched.brand_id)):
        codes.ensure_first(launched.id)
        labels = [code.label for code in codes.find(launched.id, limit=9)]

    assert labels == ["default"]


def test_times_are_kept_in_utc(campaign, manager):
    draft = campaign(launched=False)

    with manager.acting():
        found = campaigns.get(draft.id)

    assert found.created_at.utcoffset() == timedelta(0)
    assert datetime(2026, 1, 1, tzinfo=UTC) < found.created_at <= now()
