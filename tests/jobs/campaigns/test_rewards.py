"""Tests of the jobs that settle, redeem and count rewards, over the local Locker."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
import time_machine

from jobs.campaigns import rewards as reward_jobs
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from models.campaigns import reward_codes
from models.core.database import close_thread_connections, now
from tests.fixtures.jobs import take

pytestmark = pytest.mark.usefixtures("mailbox")


def test_accepted_scans_get_the_first_free_reward_until_none_is_left(drop):
    drop = drop(gold=1, silver=2)
    scans = [drop.scan() for _ in range(5)]

    for scan in scans:
        drop.settle(scan)

    given = dict(drop.run("select id, reward_key from rewards where state = 'granted'"))
    assert [given.get(str(scan), given.get(scan)) for scan in scans] == ["gold", "silver", "silver", None, None]


def test_accepted_scan_is_granted_by_the_jobs_of_its_score(drop, phone, code_of, drain):
    drop = drop(gold=1)

    answer = phone().scan(code_of(drop.campaign))
    ran = drain()

    assert answer.status_code == 201
    assert ran.index("scan.score") < ran.index("reward.settle")
    assert drop.state(UUID(answer.json["id"])) == "granted"
    assert drop.at_locker() == {"granted": 1}


def test_scan_of_campaign_without_rewards_enqueues_no_job(campaign, phone, code_of, drain):
    phone().scan(code_of(campaign()))

    assert not [name for name in drain() if name.startswith("reward.")]


def test_band_decides_what_a_scan_earns(drop):
    drop = drop(gold=9)
    scans = {band: drop.scan(band) for band in ("accept", "review", "reject")}
    refused = drop.put_scan(drop.campaign, drop.fan().user_id, decision="rejected", reason="geofence_outside")
    unscored = drop.put_scan(drop.campaign, drop.fan().user_id, band=None, scored_at=None)

    drop.settle(*scans.values(), refused, unscored)

    states = [drop.state(scan) for scan in (*scans.values(), refused, unscored)]
    assert states == ["granted", "reserved", None, None, None]
    assert drop.at_locker() == {"granted": 1, "reserved": 1}


def test_overturned_verdicts_take_the_reward_back_and_return_it(drop):
    drop = drop(gold=1)
    held, other = drop.scan("review"), drop.scan()
    drop.settle(held)
    drop.settle(other)

    states = [drop.judge(held, band) for band in ("accept", "reject", "accept", "reject")]
    drop.pass_time(held)
    states += [drop.judge(held, "reject")]
    drop.settle(other)
    late = drop.judge(held, "accept")

    assert states == ["granted", "suspended", "granted", "suspended", "released"]
    assert (drop.state(other), late) == ("granted", "released")
    assert drop.at_locker() == {"granted": 1, "released": 1}


def test_engagement_events_follow_the_states_and_their_reversals(drop):
    drop = drop(gold=1)
    scan = drop.scan()
    drop.settle(scan)

    for band in ("reject", "accept"):
        drop.judge(scan, band)

    events = drop.run(
        "select kind, reversal_of is not null from engagement_events where source_id = %s order by revision",
        scan,
    )
    assert events == [("reward_granted", False), ("reward_granted", True), ("reward_granted", False)]


def test_claim_is_recorded_at_locker_and_ends_with_a_suspension(drop, manager):
    drop = drop(gold=1)
    ana = drop.fan()
    scan, code = drop.claim(ana)
    before = (drop.state(scan), drop.at_locker())

    suspended = drop.judge(scan, "reject")

    with manager.acting(), pytest.raises(reward_codes.UnknownRewardCode):
        reward_codes.start_redemption(code)
    with ana.acting(), pytest.raises(reward_codes.RewardUnavailable):
        reward_codes.issue(scan)
    assert before == ("claimed", {"claimed": 1})
    assert (suspended, drop.judge(scan, "accept")) == ("suspended", "claimed")


def test_redeemed_reward_of_rejected_scan_is_recorded_as_loss(drop, manager):
    drop = drop(gold=1)
    scan, code = drop.claim(drop.fan())
    drop.redeem(code, manager)
    redeemed = drop.state(scan)

    states = [drop.judge(scan, band) for band in ("reject", "review", "reject", "accept")]

    entries = drop.run(
        "select action from audit_logs where record_id = %s and action like 'reward.%%' order by id", scan
    )
    assert (redeemed, states) == ("redeemed", ["lost", "redeemed", "lost", "redeemed"])
    assert [action for (action,) in entries] == ["reward.lose", "reward.recover", "reward.lose", "reward.recover"]
    assert drop.at_locker() == {"redeemed": 1}


def test_redemption_that_locker_refuses_ends_in_lockers_state(drop, manager):
    drop = drop(gold=1)
    scan, code = drop.claim(drop.fan())
    drop.run("update locker_reservations set state = 'suspended'")
    with manager.acting():
        reward_codes.start_redemption(code)

    drop.drain(allow_dead=True)

    assert drop.run("select actor, error ->> 'code', error -> 'members' from app.dead_jobs") == [
        ("reward.redeem", "reward_unavailable", {"state": "suspended"})
    ]
    assert drop.run("select state, redemption_job_id, redeemed_by from rewards") == [("suspended", None, None)]
    assert drop.judge(scan, "accept") == "claimed"


def test_redemption_of_a_reward_suspended_meanwhile_is_no_success(drop, manager):
    drop = drop(gold=1)
    scan, code = drop.claim(drop.fan())
    with manager.acting():
        job = reward_codes.start_redemption(code)[1]
    drop.run("update qr_scans set band = 'reject' where id = %s", scan)
    settle_only(drop, scan)

    drop.drain(allow_dead=True)

    assert drop.state(scan) == "suspended"
    assert drop.run("select id, error ->> 'code' from app.dead_jobs") == [(job.id, "reward_unavailable")]


def test_reservation_in_review_is_extended_until_the_review_is_too_old(drop):
    drop = drop(gold=1)
    scan = drop.scan("review")
    drop.settle(scan)
    drop.run("update rewards set expires_at = expires_at - interval '13 hours'")
    drop.run("update locker_reservations set expires_at = expires_at - interval '13 hours'")

    drop.settle(scan)
    extended = drop.run("select expires_at > now() + interval '23 hours' from locker_reservations")
    waiting = drop.run("select due_at > now() + interval '11 hours' from app.jobs where actor = 'reward.settle'")
    drop.run("update rewards set created_at = created_at - interval '30 days'")
    drop.settle(scan)

    assert (extended, set(waiting)) == ([(True,)], {(True,)})
    assert (drop.state(scan), drop.at_locker()) == ("released", {"released": 1})


def test_expired_reservation_is_reserved_again(drop):
    drop = drop(gold=1)
    scan = drop.scan("review")
    drop.settle(scan)
    drop.run("update locker_reservations set expires_at = now()")

    assert drop.judge(scan, "accept") == "granted"
    assert drop.at_locker() == {"granted": 1}


def test_stock_is_stored_and_low_stock_notifies_once(drop):
    drop = drop(gold=10)
    scans = [drop.scan() for _ in range(10)]

    ran = [drop.settle(scan) for scan in scans]

    stock = drop.run("select quantity, granted, is_low from reward_stocks")
    notified = [number for number, names in enumerate(ran, 1) if "notification.create" in names]
    assert stock == [(10, 10, True)]
    assert notified == [9]


def test_settling_again_and_again_changes_nothing(drop):
    drop = drop(gold=2)
    scan = drop.scan()
    drop.settle(scan)
    before = drop.run("select state, revision, updated_at from rewards")

    drop.settle(scan, scan, scan)

    assert drop.run("select state, revision, updated_at from rewards") == before
    assert drop.run("select count(*) from passport_calls where operation in ('reserve', 'grant')") == [(2,)]


def run_at_once(ledger: Ledger, scans: list[UUID], drop) -> None:
    """Settle the rewards of scans in four workers at once, then run the jobs that follow."""
    for scan in scans:
        drop.enqueue("reward.settle", scan)
    ids = take(ledger, "reward.settle")

    def work(number: int) -> None:
        own = Ledger()
        try:
            for claim in own.claim(ids[number::4], number):
                assert Runner(own, number).run(claim) == "done"
        finally:
            own.close()
            close_thread_connections()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    drop.drain()


def test_concurrent_jobs_give_exactly_the_inventory_also_after_reversals(drop, ledger):
    drop = drop(gold=3)
    scans = [drop.scan() for _ in range(16)]

    run_at_once(ledger, scans, drop)
    given = [scan for scan in scans if drop.state(scan) == "granted"]
    for scan in given[:2]:
        drop.judge(scan, "reject")
        drop.pass_time(scan)
        drop.judge(scan, "reject")
    run_at_once(ledger, scans, drop)

    assert len(given) == 3
    assert drop.at_locker() == {"granted": 3, "released": 2}
    assert drop.run("select state, count(*) from rewards group by state order by state") == [
        ("granted", 3),
        ("released", 2),
    ]


def test_job_that_others_overtake_ends_with_what_the_scan_has_earned(drop, monkeypatch):
    drop = drop(gold=1)
    scan = drop.scan()
    real = reward_jobs.locker
    overtaken = []

    class Overtaken:
        """Locker that lets the scan be rejected, and another job settle it, between a grant and its answer."""

        def __getattr__(self, name):
            return getattr(real(), name)

        def grant(self, request, *, key):
            answer = real().grant(request, key=key)
            if not overtaken:
                overtaken.append(drop.run("update qr_scans set band = 'reject' where id = %s", scan))
                reward_jobs.settle_reward(scan)
            return answer

    monkeypatch.setattr(reward_jobs, "locker", Overtaken)

    drop.settle(scan)

    assert overtaken
    assert (drop.state(scan), drop.at_locker()) == ("released", {"released": 1})
    assert drop.run("select kind from engagement_events") == []


def test_second_redemption_is_refused_while_the_first_waits(drop, manager):
    drop = drop(gold=1)
    scan, code = drop.claim(drop.fan())
    with manager.acting():
        reward_codes.start_redemption(code)

    with manager.acting(), pytest.raises(reward_codes.AlreadyRedeemed) as refused:
        reward_codes.start_redemption(code)
    drop.drain()

    assert refused.value.values.redeemed_at is None
    assert drop.state(scan) == "redeemed"


def test_changed_rewards_of_active_campaign_reach_locker(drop, client, manager):
    drop = drop(gold=1)
    url = f"/api/v1/campaigns/{drop.campaign.id}"
    headers = {"If-Match": client.get(url, token=manager.token).headers["etag"]}
    rewards = [{"key": "gold", "name": "Gold", "quantity": 7, "per_user": 1}]

    answer = client.patch(url, token=manager.token, json={"config": {"rewards": rewards}}, headers=headers)
    drop.drain()

    assert answer.status_code == 200, answer.json
    assert drop.run("select quantity from locker_rewards") == [(7,)]
    assert drop.run("select quantity from reward_stocks") == [(7,)]


@pytest.fixture
def change_rewards(client, manager):
    """`change_rewards(drop, gold=3)`: the answer to a PATCH of the quantities of an active campaign."""

    def change(drop, **quantities):
        url = f"/api/v1/campaigns/{drop.campaign.id}"
        headers = {"If-Match": client.get(url, token=manager.token).headers["etag"]}
        rewards = [{"key": key, "name": key.title(), "quantity": n, "per_user": 1} for key, n in quantities.items()]
        return client.patch(url, token=manager.token, json={"config": {"rewards": rewards}}, headers=headers)

    return change


def test_quantity_below_what_is_given_is_refused_at_once(drop, change_rewards):
    drop = drop(gold=3, silver=1)
    drop.settle(*(drop.scan(band) for band in ("accept", "accept", "review", "accept")))

    refused = [change_rewards(drop, gold=2, silver=1), change_rewards(drop, gold=3)]
    accepted = change_rewards(drop, gold=3, silver=1, bronze=1)
    ran = drop.drain()

    assert [(answer.status_code, answer.json["code"]) for answer in refused] == [(409, "below_given")] * 2
    assert [answer.json["rewards"] for answer in refused] == [
        [{"key": "gold", "given": 3}],
        [{"key": "silver", "given": 1}],
    ]
    assert refused[0].json["detail"] == "The quantity must be at least the units given: gold 3."
    assert (accepted.status_code, ran.count("reward.open")) == (200, 1)


def test_unit_given_during_a_change_leaves_a_dead_letter_and_the_stock(drop, change_rewards):
    drop = drop(gold=2)
    scans = [drop.scan() for _ in range(2)]
    drop.settle(scans[0])
    answer = change_rewards(drop, gold=1)
    settle_only(drop, scans[1])

    drop.drain(allow_dead=True)

    assert answer.status_code == 200
    assert drop.run("select actor, error->>'code' from app.dead_jobs") == [("reward.open", "below_given")]
    assert drop.run("select quantity, granted from reward_stocks") == [(2, 2)]


def settle_only(drop, scan):
    """Settle the reward of a scan, and run no job that follows."""
    drop.enqueue("reward.settle", scan)
    own = Ledger()
    for claim in own.claim(take(own, "reward.settle"), 1):
        assert Runner(own, 1).run(claim) == "done"
    own.close()


def calls_of(drop, operation="reserve"):
    return drop.run("select count(*) from passport_calls where operation = %s", operation)[0][0]


def test_scans_of_a_sold_out_campaign_do_not_call_locker(drop, change_rewards):
    drop = drop(gold=1)
    drop.settle(*(drop.scan() for _ in range(3)))
    sold_out = calls_of(drop)

    drop.settle(*(drop.scan() for _ in range(20)))
    meanwhile = calls_of(drop)
    change_rewards(drop, gold=2)
    drop.drain()
    late = drop.scan()
    drop.settle(late)

    assert (meanwhile - sold_out, calls_of(drop) - meanwhile) == (0, 1)
    assert drop.state(late) == "granted"


def test_unit_that_returns_goes_to_the_next_scan_at_once(drop):
    drop = drop(gold=1)
    held, late = drop.scan("review"), drop.scan()
    drop.settle(held, late)

    drop.run("update qr_scans set band = 'reject' where id = %s", held)
    settle_only(drop, held)
    settle_only(drop, late)

    assert (drop.state(held), drop.state(late)) == ("released", "granted")


def test_expired_reservation_and_old_answer_are_asked_about_again(drop):
    drop = drop(gold=1)
    held, late = drop.scan("review"), drop.scan()
    drop.settle(held, late)
    calls = calls_of(drop)
    drop.run("update reward_stocks set as_of = as_of - interval '1 day'")
    drop.run("update rewards set expires_at = now() + interval '1 minute'")

    drop.enqueue("reward.refresh_stock", drop.campaign.id)
    drop.drain()

    ends = drop.run("select s.sold_out_until = r.expires_at from reward_stocks s, rewards r")
    drop.run("update reward_stocks set sold_out_until = now()")
    drop.settle(late)
    assert ends == [(True,)]
    assert calls_of(drop) - calls == 1
    assert drop.run("select sold_out_until - as_of < interval '1 minute' from reward_stocks") == [(True,)]


def test_stock_read_by_a_worker_whose_clock_is_ahead_is_replaced(drop, change_rewards):
    drop = drop(gold=1)
    with time_machine.travel(now() + timedelta(hours=1)):
        drop.settle(drop.scan())

    change_rewards(drop, gold=2)
    drop.drain()

    late = drop.scan()
    drop.settle(late)
    assert drop.state(late) == "granted"
