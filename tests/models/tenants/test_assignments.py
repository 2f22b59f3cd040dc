"""Test assignments without HTTP: the rows that each condition of the SQL functions selects."""

import pytest

from models.core.errors import NotFound
from models.tenants import assignments
from models.tenants.assignments import NotACreator


def test_assignment_is_of_one_creator_and_one_campaign(campaign, manager, member):
    summer, winter = campaign("Summer"), campaign("Winter")
    first, second, third = (member("Creator") for _ in range(3))
    with manager.acting():
        created = [
            assignments.assign(one.id, creator.user_id)
            for one, creator in ((summer, first), (summer, second), (summer, third), (winter, first), (summer, first))
        ]

    with manager.acting():
        assignments.unassign(summer.id, first.user_id)
        left = {one.name: [found.user_id for found in assignments.page(one.id, 9)] for one in (summer, winter)}
        (after_second,) = assignments.page(summer.id, 9, second.user_id)

    assert created == [True] * 4 + [False]
    assert left == {"Summer": [second.user_id, third.user_id], "Winter": [first.user_id]}
    assert (after_second.user_id, after_second.assigned_by) == (third.user_id, manager.user_id)
    with pytest.raises(NotFound), manager.acting():
        assignments.unassign(summer.id, first.user_id)


def test_only_creators_are_assigned(campaign, manager, member):
    summer = campaign()

    for role in ("Brand Admin", "Campaign Manager"):
        with pytest.raises(NotACreator), manager.acting():
            assignments.assign(summer.id, member(role).user_id)


def test_assignment_keeps_the_role_until_it_commits(campaign, manager, member, query):
    """A concurrent change of role deletes the assignments that it finds, so it must find this one."""
    summer, creator, other = campaign(), member("Creator"), member("Creator")
    free = "select id from public.users where id = any (%s) for no key update skip locked"

    with manager.acting():
        assignments.assign(summer.id, creator.user_id)
        assert query(free, [creator.user_id, other.user_id]) == [(other.user_id,)]


def test_campaign_of_another_brand_is_not_assigned(campaign, manager, member, make_brand, assign, query):
    other = make_brand("Other")
    boss, creator = member("Brand Admin", other), member("Creator", other)
    ours, theirs = campaign(), campaign("Theirs", by=boss)
    own = assign(ours, member("Creator"))

    for attempt in (
        lambda: assignments.assign(ours.id, creator.user_id),
        lambda: assignments.assign(theirs.id, own.user_id),
        lambda: assignments.unassign(ours.id, own.user_id),
    ):
        with pytest.raises(NotFound), boss.acting():
            attempt()
    with boss.acting():
        assert assignments.page(ours.id, 9) == []
    assert query("select user_id from public.campaign_assignments") == [(own.user_id,)]
