"""Test brands without HTTP."""

import pytest

from models.campaigns import campaigns
from models.campaigns.statuses import TRANSITIONS
from models.core import context
from models.core.database import transaction
from models.core.errors import Invalid, NotFound
from models.identity.accounts import EmailInUse
from models.tenants import brands


def test_brand_whose_admin_cannot_be_invited_is_not_created(admin):
    with pytest.raises(EmailInUse), admin.acting():
        brands.create("Acme", {}, admin.email)

    with admin.acting():
        assert brands.page(10) == []


def test_member_reads_the_row_of_the_own_brand_only(make_brand, member):
    own, other = make_brand("Own"), make_brand("Other")

    with member("Creator", own).acting():
        assert [found.id for found in brands.page(10)] == [own["id"]]
        with pytest.raises(NotFound):
            brands.get(other["id"])


def test_brands_are_found_by_name_and_archive_page_by_page(admin, make_brand):
    made = [make_brand(name) for name in ("Acme 1", "acme 2", "Acme 3", "Other")]
    with admin.acting():
        brands.archive(made[1]["id"])
        live = brands.page(1, name="ACME", archived=False)
        rest = brands.page(9, (live[0].created_at, live[0].id), name="ACME", archived=False)
        archived = brands.page(9, archived=True)

    assert [brand.name for brand in (*live, *rest)] == ["Acme 3", "Acme 1"]
    assert [brand.name for brand in archived] == ["acme 2"]


def test_change_concerns_one_brand_and_increments_its_version(admin, make_brand):
    changed, kept = make_brand("Changed"), make_brand("Kept")

    with admin.acting():
        for name in ("Once", "Twice"):
            brands.change(brands.get_for_update(changed["id"]), name, {"timezone": "Europe/Madrid"}, None)
        with pytest.raises(Invalid):
            brands.change(brands.get_for_update(changed["id"]), "Thrice", {"timezone": "Mars/Olympus"}, None)
        found = {brand.name: brand.version for brand in brands.page(9)}

    assert found == {"Twice": 3, "Kept": 1}
    assert kept["name"] == "Kept"


def test_archiving_pauses_active_campaigns_of_the_brand_only(admin, brand, make_brand, member, campaign, query):
    other = member("Campaign Manager", make_brand("Other"))
    made = {"Draft": campaign("Draft", launched=False)} | {
        status: campaign(status) for status in ("Active", "Paused", "Completed")
    }
    foreign = campaign("Foreign", by=other)
    boss = member()
    with boss.acting():
        campaigns.transition(made["Paused"].id, "pause")
        campaigns.transition(made["Completed"].id, "complete")
    versions = dict(query("select name, version from public.campaigns"))

    with admin.acting():
        first, second = brands.archive(brand["id"]), brands.archive(brand["id"])

    pause = TRANSITIONS["pause"]
    expected = {name: pause.target if name in pause.sources else name for name in made} | {"Foreign": "Active"}
    assert dict(query("select name, status from public.campaigns")) == expected
    assert (first, second) == ([made["Active"].id], [])
    assert dict(query("select name, version from public.campaigns")) == versions | {"Active": versions["Active"] + 1}
    assert foreign.brand_id != brand["id"]


def test_restoring_resumes_the_campaigns_that_archiving_paused(admin, brand, make_brand, member, campaign, query):
    other = member(brand=make_brand("Other"))
    names = ("Active", "Paused", "Completed", "Ended")
    made = {name: campaign(name) for name in names} | {"Draft": campaign("Draft", launched=False)}
    foreign = campaign("Foreign", by=other)
    boss = member()
    with boss.acting():
        campaigns.transition(made["Paused"].id, "pause")
        campaigns.transition(made["Completed"].id, "complete")
    with admin.acting():
        brands.archive(foreign.brand_id)
        brands.archive(brand["id"])
    query(
        """update campaigns set config = config || '{"ends_at": "2026-01-01T00:00:00Z"}' where id = %s""",
        made["Ended"].id,
    )

    with admin.acting():
        first, second = brands.restore(brand["id"]), brands.restore(brand["id"])

    resume, was_active = TRANSITIONS["resume"], "Active"
    assert (first, second) == ([made[was_active].id], [])
    assert dict(query("select name, status from public.campaigns")) == {
        "Active": resume.target,
        "Paused": "Paused",
        "Completed": "Completed",
        "Ended": "Paused",
        "Draft": "Draft",
        "Foreign": "Paused",
    }


def test_campaign_paused_between_two_archivings_stays_paused(admin, brand, member, campaign, query):
    subject, other = campaign("Subject"), campaign("Other")
    boss = member()

    def archive_and_restore():
        with admin.acting():
            brands.archive(brand["id"])
        with admin.acting():
            return brands.restore(brand["id"])

    assert set(archive_and_restore()) == {subject.id, other.id}
    with boss_again(boss, query).acting():
        campaigns.transition(subject.id, "pause")
    assert archive_and_restore() == [other.id]
    with boss_again(boss, query).acting():
        campaigns.transition(subject.id, "resume")
    assert set(archive_and_restore()) == {subject.id, other.id}


def boss_again(account, query):
    """Make a session that archiving has ended valid again."""
    query("update app.sessions set revoked_at = null where user_id = %s", account.user_id)
    return account


def test_archiving_ends_sessions_of_the_brands_members_only(admin, brand, make_brand, member, fan, query):
    boss, other, person = member(), member(brand=make_brand("Other")), fan()

    with admin.acting():
        brands.archive(brand["id"])

    ended = query("select distinct user_id from app.sessions where revoked_at is not null")
    assert ended == [(boss.user_id,)]
    assert {other.user_id, person.user_id}.isdisjoint(ended[0])


def test_archive_and_restore_change_one_brand_once(admin, make_brand):
    brand, other = make_brand("Brand"), make_brand("Other")

    def states():
        with admin.acting():
            return {one.name: (one.archived_at is not None, one.version) for one in brands.page(9)}

    seen = []
    for act in (brands.archive, brands.archive, brands.restore, brands.restore):
        with admin.acting():
            act(brand["id"])
        seen.append(states())

    assert [state["Brand"] for state in seen] == [(True, 2), (True, 2), (False, 3), (False, 3)]
    assert [state["Other"] for state in seen] == [(False, 1)] * 4
    assert other["name"] == "Other"


def test_brand_is_live_unless_its_row_is_archived(admin, make_brand):
    live, archived = make_brand("Live"), make_brand("Archived")
    with admin.acting():
        brands.archive(archived["id"])

    answers = []
    for brand in (live, archived):
        with transaction(context.for_brand_job(brand["id"])):
            answers.append(brands.is_live_for_share())

    assert answers == [True, False]
