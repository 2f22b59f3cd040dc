"""Campaigns: create, replace, clone, archive, and the transitions of their status."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import CampaignArchived, CampaignCompleted, FixedSinceLaunch, LaunchInProgress
from models.campaigns.codes import LabelTaken
from models.campaigns.config import CONFIGS, Config, QrConfig
from models.campaigns.statuses import TRANSITIONS, IllegalTransition
from models.core.database import now
from models.core.errors import Invalid, NotFound


def config(**values):
    return msgspec.convert(values, Config)


def test_draft_is_stored_with_every_key_of_its_configuration(campaign):
    draft = campaign(launched=False, geofence={"lat": 40.4, "lon": -3.7, "radius_m": 250})

    assert draft.status == "Draft"
    assert draft.config == {
        "schema_version": 2,
        "geofence": {"lat": 40.4, "lon": -3.7, "radius_m": 250, "polygon": None, "when_uncertain": "accept"},
        "scan_windows": [],
        "venue": None,
        "survey": None,
        "budget": None,
        "goals": [],
        "segment_ids": [],
        "scan_limit": {"per_user": None, "per_device": None, "total": None},
        "consent_tiers": ["essential"],
        "timezone": "UTC",
        "starts_at": None,
        "ends_at": None,
        "max_accuracy_m": 200,
        "max_location_age_s": 120,
        "max_lateness_s": 86400,
        "requires_account": False,
        "test_mode": False,
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
            changed, _ = campaigns.replace(
                campaigns.get_for_update(draft.id), name=name, kind="Locker", config=config(timezone="Europe/Madrid")
            )
        untouched = campaigns.get(other.id)

    assert (changed.name, changed.type, changed.config["timezone"]) == ("Winter", "Locker", "Europe/Madrid")
    assert changed.version == draft.version + 2
    assert changed.updated_at > draft.updated_at
    assert (untouched.name, untouched.version) == (other.name, other.version)


def test_launched_event_keeps_an_end(campaign, manager):
    event = campaign(kind="Event", ends_at="2036-01-01T00:00:00Z")

    with manager.acting(), pytest.raises(Invalid) as refused:
        campaigns.replace(event, name="Summer", kind="Event", config=CONFIGS["Event"]())

    assert refused.value.extra["errors"] == [{"field": "config.ends_at", "reason": "must be set for an event"}]


def test_launched_campaign_keeps_a_notice_with_its_tiers(campaign, manager, publish_notice):
    publish_notice(key="narrow", version=1, tiers=["analytics"])
    launched, draft = campaign(), campaign("Draft", launched=False)
    unknown, narrow = {"notice_key": "unknown"}, {"notice_key": "narrow"}

    def fields(made, **changes):
        try:
            with manager.acting():
                campaigns.replace(made, name="Summer", kind=made.type, config=config(**changes))
        except Invalid as refused:
            return [error["field"] for error in refused.extra["errors"]]
        return []

    assert (fields(launched, **unknown), fields(launched, **narrow)) == (
        ["config.notice_key"],
        ["config.consent_tiers"],
    )
    assert fields(draft, **unknown) == []


def test_every_fixed_field_of_a_change_is_named(campaign, manager):
    launched = campaign()

    with pytest.raises(FixedSinceLaunch) as refused, manager.acting():
        campaigns.replace(
            campaigns.get_for_update(launched.id), name="Other", kind="Event", config=config(timezone="Asia/Tokyo")
        )

    assert refused.value.extra["fields"] == ["type", "config.timezone"]
    with manager.acting():
        assert campaigns.get(launched.id).name == launched.name


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


def test_clone_is_a_draft_without_codes_and_past_dates(campaign, manager):
    original = campaign(
        kind="Locker",
        geofence={"lat": 40.4, "lon": -3.7, "radius_m": 250},
        starts_at="2026-01-01T00:00:00Z",
        ends_at="2100-01-01T00:00:00Z",
    )

    with manager.acting():
        made = campaigns.clone(campaigns.get(original.id), name="Again")

        assert codes.find(made.id, limit=9) == []
        stored = campaigns.get(made.id)
    assert (stored.name, stored.type, stored.status, stored.version) == ("Again", "Locker", "Draft", 1)
    assert (stored.launched_at, stored.fingerprint_key_version) == (None, None)
    assert stored.config == original.config | {"starts_at": None}


def test_clone_of_an_event_keeps_only_a_future_opening(campaign, manager):
    def opening_of_clone(doors_open_at):
        event = {"capacity": 9, "doors_open_at": doors_open_at}
        night = campaign(kind="Event", launched=False, ends_at="2100-01-01T00:00:00Z", event=event)
        with manager.acting():
            made = campaigns.clone(campaigns.get(night.id), name="Again")
        assert made.config["event"]["capacity"] == 9
        return made.config["event"]["doors_open_at"]

    assert opening_of_clone("2026-01-01T00:00:00Z") is None
    assert opening_of_clone("2099-01-01T00:00:00Z") == "2099-01-01T00:00:00Z"


def test_only_drafts_and_completed_campaigns_are_archived(campaign, manager):
    draft, active, completed, launching = campaign(launched=False), campaign(), campaign(), campaign(launched=False)
    with manager.acting():
        campaigns.transition(completed.id, "complete")
        launch.start(launching.id)

    def archive(subject):
        with manager.acting():
            return campaigns.archive(campaigns.get_for_update(subject.id))

    assert archive(draft).archived_at is not None
    assert archive(completed).version == archive(completed).version
    with pytest.raises(IllegalTransition) as refused:
        archive(active)
    assert refused.value.allowed == ["pause", "complete"]
    with pytest.raises(LaunchInProgress):
        archive(launching)


def test_archived_campaign_is_neither_changed_nor_launched(campaign, manager):
    draft = campaign(launched=False)
    with manager.acting():
        campaigns.archive(campaigns.get_for_update(draft.id))

    for attempt in (
        lambda: campaigns.replace(campaigns.get_for_update(draft.id), name="Other", kind="QR", config=Config()),
        lambda: launch.start(draft.id),
        lambda: codes.add(draft.id, "Late"),
    ):
        with pytest.raises(CampaignArchived), manager.acting():
            attempt()
    with manager.acting():
        unarchived = campaigns.unarchive(campaigns.get_for_update(draft.id))
        assert unarchived.archived_at is None
        assert launch.start(draft.id).created


def test_disabled_code_keeps_its_time_until_it_is_enabled(campaign, manager):
    summer = campaign(launched=False)
    with manager.acting():
        code, other = (codes.add(summer.id, label) for label in ("Entrance", "Bar"))
    with manager.acting():
        first = codes.disable(summer.id, code.id)
    with manager.acting():
        second = codes.disable(summer.id, code.id)
        found = {disabled: codes.find(summer.id, limit=9, disabled=disabled) for disabled in (True, False)}
        counted = codes.counts([summer.id])
        enabled = codes.enable(summer.id, code.id)

    assert first.disabled_at is not None
    assert second.disabled_at == first.disabled_at
    assert {disabled: [one.id for one in listed] for disabled, listed in found.items()} == {
        True: [code.id],
        False: [other.id],
    }
    assert counted == {summer.id: 1}
    assert enabled.disabled_at is None


def test_campaign_of_another_brand_is_not_found(campaign, manager, make_brand, member):
    stranger = member("Brand Admin", make_brand("Other"))
    foreign, own = campaign(), campaign("Own", by=stranger)
    with manager.acting():
        foreign_code = codes.find(foreign.id, limit=1)[0].id

    for attempt in (
        lambda: campaigns.get(foreign.id),
        lambda: campaigns.get_for_update(foreign.id),
        lambda: campaigns.transition(foreign.id, "pause"),
        lambda: launch.start(foreign.id),
        lambda: codes.add(foreign.id, "Mine"),
        lambda: codes.disable(foreign.id, foreign_code),
        lambda: codes.disable(own.id, foreign_code),
    ):
        with pytest.raises(NotFound), stranger.acting():
            attempt()
    with stranger.acting():
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


def test_segments_of_the_brand_are_kept_as_the_audience(campaign, manager, make_brand, superuser):
    segments = {}
    with superuser.cursor() as cursor:
        for brand_id in (manager.brand_id, make_brand("Other")["id"]):
            cursor.execute("insert into audience_segments (brand_id, name) values (%s, 'A') returning id", (brand_id,))
            segments[brand_id] = cursor.fetchone()[0]
    own, foreign = segments.values()

    made = campaign(launched=False, segment_ids=[str(own)])
    with manager.acting(), pytest.raises(Invalid) as refused:
        campaigns.replace(made, name="x", kind="QR", config=QrConfig(segment_ids=[own, foreign]))
    with superuser.cursor() as cursor:
        cursor.execute("select segment_id from campaign_audience where campaign_id = %s", (made.id,))
        kept = cursor.fetchall()
        with manager.acting():
            campaigns.replace(campaigns.get_for_update(made.id), name="x", kind="QR", config=QrConfig())
        cursor.execute("select count(*) from campaign_audience")
        left = cursor.fetchone()

    assert [error["field"] for error in refused.value.extra["errors"]] == ["config.segment_ids[1]"]
    assert (kept, left) == ([(own,)], (0,))
