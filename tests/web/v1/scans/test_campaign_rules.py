"""A campaign's status, period, consents and location decide whether a scan over HTTP counts.

The exact bounds are tested in `tests/models/scans/test_reasons.py`.
"""

from datetime import timedelta

import pytest

from models.campaigns import campaigns, codes
from models.core.database import now
from models.tenants import brands
from tests.fixtures.scans import FENCE, MADRID, NEW_YORK, north_of_madrid


@pytest.mark.parametrize(
    ("transitions", "status", "code"),
    [
        (["pause"], 409, "campaign_not_active"),
        (["pause", "resume"], 201, None),
        (["complete"], 410, "campaign_ended"),
    ],
)
def test_scan_counts_only_while_campaign_is_active(
    phone, campaign, code_of, manager, stored, transitions, status, code
):
    made = campaign()
    for transition in transitions:
        with manager.acting():
            campaigns.transition(made.id, transition)

    answer = phone().scan(code_of(made))

    assert (answer.status_code, answer.json.get("code")) == (status, code)
    assert [scan["reason"] for scan in stored()] == [code]


def test_scan_of_draft_is_rejected(phone, campaign, manager, stored):
    draft = campaign(launched=False)
    with manager.acting():
        code = codes.add(draft.id, "Door")

    answer = phone().scan(codes.make_token(code.id, code.key_version))

    assert (answer.status_code, answer.json["code"]) == (409, "campaign_not_active")
    assert stored("reason") == [{"reason": "campaign_not_active"}]


def test_time_of_scan_decides_about_the_period(phone, campaign, code_of):
    start, end = now() - timedelta(hours=2), now() - timedelta(hours=1)
    code = code_of(campaign(starts_at=start.isoformat(), ends_at=end.isoformat(), age=timedelta(days=1)))
    device = phone()

    before = device.scan(code, scanned_at=start - timedelta(minutes=6))
    within = device.scan(code, scanned_at=start + timedelta(minutes=1))
    after = device.scan(code)

    assert (before.status_code, before.json["code"]) == (409, "campaign_not_active")
    assert (within.status_code, within.json["late"]) == (201, True)
    assert (after.status_code, after.json["code"]) == (410, "campaign_ended")


def test_scan_before_launch_or_creation_of_its_code_is_rejected(phone, campaign, code_of, superuser):
    answers = []
    for later in ("launched_at", "created_at"):
        made = campaign(later, age=timedelta(minutes=30))
        with superuser.cursor() as cursor:  # Move the other time far back.
            if later == "launched_at":
                cursor.execute("update public.qr_codes set created_at = created_at - interval '1 day'")
            else:
                cursor.execute("update public.campaigns set launched_at = launched_at - interval '1 day'")
        answers += [phone().scan(code_of(made), scanned_at=now() - timedelta(minutes=age)) for age in (34, 36)]

    found = [(answer.status_code, answer.json.get("code")) for answer in answers]
    assert found == [(201, None), (409, "campaign_not_active")] * 2


def test_future_or_too_old_scan_is_rejected(phone, campaign, code_of, stored):
    code = code_of(campaign(age=timedelta(days=2)))
    ages = [timedelta(minutes=-6), timedelta(minutes=-4), timedelta(hours=23), timedelta(hours=25)]

    answers = [phone().scan(code, scanned_at=now() - age) for age in ages]

    found = [(answer.status_code, answer.json.get("code")) for answer in answers]
    assert found == [(422, "scan_time_invalid"), (201, None), (201, None), (422, "scan_too_old")]
    assert [scan["late"] for scan in stored("late")] == [False, False, True, True]


def test_scan_before_completion_counts_and_one_after_does_not(phone, campaign, code_of, manager, superuser):
    made = campaign(age=timedelta(days=1))
    with manager.acting():
        campaigns.transition(made.id, "complete")
    superuser.cursor().execute("update public.campaigns set completed_at = completed_at - interval '1 hour'")
    device, code = phone(), code_of(made)

    answers = [device.scan(code, scanned_at=now() - timedelta(minutes=minutes)) for minutes in (61, 59)]

    found = [(answer.status_code, answer.json.get("code")) for answer in answers]
    assert found == [(201, None), (410, "campaign_ended")]


@pytest.mark.parametrize("act", ["pause", "disable", "archive", "archive completed"])
def test_pause_disabling_and_archiving_apply_on_receipt(phone, campaign, code_of, manager, admin, superuser, act):
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


def test_scan_without_required_consent_names_the_consent_and_the_notice(phone, fan, campaign, code_of, stored):
    code = code_of(campaign(consent_tiers=["essential", "marketing"]))

    answer = phone(account=fan("marketing")).scan(code)

    assert (answer.status_code, answer.json["code"]) == (403, "consent_required")
    assert answer.json["missing"] == ["essential"]
    assert answer.json["notice"] == {
        "id": "0197a000-0000-7000-8000-000000000002",
        "key": "default",
        "version": 1,
        "locale": "es",
    }
    assert stored() == []


def test_consent_applies_to_the_next_scan(phone, fan, campaign, code_of, client, superuser):
    code = code_of(campaign())
    device = phone(account=fan("marketing"))
    before = device.scan(code)

    given = client.post("/api/v1/consents", json={"tier": "essential"}, token=device.account.token)
    after = device.scan(code)
    superuser.cursor().execute("update public.consents set revoked_at = now()")
    revoked = device.scan(code)

    assert given.status_code in (200, 201), given.text
    assert [answer.status_code for answer in (before, after, revoked)] == [403, 201, 403]
    assert revoked.json["code"] == "consent_required"


def test_fence_requires_a_position(phone, campaign, code_of, stored):
    answer = phone(place=None).scan(code_of(campaign(geofence=FENCE)))

    assert (answer.status_code, answer.json["code"]) == (428, "location_required")
    assert stored() == []


def test_scan_without_fence_needs_no_position(phone, campaign, code_of, stored):
    assert phone(place=None).scan(code_of(campaign())).status_code == 201
    assert stored("geofence_status, location") == [{"geofence_status": "none", "location": None}]


def test_position_must_be_of_the_time_of_the_scan(phone, campaign, code_of):
    code, device = code_of(campaign(geofence=FENCE, max_location_age_s=120)), phone()

    answers = [device.scan(code, age=age) for age in (119, 121, -119, -121)]

    found = [(answer.status_code, answer.json.get("code")) for answer in answers]
    assert found == [(201, None), (422, "location_stale")] * 2


def test_position_must_be_accurate_enough(phone, campaign, code_of):
    code = code_of(campaign(geofence=FENCE, max_accuracy_m=50))

    accurate, inaccurate = phone(accuracy_m=50).scan(code), phone(accuracy_m=51).scan(code)

    assert accurate.status_code == 201
    assert (inaccurate.status_code, inaccurate.json["code"]) == (422, "location_inaccurate")


@pytest.mark.parametrize(
    ("metres", "policy", "status", "code", "geofence_status"),
    [
        (470, "reject", 201, None, "inside"),
        (490, "flag", 201, None, "uncertain"),
        (510, "reject", 403, "geofence_uncertain", "uncertain"),
        (530, "accept", 403, "geofence_outside", "outside"),
    ],
)
def test_fence_takes_accuracy_into_account(
    phone, campaign, code_of, stored, metres, policy, status, code, geofence_status
):
    made = campaign(geofence=FENCE | {"when_uncertain": policy})

    answer = phone(place=north_of_madrid(metres), accuracy_m=20).scan(code_of(made))

    assert (answer.status_code, answer.json.get("code")) == (status, code)
    (scan,) = stored("geofence_status, distance_m")
    assert scan["geofence_status"] == geofence_status
    assert scan["distance_m"] == pytest.approx(metres, abs=3)


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


def test_rejection_by_fence_does_not_show_the_distance(phone, campaign, code_of):
    answer = phone(place=NEW_YORK).scan(code_of(campaign(geofence=FENCE)))

    assert set(answer.json) == {"type", "title", "status", "code", "request_id"}
