"""Scans without a required account, consent or location: nothing about the person is stored."""

from datetime import timedelta

import pytest
import redis

from models.campaigns import campaigns
from models.core import context
from models.core.database import now, transaction, value
from models.insights import overview
from models.scans import refusal_counts
from tests.fixtures.scans import FENCE, MADRID, scan_request
from web.http.rate_limits import parse_rate
from web.v1.scans import scans as resource

pytestmark = pytest.mark.usefixtures("fresh_limits")

DAY = timedelta(days=1)


@pytest.fixture
def dump(superuser):
    """`dump()`: the text of every row of every table."""

    def read():
        with superuser.cursor() as cursor:
            cursor.execute(
                "select c.oid::regclass::text from pg_class c where c.relkind = 'r'"
                " and c.relnamespace::regnamespace::text in ('public', 'app', 'app_partitions')"
            )
            rows = set()
            for (table,) in cursor.fetchall():
                cursor.execute(f"select t::text from {table} t")
                rows |= {(table, row) for (row,) in cursor.fetchall()}
        return rows

    return read


@pytest.fixture
def counted(superuser):
    """Return `counted()`, which returns reason and count of every row of `app.scan_refusals`."""

    def read():
        with superuser.cursor() as cursor:
            cursor.execute("select reason, n from app.scan_refusals order by hour, reason, n")
            return cursor.fetchall()

    return read


CASES = {
    "account_required": {"requires_account": True, "consents": ["essential"]},
    "consent_required": {},
    "location_required": {"place": None, "consents": ["essential"]},
    "paused without account": {
        "transitions": ["pause"],
        "code": "campaign_not_active",
        "requires_account": True,
        "consents": ["essential"],
    },
    "paused": {"transitions": ["pause"], "code": "campaign_not_active"},
    "paused without location": {
        "transitions": ["pause"],
        "code": "campaign_not_active",
        "place": None,
        "consents": ["essential"],
    },
    "completed": {"transitions": ["complete"], "code": "campaign_ended"},
    "before the launch": {"at": -2 * DAY, "code": "campaign_not_active"},
    "too old": {"at": -DAY / 2, "code": "scan_too_old"},
    "in the future": {"at": DAY, "code": "scan_time_invalid"},
    "session ended": {"ended": True, "code": "session_ended"},
}


@pytest.mark.parametrize("case", CASES)
def test_incomplete_scan_leaves_one_counter_and_nothing_else(
    phone, fan, campaign, code_of, manager, superuser, dump, counted, case
):
    options = CASES[case]
    reason = options.get("code", case)
    made = campaign(
        geofence=FENCE, age=DAY, max_lateness_s=3600, requires_account=options.get("requires_account", False)
    )
    for transition in options.get("transitions", []):
        with manager.acting():
            campaigns.transition(made.id, transition)
    device = phone(account=fan(*options.get("consents", [])), place=options.get("place", MADRID))
    if options.get("ended"):
        superuser.cursor().execute("update app.sessions set revoked_at = now()")
    before = dump()

    answer = device.scan(code_of(made), scanned_at=now() + options.get("at", timedelta(0)))

    added = dump() - before
    assert answer.json["code"] == reason
    assert [table for table, _ in added] == ["app.scan_refusals"]
    assert counted() == [(reason, 1)]
    assert not any(str(device.account.user_id) in row or device.fingerprint in row for _, row in added)


def test_incomplete_scans_of_one_batch_are_one_counter_row(recorder, fan, campaign, code_of, counted):
    code = code_of(campaign())

    recorder.record([scan_request(fan(), code) for _ in range(5)])

    assert counted() == [("consent_required", 5)]


def test_incomplete_scan_sent_again_with_consent_counts(phone, fan, client, campaign, code_of, stored):
    device = phone(account=fan())
    body = device.body(code_of(campaign()))
    first = device.send(body)
    client.post("/api/v1/consents", json={"tier": "essential"}, token=device.account.token)

    second = device.send(body)

    assert (first.status_code, second.status_code) == (403, 201)
    assert [str(scan["client_scan_id"]) for scan in stored()] == [body["client_scan_id"]]


def test_scan_of_anonymous_fan_sent_again_with_account_counts(
    phone, fan, client, campaign, code_of, manager, become_account
):
    device = phone(account=fan("essential"))
    body = device.body(code_of(campaign(requires_account=True)))
    first = device.send(body)
    become_account(device.account)

    second = device.send(body)

    assert (first.status_code, first.json["code"], second.status_code) == (403, "account_required", 201)
    numbers = client.get("/api/v1/analytics/overview", token=manager.token).json["totals"]
    assert numbers["unstored_by_reason"] == {"account_required": 1}


def test_account_is_required_before_consent_and_location(phone, fan, campaign, code_of):
    code = code_of(campaign(requires_account=True, geofence=FENCE))

    answer = phone(account=fan(), place=None).scan(code)

    assert answer.json["code"] == "account_required"
    assert set(answer.json) == {"type", "title", "status", "code", "request_id"}


def test_scan_over_the_session_limit_is_not_audited(phone, fan, campaign, code_of, dump, monkeypatch):
    monkeypatch.setattr(resource.SCANS, "_rate_limit", resource.SessionRateLimit(per_minute=0))
    device, code = phone(account=fan()), code_of(campaign())
    before = dump()

    answer = device.scan(code)

    assert answer.status_code == 429
    assert dump() == before


def test_incomplete_scans_of_one_person_are_limited(phone, fan, campaign, code_of, dump, monkeypatch):
    monkeypatch.setattr(resource, "INCOMPLETE_RATE", parse_rate("incompleteScans", "2 per 30 minute"))
    device, code = phone(account=fan()), code_of(campaign())

    answers = [device.scan(code) for _ in range(2)]
    before = dump()
    answers.append(device.scan(code))

    assert [answer.status_code for answer in answers] == [403, 403, 429]
    assert answers[2].json["code"] == "rate_limited"
    assert {table for table, _ in dump() - before} == {"app.scan_refusals"}
    assert phone().scan(code).status_code == 201
    assert phone(account=fan()).scan(code).status_code == 403


def test_rate_of_incomplete_scans_is_stored_by_hash_for_an_hour(phone, fan, campaign, code_of, redis_url):
    device = phone(account=fan())
    device.scan(code_of(campaign()))

    with redis.Redis.from_url(redis_url) as server:
        kept = {name.decode(): server.ttl(name) for name in server.keys("*incompleteScans*")}

    assert kept
    assert not any(str(device.account.user_id) in name for name in kept)
    assert all(0 < seconds <= 3600 for seconds in kept.values())


def test_overview_counts_incomplete_scans_apart(phone, fan, client, campaign, code_of, manager):
    code = code_of(campaign())
    for _ in range(2):
        phone(account=fan()).scan(code)

    found = client.get("/api/v1/analytics/overview", token=manager.token).json

    for numbers in (found["totals"], *found["campaigns"]):
        assert numbers["unstored_by_reason"] == {"consent_required": 2}
        assert (numbers["scans"], numbers["rejected"], numbers["rejected_by_reason"]) == (0, 0, {})


def test_overview_of_hour_counts_incomplete_scans_of_that_hour(phone, fan, campaign, code_of, manager, superuser):
    phone(account=fan()).scan(code_of(campaign()))
    superuser.cursor().execute("update app.scan_refusals set hour = '2026-11-22T12:00Z'")
    noon = now().replace(year=2026, month=11, day=22, hour=12, minute=0, second=0, microsecond=0)

    with manager.acting():
        within = overview.overview(None, overview.Window.of(noon, noon + timedelta(hours=1)))
        after = overview.overview(None, overview.Window.of(noon + timedelta(hours=1), None))

    assert (within.totals.unstored, after.totals.unstored) == ({"consent_required": 1}, {})


def test_counts_of_incomplete_scans_are_merged_and_expire(campaign, superuser, counted, db_clean):
    made = campaign()
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.scan_refusals (brand_id, campaign_id, hour, reason, n)"
            " select %s, %s, date_trunc('hour', now(), 'UTC') - hours, reason, n from (values"
            " (interval '401 days', 'consent_required', 9), ('1 hour', 'consent_required', 2),"
            " ('1 hour', 'consent_required', 3), ('1 hour', 'location_required', 4), ('0', 'consent_required', 5),"
            " ('0', 'consent_required', 6)) as given (hours, reason, n)",
            (str(made.brand_id), str(made.id)),
        )

    with transaction(context.for_system_job()):
        refusal_counts.merge()

    assert counted() == [
        ("consent_required", 5),
        ("location_required", 4),
        ("consent_required", 5),
        ("consent_required", 6),
    ]


def test_other_brand_sees_no_counts_of_incomplete_scans(phone, fan, campaign, code_of, member, make_brand):
    phone(account=fan()).scan(code_of(campaign()))

    with member("Brand Admin", make_brand("Other")).acting():
        assert value("SELECT count(*) FROM app.scan_refusals") == 0


def test_anonymous_session_has_no_address_and_no_user_agent(client, member, superuser):
    client.post("/api/v1/auth/anonymous", json={"locale": "es"}, headers={"User-Agent": "Phone/1.0"})
    account = member()
    signed_in = {"email": account.email, "password": account.password}
    client.post("/api/v1/auth/login", json=signed_in, headers={"User-Agent": "Phone/1.0"})

    with superuser.cursor() as cursor:
        cursor.execute(
            "select u.is_anonymous, s.address is not null, s.user_agent from app.sessions s"
            " join public.users u on u.id = s.user_id order by s.created_at"
        )
        found = cursor.fetchall()

    assert {session for session in found if session[0]} == {(True, False, None)}
    assert (False, True, "Phone/1.0") in found
