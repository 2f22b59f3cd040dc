"""The history of a scan: each fact counts the scans of its window and subject, and none beside them."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from models.audiences import engagements
from models.core import context
from models.core.database import transaction
from models.scans import scoring
from models.scans.fraud import BURST_DEVICES, Case, combine
from tests.fixtures.scans import MADRID, TOKYO, ScanStore, StoredScan

DAY = 24 * 60.0
SECOND = 1 / 60
SCAN = 100
"""Id of the scan whose history is read. Ids order scans of the same time."""


def scan(id: int = SCAN, **changes) -> StoredScan:
    return StoredScan(id, **({"device": 1} | changes))


def case_of(store: ScanStore, id: int = SCAN) -> Case:
    with transaction(context.for_brand_job(store.campaign.brand_id)):
        (found,) = scoring.load_with_history([UUID(int=id)])
    return found.case


def affected_by(store: ScanStore, id: int = SCAN) -> tuple[list[str], list[int]]:
    """Return the kinds of subjects, and the ids of scans, that a scan affects."""
    with transaction(context.for_brand_job(store.campaign.brand_id)):
        (found,) = scoring.load_with_history([UUID(int=id)])
        affected = scoring.find_affected(found)
    return [subject for subject, _ in affected.subjects], [one.int for one in affected.scan_ids]


def test_velocity_counts_scans_of_device_in_ten_minutes_up_to_the_scan(scan_store):
    scan_store.put(
        scan(1, at=-10),
        scan(2, at=-10 + SECOND),
        scan(3, at=0),
        scan(101, at=0),
        scan(4, at=1),
        scan(5, at=-1, device=2),
        scan(),
    )

    assert case_of(scan_store).device_scans == 3


def test_sharing_counts_people_of_device_in_a_day_up_to_the_scan(scan_store):
    scan_store.put(
        scan(1, at=-DAY, person=1),
        scan(2, at=-1, person=2, device=2),
        scan(101, person=1),
        scan(),
    )
    assert case_of(scan_store).device_people == 1

    scan_store.put(
        scan(3, at=-1), scan(4, at=-DAY + SECOND, person=1), scan(5, at=-DAY + 2 * SECOND, person=1), scan(6, person=2)
    )
    assert case_of(scan_store).device_people == 3


@pytest.mark.parametrize(
    ("subject", "own", "beside"),
    [("person", {"device": 2}, {"person": 1, "device": 3}), ("device", {"person": 1}, {"person": 2, "device": 3})],
)
def test_neighbours_are_the_nearest_scans_with_a_position(scan_store, subject, own, beside):
    scan_store.put(
        scan(1, at=-60, place="Tokyo", **own),
        scan(2, at=-30, place="Madrid", **own),
        scan(3, at=-10, **own),
        scan(4, at=-5, place="Tokyo", **beside),
        scan(place="Madrid"),
        scan(5, at=5, place="Tokyo", **beside),
        scan(6, at=10, **own),
        scan(7, at=30, place="Tokyo", **own),
        scan(8, at=60, place="Madrid", **own),
    )

    found = getattr(case_of(scan_store), subject)

    assert [(round(one.lat, 4), round(one.lon, 4)) for one in (found.before, found.after)] == [MADRID, TOKYO]
    assert found.after.at - found.before.at == timedelta(hours=1)


@pytest.mark.parametrize(("subject", "own"), [("person", {"device": 2}), ("device", {"person": 1})])
def test_neighbours_of_the_same_time_are_ordered_by_id(scan_store, subject, own):
    scan_store.put(
        scan(98, place="Madrid", **own),
        scan(99, place="Tokyo", **own),
        scan(place="Madrid"),
        scan(101, place="Tokyo", **own),
        scan(102, place="Madrid", **own),
    )

    found = getattr(case_of(scan_store), subject)

    assert [round(one.lat, 4) for one in (found.before, found.after)] == [TOKYO[0], TOKYO[0]]


def test_scan_alone_has_no_neighbours(scan_store):
    scan_store.put(scan(place="Madrid"))

    case = case_of(scan_store)

    assert {case.person.before, case.person.after, case.device.before, case.device.after} == {None}


def test_late_batch_counts_late_scans_received_in_ten_minutes(scan_store):
    def received(id: int, minutes: float, **changes) -> StoredScan:
        """Return a late scan that is received so many minutes after noon."""
        return scan(id, at=minutes - 60, delay=60, **changes)

    scan_store.put(
        received(1, -10),
        received(2, -10 + SECOND),
        received(3, 0),
        received(101, 0),
        received(4, 1),
        scan(5, at=-1, delay=1),
        received(6, -1, person=1, device=2),
        received(SCAN, 0),
    )
    assert case_of(scan_store).late_batch == 3

    scan_store.put(*(received(id, -1, person=1) for id in (7, 8)))
    assert case_of(scan_store).late_batch == 5  # of the device

    scan_store.put(*(received(id, -1, device=2) for id in (9, 10, 11)))
    assert case_of(scan_store).late_batch == 6  # of the person


def test_scan_that_is_not_late_has_no_late_batch(scan_store):
    scan_store.put(*(scan(id, at=-60, delay=60) for id in range(1, 4)), scan(delay=2))

    assert case_of(scan_store).late_batch == 0


def test_burst_counts_new_devices_of_network_and_code_in_ten_minutes(scan_store, campaign):
    new = {"new_device": True}
    scan_store.put(
        scan(1, at=-10, **new),
        scan(2, at=-10 + SECOND, address="192.0.2.255", **new),
        scan(3, **new),
        scan(101, **new),
        scan(4, at=1, **new),
        scan(5, at=-1),
        scan(6, at=-1, address="198.51.100.1", **new),
        scan(**new),
    )
    scan_store.put(scan(7, at=-1, **new), campaign=campaign("Other"))
    assert case_of(scan_store).new_devices == 3

    scan_store.put(*(scan(id, at=-2, **new) for id in range(10, 30)))
    assert case_of(scan_store).new_devices == BURST_DEVICES


def test_scan_of_a_known_device_is_in_no_burst(scan_store):
    scan_store.put(scan(1, at=-1, new_device=True), scan())

    assert case_of(scan_store).new_devices == 0


@pytest.mark.parametrize(
    ("geofence_status", "distance_m", "overshoot_m"),
    [("none", None, 0), ("uncertain", 295, 5), ("inside", 200, 0), ("outside", 3000, 2710)],
)
def test_overshoot_is_beyond_the_radius_at_the_scan(scan_store, geofence_status, distance_m, overshoot_m):
    # The campaign has a radius of 500 metres now.
    scan_store.put(scan(geofence_status=geofence_status, distance_m=distance_m, radius_m=300, place="Madrid"))

    case = case_of(scan_store)

    assert (case.geofence_status, case.overshoot_m) == (geofence_status, pytest.approx(overshoot_m))


@pytest.mark.parametrize(("policy", "flagged"), [("flag", True), ("accept", False), (None, False)])
def test_only_the_policy_flag_asks_for_a_review(scan_store, policy, flagged):
    scan_store.put(scan(when_uncertain=policy))

    assert case_of(scan_store).flag_uncertain is flagged


@pytest.mark.parametrize(
    ("other", "subjects"),
    [
        ({"at": SECOND}, ["device"]),
        ({"at": DAY - SECOND}, ["device"]),
        ({"at": DAY}, []),
        ({"at": -SECOND}, []),
        ({"at": SECOND, "device": 2}, []),
        ({"id": 101}, ["device"]),
        ({"id": 99}, []),
    ],
)
def test_scan_affects_later_scans_of_its_device_within_a_day(scan_store, other, subjects):
    scan_store.put(scan(**({"id": 1} | other)), scan())

    assert affected_by(scan_store) == (subjects, [])


@pytest.mark.parametrize(
    ("received", "other", "subjects"),
    [
        (1, {}, ["device", "person"]),
        (1, {"device": 2}, ["person"]),
        (1, {"person": 1}, ["device"]),
        (1, {"person": 1, "device": 2}, []),
        (10 - SECOND, {}, ["device", "person"]),
        (10, {}, []),
        (-SECOND, {}, []),
        (0, {"id": 101}, ["device", "person"]),
        (0, {"id": 99}, []),
    ],
)
def test_late_scan_affects_late_scans_received_in_ten_minutes_after_it(scan_store, received, other, subjects):
    # The other scan was made before this one, so it is not a later scan of the device.
    scan_store.put(scan(**({"id": 1, "at": -120, "delay": 120 + received} | other)), scan(at=-60, delay=60))

    assert affected_by(scan_store)[0] == subjects


@pytest.mark.parametrize("punctual", ["this scan", "the other scan"])
def test_scan_that_is_not_late_affects_no_late_batch(scan_store, punctual):
    first, second = (2, 60) if punctual == "this scan" else (60, 2)
    scan_store.put(scan(at=-first, delay=first), scan(101, at=1 - second, delay=second))

    later = [] if punctual == "this scan" else ["device"]
    assert affected_by(scan_store)[0] == later


def test_scan_affects_scans_that_reach_the_burst_with_it(scan_store, campaign):
    def new(id: int, at: float, **changes) -> StoredScan:
        return scan(id, at=at, new_device=True, **changes)

    scan_store.put(new(SCAN, 0), *(new(id, -1) for id in range(1, BURST_DEVICES - 1)))
    scan_store.put(new(201, 0.5, address="198.51.100.1"), scan(202, at=0.5))
    scan_store.put(new(203, 0.5), campaign=campaign("Other"))
    scan_store.put(*(new(id, -9.5) for id in range(301, 304)))  # more than ten minutes before 101
    scan_store.put(new(101, 1), new(102, 2), new(103, 10))

    # 101 is the tenth new device with this scan, and 102 the eleventh.
    assert affected_by(scan_store)[1] == [101]


@pytest.mark.parametrize("followers", [BURST_DEVICES - 1, 2 * BURST_DEVICES])
@pytest.mark.parametrize("is_new", [True, False])
def test_scan_affects_only_the_scan_that_it_makes_the_tenth(scan_store, followers, is_new):
    tenth = 100 + BURST_DEVICES - 1
    scan_store.put(scan(new_device=is_new))
    if not is_new:  # then an earlier device makes the same scan the tenth
        scan_store.put(scan(99, at=-SECOND, new_device=True))
    scan_store.put(*(scan(100 + n, at=n / 60, new_device=True) for n in range(1, followers + 1)))

    assert affected_by(scan_store)[1] == ([tenth] if is_new else [])


def test_rescoring_locks_scored_scans_around_the_day_of_the_subject(scan_store):
    noon = 12 * 60
    bounds = {
        1: scan(1, at=-noon - 25 * 60 - SECOND),
        2: scan(2, at=-noon - 25 * 60),
        3: scan(3, at=noon + 25 * 60 - SECOND),
        4: scan(4, at=noon + 25 * 60),
        5: scan(5, device=2, person=1),
        6: scan(6),
        7: scan(7, at=-9 * DAY, place="Madrid"),
        8: scan(8, at=-8 * DAY, place="Madrid"),
        9: scan(9, at=8 * DAY, place="Madrid"),
        10: scan(10, at=9 * DAY, place="Madrid"),
        11: scan(11, at=1),
    }
    scan_store.put(*bounds.values())
    scan_store.cursor.execute("update public.qr_scans set scored_at = now() where id <> %s", (str(UUID(int=11)),))

    for subject, subject_id in (("device", UUID(int=1)), ("person", scan_store.people[0])):
        with transaction(context.for_brand_job(scan_store.campaign.brand_id)):
            found = scoring.begin_rescoring(subject, subject_id, date(2026, 11, 22))

        assert [id.int for id in found] == [2, 3, 6, 8, 9]


def test_score_counts_for_its_scan_person_and_campaign_only(scan_store, campaign, superuser):
    other = campaign("Other")
    scan_store.put(
        scan(1, at=-2),
        scan(2, at=-1),
        scan(3, at=3),
        scan(4, at=4, reason="geofence_outside"),
        scan(5, at=5, person=1),
        scan(7, at=2),
    )
    scan_store.put(scan(6, at=-6), campaign=other)
    with transaction(context.for_brand_job(scan_store.campaign.brand_id)):
        for id in (2, 1, 7, 4, 5, 6):
            scoring.apply_score(UUID(int=id), combine([]))
        for one in (scan_store.campaign, other):
            engagements.fold(one.id)

    superuser_sql = "select campaign_id, user_id, scans, first_at, last_at from public.engagements"
    noon = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    with superuser.cursor() as cursor:
        cursor.execute(superuser_sql)
        found = {(campaign_id, user_id): rest for campaign_id, user_id, *rest in cursor.fetchall()}
        cursor.execute("select count(*) from public.qr_scans where scored_at is null")
        assert cursor.fetchone() == (1,)

    first, second = scan_store.people[:2]
    at = {minutes: noon + timedelta(minutes=minutes) for minutes in (-6, -2, 2, 5)}
    assert found == {
        (scan_store.campaign.id, first): [3, at[-2], at[2]],
        (scan_store.campaign.id, second): [1, at[5], at[5]],
        (other.id, first): [1, at[-6], at[-6]],
    }
