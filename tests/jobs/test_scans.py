"""Test the jobs after a scan: its score, the engagement of the person, and dependent jobs."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest

from jobs.audiences.actors import fold_engagements
from jobs.scans import score_scan
from models.core import context
from models.core.database import new_id, now, transaction
from models.core.errors import NotFound
from models.scans import scoring
from models.scans.fraud import Evidence, combine
from tests.fixtures.scans import FENCE, MADRID, NEW_YORK


def rules(scan) -> list[str]:
    return [found["rule"] for found in scan["evidence"]]


def engagements(superuser):
    with superuser.cursor() as cursor:
        cursor.execute("select user_id, scans, first_at, last_at from public.engagements")
        return {user_id: rest for user_id, *rest in cursor.fetchall()}


def test_ordinary_scan_has_score_zero(phone, campaign, code_of, drain, stored):
    phone().scan(code_of(campaign(geofence=FENCE)))

    ran = drain()
    assert [name for name in ran if name != "segments.apply"] == [
        *("scan.score", "engagements.fold", "contact.upsert", "overview.refresh", "coliseum.deliver")
    ]
    assert "segments.apply" in ran

    (scan,) = stored()
    assert (scan["score"], scan["band"], scan["flagged"], scan["evidence"]) == (0, "accept", False, [])
    assert scan["scored_at"] is not None


def test_person_in_two_distant_places_is_flagged(phone, campaign, code_of, drain, stored):
    code = code_of(campaign(age=timedelta(days=1)))
    device = phone()
    device.scan(code, scanned_at=now() - timedelta(minutes=10))
    device.place, device.fingerprint = NEW_YORK, "another device"
    device.scan(code)
    drain()

    first, second = stored()

    assert rules(first) == ["travel.impossible", "scan.late"]
    assert rules(second) == ["travel.impossible"]
    assert (second["band"], second["flagged"]) == ("review", True)
    assert second["evidence"][0]["observed"] > 900


def test_device_in_two_distant_places_is_flagged(phone, campaign, code_of, drain, stored):
    code = code_of(campaign())
    phone(fingerprint="handed around").scan(code, scanned_at=now() - timedelta(minutes=1))
    phone(fingerprint="handed around", place=NEW_YORK).scan(code)
    drain()

    assert rules(stored()[1]) == ["travel.impossible"]


def test_fifth_scan_of_device_in_ten_minutes_is_flagged(phone, campaign, code_of, drain, stored):
    code = code_of(campaign())
    device = phone()
    for seconds_ago in (700, 60, 50, 40, 30, 20):
        device.scan(code, scanned_at=now() - timedelta(seconds=seconds_ago))
    drain()

    assert [rules(scan) for scan in stored()] == [["scan.late"], [], [], [], [], ["device.velocity"]]


def test_third_person_with_one_device_is_flagged(phone, campaign, code_of, drain, stored):
    code = code_of(campaign())
    for _ in range(3):
        phone(fingerprint="shared device").scan(code)
    drain()

    assert [rules(scan) for scan in stored()] == [[], [], ["device.shared"]]


def test_scans_of_another_brand_are_no_evidence(phone, campaign, code_of, drain, stored, make_brand, member):
    other = member("Campaign Manager", brand=make_brand("Other"))
    here, there = code_of(campaign()), code_of(campaign(by=other))
    device = phone()
    device.scan(here, scanned_at=now() - timedelta(minutes=1))
    device.place = NEW_YORK
    device.scan(there)
    drain()

    assert [rules(scan) for scan in stored()] == [[], []]


def test_scan_outside_the_fence_is_evidence_and_no_engagement(phone, campaign, code_of, drain, stored, superuser):
    phone(place=NEW_YORK).scan(code_of(campaign(geofence=FENCE)))

    assert drain() == ["scan.score", "overview.refresh"]

    (scan,) = stored()
    assert (rules(scan), scan["band"], scan["flagged"]) == (["fence.outside"], "review", True)
    assert scan["evidence"][0]["observed"] == pytest.approx(5_768_000, rel=0.01)
    assert engagements(superuser) == {}


@pytest.mark.parametrize(
    ("policy", "expected"), [("accept", ["fence.uncertain"]), ("flag", ["fence.flagged", "fence.uncertain"])]
)
def test_uncertain_position_is_judged_by_the_campaign_policy(phone, campaign, code_of, drain, stored, policy, expected):
    made = campaign(geofence=FENCE | {"when_uncertain": policy})
    phone(place=(MADRID[0] + 490 / 111_034, MADRID[1]), accuracy_m=50).scan(code_of(made))
    drain()

    (scan,) = stored()
    assert rules(scan) == expected
    assert scan["flagged"] is (policy == "flag")
    assert scan["evidence"][0]["observed"] == pytest.approx(40, abs=3)


def test_engagement_counts_scans_that_are_not_held_back(phone, campaign, code_of, drain, superuser, stored):
    code = code_of(campaign(age=timedelta(days=1)))
    device = phone()
    for minutes_ago in (90, 60, 1):
        device.scan(code, scanned_at=now() - timedelta(minutes=minutes_ago))
    drain()
    times = [scan["scan_time"] for scan in stored()]

    assert engagements(superuser) == {device.account.user_id: [3, min(times), max(times)]}


def rejecting_score():
    """Return a score in the band `REJECT`."""
    return combine([Evidence("one", 1, 0, "1", 0.6), Evidence("other", 1, 0, "1", 0.6)])


def test_engagement_does_not_count_a_scan_held_back_later(phone, campaign, code_of, drain, superuser, stored):
    made = campaign()
    device = phone()
    for _ in range(2):
        device.scan(code_of(made))
    drain()

    with transaction(context.for_brand_job(made.brand_id)):
        scoring.apply_score(stored()[0]["id"], rejecting_score())
    drain()

    assert engagements(superuser)[device.account.user_id][0] == 1
    assert stored()[0]["band"] == "reject"


def test_scoring_twice_changes_nothing(phone, campaign, code_of, drain, superuser, stored):
    made = campaign()
    phone().scan(code_of(made))
    drain()
    before, engaged = stored("id, score, band, evidence, flagged"), engagements(superuser)

    with transaction(context.for_brand_job(made.brand_id)):
        score_scan(before[0]["id"])

    assert stored("id, score, band, evidence, flagged") == before
    assert engagements(superuser) == engaged


def test_scan_of_a_transaction_that_commits_late_is_folded_later(phone, campaign, code_of, drain, superuser, stored):
    made = campaign()
    device = phone()
    for _ in range(2):
        device.scan(code_of(made))
    first, second = (scan["id"] for scan in stored())
    is_scored, may_commit = Event(), Event()

    def score_slowly():
        with transaction(context.for_brand_job(made.brand_id)):
            scoring.apply_score(first, combine([]))
            is_scored.set()
            assert may_commit.wait(60)

    with ThreadPoolExecutor(1) as elsewhere:
        slow = elsewhere.submit(score_slowly)
        assert is_scored.wait(60)
        with transaction(context.for_brand_job(made.brand_id)):
            scoring.apply_score(second, combine([]))
            fold_engagements(made.id)
        before = engagements(superuser)[device.account.user_id][0]
        may_commit.set()
        slow.result(60)
    drain()

    assert (before, engagements(superuser)[device.account.user_id][0]) == (1, 2)


def test_job_of_a_brand_scores_no_scan_of_another(phone, campaign, code_of, make_brand, stored):
    phone().scan(code_of(campaign()))
    (scan,) = stored()

    with transaction(context.for_brand_job(make_brand("Other")["id"])):
        assert scoring.load_with_history([scan["id"]]) == []
        assert scoring.apply_score(scan["id"], rejecting_score()) is False
        with pytest.raises(NotFound):
            scoring.begin_scoring(scan["id"])


def test_scoring_of_missing_scan_raises_not_found(db_clean):
    with transaction(context.for_brand_job(new_id())), pytest.raises(NotFound):
        score_scan(new_id())


def test_each_brand_gets_its_own_contact_of_a_person(phone, campaign, code_of, drain, make_brand, member, superuser):
    other = member("Campaign Manager", brand=make_brand("Other"))
    device = phone()
    for made in (campaign(), campaign(by=other)):
        device.scan(code_of(made))

    drain()

    with superuser.cursor() as cursor:
        cursor.execute(
            "select count(distinct brand_id) from public.contacts where user_id = %s", (device.account.user_id,)
        )
        assert cursor.fetchone() == (2,)
