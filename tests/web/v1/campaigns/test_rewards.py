"""Test rewards over HTTP: the fan's list and codes, redemptions at the counter, and the brand's figures."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from models.identity import api_keys
from tests.fixtures.audit import entries
from tests.support.brokers import until

pytestmark = pytest.mark.usefixtures("mailbox")


def redeem(client, code, token, key=None):
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/api/v1/rewards/redeem", token=token, json={"code": code}, headers=headers)


@pytest.fixture
def granted(drop, fan, request):
    """`granted(tote=1)`: a drop, a fan, and the id of the fan's granted reward. With `works`, a worker runs then."""

    def make(*, works=False, **quantities):
        made, ana = drop(**quantities), fan()
        scan = made.scan(by=ana)
        made.settle(scan)
        if works:  # Before, it would compete with `settle` for the jobs.
            request.getfixturevalue("worker")
        return made, ana, scan

    return make


def test_fan_sees_claims_and_gets_the_reward_once(client, granted, manager):
    _, ana, scan = granted(works=True, tote=10)
    listed = client.get("/api/v1/rewards", token=ana.token).json["items"]

    claimed = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: redeem(client, claimed.json["code"].lower(), manager.token), range(2)))
    done, refused = sorted(answers, key=lambda answer: answer.status_code)

    assert [(one["id"], one["key"], one["state"]) for one in listed] == [(str(scan), "tote", "granted")]
    assert (done.status_code, done.json["state"], done.json["redeemed_by"]) == (200, "redeemed", str(manager.user_id))
    assert (refused.status_code, refused.json["code"]) == (409, "already_redeemed")
    assert client.get(f"/api/v1/rewards/{scan}", token=ana.token).json["state"] == "redeemed"
    assert client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"] == "already_redeemed"


def test_redemption_with_known_key_is_not_repeated(client, granted, manager):
    made, ana, scan = granted(works=True, tote=10)
    code = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"]

    first, again = redeem(client, code, manager.token, "k1"), redeem(client, code, manager.token, "k1")

    assert (first.status_code, first.json["state"]) == (200, "redeemed")
    assert again.headers["idempotent-replayed"] == "true"
    assert again.status_code in (200, 202)
    assert made.at_locker() == {"redeemed": 1}


def test_codes_of_others_old_and_expired_ones_are_unknown(client, granted, manager, member, make_brand):
    made, ana, scan = granted(tote=10)
    stranger = member(brand=make_brand("Other"))
    old, new = (client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"] for _ in range(2))

    answers = [redeem(client, new, stranger.token), redeem(client, old, manager.token)]
    made.run("update rewards set code_expires_at = now()")
    answers.append(redeem(client, new, manager.token))

    assert [(one.status_code, one.json["code"]) for one in answers] == [(404, "unknown_reward_code")] * 3
    assert [entry.outcome for entry in entries("reward.redeem")] == ["refused"] * 3
    assert made.state(scan) == "granted"


def test_rewards_of_others_are_not_found(client, granted, fan, member, make_brand):
    made, _, scan = granted(tote=10)
    eva, stranger = fan(), member(brand=make_brand("Other"))
    of_campaign = f"/api/v1/campaigns/{made.campaign.id}/rewards"

    answers = [
        client.get(f"/api/v1/rewards/{scan}", token=eva.token),
        client.post(f"/api/v1/rewards/{scan}/claim", token=eva.token),
        client.get(of_campaign, token=stranger.token),
        client.get(f"{of_campaign}/grants", token=stranger.token),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert client.get("/api/v1/rewards", token=eva.token).json["items"] == []


def test_suspended_reward_is_neither_claimed_nor_redeemed(client, granted, manager):
    made, ana, scan = granted(tote=10)
    code = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"]
    made.judge(scan, "reject")

    claimed = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token)

    assert (claimed.status_code, claimed.json["code"], claimed.json["state"]) == (
        409,
        "reward_unavailable",
        "suspended",
    )
    assert redeem(client, code, manager.token).json["code"] == "unknown_reward_code"


def test_stock_and_grants_show_the_figures_of_locker(client, granted, manager):
    made, _, scan = granted(tote=3)
    made.settle(made.scan("review"))
    url = f"/api/v1/campaigns/{made.campaign.id}/rewards"

    (stock,) = client.get(url, token=manager.token).json["items"]
    grants = client.get(f"{url}/grants", token=manager.token, params={"state": "granted"}).json["items"]

    assert {name: stock[name] for name in ("quantity", "granted", "reserved", "left")} == {
        "quantity": 3, "granted": 1, "reserved": 1, "left": 1,
    }  # fmt: skip
    assert [one["id"] for one in grants] == [str(scan)]
    assert not {"user_id", "campaign_name"} & grants[0].keys()


def test_kiosk_with_the_scope_redeems_and_others_may_not(client, granted, member):
    _, ana, scan = granted(works=True, tote=10)
    admin = member("Brand Admin")
    with admin.acting():
        keys = [
            api_keys.create("till", [scope], timedelta(days=1))[1] for scope in ("rewards:redeem", "campaigns:read")
        ]
    code = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"]

    refused, done = redeem(client, code, keys[1]), redeem(client, code, keys[0])

    assert (refused.status_code, refused.json["scope"]) == (403, "rewards:redeem")
    assert (done.status_code, done.json["state"]) == (200, "redeemed")


@pytest.mark.slow
def test_64_clients_get_exactly_10_rewards_also_after_reversals(drop, phone, code_of, fan):
    made = drop(tote=10)
    code = code_of(made.campaign)

    def scan_at_once(people):
        phones = [phone(account=fan("essential")) for _ in range(people)]
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda one: one.scan(code), phones))
        made.drain()
        return [answer.status_code for answer in answers]

    table = [("64 clients", scan_at_once(64).count(201), dict(made.at_locker()))]
    given = [id for (id,) in made.run("select id from rewards where state = 'granted' order by id limit 3")]
    for scan in given:
        made.judge(scan, "reject")
        made.pass_time(scan)
        made.judge(scan, "reject")
    table.append(("3 reversals", 3, dict(made.at_locker())))
    table.append(("16 more clients", scan_at_once(16).count(201), dict(made.at_locker())))

    for row in table:
        print(*row)
    assert [(row[1], row[2].get("granted")) for row in table] == [(64, 10), (3, 7), (16, 10)]
    assert made.at_locker() == {"granted": 10, "released": 3}


def test_redemption_that_locker_refuses_is_answered_with_the_state(client, granted, manager):
    made, ana, scan = granted(works=True, tote=10)
    code = client.post(f"/api/v1/rewards/{scan}/claim", token=ana.token).json["code"]
    until(lambda: made.state(scan) == "claimed")
    made.run("update locker_reservations set state = 'suspended'")

    refused = redeem(client, code, manager.token)

    assert (refused.status_code, refused.json["code"], refused.json["state"]) == (
        409,
        "reward_unavailable",
        "suspended",
    )
