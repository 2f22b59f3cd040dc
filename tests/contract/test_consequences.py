"""Test that jobs with unusual but valid values succeed."""

import pytest

from models.campaigns.config import CONFIGS
from models.campaigns.config.scan_rules import WEEKDAYS
from tests.contract.values import TEXTS
from tests.fixtures.accounts import PASSWORD

ODD = {name: text for name, text in TEXTS.items() if "\\u" not in text}
ADDRESSES = [
    "a+b@x.example",
    "o'brien@x.example",
    "!#$%&'*+/?=^_`{|}~-@x.example",
    "a@bücher.example",
    "a" * 64 + "@x.example",
    "a@" + "x." * 90 + "example",
    "%s@x.example",
]


def texts():
    """Return unusual texts without the quotes of JSON."""
    return {name: text.removeprefix('"').removesuffix('"').replace("\\\\", "\\") for name, text in ODD.items()}


@pytest.fixture
def done(drain, superuser):
    """Return a function that runs all queued jobs and returns the dead letters."""

    def do():
        drain(allow_dead=True)
        with superuser.cursor() as cursor:
            cursor.execute("select actor, error from app.dead_jobs")
            return cursor.fetchall()

    return do


def test_invitations_of_brands_with_odd_names_are_mailed(client, admin, mailbox, done):
    taken = 0
    for number, text in enumerate(texts().values()):
        brand = {"name": text, "admin_email": f"first-{number}@x.example"}
        answer = client.post("/api/v1/brands", json=brand, token=admin.token)
        assert answer.status_code in (201, 422), text
        taken += answer.status_code == 201

    assert done() == []
    assert len(mailbox.messages) == taken > 20


def test_people_with_odd_names_and_addresses_can_sign_up(client, fresh_limits, mailbox, done):
    names = {f"p{number}@x.example": text for number, text in enumerate(texts().values())}
    asked = [*names, *ADDRESSES]
    taken = 0
    for number, email in enumerate(asked):
        answer = client.post("/api/v1/auth/signup", json={"email": email}, remote_addr=f"10.9.0.{number + 1}")
        assert answer.status_code in (202, 422), email
        taken += answer.status_code == 202

    assert done() == []
    assert len(mailbox.messages) == taken >= len(names)
    named = 0
    for number, message in enumerate(list(mailbox.messages)):
        body = {"token": mailbox.token(message["To"]), "password": PASSWORD}
        options = {"remote_addr": f"10.9.0.{number + 1}"}
        name = names.get(message["To"], "Ana")
        answer = client.post("/api/v1/auth/verify", json={**body, "name": name}, **options)
        assert answer.status_code in (200, 422), name
        named += answer.status_code == 200
        if answer.status_code == 422:
            assert client.post("/api/v1/auth/verify", json=body, **options).status_code == 200
    assert named > 25
    assert done() == []


def test_scans_with_odd_values_are_scored_and_counted(client, phone, campaign, code_of, manager, done, stored):
    made = campaign(geofence={"lat": 0.0, "lon": 180.0, "radius_m": 100_000.0}, max_accuracy_m=5000.0)
    places = [(0.0, -180.0), (0.0, 180.0), (5e-324, 180.0), (-0.0, 180.0), (90.0, 0.0), (-90.0, 180.0)]
    for place in places:
        assert phone(place=place).scan(code_of(made)).status_code in (201, 403)
    for text in texts().values():
        device = {"fingerprint": f"{text[:200]:<8}", "timezone": text}
        answer = phone(place=places[0]).scan(code_of(made), device=device)
        assert answer.status_code in (201, 422), text

    assert done() == []
    overview = client.get("/api/v1/analytics/overview", token=manager.token).json
    assert overview["pending"] == 0
    assert overview["totals"]["scans"] == len(stored()) > 20


def test_campaigns_with_extreme_settings_can_be_launched(client, manager, done, superuser):
    extremes = [
        {"starts_at": "2000-01-01T00:00:00Z", "ends_at": "2199-12-31T23:59:59.999999Z"},
        {"starts_at": "2000-01-01T23:59:59.999999+23:59"},
        {"geofence": {"lat": -90, "lon": -180, "radius_m": 1}},
        {"geofence": {"lat": 90, "lon": 180, "radius_m": 100_000}},
        {"scan_limit": {"per_user": {"count": 1_000_000, "window": "hour"}, "total": {"count": 1, "window": "day"}}},
        {"timezone": "Pacific/Kiritimati", "consent_tiers": []},
        {"timezone": "Etc/GMT+12", "max_accuracy_m": 10, "max_location_age_s": 3600},
        {"notice_key": "default", "max_lateness_s": 0, "requires_account": True},
        {"scan_windows": [{"days": [day], "opens": "00:00", "closes": "00:00"} for day in WEEKDAYS]},
        {"venue": {"name": "x", "address": "x", "lat": -90, "lon": 180, "precision": "city"}, "segment_ids": []},
        {"budget": {"amount": 10**15, "currency": "EUR"}, "goals": [{"metric": "reach", "target": 10**9}]},
        {"survey": {"questions": [{"kind": "text", "id": "a", "text": {"zh-TW": "問"}}]}},
        {"rewards": [{"key": f"k{n}", "name": "x", "quantity": 1_000_000, "per_user": 1000} for n in range(50)]},
        {"event": {"capacity": 1_000_000, "admission": "guest_list"}, "ends_at": "2199-12-31T23:59:59Z"},
    ]
    assert {name for one in extremes for name in one} == {
        name for kind in CONFIGS.values() for name in kind.__struct_fields__
    } - {"test_mode"}
    for config in extremes:
        kind = "Locker" if "rewards" in config else "Event" if "event" in config else "QR"
        asked = {"name": "Extreme", "type": kind, "config": config}
        made = client.post("/api/v1/campaigns", json=asked, token=manager.token)
        assert made.status_code == 201, made.text
        launch = client.post(f"/api/v1/campaigns/{made.json['id']}/launch", token=manager.token)
        assert launch.status_code == 202, launch.text

    assert done() == []
    with superuser.cursor() as cursor:
        cursor.execute("select status, count(*) from public.campaigns group by status")
        assert cursor.fetchall() == [("Active", len(extremes))]
