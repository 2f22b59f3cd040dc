"""The list of campaigns: order, pages and conditions."""

from datetime import UTC, datetime

import pytest

from models.campaigns import campaigns, search
from models.campaigns.search import Conditions

JANUARY, MARCH, MAY = (datetime(2030, month, 1, tzinfo=UTC) for month in (1, 3, 5))

NAMES = ["Zebra", "ábaco", "Abeja", "abeja", "Zebra"]
STARTS = [MARCH, None, JANUARY, None, MARCH]
"""Names and starts of campaigns in the order of their creation; some are equal."""


@pytest.fixture
def five(campaign):
    """Create campaigns that differ in each order."""
    return [
        campaign(name, launched=False, starts_at=start.isoformat() if start else None)
        for name, start in zip(NAMES, STARTS, strict=True)
    ]


def of_pages(manager, sort, limit):
    """Return all campaigns in an order, read page by page."""
    found, after = [], None
    with manager.acting():
        while page := search.find(limit=limit, after=after, sort=sort):
            found += page
            after = search.key_of(sort, page[-1])
    return [campaign.id for campaign in found]


def test_campaigns_are_listed_in_each_order_page_by_page(five, manager):
    place = {campaign.id: n for n, campaign in enumerate(five)}
    expected = {
        "created_at": [0, 1, 2, 3, 4],
        "-created_at": [4, 3, 2, 1, 0],
        "name": [1, 3, 2, 0, 4],
        "-name": [4, 0, 2, 3, 1],
        "starts_at": [2, 0, 4, 1, 3],
        "-starts_at": [4, 0, 2, 3, 1],
    }

    for sort, order in expected.items():
        for limit in (1, 2, 9):
            assert [place[id] for id in of_pages(manager, sort, limit)] == order, (sort, limit)


def test_campaigns_with_equal_values_are_listed_by_id(campaign, manager, query):
    made = sorted(campaign("Same", launched=False).id for _ in range(3))
    query("update public.campaigns set created_at = '2026-01-01T00:00:00Z'")

    for sort in ("created_at", "name", "starts_at"):
        assert of_pages(manager, sort, 1) == made
        assert of_pages(manager, f"-{sort}", 1) == made[::-1]


def test_campaigns_are_found_by_each_condition(campaign, manager, query):
    draft = campaign("Plaza Mayor", kind="Locker", launched=False, starts_at=MARCH.isoformat(), ends_at=MAY.isoformat())
    active, paused = campaign("La PLAZA nueva, 100 % Rioja"), campaign("Paused")
    archived = campaign("Archived", launched=False)
    with manager.acting():
        campaigns.transition(paused.id, "pause")
        campaigns.archive(campaigns.get_for_update(archived.id))
    query("update public.campaigns set created_at = %s where id = %s", JANUARY, draft.id)

    def found(**conditions):
        with manager.acting():
            return {one.id for one in search.find(limit=9, conditions=Conditions(**conditions))}

    assert found() == {draft.id, active.id, paused.id}
    assert found(archived="only") == {archived.id}
    assert found(archived="all") == {draft.id, active.id, paused.id, archived.id}
    assert found(statuses=["Active", "Paused"]) == {active.id, paused.id}
    assert found(kind="Locker") == {draft.id}
    assert found(name="plaza") == {draft.id, active.id}
    assert found(name="mayor plaza") == set()
    assert found(text="MAYOR plaza") == {draft.id}
    assert found(text="%") == {active.id}
    assert found(created=(JANUARY, None)) == {draft.id}
    assert found(created=(None, JANUARY)) == {active.id, paused.id}
    assert found(starts=(MARCH, MAY)) == found(ends=(MAY, None)) == {draft.id}
    assert found(starts=(JANUARY, MARCH)) == found(ends=(None, MAY)) == set()
    assert found(statuses=["Draft"], kind="QR") == set()


def test_campaigns_of_another_brand_are_not_listed(campaign, make_brand, member):
    stranger = member("Brand Admin", make_brand("Other"))
    campaign()
    own = campaign("Own", by=stranger)

    with stranger.acting():
        assert [one.id for one in search.find(limit=9, conditions=Conditions(archived="all"))] == [own.id]
