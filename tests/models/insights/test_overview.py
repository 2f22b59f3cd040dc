"""The overview: exact counts by hour, whatever changes between two refreshes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core import context
from models.core.database import now, rows, transaction
from models.core.errors import Invalid, NotFound
from models.insights import overview
from models.insights.overview import Window
from models.jobs.ledger import enqueue
from tests.fixtures.campaigns import NOON

HOUR = timedelta(hours=1)


def refresh(campaign, hour=None):
    with transaction(context.for_brand_job(campaign.brand_id)):
        overview.refresh(campaign.id, hour)


def buckets(campaign):
    with transaction(context.for_brand_job(campaign.brand_id)):
        found = rows("SELECT hour, kind, key, count FROM public.scan_rollups WHERE campaign_id = %s", (campaign.id,))
    return {(part["hour"], part["kind"], part["key"]): part["count"] for part in found}


def read(account, *args):
    with account.acting():
        return overview.overview(*args)


def engage(superuser, campaign, user_id, scans=1):
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into public.engagements values (%s, %s, %s, %s, %s, %s)",
            (campaign.brand_id, campaign.id, user_id, NOON, NOON, scans),
        )


def test_hour_is_counted_by_decision_reason_rule_and_band(campaign, put_scan, fan):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    put_scan(summer, user, rules=("device.shared", "travel.impossible"), band="review")
    put_scan(summer, user, rules=("device.shared",), band="reject")
    put_scan(summer, user, decision="rejected", reason="geofence_outside")
    put_scan(summer, user, band=None, scored_at=None)
    put_scan(summer, user, scan_time=NOON + HOUR)

    refresh(summer, NOON + timedelta(minutes=59))

    assert buckets(summer) == {
        (NOON, "decision", "accepted"): 4,
        (NOON, "decision", "rejected"): 1,
        (NOON, "reason", "geofence_outside"): 1,
        (NOON, "rule", "*"): 2,
        (NOON, "rule", "device.shared"): 2,
        (NOON, "rule", "travel.impossible"): 1,
        (NOON, "band", "accept"): 1,
        (NOON, "band", "review"): 1,
        (NOON, "band", "reject"): 1,
    }


def test_scan_with_two_items_of_one_rule_counts_once(campaign, put_scan, fan):
    summer = campaign()
    put_scan(summer, fan().user_id, rules=("device.shared", "device.shared"))

    refresh(summer)

    assert buckets(summer)[NOON, "rule", "device.shared"] == 1


def test_evidence_of_unflagged_scan_counts_under_no_rule(campaign, put_scan, fan):
    summer = campaign()
    put_scan(summer, fan().user_id, rules=("late",), flagged=False)

    refresh(summer)

    assert not [key for key in buckets(summer) if key[1] == "rule"]


def test_correction_moves_the_scan_between_buckets(campaign, put_scan, fan, superuser):
    summer = campaign()
    scan = put_scan(summer, fan().user_id, rules=("device.shared",), band="review")
    refresh(summer, NOON)

    with superuser.cursor() as cursor:
        cursor.execute("update public.qr_scans set band = 'accept', flagged = false where id = %s", (scan,))
    refresh(summer, NOON)

    assert buckets(summer) == {(NOON, "decision", "accepted"): 1, (NOON, "band", "accept"): 1}


def test_refresh_of_all_hours_empties_the_hour_that_a_scan_left(campaign, put_scan, fan, query):
    summer, winter, user = campaign(), campaign("Winter"), fan().user_id
    moved = put_scan(summer, user)
    put_scan(summer, user, scan_time=NOON + HOUR)
    put_scan(winter, user)
    for subject in (summer, winter):
        refresh(subject)

    query("update public.qr_scans set scan_time = %s where id = %s", NOON + 2 * HOUR, moved)
    refresh(summer)

    hours = {hour for hour, kind, _ in buckets(summer) if kind == "decision"}
    assert hours == {NOON + HOUR, NOON + 2 * HOUR}
    assert buckets(winter)[NOON, "decision", "accepted"] == 1


def test_refresh_changes_one_hour_of_one_campaign(campaign, put_scan, fan):
    summer, winter, user = campaign(), campaign("Winter"), fan().user_id
    for subject in (summer, winter):
        put_scan(subject, user)
        put_scan(subject, user, scan_time=NOON - HOUR)
        refresh(subject)
    put_scan(summer, user, scan_time=NOON - HOUR)
    put_scan(winter, user)

    refresh(summer, NOON)

    for subject in (summer, winter):
        assert buckets(subject)[NOON, "decision", "accepted"] == 1
        assert buckets(subject)[NOON - HOUR, "decision", "accepted"] == 1


scans = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["accepted", "rejected"]),
        st.sampled_from(["accept", "review", "reject", None]),
        st.sets(st.sampled_from(["a", "b"]), max_size=2),
        st.booleans(),
    ),
    max_size=8,
)


def expected(stored):
    counts = Counter()
    for hour, decision, band, rules in stored:
        facts = [("decision", decision)]
        if decision == "rejected":
            facts += [("reason", "cap_exhausted")]
        else:
            facts += [("band", band)] if band else []
            facts += [("rule", rule) for rule in [*rules, *(["*"] if rules else [])]]
        counts.update((NOON + hour * HOUR, *fact) for fact in facts)
    return dict(counts)


@settings(max_examples=20)
@given(drawn=scans)
def test_buckets_equal_a_count_of_the_scans_in_any_order_of_refreshes(campaign, put_scan, fan, drawn):
    summer, user = campaign(), fan().user_id
    stored = []

    for hour, decision, band, rules, at_once in drawn:
        reason = "cap_exhausted" if decision == "rejected" else None
        at = NOON + hour * HOUR
        put_scan(summer, user, decision=decision, reason=reason, band=band, rules=tuple(rules), scan_time=at)
        stored.append((hour, decision, band, rules))
        if at_once:
            refresh(summer, at)
    refresh(summer)
    refresh(summer)

    assert buckets(summer) == expected(stored)


def test_concurrent_refreshes_end_with_exact_counts(campaign, put_scan, fan):
    summer, user = campaign(), fan().user_id

    def scan_and_refresh(number):
        refresh(summer, NOON if number % 2 else None)

    for _ in range(12):
        put_scan(summer, user)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(scan_and_refresh, range(12)))

    assert buckets(summer) == {(NOON, "decision", "accepted"): 12, (NOON, "band", "accept"): 12}


def test_waiting_refresh_counts_scans_committed_meanwhile(campaign, put_scan, fan):
    summer, user = campaign(), fan().user_id
    with ThreadPoolExecutor(1) as pool:
        with transaction(context.for_brand_job(summer.brand_id)):
            overview.refresh(summer.id, NOON)
            waiting = pool.submit(refresh, summer, NOON)
            put_scan(summer, user)
        waiting.result()

    assert buckets(summer)[NOON, "decision", "accepted"] == 1


def test_totals_are_the_sum_of_the_campaigns(campaign, put_scan, fan, manager):
    summer, winter, user = campaign(), campaign("Winter"), fan().user_id
    put_scan(summer, user)
    put_scan(summer, user, rules=("device.shared",), band="review")
    put_scan(summer, user, decision="rejected", reason="cap_exhausted")
    put_scan(winter, user, band=None, scored_at=None)
    for subject in (summer, winter):
        refresh(subject)

    found = read(manager)

    assert [(c.name, n.scans, n.accepted, n.rejected) for c, n in found.campaigns] == [
        ("Winter", 1, 1, 0),
        ("Summer", 3, 2, 1),
    ]
    totals = found.totals
    assert (totals.scans, totals.accepted, totals.rejected) == (4, 3, 1)
    assert totals.reasons == {"cap_exhausted": 1}
    assert (totals.flagged, totals.flagged_by_rule) == (1, {"device.shared": 1})
    assert (totals.under_review, totals.provisional_share) == (1, 0.6667)
    assert found.pending == 1
    assert not found.more_campaigns


@pytest.mark.parametrize("decision", ["accepted", "rejected"])
def test_overview_is_settled_without_pending_scores_and_refreshes(
    campaign, put_scan, fan, manager, superuser, drain, decision
):
    summer, reason = campaign(), None if decision == "accepted" else "cap_exhausted"
    scan = put_scan(summer, fan().user_id, decision=decision, reason=reason, band=None, scored_at=None)
    unscored = read(manager)

    with superuser.cursor() as cursor:
        cursor.execute("update public.qr_scans set scored_at = now(), band = 'accept' where id = %s", (scan,))
    with transaction(context.for_brand_job(summer.brand_id)):
        enqueue("overview.refresh", summer.id, NOON, unique="while_waiting")
    scored = read(manager)
    drain()
    counted = read(manager)

    assert [(found.pending, found.settled) for found in (unscored, scored, counted)] == [
        (1, False),
        (0, False),
        (0, True),
    ]
    assert counted.totals.scans == 1


def test_overview_with_waiting_rescoring_is_not_settled(campaign, manager, fan):
    summer = campaign()
    with transaction(context.for_brand_job(summer.brand_id)):
        enqueue("scan.rescore", "person", fan().user_id, "2026-11-22", unique="while_waiting")

    assert not read(manager).settled


def test_overview_without_scans_is_as_of_now(campaign, manager):
    campaign()
    before = now()

    found = read(manager)

    assert before <= found.as_of <= now()
    assert (found.totals.scans, found.totals.provisional_share, found.pending) == (0, None, 0)


def test_overview_is_as_of_its_oldest_bucket(campaign, put_scan, fan, manager):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    put_scan(summer, user, scan_time=NOON + HOUR)
    before = now()
    refresh(summer, NOON)
    between = now()
    refresh(summer, NOON + HOUR)

    assert before <= read(manager).as_of <= between


def test_reach_counts_each_person_once_and_none_held_for_fraud(campaign, fan, manager, superuser):
    summer, winter = campaign(), campaign("Winter")
    everywhere, once, fraudster = fan().user_id, fan().user_id, fan().user_id
    engage(superuser, summer, everywhere, 3)
    engage(superuser, winter, everywhere)
    engage(superuser, summer, once)
    engage(superuser, summer, fraudster, 0)

    found = read(manager)

    assert {c.name: n.reach for c, n in found.campaigns} == {"Summer": 2, "Winter": 1}
    assert found.totals.reach == 2
    assert [read(manager, one.id).totals.reach for one in (summer, winter)] == [2, 1]


def test_window_counts_by_the_time_of_the_scan(campaign, put_scan, fan, manager, superuser):
    summer, here, there = campaign(), fan().user_id, fan().user_id
    put_scan(summer, here)
    put_scan(summer, here, scan_time=NOON + timedelta(minutes=30))
    put_scan(summer, there, scan_time=NOON - timedelta(microseconds=1), band=None, scored_at=None)
    put_scan(summer, there, band="reject")
    refresh(summer)
    for user in (here, there):  # rows of engagements give the reach of all time only
        engage(superuser, summer, user)

    noon = read(manager, None, Window.of(NOON, NOON + HOUR))
    before = read(manager, None, Window.of(None, NOON))
    since = read(manager, summer.id, Window.of(NOON, None))

    assert noon.window == Window(NOON, NOON + HOUR)
    assert (noon.totals.accepted, noon.totals.reach, noon.pending) == (3, 1, 0)
    assert (before.totals.accepted, before.totals.reach, before.pending) == (1, 0, 1)
    assert (since.totals.accepted, since.totals.reach, since.campaigns[0][1].reach) == (3, 1, 1)


def test_window_includes_its_start_and_excludes_its_end(campaign, put_scan, fan, manager):
    summer = campaign()
    for at in (NOON - HOUR, NOON, NOON + HOUR):
        put_scan(summer, fan().user_id, scan_time=at)
        put_scan(summer, fan().user_id, scan_time=at, band=None, scored_at=None)
        put_scan(summer, fan().user_id, scan_time=at, decision="rejected", reason="cap_exhausted", band="accept")
    refresh(summer)

    found = read(manager, None, Window.of(NOON, NOON + HOUR))

    assert (found.totals.accepted, found.totals.rejected, found.totals.reach, found.pending) == (2, 1, 1, 1)
    assert found.campaigns[0][1] == found.totals


def test_unstored_requests_are_counted_by_campaign_and_hour(campaign, make_brand, member, manager, query):
    summer, winter = campaign("Summer"), campaign("Winter")
    foreign = campaign("Foreign", by=member("Campaign Manager", make_brand("Other")))
    for subject, at, n in ((summer, NOON, 1), (summer, NOON + HOUR, 2), (winter, NOON, 4), (foreign, NOON, 8)):
        query(
            "insert into app.scan_refusals (brand_id, campaign_id, hour, reason, n) values (%s, %s, %s, 'r', %s)",
            *(subject.brand_id, subject.id, at, n),
        )

    always, hour = read(manager), read(manager, None, Window.of(NOON, NOON + HOUR))
    alone, since = read(manager, summer.id), read(manager, None, Window.of(NOON + HOUR, None))

    assert always.totals.unstored == {"r": 7}
    assert {c.name: n.unstored for c, n in always.campaigns} == {"Summer": {"r": 3}, "Winter": {"r": 4}}
    assert (hour.totals.unstored, alone.totals.unstored, since.totals.unstored) == ({"r": 5}, {"r": 3}, {"r": 2})
    assert {c.name: n.unstored for c, n in hour.campaigns} == {"Summer": {"r": 1}, "Winter": {"r": 4}}


def test_reach_within_a_window_is_by_campaign_and_together(campaign, put_scan, fan, manager):
    summer, winter = campaign("Summer"), campaign("Winter")
    both, one = fan().user_id, fan().user_id
    for subject, user in ((summer, both), (winter, both), (summer, one)):
        put_scan(subject, user, band="review")

    window = Window.of(NOON, NOON + HOUR)
    together, alone = read(manager, None, window), read(manager, winter.id, window)

    assert {c.name: n.reach for c, n in together.campaigns} == {"Summer": 2, "Winter": 1}
    assert (together.totals.reach, alone.totals.reach) == (2, 1)


@pytest.mark.parametrize("bound", ["start", "end"])
def test_window_out_of_range_is_refused(bound):
    far = now().replace(year=9999)

    with pytest.raises(Invalid):
        Window.of(**{"start": None, "end": None} | {bound: far})


def test_overview_of_one_campaign_counts_it_only(campaign, put_scan, fan, manager):
    summer, winter, user = campaign(), campaign("Winter"), fan().user_id
    for subject in (summer, winter):
        put_scan(subject, user)
        put_scan(subject, user, band=None, scored_at=None)
        refresh(subject)

    found = read(manager, winter.id)

    assert [c.id for c, _ in found.campaigns] == [winter.id]
    assert (found.totals.scans, found.totals.reach, found.pending) == (2, 0, 1)
    assert read(manager, winter.id, Window.of(NOON, None)).totals.reach == 1
    assert read(manager).pending == 2


def test_overview_of_another_brand_is_empty(campaign, put_scan, fan, make_brand, member, superuser):
    stranger = member("Brand Admin", make_brand("Other"))
    summer, user = campaign(), fan().user_id
    put_scan(summer, user, band=None, scored_at=None)
    engage(superuser, summer, user)
    refresh(summer)

    found = read(stranger, None, Window.of(NOON, None))
    for_all_time = read(stranger)

    for numbers in (found, for_all_time):
        assert (numbers.totals.scans, numbers.totals.reach, numbers.pending, numbers.campaigns) == (0, 0, 0, [])
    with pytest.raises(NotFound):
        read(stranger, summer.id)


def test_creator_sees_all_numbers_of_an_assigned_campaign(campaign, put_scan, fan, member, superuser, assign):
    summer, user = campaign(), fan().user_id
    creator = assign(summer, member("Creator"))
    put_scan(summer, user)
    put_scan(summer, user, band=None, scored_at=None)
    engage(superuser, summer, user)
    refresh(summer)

    seen = [read(one, None, Window.of(NOON, None)) for one in (creator, member("Brand Admin"))]

    assert [(found.totals, found.pending) for found in seen] == [(seen[0].totals, 1)] * 2
    assert seen[0].totals.reach == 1


def test_totals_of_creator_include_assigned_campaigns_only(campaign, put_scan, fan, member, superuser, assign):
    own, other = campaign("Own"), campaign("Other")
    creator = assign(own, member("Creator"))
    for one, scans in ((own, 1), (other, 2)):
        for _ in range(scans):
            put_scan(one, user := fan().user_id)
            engage(superuser, one, user)
        put_scan(one, user, band=None, scored_at=None)
        refresh(one)

    always, lately = read(creator), read(creator, None, Window.of(NOON, None))

    for found in (always, lately):
        assert [campaign.name for campaign, _ in found.campaigns] == ["Own"]
        assert (found.totals.scans, found.totals.reach, found.pending) == (2, 1, 1)
    with pytest.raises(NotFound):
        read(creator, other.id)


def test_overview_of_many_campaigns_lists_the_newest(campaign, monkeypatch, manager, put_scan, fan):
    monkeypatch.setattr(overview, "MAX_CAMPAIGNS", 2)
    oldest = campaign("Oldest")
    put_scan(oldest, fan().user_id)
    refresh(oldest)
    for name in ("Middle", "Newest"):
        campaign(name)

    found = read(manager)

    assert [c.name for c, _ in found.campaigns] == ["Newest", "Middle"]
    assert found.more_campaigns
    assert found.totals.scans == 1
