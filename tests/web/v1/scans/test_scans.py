"""Reporting scans over HTTP: what is answered, what is stored, what is counted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from models.campaigns import campaigns, codes
from models.core import keys
from models.core.database import now
from models.tenants import brands
from tests.fixtures.scans import MADRID, NEW_YORK
from web.v1.scans import scans as resource

FENCE = {"lat": MADRID[0], "lon": MADRID[1], "radius_m": 500}
METRE = 1 / 111_034  # of latitude, in degrees, at Madrid


def north_of_madrid(metres: float) -> tuple[float, float]:
    return MADRID[0] + metres * METRE, MADRID[1]


def counters(superuser, scope: str) -> list[int]:
    with superuser.cursor() as cursor:
        cursor.execute("select used from app.limit_counters where scope = %s order by bucket, used", (scope,))
        return [used for (used,) in cursor.fetchall()]


def refusals(superuser) -> dict[str, int]:
    with superuser.cursor() as cursor:
        cursor.execute("select reason, sum(n)::int from app.scan_refusals group by reason")
        return dict(cursor.fetchall())


def test_a_scan_that_counts_is_answered_with_201_and_stored(phone, campaign, code_of, stored):
    made = campaign(geofence=FENCE)
    device = phone()

    answer = device.scan(code_of(made))

    (scan,) = stored()
    assert answer.status_code == 201
    assert answer.json["id"] == str(scan["id"])
    assert answer.json["campaign_id"] == str(made.id) == str(scan["campaign_id"])
    assert set(answer.json) == {"id", "status", "campaign_id", "scanned_at", "received_at", "late"}
    assert (answer.json["status"], answer.json["late"]) == ("accepted", False)
    assert (scan["decision"], scan["reason"], scan["geofence_status"]) == ("accepted", None, "inside")
    assert scan["user_id"] == device.account.user_id
    assert scan["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("accuracy_m", [0.0, 5e-324, 1e-40, 0.0004])
def test_a_position_more_exact_than_we_store_it_is_one(phone, campaign, code_of, stored, accuracy_m):
    answer = phone(accuracy_m=accuracy_m).scan(code_of(campaign(geofence=FENCE)))

    (scan,) = stored()
    assert (answer.status_code, scan["accuracy_m"]) == (201, 0.0)


def test_a_score_is_asked_for_with_every_stored_scan(phone, campaign, code_of, stored, superuser):
    made = campaign(geofence=FENCE)
    phone().scan(code_of(made))
    phone(place=NEW_YORK).scan(code_of(made))

    with superuser.cursor() as cursor:
        cursor.execute("select subject_id, brand_id, request_id from app.jobs where actor = 'scan.score' order by id")
        jobs = cursor.fetchall()

    assert jobs == [(str(scan["id"]), made.brand_id, scan["request_id"]) for scan in stored()]


def test_the_same_request_again_is_answered_the_same_and_counts_once(phone, campaign, code_of, stored, superuser):
    device = phone()
    asked = device.body(code_of(campaign(scan_limit={"per_user": {"count": 5, "window": "lifetime"}})))
    first = device.send(asked)

    again = [device.send(asked) for _ in range(3)]

    assert first.status_code == 201
    assert [answer.status_code for answer in again] == [200] * 3
    assert [answer.json for answer in again] == [first.json] * 3
    assert len(stored()) == 1
    assert counters(superuser, "user") == [1]


def test_a_client_scan_id_belongs_to_one_scan(phone, campaign, code_of, stored):
    device = phone()
    asked = device.body(code_of(campaign()))
    device.send(asked)

    answer = device.send(asked | {"scanned_at": (now() - timedelta(seconds=1)).isoformat()})

    assert (answer.status_code, answer.json["code"]) == (409, "client_scan_id_reused")
    assert len(stored()) == 1


def test_two_people_may_happen_on_the_same_client_scan_id(phone, campaign, code_of, stored):
    code, shared = code_of(campaign()), str(uuid4())

    answers = [phone().scan(code, client_scan_id=shared) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(stored()) == 2


def test_a_refused_scan_sent_again_is_refused_for_the_same_reason(phone, campaign, code_of, stored):
    device = phone(place=NEW_YORK)
    asked = device.body(code_of(campaign(geofence=FENCE)))

    answers = [device.send(asked) for _ in range(2)]

    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(403, "geofence_outside")] * 2
    assert len(stored()) == 1


def test_codes_that_are_not_ours_are_counted_and_not_stored(phone, campaign, code_of, stored, superuser):
    genuine = code_of(campaign())
    unknown = codes.make_token(uuid4(), keys.active_version())
    device = phone()

    answers = [device.scan(code) for code in ("nonsense", genuine[:-1] + "A" * (genuine[-1] != "A"), unknown)]

    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [
        (422, "bad_token"),
        (422, "bad_token"),
        (404, "unknown_code"),
    ]
    assert stored() == []
    assert refusals(superuser) == {"bad_token": 2, "unknown_code": 1}


def test_a_disabled_code_is_no_code(phone, campaign, code_of, superuser):
    code = code_of(campaign())
    device = phone()
    assert device.scan(code).status_code == 201

    with superuser.cursor() as cursor:
        cursor.execute("update public.qr_codes set disabled_at = now()")

    assert device.scan(code).json["code"] == "unknown_code"


@pytest.mark.parametrize(
    ("moves", "status", "code"),
    [
        (["pause"], 409, "campaign_not_active"),
        (["pause", "resume"], 201, None),
        (["complete"], 410, "campaign_ended"),
    ],
)
def test_only_a_running_campaign_takes_scans(phone, campaign, code_of, manager, stored, moves, status, code):
    made = campaign()
    for move in moves:
        with manager.acting():
            campaigns.transition(made.id, move)

    answer = phone().scan(code_of(made))

    assert (answer.status_code, answer.json.get("code")) == (status, code)
    assert [scan["reason"] for scan in stored()] == [code]


def test_a_draft_takes_no_scans(phone, campaign, manager, stored):
    draft = campaign(launched=False)
    with manager.acting():
        code = codes.add(draft.id, "Door")

    answer = phone().scan(codes.make_token(code.id, code.key_version))

    assert (answer.status_code, answer.json["code"]) == (409, "campaign_not_active")
    assert stored("reason") == [{"reason": "campaign_not_active"}]


def test_a_scan_counts_by_when_it_was_made(phone, campaign, code_of):
    begun, over = now() - timedelta(hours=2), now() - timedelta(hours=1)
    code = code_of(campaign(starts_at=begun.isoformat(), ends_at=over.isoformat(), age=timedelta(days=1)))
    device = phone()

    before = device.scan(code, scanned_at=begun - timedelta(minutes=6))
    within = device.scan(code, scanned_at=begun + timedelta(minutes=1))
    after = device.scan(code)

    assert (before.status_code, before.json["code"]) == (409, "campaign_not_active")
    assert (within.status_code, within.json["late"]) == (201, True)
    assert (after.status_code, after.json["code"]) == (410, "campaign_ended")


@pytest.mark.parametrize(
    ("age", "status", "code"),
    [
        (timedelta(minutes=-6), 422, "scan_time_invalid"),
        (timedelta(minutes=-4), 201, None),
        (timedelta(minutes=1), 201, None),
        (timedelta(hours=23), 201, None),
        (timedelta(hours=25), 422, "scan_too_old"),
    ],
)
def test_scans_are_taken_up_to_a_day_late_and_not_from_the_future(phone, campaign, code_of, stored, age, status, code):
    answer = phone().scan(code_of(campaign(age=timedelta(days=2))), scanned_at=now() - age)

    (scan,) = stored()
    assert (answer.status_code, answer.json.get("code")) == (status, code)
    assert scan["reason"] == code
    assert scan["late"] is (age > timedelta(minutes=2))


LAUNCHED = timedelta(minutes=30)
"""How long ago the campaign of these tests was launched and its code made."""


@pytest.mark.parametrize(
    ("age", "status", "code"),
    [(timedelta(minutes=34), 201, None), (timedelta(minutes=36), 409, "campaign_not_active")],
)
@pytest.mark.parametrize("later", ["launched_at", "code", "starts_at"])
def test_scan_before_its_campaign_began_is_refused(phone, campaign, code_of, superuser, later, age, status, code):
    made = campaign(age=LAUNCHED)
    with superuser.cursor() as cursor:  # the two moments that are not looked at lie far back
        if later != "launched_at":
            cursor.execute("update public.campaigns set launched_at = launched_at - interval '1 day'")
        if later != "code":
            cursor.execute("update public.qr_codes set created_at = created_at - interval '1 day'")
        if later == "starts_at":
            cursor.execute(
                "update public.campaigns set config = config || jsonb_build_object('starts_at', %s::text)",
                ((now() - LAUNCHED).isoformat(),),
            )

    answer = phone().scan(code_of(made), scanned_at=now() - age)

    assert (answer.status_code, answer.json.get("code")) == (status, code)


def test_scan_before_completion_counts_and_one_after_does_not(phone, campaign, code_of, manager, superuser):
    made = campaign(age=timedelta(days=1))
    with manager.acting():
        campaigns.transition(made.id, "complete")
    superuser.cursor().execute("update public.campaigns set completed_at = completed_at - interval '1 hour'")
    device, code = phone(), code_of(made)

    answers = [device.scan(code, scanned_at=now() - timedelta(minutes=minutes)) for minutes in (61, 59)]

    assert [(answer.status_code, answer.json.get("code")) for answer in answers] == [
        (201, None),
        (410, "campaign_ended"),
    ]


@pytest.mark.parametrize("act", ["pause", "disable", "archive", "archive completed"])
def test_pause_revocation_and_archiving_act_on_receipt(phone, campaign, code_of, manager, admin, superuser, act):
    made = campaign(age=timedelta(days=1))
    code = code_of(made)
    if act == "disable":
        superuser.cursor().execute("update public.qr_codes set disabled_at = now()")
    elif act.startswith("archive"):
        if act == "archive completed":
            with manager.acting():
                campaigns.transition(made.id, "complete")
        with admin.acting():
            brands.archive(made.brand_id)
    else:
        with manager.acting():
            campaigns.transition(made.id, "pause")

    answer = phone().scan(code, scanned_at=now() - timedelta(hours=1))

    refusal = (404, "unknown_code") if act == "disable" else (409, "campaign_not_active")
    assert (answer.status_code, answer.json["code"]) == refusal


@pytest.mark.parametrize(
    ("lateness", "minutes", "status"), [(0, 4, 201), (0, 6, 422), (3600, 64, 201), (3600, 66, 422)]
)
def test_scan_later_than_its_campaign_takes_is_refused(phone, campaign, code_of, lateness, minutes, status):
    code = code_of(campaign(max_lateness_s=lateness, age=timedelta(days=1)))

    answer = phone().scan(code, scanned_at=now() - timedelta(minutes=minutes))

    assert (answer.status_code, answer.json.get("code")) == (status, None if status == 201 else "scan_too_old")


def test_session_that_has_run_out_scans_no_more(phone, campaign, code_of, superuser, stored):
    code, device = code_of(campaign()), phone()
    superuser.cursor().execute(
        "update app.sessions set expires_at = now() where user_id = %s", (device.account.user_id,)
    )

    answer = device.scan(code)

    assert (answer.status_code, answer.json["code"]) == (401, "session_ended")
    assert stored() == []


def test_scan_of_another_person_on_same_device_is_a_replay(phone, campaign, code_of, stored, superuser):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "lifetime"}}))
    first, second = phone(fingerprint="the one device"), phone(fingerprint="the one device")
    asked = first.body(code)

    answers = [device.send(asked) for device in (first, second)]
    other = second.send(asked | {"scanned_at": (now() - timedelta(seconds=9)).isoformat()})

    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json == answers[1].json
    assert (other.status_code, other.json["code"]) == (409, "client_scan_id_reused")
    assert [scan["user_id"] for scan in stored()] == [first.account.user_id]
    assert counters(superuser, "user") == [1]


def test_scan_of_many_people_on_one_device_at_once_counts_once(phone, campaign, code_of, stored):
    crowd = [phone(fingerprint="the one device") for _ in range(8)]
    asked = crowd[0].body(code_of(campaign()))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda device: device.send(asked), crowd))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len(stored()) == 1


def test_scan_moves_when_its_device_was_last_seen(phone, campaign, code_of, superuser):
    device, code = phone(), code_of(campaign())
    device.scan(code)
    with superuser.cursor() as cursor:
        cursor.execute("update public.device_fingerprints set last_seen = now() - interval '2 minutes'")
        device.scan(code)
        cursor.execute("select last_seen > now() - interval '1 minute' from public.device_fingerprints")
        assert cursor.fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("centre", "place", "status"),
    [
        ((0.0, 179.999), (0.0, -179.999), 201),
        ((90.0, 0.0), (89.9999, 180.0), 201),
        (MADRID, MADRID[::-1], 403),
    ],
    ids=["across the antimeridian", "at a pole", "latitude and longitude exchanged"],
)
def test_fence_measures_distance_on_the_ellipsoid(phone, campaign, code_of, centre, place, status):
    code = code_of(campaign(geofence={"lat": centre[0], "lon": centre[1], "radius_m": 1000}))

    assert phone(place=place, accuracy_m=5).scan(code).status_code == status


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T00:00:00Z"])
@pytest.mark.parametrize("field", ["scanned_at", "captured_at"])
def test_what_is_no_time_of_any_phone_is_invalid(phone, campaign, code_of, stored, field, year):
    device = phone()
    asked = device.body(code_of(campaign()))
    (asked if field == "scanned_at" else asked["location"])[field] = year

    answer = device.send(asked)

    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert answer.json["errors"][0]["field"].endswith(field)
    assert stored() == []


def test_without_the_consents_that_a_campaign_asks_for_its_scans_do_not_count(phone, fan, campaign, code_of, stored):
    code = code_of(campaign(consent_tiers=["essential", "marketing"]))
    device = phone(account=fan("marketing"))

    answer = device.scan(code)

    assert (answer.status_code, answer.json["code"]) == (403, "consent_required")
    assert answer.json["missing"] == ["essential"]
    assert answer.json["notice"] == {
        "id": "0197a000-0000-7000-8000-000000000002",
        "key": "default",
        "version": 1,
        "locale": "es",
    }
    assert stored() == []


def test_once_the_person_has_agreed_the_next_scan_counts(phone, fan, campaign, code_of, client):
    code = code_of(campaign())
    device = phone(account=fan("marketing"))
    notice = device.scan(code).json["notice"]

    given = client.post("/api/v1/consents", json={"tier": "essential"}, token=device.account.token)

    assert notice["key"] == "default"
    assert given.status_code in (200, 201), given.text
    assert device.scan(code).status_code == 201


def test_a_withdrawn_consent_ends_it_at_once(phone, campaign, code_of, superuser):
    code = code_of(campaign())
    device = phone()
    assert device.scan(code).status_code == 201

    with superuser.cursor() as cursor:
        cursor.execute("update public.consents set revoked_at = now() where user_id = %s", (device.account.user_id,))

    assert device.scan(code).json["code"] == "consent_required"


def test_a_fence_needs_a_position(phone, campaign, code_of, stored):
    answer = phone(place=None).scan(code_of(campaign(geofence=FENCE)))

    assert (answer.status_code, answer.json["code"]) == (428, "location_required")
    assert stored() == []


def test_without_a_fence_no_position_is_needed(phone, campaign, code_of, stored):
    assert phone(place=None).scan(code_of(campaign())).status_code == 201
    assert stored("geofence_status, location") == [{"geofence_status": "none", "location": None}]


@pytest.mark.parametrize(("age", "status"), [(119, 201), (121, 422), (-119, 201), (-121, 422)])
def test_a_position_has_to_be_of_the_moment_of_the_scan(phone, campaign, code_of, age, status):
    device = phone()

    answer = device.send(device.body(code_of(campaign(geofence=FENCE, max_location_age_s=120)), age=age))

    assert answer.status_code == status
    assert answer.json.get("code") == (None if status == 201 else "location_stale")


def test_a_position_has_to_be_exact_enough(phone, campaign, code_of):
    code = code_of(campaign(geofence=FENCE, max_accuracy_m=50))

    assert phone(accuracy_m=50).scan(code).status_code == 201
    answer = phone(accuracy_m=51).scan(code)
    assert (answer.status_code, answer.json["code"]) == (422, "location_inaccurate")


@pytest.mark.parametrize(
    ("metres", "policy", "status", "code", "fence"),
    [
        (0, "reject", 201, None, "inside"),
        (470, "reject", 201, None, "inside"),
        (490, "accept", 201, None, "uncertain"),
        (490, "flag", 201, None, "uncertain"),
        (490, "reject", 403, "geofence_uncertain", "uncertain"),
        (510, "accept", 201, None, "uncertain"),
        (530, "accept", 403, "geofence_outside", "outside"),
    ],
)
def test_a_fence_takes_the_accuracy_into_account(phone, campaign, code_of, stored, metres, policy, status, code, fence):
    made = campaign(geofence=FENCE | {"when_uncertain": policy})

    answer = phone(place=north_of_madrid(metres), accuracy_m=20).scan(code_of(made))

    assert (answer.status_code, answer.json.get("code")) == (status, code)
    (scan,) = stored("geofence_status, distance_m")
    assert scan["geofence_status"] == fence
    assert scan["distance_m"] == pytest.approx(metres, abs=3)


def test_nobody_is_told_how_far_away_they_are(phone, campaign, code_of):
    answer = phone(place=NEW_YORK).scan(code_of(campaign(geofence=FENCE)))

    assert set(answer.json) == {"type", "title", "status", "code", "request_id"}


@pytest.mark.parametrize(
    ("window", "status", "code"), [("day", 429, "limit_reached"), ("lifetime", 409, "cap_exhausted")]
)
@pytest.mark.parametrize(("limit", "scope"), [("per_user", "user"), ("per_device", "device"), ("total", "campaign")])
def test_a_full_limit_says_which_it_is(phone, campaign, code_of, limit, scope, window, status, code):
    token = code_of(campaign(scan_limit={limit: {"count": 2, "window": window}}))
    device = phone()

    answers = [device.scan(token) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 201, status]
    assert (answers[2].json["code"], answers[2].json["scope"]) == (code, scope)


def test_a_full_hour_says_when_the_next_one_begins(phone, campaign, code_of):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "hour"}}))
    device, at = phone(), now()
    device.scan(code, scanned_at=at)

    answer, answered_at = device.scan(code, scanned_at=at), now()

    ends = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    least, most = ((ends - moment).total_seconds() for moment in (answered_at, at))
    assert max(1, least) <= answer.json["retry_after"] <= most + 1
    assert answer.headers["retry-after"] == str(answer.json["retry_after"])


@pytest.mark.parametrize("window", ["hour", "day"])
def test_limit_of_window_counts_scans_of_any_age_in_this_one(phone, campaign, code_of, superuser, window):
    limit = {"per_user": {"count": 1, "window": window}}
    code = code_of(campaign(scan_limit=limit, age=timedelta(days=2)))
    device, at = phone(), now()

    answers = [device.scan(code, scanned_at=at - timedelta(hours=hours)) for hours in (23, 11, 0)]

    assert [answer.status_code for answer in answers] == [201, 429, 429]
    assert counters(superuser, "user") == [1]


def test_limit_of_window_that_is_over_leaves_shares_in_next(phone, campaign, code_of, superuser):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "hour"}}))
    device = phone()
    device.scan(code)
    superuser.cursor().execute("update app.limit_counters set bucket = '2026-01-01T00:00Z'")

    assert [device.scan(code).status_code for _ in range(2)] == [201, 429]


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata"])
def test_limit_of_day_counts_by_campaign_time_zone(phone, campaign, code_of, superuser, timezone):
    code = code_of(campaign(timezone=timezone, scan_limit={"total": {"count": 1, "window": "day"}}))
    local = datetime.now(ZoneInfo(timezone))

    answers = [phone().scan(code) for _ in range(2)]

    with superuser.cursor() as cursor:
        cursor.execute("select bucket from app.limit_counters")
        assert cursor.fetchall() == [(f"{local:%Y-%m-%d}",)]
    midnight = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo) + timedelta(days=1)
    assert [answer.status_code for answer in answers] == [201, 429]
    assert answers[1].json["retry_after"] == pytest.approx((midnight - local).total_seconds(), abs=30)


def test_only_accepted_scans_take_a_share(phone, campaign, code_of, superuser):
    code = code_of(campaign(geofence=FENCE, scan_limit={"per_user": {"count": 1, "window": "lifetime"}}))
    device = phone(place=NEW_YORK)
    refused = device.scan(code)

    device.place = MADRID

    assert refused.status_code == 403
    assert device.scan(code).status_code == 201
    assert counters(superuser, "user") == [1]


def test_nothing_is_taken_of_one_limit_if_another_is_full(phone, campaign, code_of, superuser):
    limits = {"per_user": {"count": 5, "window": "day"}, "per_device": {"count": 5, "window": "hour"}}
    code = code_of(campaign(scan_limit=limits | {"total": {"count": 1, "window": "lifetime"}}))
    phone().scan(code)

    answer = phone().scan(code)

    assert answer.json["scope"] == "campaign"
    assert [counters(superuser, scope) for scope in ("user", "device", "campaign")] == [[1], [1], [1]]


def test_sixty_four_phones_at_once_never_get_more_than_there_is(phone, campaign, code_of, stored, superuser):
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
    assert counters(superuser, "campaign") == [30]


def test_the_same_request_many_times_at_once_counts_once(phone, campaign, code_of, stored):
    device = phone()
    asked = device.body(code_of(campaign()))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(device.send, [asked] * 16))

    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(stored()) == 1


def test_members_of_a_brand_scan_as_anybody_does(phone, member, client, campaign, code_of):
    creator = member("Creator")
    client.post("/api/v1/consents", json={"tier": "essential"}, token=creator.token)

    assert phone(account=creator).scan(code_of(campaign())).status_code == 201


def test_nobody_scans_without_a_session_that_lives(phone, client, campaign, code_of, stored):
    device = phone()
    asked = device.body(code_of(campaign()))

    nobody = client.post("/api/v1/qr/scan", json=asked)
    client.post("/api/v1/auth/logout", token=device.account.token)
    gone = device.send(asked)

    assert (nobody.status_code, nobody.json["code"]) == (401, "unauthenticated")
    assert (gone.status_code, gone.json["code"]) == (401, "session_ended")
    assert gone.headers["www-authenticate"] == "Bearer"
    assert stored() == []


def test_of_a_device_only_a_hash_per_brand_is_kept(phone, campaign, code_of, make_brand, member, superuser):
    other = member("Campaign Manager", brand=make_brand("Other"))
    device = phone(fingerprint="canvas:9f8e7d6c")
    device.scan(code_of(campaign()))
    device.scan(code_of(campaign(by=other)))

    with superuser.cursor() as cursor:
        cursor.execute("select fingerprint_hash, brand_id from public.device_fingerprints")
        found = cursor.fetchall()

    assert len({hashed for hashed, _ in found}) == len({brand for _, brand in found}) == 2
    assert not any("9f8e7d6c" in hashed for hashed, _ in found)


def test_a_campaign_keeps_knowing_a_device_when_keys_change(phone, campaign, code_of, stored, monkeypatch):
    code = code_of(campaign())
    device = phone()
    device.scan(code)
    version = keys.active_version()
    roots = {version + 1: b"n" * 32, version: keys._roots()[version]}

    monkeypatch.setattr(keys, "_roots", lambda: roots)
    device.scan(code)

    assert keys.active_version() == version + 1
    assert len({scan["device_fp_id"] for scan in stored()}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"code": ""},
        {"code": None},
        {"client_scan_id": "1"},
        {"scanned_at": "2026-11-22T12:00:00"},
        {"location": {"lat": 91, "lon": 0, "accuracy_m": 1, "captured_at": "2026-11-22T12:00:00Z"}},
        {"location": {"lat": 0, "lon": 181, "accuracy_m": 1, "captured_at": "2026-11-22T12:00:00Z"}},
        {"location": {"lat": 0, "lon": 0, "accuracy_m": -1, "captured_at": "2026-11-22T12:00:00Z"}},
        {"location": {"lat": 0, "lon": 0, "captured_at": "2026-11-22T12:00:00Z"}},
        {"device": {"fingerprint": "short"}},
        {"device": {"fingerprint": "x" * 257}},
        {"device": {"fingerprint": "long enough", "platform": "toaster"}},
        {"device": {"fingerprint": "long enough", "locale": 5}},
        {"verdict": "accepted"},
    ],
)
def test_what_is_no_scan_is_invalid(phone, campaign, code_of, stored, change):
    device = phone()

    answer = device.send(device.body(code_of(campaign())) | change)

    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert stored() == []


def test_one_session_has_its_share_of_a_minute(phone, campaign, code_of, monkeypatch):
    monkeypatch.setattr(resource.SCANS, "_rate_limit", resource.SessionRateLimit(per_minute=3))
    code = code_of(campaign())
    device, other = phone(), phone()

    answers = [device.scan(code) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert answers[3].json["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert other.scan(code).status_code == 201


def test_a_connection_that_broke_is_made_anew(phone, campaign, code_of, superuser):
    code = code_of(campaign())
    device = phone()
    device.scan(code)

    with superuser.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app_scan'")

    assert device.scan(code).status_code == 201


def test_what_was_taken_before_the_end_is_written_down(phone, campaign, code_of, stored):
    code = code_of(campaign())
    device = phone()
    device.scan(code)

    assert resource.SCANS.close(10) is True
    try:
        refused = device.scan(code)
    finally:
        resource.SCANS.open()

    assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert device.scan(code).status_code == 201
    assert len(stored()) == 2


def test_a_token_whose_role_is_no_longer_the_person_s_ends_with_the_role(phone, campaign, code_of, superuser, stored):
    device = phone()
    with superuser.cursor() as cursor:
        cursor.execute("update public.users set role_id = 5 where id = %s", (device.account.user_id,))

    assert device.scan(code_of(campaign())).json["code"] == "session_ended"
    assert stored() == []


def test_what_is_full_and_uncertain_says_both_to_whoever_looks_into_it(phone, campaign, code_of, stored):
    made = campaign(
        geofence=FENCE | {"when_uncertain": "flag"}, scan_limit={"per_user": {"count": 1, "window": "lifetime"}}
    )
    device = phone(place=north_of_madrid(490), accuracy_m=20)

    answers = [device.scan(code_of(made)) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 409]
    assert "when_uncertain" not in answers[1].json
    assert [scan["details"].get("when_uncertain") for scan in stored("details")] == ["flag", "flag"]
