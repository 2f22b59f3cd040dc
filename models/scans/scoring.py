"""Load the history of scans and apply their fraud scores. Runs in a job of the scans' brand.

Scores don't depend on the order in which scans arrive and are scored, for two reasons. A scan's row is locked before
its history is read. The first scoring of a scan finds the scans whose history it has changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from models.audiences import engagement_events
from models.core.database import row, rows
from models.core.errors import NotFound
from models.scans.fraud import (
    BURST_DEVICES,
    BURST_WINDOW,
    LATE_BATCH_WINDOW,
    SHARING_WINDOW,
    VELOCITY_WINDOW,
    Band,
    Case,
    Neighbours,
    Position,
    Score,
    changes_travel,
)

Subject = Literal["device", "person"]

MAX_LATENESS = timedelta(hours=25)
"""Bound of the time between a stored scan and its receipt: 24 hours that a campaign accepts, and wrong clocks."""

# Bounds of the windows. `OFFSET 0` computes them before the comparisons: under row security only leakproof operators
# use an index, and no operator that adds an interval is leakproof. Nothing here may depend on `now()`.
_BOUNDS = """CROSS JOIN LATERAL (SELECT
    s.scan_time - %(velocity)s AS velocity_from, s.scan_time - %(sharing)s AS sharing_from,
    s.scan_time + %(sharing)s AS sharing_to, s.received_at - %(late_batch)s AS late_from,
    s.received_at + %(late_batch)s AS late_to, s.received_at - %(late_batch)s - %(max_lateness)s AS made_from,
    s.received_at - %(burst)s AS burst_from, s.received_at + %(burst)s AS burst_to
    OFFSET 0) AS w"""

_OF_DEVICE = "app.real_scans p WHERE p.brand_id = s.brand_id AND p.device_fp_id = s.device_fp_id"
_OF_PERSON = "app.real_scans p WHERE p.brand_id = s.brand_id AND p.user_id = s.user_id"
_POSITION = (
    "json_build_array(extensions.st_y(p.location::extensions.geometry),"
    " extensions.st_x(p.location::extensions.geometry), p.accuracy_m, p.scan_time)"
)

HISTORY = f"""
SELECT s.id, s.campaign_id, s.user_id, s.device_fp_id, s.decision, s.scan_time, s.received_at, s.late,
    s.geofence_status,
    CASE WHEN s.geofence_status IN ('uncertain', 'outside')
        THEN s.distance_m + s.accuracy_m - coalesce((s.details ->> 'radius_m')::float8, 0) ELSE 0 END AS overshoot_m,
    coalesce(s.details ->> 'when_uncertain' = 'flag', false) AS flag_uncertain,
    coalesce(c.config -> 'rewards' <> '[]', false) AS has_rewards,
    extensions.st_y(s.location::extensions.geometry) AS lat, extensions.st_x(s.location::extensions.geometry) AS lon,
    s.accuracy_m, around.*, counted.*
FROM app.real_scans s
JOIN public.campaigns c ON c.id = s.campaign_id
{_BOUNDS}
CROSS JOIN LATERAL (SELECT
    (SELECT {_POSITION} FROM {_OF_PERSON} AND p.location IS NOT NULL
            AND (p.scan_time, p.id) < (s.scan_time, s.id)
        ORDER BY p.scan_time DESC, p.id DESC LIMIT 1) AS person_before,
    (SELECT {_POSITION} FROM {_OF_PERSON} AND p.location IS NOT NULL
            AND (p.scan_time, p.id) > (s.scan_time, s.id)
        ORDER BY p.scan_time, p.id LIMIT 1) AS person_after,
    (SELECT {_POSITION} FROM {_OF_DEVICE} AND p.location IS NOT NULL
            AND (p.scan_time, p.id) < (s.scan_time, s.id)
        ORDER BY p.scan_time DESC, p.id DESC LIMIT 1) AS device_before,
    (SELECT {_POSITION} FROM {_OF_DEVICE} AND p.location IS NOT NULL
            AND (p.scan_time, p.id) > (s.scan_time, s.id)
        ORDER BY p.scan_time, p.id LIMIT 1) AS device_after
) AS around
CROSS JOIN LATERAL (SELECT
    (SELECT count(*) FROM {_OF_DEVICE}
        AND p.scan_time > w.velocity_from AND (p.scan_time, p.id) <= (s.scan_time, s.id)) AS device_scans,
    (SELECT count(DISTINCT p.user_id) FROM {_OF_DEVICE}
        AND p.scan_time > w.sharing_from AND (p.scan_time, p.id) <= (s.scan_time, s.id)) AS device_people,
    CASE WHEN s.late THEN greatest(
        (SELECT count(*) FROM {_OF_DEVICE} AND p.late
            AND p.scan_time > w.made_from AND p.scan_time < s.received_at
            AND p.received_at > w.late_from AND (p.received_at, p.id) <= (s.received_at, s.id)),
        (SELECT count(*) FROM {_OF_PERSON} AND p.late
            AND p.scan_time > w.made_from AND p.scan_time < s.received_at
            AND p.received_at > w.late_from AND (p.received_at, p.id) <= (s.received_at, s.id))
    ) ELSE 0 END AS late_batch,
    (SELECT count(*) FROM (
        SELECT FROM app.real_scans p
        WHERE s.new_device AND p.new_device AND p.code_id = s.code_id AND p.network = s.network
            AND p.received_at > w.burst_from AND (p.received_at, p.id) <= (s.received_at, s.id)
        LIMIT %(burst_devices)s) AS introduced) AS new_devices
) AS counted
WHERE s.id = ANY(%(ids)s::uuid[])
"""  # noqa: S608

# Find the scans whose history contains this scan, and which may have been scored without it. The query doesn't test for
# a score, because an uncommitted score is not visible.
AFFECTED = f"""
SELECT
    EXISTS (SELECT FROM {_OF_DEVICE}
        AND (p.scan_time, p.id) > (s.scan_time, s.id) AND p.scan_time < w.sharing_to) AS device_later,
    s.late AND EXISTS (SELECT FROM {_OF_DEVICE} AND p.late
        AND p.scan_time > w.made_from AND p.scan_time < w.late_to AND (p.received_at, p.id) > (s.received_at, s.id)
        AND p.received_at < w.late_to) AS device_late,
    s.late AND EXISTS (SELECT FROM {_OF_PERSON} AND p.late
        AND p.scan_time > w.made_from AND p.scan_time < w.late_to AND (p.received_at, p.id) > (s.received_at, s.id)
        AND p.received_at < w.late_to) AS person_late,
    -- Scans that reach BURST_DEVICES only with this scan. Scans after as many new devices reach it without this scan.
    ARRAY(SELECT f.id FROM (
            SELECT p.id, p.received_at, p.received_at - %(burst)s AS burst_from FROM app.real_scans p
            WHERE s.new_device AND p.new_device AND p.code_id = s.code_id AND p.network = s.network
                AND (p.received_at, p.id) > (s.received_at, s.id) AND p.received_at < w.burst_to
            ORDER BY p.received_at, p.id LIMIT %(burst_devices)s - 1) AS f
        WHERE %(burst_devices)s = (SELECT count(*) FROM (
            SELECT FROM app.real_scans p
            WHERE p.new_device AND p.code_id = s.code_id AND p.network = s.network
                AND p.received_at > f.burst_from AND (p.received_at, p.id) <= (f.received_at, f.id)
            LIMIT %(burst_devices)s + 1) AS introduced)) AS introduced
FROM app.real_scans s
{_BOUNDS}
WHERE s.id = %(id)s
"""  # noqa: S608

WINDOWS = {
    "velocity": VELOCITY_WINDOW,
    "sharing": SHARING_WINDOW,
    "late_batch": LATE_BATCH_WINDOW,
    "max_lateness": MAX_LATENESS,
    "burst": BURST_WINDOW,
    "burst_devices": BURST_DEVICES,
}

# Find the scans that a scan of a day can affect: those around the day, and the nearest with a position on both sides.
AROUND_DAY = {
    subject: f"""
SELECT id FROM app.real_scans
    WHERE {of_subject} AND scan_time >= %(from)s AND scan_time < %(to)s
UNION ALL (SELECT id FROM app.real_scans
    WHERE {of_subject} AND location IS NOT NULL AND scan_time < %(day)s ORDER BY scan_time DESC, id DESC LIMIT 1)
UNION ALL (SELECT id FROM app.real_scans
    WHERE {of_subject} AND location IS NOT NULL AND scan_time >= %(end)s ORDER BY scan_time, id LIMIT 1)
"""  # noqa: S608
    for subject, of_subject in (
        ("device", "brand_id = (SELECT app.job_brand()) AND device_fp_id = %(subject)s"),
        ("person", "brand_id = (SELECT app.job_brand()) AND user_id = %(subject)s"),
    )
}

# Lock in sorted order: two jobs that score several scans would deadlock otherwise.
_LOCK = """
SELECT id, scored_at IS NOT NULL AS is_scored FROM app.real_scans WHERE id = ANY(%s::uuid[])
ORDER BY id FOR NO KEY UPDATE
"""

_STORE_SCORE = """
UPDATE app.real_scans SET score = %(score)s, band = %(band)s, evidence = %(evidence)s, flagged = %(flagged)s,
    scored_at = now()
WHERE id = %(id)s AND (scored_at IS NULL OR (score, evidence) IS DISTINCT FROM (%(score)s::real, %(evidence)s::jsonb))
RETURNING brand_id, campaign_id, user_id, scan_time, decision = 'accepted' AS is_accepted,
    app.is_counted_band(band) AS is_counted
"""


@dataclass(frozen=True, slots=True)
class ScanCase:
    """A scan and the facts that the fraud rules read."""

    id: UUID
    campaign_id: UUID
    user_id: UUID
    device_id: UUID
    accepted: bool
    has_rewards: bool  # the campaign has rewards
    case: Case


@dataclass(frozen=True, slots=True)
class AffectedScans:
    """Scans whose evidence a new scan may have changed: all scans of `subjects` around `day`, and `scan_ids`."""

    subjects: tuple[tuple[Subject, UUID], ...]
    day: date
    scan_ids: tuple[UUID, ...]


def begin_scoring(scan_id: UUID) -> bool:
    """Lock a scan until the transaction ends. Return whether it has no score yet.

    Raises:
        NotFound: the brand has no such scan.
    """
    found = row(_LOCK, ([scan_id],))
    if found is None:
        raise NotFound
    return not found["is_scored"]


def begin_rescoring(subject: Subject, subject_id: UUID, day: date) -> list[UUID]:
    """Lock the scans that a scan of this subject on this day (UTC) can affect. Return the ids of those with a score.

    The first scoring of the others is their own job's, which finds the scans that they affect.
    """
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    params = {"subject": subject_id, "day": start, "end": end, "from": start - MAX_LATENESS, "to": end + MAX_LATENESS}
    found = [one["id"] for one in rows(AROUND_DAY[subject], params)]
    return [one["id"] for one in rows(_LOCK, (found,)) if one["is_scored"]]


def load_with_history(scan_ids: Sequence[UUID]) -> list[ScanCase]:
    """Return scans of the job's brand with all facts that the fraud rules read."""
    return [_scan_case(found) for found in rows(HISTORY, WINDOWS | {"ids": list(scan_ids)})]


def find_affected(scan: ScanCase) -> AffectedScans:
    """Return the scans whose evidence a newly arrived scan may have changed."""
    found = row(AFFECTED, WINDOWS | {"id": scan.id})
    assert found is not None
    case = scan.case
    subjects: list[tuple[Subject, UUID]] = []
    if found["device_later"] or found["device_late"] or changes_travel(case.position, case.device):
        subjects.append(("device", scan.device_id))
    if found["person_late"] or changes_travel(case.position, case.person):
        subjects.append(("person", scan.user_id))
    return AffectedScans(tuple(subjects), case.scanned_at.astimezone(UTC).date(), tuple(found["introduced"]))


def apply_score(scan_id: UUID, score: Score) -> bool:
    """Store a score. Return whether it has changed.

    An accepted scan in a band that counts is an engagement event. In another band, the event is reversed.
    """
    evidence = json.dumps([found.to_json() for found in score.evidence])
    flagged = score.band is not Band.ACCEPT
    params = {"id": scan_id, "score": score.value, "band": score.band.value, "evidence": evidence, "flagged": flagged}
    changed = row(_STORE_SCORE, params)
    if changed is None:
        return False
    if changed["is_accepted"]:
        engagement_events.record(
            "scan",
            brand_id=changed["brand_id"],
            campaign_id=changed["campaign_id"],
            user_id=changed["user_id"],
            source_id=scan_id,
            occurred_at=changed["scan_time"],
            reverses=not changed["is_counted"],
        )
    return True


def _scan_case(found: dict[str, Any]) -> ScanCase:
    accepted = found["decision"] == "accepted"
    ids = (found["id"], found["campaign_id"], found["user_id"], found["device_fp_id"])
    return ScanCase(*ids, accepted, found["has_rewards"], _case(found))


def _case(found: dict[str, Any]) -> Case:
    position = None
    if found["lat"] is not None:
        position = Position(found["lat"], found["lon"], found["accuracy_m"], found["scan_time"])
    return Case(
        scanned_at=found["scan_time"],
        received_at=found["received_at"],
        late=found["late"],
        geofence_status=found["geofence_status"],
        overshoot_m=max(0.0, found["overshoot_m"]),
        flag_uncertain=found["flag_uncertain"],
        position=position,
        person=Neighbours(_position(found["person_before"]), _position(found["person_after"])),
        device=Neighbours(_position(found["device_before"]), _position(found["device_after"])),
        device_scans=found["device_scans"],
        device_people=found["device_people"],
        late_batch=found["late_batch"],
        new_devices=found["new_devices"],
    )


def _position(packed: list[Any] | None) -> Position | None:
    if packed is None:
        return None
    lat, lon, accuracy_m, at = packed
    return Position(lat, lon, accuracy_m, datetime.fromisoformat(at))
