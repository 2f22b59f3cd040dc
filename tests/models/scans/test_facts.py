"""The facts of a scan are those of its own session, person, device, campaign and brand, not of those beside it."""

from datetime import timedelta
from uuid import uuid4

import msgspec
import psycopg2.extras
import pytest

from models.core.database import new_id, now
from models.scans.outcomes import Accepted
from tests.fixtures.scans import MADRID, NEW_YORK, scan_request

FENCE = {"lat": MADRID[0], "lon": MADRID[1], "radius_m": 500}
ONCE = {"count": 1, "window": "lifetime"}


def verdicts(outcomes) -> list[str]:
    return ["accepted" if isinstance(outcome, Accepted) else outcome.reason for outcome in outcomes]


def changed(scan, **changes):
    """Return the same request with other values."""
    return msgspec.structs.replace(scan, **changes)


@pytest.fixture
def other_campaign(campaign, make_brand, member):
    """`other_campaign(**config)`: a campaign of another brand."""
    manager = member("Campaign Manager", brand=make_brand("Other"))
    return lambda **config: campaign("Elsewhere", by=manager, **config)


def test_session_of_another_person_or_with_another_role_or_brand_has_ended(campaign, code_of, fan, member, recorder):
    code, person, other = code_of(campaign()), fan("essential"), fan("essential")
    scan = scan_request(person, code)

    outcomes = recorder.record(
        [
            changed(scan, session_id=other.identity.session_id),
            changed(scan, session_id=uuid4()),
            changed(scan, user_role="Creator"),
            changed(scan, member_of=member("Creator").brand_id),
            scan,
        ]
    )

    assert verdicts(outcomes) == ["session_ended"] * 4 + ["accepted"]


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
def test_session_that_has_ended_ends_no_session_beside_it(campaign, code_of, fan, recorder, superuser, change):
    code, person, other = code_of(campaign()), fan("essential"), fan("essential")
    superuser.cursor().execute(f"update app.sessions set {change} where id = %s", (person.identity.session_id,))

    outcomes = recorder.record([scan_request(person, code), scan_request(other, code)])

    assert verdicts(outcomes) == ["session_ended", "accepted"]


def test_disabled_code_disables_no_code_beside_it(campaign, code_of, fan, recorder, superuser):
    codes, person = [code_of(campaign()), code_of(campaign("Other"))], fan("essential")
    scans = [scan_request(person, code) for code in codes]
    superuser.cursor().execute("update public.qr_codes set disabled_at = now() where id = %s", (scans[0].code_id,))

    assert verdicts(recorder.record(scans)) == ["unknown_code", "accepted"]


def test_unsigned_code_is_reported_before_an_unknown_one(fan, recorder):
    person = fan("essential")
    unknown = scan_request(person, "nonsense")

    assert verdicts(recorder.record([unknown, changed(unknown, code_id=uuid4())])) == ["bad_token", "unknown_code"]


def test_consent_and_account_are_those_of_the_person_and_brand(
    campaign, other_campaign, code_of, fan, become_account, recorder, superuser
):
    here, there = code_of(campaign(requires_account=True)), code_of(other_campaign())
    owner, anonymous = fan("essential"), fan("essential")
    become_account(owner)
    only_here = fan("essential")
    become_account(only_here)
    superuser.cursor().execute(
        "update public.consents set brand_id = (select brand_id from public.qr_codes where id = %s) where user_id = %s",
        (scan_request(owner, here).code_id, only_here.user_id),
    )

    outcomes = recorder.record(
        [scan_request(person, code) for person in (owner, anonymous, only_here) for code in (here, there)]
    )

    assert verdicts(outcomes) == [
        *("accepted", "accepted"),
        *("account_required", "accepted"),
        *("accepted", "consent_required"),
    ]


def test_missing_account_consent_or_location_stores_no_scan(campaign, code_of, fan, become_account, recorder, stored):
    code = code_of(campaign(requires_account=True, geofence=FENCE))
    anonymous, without_consent, complete = fan("essential"), fan(), fan("essential")
    for person in (without_consent, complete):
        become_account(person)

    outcomes = recorder.record(
        [
            scan_request(anonymous, code),
            scan_request(without_consent, code),
            changed(scan_request(complete, code), lat=None, lon=None, accuracy_m=None, captured_at=None),
            scan_request(complete, code),
        ]
    )

    assert verdicts(outcomes) == ["account_required", "consent_required", "location_required", "accepted"]
    assert len(stored("id")) == 1


def test_notice_of_missing_consent_is_in_language_of_scan_or_person(campaign, code_of, fan, recorder, superuser):
    person, code = fan(), code_of(campaign())
    superuser.cursor().execute("update public.users set locale = 'es' where id = %s", (person.user_id,))

    outcomes = recorder.record([scan_request(person, code, locale=locale) for locale in ("en", None)])

    assert [outcome.details["notice"]["locale"] for outcome in outcomes] == ["en", "es"]


def test_earlier_scan_is_of_same_campaign_and_of_same_person_or_device(campaign, code_of, fan, recorder, stored):
    code, elsewhere = code_of(campaign()), code_of(campaign("Other"))
    person, sharer, stranger = fan("essential"), fan("essential"), fan("essential")
    scan = scan_request(person, code)
    (first,) = recorder.record([scan])
    same_id = {"client_scan_id": scan.client_scan_id}

    outcomes = recorder.record(
        [
            changed(scan, fingerprint="the person's other device"),
            scan_request(sharer, code, fingerprint=scan.fingerprint, **same_id),
            scan_request(stranger, code, **same_id),
            scan_request(person, elsewhere, **same_id),
            changed(scan, client_scan_id=new_id()),
        ]
    )

    assert [outcome.replayed for outcome in outcomes] == [True, True, False, False, False]
    assert [outcome.id == first.id for outcome in outcomes[:2]] == [True, True]
    assert len(stored("id")) == 4


def test_replay_prefers_the_scan_of_the_person_to_that_of_the_device(campaign, code_of, fan, recorder):
    code, people, shared = code_of(campaign()), [fan("essential"), fan("essential")], new_id()
    own = [scan_request(person, code, client_scan_id=shared) for person in people]
    outcomes = [recorder.record([scan])[0] for scan in own]

    crossed = [
        recorder.record([changed(scan, fingerprint=other.fingerprint)])[0]
        for scan, other in zip(own, reversed(own), strict=True)
    ]

    assert [outcome.id for outcome in crossed] == [outcome.id for outcome in outcomes]


def test_device_is_new_once_for_each_brand(campaign, other_campaign, code_of, fan, recorder, stored):
    here, again, there = code_of(campaign()), code_of(campaign("Again")), code_of(other_campaign())
    person = fan("essential")
    asked = [scan_request(person, code, fingerprint="one device") for code in (here, again, there)]

    for scan in asked:
        recorder.record([scan])
    recorder.record([scan_request(person, here, fingerprint="another device")])

    assert [scan["new_device"] for scan in stored("new_device")] == [True, False, True, True]


def test_scans_of_one_batch_share_a_new_device(campaign, code_of, fan, recorder, stored):
    code, people = code_of(campaign()), [fan("essential") for _ in range(3)]

    recorder.record([scan_request(person, code, fingerprint="one device") for person in people])

    assert len({scan["device_fp_id"] for scan in stored("device_fp_id")}) == 1


@pytest.mark.parametrize(
    ("last_seen", "moves"), [("now() - interval '59 seconds'", False), ("now() - interval '61 seconds'", True)]
)
def test_last_scan_of_a_device_is_stored_once_a_minute(campaign, code_of, fan, recorder, superuser, last_seen, moves):
    code, person, other = code_of(campaign()), fan("essential"), fan("essential")
    recorder.record([scan_request(person, code), scan_request(other, code)])
    seen = "select last_seen from public.device_fingerprints order by last_seen desc"
    with superuser.cursor() as cursor:
        cursor.execute(f"update public.device_fingerprints set last_seen = {last_seen}")
        cursor.execute(seen)
        before = [row[0] for row in cursor.fetchall()]
        recorder.record([scan_request(person, code)])
        cursor.execute(seen)
        after = [row[0] for row in cursor.fetchall()]

    assert (after[0] > before[0], after[1] == before[1]) == (moves, True)


def test_limits_of_a_campaign_count_no_scans_of_another(campaign, code_of, fan, recorder):
    limits = {"per_user": ONCE, "per_device": ONCE, "total": {"count": 2, "window": "lifetime"}}
    codes = [code_of(campaign(name, scan_limit=limits)) for name in ("First", "Second")]
    people = [fan("essential") for _ in range(3)]
    batch = [scan_request(person, code) for person in people for code in codes]

    outcomes = recorder.record(batch)
    again = recorder.record([scan_request(person, code) for person in people[:1] for code in codes])

    assert verdicts(outcomes) == ["accepted"] * 4 + ["cap_exhausted"] * 2
    assert verdicts(again) == ["cap_exhausted"] * 2


def test_scans_of_a_batch_are_decided_in_its_order(campaign, code_of, fan, recorder):
    code = code_of(campaign(scan_limit={"total": {"count": 2, "window": "lifetime"}, "per_device": ONCE}))
    people = sorted((fan("essential") for _ in range(4)), key=lambda person: person.user_id, reverse=True)

    outcomes = recorder.record([scan_request(person, code) for person in people])

    assert verdicts(outcomes) == ["accepted", "accepted", "cap_exhausted", "cap_exhausted"]


def test_full_limits_are_reported_by_person_then_device_then_campaign(campaign, code_of, fan, recorder):
    limits = [("per_user", "user"), ("per_device", "device"), ("total", "campaign")]
    scopes = []
    for start in range(3):
        code = code_of(campaign(f"From {start}", scan_limit={name: ONCE for name, _ in limits[start:]}))
        person = fan("essential")
        _, second = recorder.record([scan_request(person, code) for _ in range(2)])
        scopes.append(second.details["scope"])

    assert scopes == [scope for _, scope in limits]


def test_limit_counts_the_counter_of_its_campaign_scope_subject_and_window(campaign, superuser):
    made, other = campaign(), campaign("Other")
    own = {"campaign": made.id, "scope": "user", "subject": new_id(), "bucket": "lifetime"}
    beside = [
        own | {"campaign": other.id},
        own | {"scope": "device"},
        own | {"subject": new_id()},
        own | {"bucket": "2026-11-22"},
    ]
    with superuser.cursor() as cursor:
        for used, counter in [(3, own), *((4, counter) for counter in beside)]:
            cursor.execute(
                "insert into app.limit_counters (brand_id, campaign_id, scope, subject, bucket, used)"
                " values (%(brand)s, %(campaign)s, %(scope)s, %(subject)s, %(bucket)s, %(used)s)",
                counter | {"brand": made.brand_id, "used": used},
            )
        cursor.execute(
            "select remaining from app.read_limit("
            "%(campaign)s, %(scope)s, %(subject)s, (5, 'lifetime')::app.scan_limit, 'UTC')",
            own,
        )

        assert cursor.fetchone() == (2,)


def test_refusals_are_counted_by_campaign_and_reason(campaign, code_of, fan, recorder, superuser):
    codes = [code_of(campaign(name, geofence=FENCE)) for name in ("First", "Second")]
    complete = fan("essential")
    ended = changed(scan_request(complete, codes[0]), session_id=uuid4())
    without_place = [
        changed(scan_request(complete, code), lat=None, lon=None, accuracy_m=None, captured_at=None) for code in codes
    ]

    without_consent = [scan_request(fan(), code) for code in (codes[0], codes[0], codes[1])]
    unsigned = scan_request(complete, "nonsense")
    recorder.record([*without_consent, *without_place, ended, unsigned, changed(unsigned, code_id=uuid4())])

    with superuser.cursor() as cursor:
        cursor.execute(
            "select m.name, r.reason, r.n from app.scan_refusals r left join public.campaigns m on m.id = r.campaign_id"
            " order by m.name, r.reason"
        )
        assert cursor.fetchall() == [
            ("First", "consent_required", 2),
            ("First", "location_required", 1),
            ("Second", "consent_required", 1),
            ("Second", "location_required", 1),
            (None, "bad_token", 1),
            (None, "unknown_code", 1),
        ]


def test_request_hashed_for_another_brand_campaign_or_key_is_repeated(
    campaign, other_campaign, code_of, fan, superuser
):
    made, sibling, foreign = campaign(), campaign("Sibling"), other_campaign()
    scan = scan_request(fan("essential"), code_of(made))
    request = {
        "code_id": str(scan.code_id),
        "campaign_id": str(made.id),
        "brand_id": str(made.brand_id),
        "key_version": made.fingerprint_key_version,
        "fingerprint_hash": "ab" * 32,
        "user_id": str(scan.user_id),
        "session_id": str(scan.session_id),
        "user_role": "Fan",
        "scanned_at": now().isoformat(),
        "request_digest": "00",
    }
    changes = [
        {},
        {"campaign_id": str(sibling.id)},
        {"brand_id": str(foreign.brand_id)},
        {"key_version": made.fingerprint_key_version + 1},
    ]

    found = []
    for change in changes:
        with superuser.cursor() as cursor:
            cursor.execute(
                "select refusal from app.load_scan_facts("
                "array[jsonb_populate_record(null::app.scan_request, %s)], '{}')",
                (psycopg2.extras.Json(request | change),),
            )
            found.append(cursor.fetchone()[0])

    assert found == [None, "changed_meanwhile", "changed_meanwhile", "changed_meanwhile"]


def test_only_uncertain_scan_has_the_policy_in_its_details(campaign, code_of, fan, recorder, stored):
    code = code_of(campaign(geofence=FENCE | {"when_uncertain": "flag"}))
    edge = MADRID[0] + 490 / 111_034
    person = fan("essential")

    recorder.record(
        [
            scan_request(person, code),
            scan_request(person, code, lat=edge, accuracy_m=50.0),
            scan_request(person, code, lat=NEW_YORK[0], lon=NEW_YORK[1]),
        ]
    )

    found = {scan["geofence_status"]: scan["details"] for scan in stored("geofence_status, details")}
    radius = {"radius_m": FENCE["radius_m"]}
    assert found == {"inside": {}, "uncertain": {"when_uncertain": "flag", **radius}, "outside": radius}


@pytest.mark.parametrize("lateness", [timedelta(minutes=1), timedelta(minutes=3)])
def test_outcome_and_stored_scan_agree_about_lateness(campaign, code_of, fan, recorder, stored, lateness):
    code = code_of(campaign(age=timedelta(days=1)))

    (outcome,) = recorder.record([scan_request(fan("essential"), code, scanned_at=now() - lateness)])

    assert [scan["late"] for scan in stored("late")] == [outcome.late] == [lateness > timedelta(minutes=2)]


def test_scan_outside_the_fence_keeps_its_reason_beside_a_full_limit(campaign, code_of, fan, recorder):
    code, person = code_of(campaign(geofence=FENCE, scan_limit={"per_user": ONCE})), fan("essential")
    outside = {"lat": NEW_YORK[0], "lon": NEW_YORK[1]}

    batch = recorder.record([scan_request(person, code, **outside), scan_request(person, code)])
    (after,) = recorder.record([scan_request(person, code, **outside)])

    assert verdicts(batch) == ["geofence_outside", "accepted"]
    assert after.reason == "geofence_outside"


def test_missing_consents_are_those_of_the_brand_and_of_live_sessions(campaign, code_of, fan, recorder, superuser):
    made, person = campaign(consent_tiers=["essential", "marketing"]), fan("marketing")
    superuser.cursor().execute(
        "update public.consents set brand_id = %s where user_id = %s", (made.brand_id, person.user_id)
    )
    scan = scan_request(person, code_of(made))

    missing, ended = recorder.record([scan, changed(scan, session_id=uuid4())])

    assert (missing.reason, missing.details["missing"]) == ("consent_required", ["essential"])
    assert (ended.reason, ended.details) == ("session_ended", {"incomplete": True})


@pytest.mark.parametrize(
    ("timezone", "until"), [("UTC", "2026-11-22T11:00:00+00:00"), ("Asia/Kolkata", "2026-11-22T10:30:00+00:00")]
)
def test_hour_of_limit_ends_at_next_full_hour_of_zone(superuser, timezone, until):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select app.describe_limit('user', (1, 'hour')::app.scan_limit, '2026-11-22T10:15Z', %s)", (timezone,)
        )
        ((found,),) = cursor.fetchall()

    assert (found["scope"], found["window"], found["until"]) == ("user", "hour", until)
