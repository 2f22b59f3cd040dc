"""Report a scan over HTTP: the response, the stored row, replays, and requests that are no scans."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

from models.campaigns import codes
from models.core import keys
from models.core.database import now
from tests.fixtures.scans import FENCE, NEW_YORK
from web.v1.scans import scans as resource


def test_accepted_scan_returns_201_and_is_stored(phone, campaign, code_of, stored):
    made = campaign(geofence=FENCE)
    device = phone()

    answer = device.scan(code_of(made))

    (scan,) = stored()
    assert answer.status_code == 201
    assert answer.json["id"] == str(scan["id"])
    assert answer.json["campaign_id"] == str(made.id) == str(scan["campaign_id"])
    assert set(answer.json) == {"id", "status", "campaign_id", "scanned_at", "received_at", "late", "is_test"}
    assert (answer.json["status"], answer.json["late"], answer.json["is_test"]) == ("accepted", False, False)
    assert (scan["decision"], scan["reason"], scan["geofence_status"]) == ("accepted", None, "inside")
    assert scan["user_id"] == device.account.user_id
    assert scan["request_id"] == answer.headers["x-request-id"]


def test_accuracy_below_a_millimetre_is_stored_as_zero(phone, campaign, code_of, stored):
    code = code_of(campaign(geofence=FENCE))

    answers = [phone(accuracy_m=accuracy_m).scan(code) for accuracy_m in (0.0, 5e-324, 1e-40, 0.0004)]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert [scan["accuracy_m"] for scan in stored("accuracy_m")] == [0.0] * 4


def test_every_stored_scan_enqueues_its_scoring(phone, campaign, code_of, stored, superuser):
    made = campaign(geofence=FENCE)
    phone().scan(code_of(made))
    phone(place=NEW_YORK).scan(code_of(made))

    with superuser.cursor() as cursor:
        cursor.execute("select subject_id, brand_id, request_id from app.jobs where actor = 'scan.score' order by id")
        jobs = cursor.fetchall()

    assert jobs == [(str(scan["id"]), made.brand_id, scan["request_id"]) for scan in stored()]


def test_repeated_request_returns_200_and_counts_once(phone, campaign, code_of, stored, limit_counts):
    device = phone()
    body = device.body(code_of(campaign(scan_limit={"per_user": {"count": 5, "window": "lifetime"}})))
    first = device.send(body)

    again = [device.send(body) for _ in range(3)]

    assert first.status_code == 201
    assert [answer.status_code for answer in again] == [200] * 3
    assert [answer.json for answer in again] == [first.json] * 3
    assert len(stored()) == 1
    assert limit_counts("user") == [1]


def test_scan_of_the_whole_url_counts_as_scan_of_its_token(phone, campaign, code_of, stored):
    token, device = code_of(campaign()), phone()
    body = device.body(codes.url_of(token))

    by_url, by_token = device.send(body), device.send({**body, "code": token})

    assert (by_url.status_code, by_token.status_code) == (201, 200)
    assert by_token.json == by_url.json
    assert len(stored()) == 1


def test_repeated_rejected_scan_has_the_same_reason(phone, campaign, code_of, stored):
    device = phone(place=NEW_YORK)
    body = device.body(code_of(campaign(geofence=FENCE)))

    answers = [device.send(body) for _ in range(2)]

    assert [(answer.status_code, answer.json["code"]) for answer in answers] == [(403, "geofence_outside")] * 2
    assert len(stored()) == 1


def test_client_scan_id_of_another_scan_returns_409(phone, campaign, code_of, stored):
    device = phone()
    body = device.body(code_of(campaign()))
    device.send(body)

    answer = device.send(body | {"scanned_at": (now() - timedelta(seconds=1)).isoformat()})

    assert (answer.status_code, answer.json["code"]) == (409, "client_scan_id_reused")
    assert len(stored()) == 1


def test_client_scan_id_of_another_person_is_accepted(phone, campaign, code_of, stored):
    code, shared = code_of(campaign()), str(uuid4())

    answers = [phone().scan(code, client_scan_id=shared) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(stored()) == 2


def test_repeated_scan_of_another_person_on_same_device_is_a_replay(phone, campaign, code_of, stored, limit_counts):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "lifetime"}}))
    first, second = phone(fingerprint="the one device"), phone(fingerprint="the one device")
    body = first.body(code)

    answers = [device.send(body) for device in (first, second)]
    other = second.send(body | {"scanned_at": (now() - timedelta(seconds=9)).isoformat()})

    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json == answers[1].json
    assert (other.status_code, other.json["code"]) == (409, "client_scan_id_reused")
    assert [scan["user_id"] for scan in stored()] == [first.account.user_id]
    assert limit_counts("user") == [1]


def test_scan_sent_many_times_at_once_counts_once(phone, campaign, code_of, stored):
    code = code_of(campaign())
    own, shared = phone(), [phone(fingerprint="the one device") for _ in range(8)]
    own_body, shared_body = own.body(code), shared[0].body(code)

    with ThreadPoolExecutor(16) as pool:
        of_one = pool.map(own.send, [own_body] * 8)
        of_many = pool.map(lambda device: device.send(shared_body), shared)
        answers = [list(of_one), list(of_many)]

    for group in answers:
        assert sorted(answer.status_code for answer in group) == [200] * 7 + [201]
        assert len({answer.json["id"] for answer in group}) == 1
    assert len(stored()) == 2


def test_unsigned_or_unknown_code_is_counted_and_not_stored(phone, campaign, code_of, stored, superuser):
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
    with superuser.cursor() as cursor:
        cursor.execute("select reason, sum(n)::int from app.scan_refusals group by reason order by reason")
        assert cursor.fetchall() == [("bad_token", 2), ("unknown_code", 1)]


def test_member_of_a_brand_scans_like_a_fan(phone, member, client, campaign, code_of):
    creator = member("Creator")
    client.post("/api/v1/consents", json={"tier": "essential"}, token=creator.token)

    assert phone(account=creator).scan(code_of(campaign())).status_code == 201


def test_scan_without_live_session_returns_401(phone, client, campaign, code_of, stored):
    device = phone()
    body = device.body(code_of(campaign()))

    without_token = client.post("/api/v1/qr/scan", json=body)
    client.post("/api/v1/auth/logout", token=device.account.token)
    signed_out = device.send(body)

    assert (without_token.status_code, without_token.json["code"]) == (401, "unauthenticated")
    assert (signed_out.status_code, signed_out.json["code"]) == (401, "session_ended")
    assert signed_out.headers["www-authenticate"] == "Bearer"
    assert stored() == []


INVALID = [
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
]


def test_invalid_body_returns_422(phone, campaign, code_of, stored):
    device = phone()
    body = device.body(code_of(campaign()))

    answers = [(change, device.send(body | change)) for change in INVALID]

    found = [(change, answer.status_code, answer.json["code"]) for change, answer in answers]
    assert found == [(change, 422, "invalid") for change in INVALID]
    assert stored() == []


def test_implausible_time_returns_422_with_its_field(phone, campaign, code_of, stored):
    device = phone()
    body = device.body(code_of(campaign()))
    years = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T00:00:00Z")

    answers = [device.send(body | {"scanned_at": year}) for year in years]
    answers += [device.send(body | {"location": body["location"] | {"captured_at": year}}) for year in years]

    found = [(answer.status_code, answer.json["code"], answer.json["errors"][0]["field"]) for answer in answers]
    assert [status for status, *_ in found] == [422] * 6
    assert [code for _, code, _ in found] == ["invalid"] * 6
    assert [field.rpartition(".")[2] for *_, field in found] == ["scanned_at"] * 3 + ["captured_at"] * 3
    assert stored() == []


def test_session_over_its_limit_per_minute_returns_429(phone, campaign, code_of, monkeypatch):
    monkeypatch.setattr(resource.SCANS, "_rate_limit", resource.SessionRateLimit(per_minute=3))
    code = code_of(campaign())
    device, other = phone(), phone()

    answers = [device.scan(code) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert answers[3].json["code"] == "rate_limited"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert other.scan(code).status_code == 201


def test_scan_after_broken_connection_is_accepted(phone, campaign, code_of, superuser):
    code = code_of(campaign())
    device = phone()
    device.scan(code)

    with superuser.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app_scan'")

    assert device.scan(code).status_code == 201


def test_closed_writer_stores_admitted_scans_and_returns_503(phone, campaign, code_of, stored):
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


def test_device_is_stored_as_one_hash_per_brand(phone, campaign, code_of, make_brand, member, superuser):
    other = member("Campaign Manager", brand=make_brand("Other"))
    device = phone(fingerprint="canvas:9f8e7d6c")
    device.scan(code_of(campaign()))
    device.scan(code_of(campaign(by=other)))

    with superuser.cursor() as cursor:
        cursor.execute("select fingerprint_hash, brand_id from public.device_fingerprints")
        found = cursor.fetchall()

    assert len({hashed for hashed, _ in found}) == len({brand for _, brand in found}) == 2
    assert not any("9f8e7d6c" in hashed for hashed, _ in found)


def test_device_of_a_campaign_stays_the_same_when_keys_change(phone, campaign, code_of, stored, monkeypatch):
    code = code_of(campaign())
    device = phone()
    device.scan(code)
    version = keys.active_version()
    roots = {version + 1: b"n" * 32, version: keys._roots()[version]}

    monkeypatch.setattr(keys, "_roots", lambda: roots)
    device.scan(code)

    assert keys.active_version() == version + 1
    assert len({scan["device_fp_id"] for scan in stored()}) == 1
