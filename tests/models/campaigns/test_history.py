"""History of a campaign's contents: its versions, the way back, and the end of old versions."""

import msgspec
import pytest

from models.campaigns import campaigns, history
from models.campaigns.campaigns import CampaignCompleted, FixedSinceLaunch
from models.campaigns.config import CONFIGS
from models.core import context
from models.core.database import transaction
from models.core.errors import NotFound

FENCE = {"lat": 40.4, "lon": -3.7, "radius_m": 250}


@pytest.fixture
def replace(manager):
    """`replace(campaign, name, kind="QR", **config)`: replace a campaign's contents. Return its new version."""

    def change(campaign, name, kind="QR", **config):
        with manager.acting():
            locked = campaigns.get_for_update(campaign.id)
            return campaigns.replace(locked, name=name, kind=kind, config=msgspec.convert(config, CONFIGS[kind]))[
                0
            ].version

    return change


def versions(account, campaign):
    with account.acting():
        return history.find(campaign.id, limit=99)


def test_each_change_is_a_version_with_author_and_fields(campaign, manager, member, replace):
    draft, other = campaign(launched=False), campaign("Other", launched=False)

    replace(draft, "Autumn", geofence=FENCE)
    replace(draft, "Autumn", kind="Locker", geofence=FENCE)

    found = versions(manager, draft)
    assert [(one.version, one.name, one.type, one.changed) for one in found] == [
        (3, "Autumn", "Locker", ["type"]),
        (2, "Autumn", "QR", ["name", "config.geofence"]),
        (1, "Summer", "QR", []),
    ]
    assert {one.created_by for one in found} == {manager.user_id}
    assert [one.config["geofence"] is None for one in found] == [False, False, True]
    assert len(versions(manager, other)) == 1


def test_replacement_without_a_change_makes_no_version(campaign, manager, replace):
    draft = campaign(launched=False, geofence=FENCE)

    assert replace(draft, "Summer", geofence=FENCE) == draft.version
    assert len(versions(manager, draft)) == 1


def test_revert_restores_contents_as_a_new_version(campaign, manager, replace):
    draft = campaign(launched=False, geofence=FENCE)
    replace(draft, "Autumn")

    with manager.acting():
        reverted, changed = campaigns.revert(campaigns.get_for_update(draft.id), 1)

    assert (reverted.name, reverted.config, reverted.version) == (draft.name, draft.config, 3)
    assert changed == ["name", "config.geofence"]
    assert [(one.version, one.reverted_to) for one in versions(manager, draft)] == [(3, 1), (2, None), (1, None)]


def test_revert_obeys_the_table_of_fields(campaign, manager, replace, query):
    draft = campaign(launched=False)
    replace(draft, "Summer", timezone="Europe/Madrid")
    query("update public.campaigns set status = 'Active' where id = %s", draft.id)

    with pytest.raises(FixedSinceLaunch) as refused, manager.acting():
        campaigns.revert(campaigns.get_for_update(draft.id), 1)
    with manager.acting():
        campaigns.transition(draft.id, "complete")
    with pytest.raises(CampaignCompleted), manager.acting():
        campaigns.revert(campaigns.get_for_update(draft.id), 1)

    assert refused.value.extra["fields"] == ["config.timezone"]


def test_history_is_read_page_by_page_and_within_the_brand(campaign, manager, member, make_brand, replace):
    draft = campaign(launched=False)
    for name in ("Autumn", "Winter"):
        replace(draft, name)
    stranger = member("Brand Admin", make_brand("Other"))

    with manager.acting():
        first = history.find(draft.id, limit=2)
        rest = history.find(draft.id, limit=2, before=first[-1].version)
    assert [one.version for one in [*first, *rest]] == [3, 2, 1]
    with stranger.acting():
        assert history.find(draft.id, limit=9) == []
        with pytest.raises(NotFound):
            history.get(draft.id, 1)


def test_oldest_versions_beyond_the_bound_are_deleted(campaign, manager, replace):
    long, short = campaign(launched=False), campaign("Short", launched=False)
    for name in ("Autumn", "Winter", "Spring"):
        replace(long, name)

    with transaction(context.for_system_job()):
        deleted = history.prune(kept=2)

    assert deleted == 2
    assert [one.version for one in versions(manager, long)] == [4, 3]
    assert [one.version for one in versions(manager, short)] == [1]
