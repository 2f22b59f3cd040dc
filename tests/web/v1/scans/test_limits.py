"""Limits of a campaign over HTTP: scope and window in the response, and exact counts under concurrency."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from models.core.database import now
from tests.fixtures.scans import FENCE, MADRID, NEW_YORK, north_of_madrid


@pytest.mark.parametrize(
    ("window", "status", "code"), [("day", 429, "limit_reached"), ("lifetime", 409, "cap_exhausted")]
)
@pytest.mark.parametrize(("limit", "scope"), [("per_user", "user"), ("per_device", "device"), ("total", "campaign")])
def test_full_limit_names_its_scope(phone, campaign, code_of, limit, scope, window, status, code):
    token = code_of(campaign(scan_limit={limit: {"count": 2, "window": window}}))
    device = phone()

    answers = [device.scan(token) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, status]
    assert (answers[2].json["code"], answers[2].json["scope"]) == (code, scope)


def test_full_hour_returns_seconds_until_the_next(phone, campaign, code_of):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "hour"}}))
    device, at = phone(), now()
    device.scan(code, scanned_at=at)

    answer, answered_at = device.scan(code, scanned_at=at), now()

    ends = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    least, most = ((ends - moment).total_seconds() for moment in (answered_at, at))
    assert max(1, least) <= answer.json["retry_after"] <= most + 1
    assert answer.headers["retry-after"] == str(answer.json["retry_after"])


@pytest.mark.parametrize("window", ["hour", "day"])
def test_limit_of_window_counts_scans_of_any_age_in_this_one(phone, campaign, code_of, limit_counts, window):
    limit = {"per_user": {"count": 1, "window": window}}
    code = code_of(campaign(scan_limit=limit, age=timedelta(days=2)))
    device, at = phone(), now()

    answers = [device.scan(code, scanned_at=at - timedelta(hours=hours)) for hours in (23, 11, 0)]

    assert [answer.status_code for answer in answers] == [201, 429, 429]
    assert limit_counts("user") == [1]


def test_limit_of_past_window_leaves_the_next_one_open(phone, campaign, code_of, superuser):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "hour"}}))
    device = phone()
    device.scan(code)
    superuser.cursor().execute("update app.limit_counters set bucket = '2026-01-01T00:00Z'")

    assert [device.scan(code).status_code for _ in range(2)] == [201, 429]


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata"])
def test_limit_of_day_counts_by_time_zone_of_campaign(phone, campaign, code_of, superuser, timezone):
    code = code_of(campaign(timezone=timezone, scan_limit={"total": {"count": 1, "window": "day"}}))
    local = datetime.now(ZoneInfo(timezone))

    answers = [phone().scan(code) for _ in range(2)]

    with superuser.cursor() as cursor:
        cursor.execute("select bucket from app.limit_counters")
        assert cursor.fetchall() == [(f"{local:%Y-%m-%d}",)]
    midnight = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo) + timedelta(days=1)
    assert [answer.status_code for answer in answers] == [201, 429]
    assert answers[1].json["retry_after"] == pytest.approx((midnight - local).total_seconds(), abs=30)


def test_rejected_scan_is_not_counted(phone, campaign, code_of, limit_counts):
    code = code_of(campaign(geofence=FENCE, scan_limit={"per_user": {"count": 1, "window": "lifetime"}}))
    device = phone(place=NEW_YORK)
    rejected = device.scan(code)

    device.place = MADRID

    assert rejected.status_code == 403
    assert device.scan(code).status_code == 201
    assert limit_counts("user") == [1]


def test_full_limit_leaves_the_other_limits_unchanged(phone, campaign, code_of, limit_counts):
    limits = {"per_user": {"count": 5, "window": "day"}, "per_device": {"count": 5, "window": "hour"}}
    code = code_of(campaign(scan_limit=limits | {"total": {"count": 1, "window": "lifetime"}}))
    phone().scan(code)

    answer = phone().scan(code)

    assert answer.json["scope"] == "campaign"
    assert [limit_counts(scope) for scope in ("user", "device", "campaign")] == [[1], [1], [1]]


def test_full_limit_and_uncertain_position_are_both_in_the_details(phone, campaign, code_of, stored):
    made = campaign(
        geofence=FENCE | {"when_uncertain": "flag"}, scan_limit={"per_user": {"count": 1, "window": "lifetime"}}
    )
    device = phone(place=north_of_madrid(490), accuracy_m=20)

    answers = [device.scan(code_of(made)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 409]
    assert "when_uncertain" not in answers[1].json
    assert [scan["details"].get("when_uncertain") for scan in stored("details")] == ["flag", "flag"]


def test_limits_are_exact_for_64_phones_at_once(phone, campaign, code_of, stored, limit_counts):
    limits = {"per_device": {"count": 10, "window": "day"}, "total": {"count": 30, "window": "lifetime"}}
    code = code_of(campaign(scan_limit=limits))
    crowd = [phone(**({"fingerprint": "the one device"} if n % 2 else {})) for n in range(64)]
    at = now()

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda device: device.scan(code, scanned_at=at), crowd))

    by_device = [answer.status_code for answer in answers[1::2]]
    assert by_device.count(201) <= 10
    assert [answer.status_code for answer in answers].count(201) == 30
    assert {answer.json.get("code") for answer in answers} <= {None, "limit_reached", "cap_exhausted"}
    assert len(stored()) == 64
    assert limit_counts("campaign") == [30]
