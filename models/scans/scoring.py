"""A scan's history, and what follows from its score. Runs as a job of the scan's brand."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from models.db import execute, row
from models.errors import NotFound
from models.fraud import SHARING_WINDOW, VELOCITY_WINDOW, Band, Case, Place, Score
from models.locks import lock

_HISTORY = """
SELECT s.id, s.campaign_id, s.user_id, s.decision, s.scan_time, s.received_at, s.late, s.geofence_status AS fence,
    coalesce(s.distance_m + s.accuracy_m - (c.config #>> '{geofence,radius_m}')::float8, 0) AS overshoot_m,
    coalesce(s.details ->> 'when_uncertain' = 'flag', false) AS wants_review,
    extensions.st_y(s.location::extensions.geometry) AS lat, extensions.st_x(s.location::extensions.geometry) AS lon,
    s.accuracy_m, person.place AS person_before, device.place AS device_before,
    (SELECT count(*) FROM public.qr_scans d WHERE d.device_fp_id = s.device_fp_id
        AND d.scan_time > s.scan_time - %s AND d.scan_time <= s.scan_time) AS device_scans,
    (SELECT count(DISTINCT d.user_id) FROM public.qr_scans d WHERE d.device_fp_id = s.device_fp_id
        AND d.scan_time > s.scan_time - %s AND d.scan_time <= s.scan_time) AS device_people
FROM public.qr_scans s
JOIN public.campaigns c ON c.id = s.campaign_id
LEFT JOIN LATERAL (
    SELECT json_build_array(extensions.st_y(p.location::extensions.geometry),
        extensions.st_x(p.location::extensions.geometry), p.accuracy_m, p.scan_time) AS place
    FROM public.qr_scans p
    WHERE p.brand_id = s.brand_id AND p.user_id = s.user_id AND p.scan_time < s.scan_time AND p.location IS NOT NULL
    ORDER BY p.scan_time DESC LIMIT 1
) AS person ON true
LEFT JOIN LATERAL (
    SELECT json_build_array(extensions.st_y(p.location::extensions.geometry),
        extensions.st_x(p.location::extensions.geometry), p.accuracy_m, p.scan_time) AS place
    FROM public.qr_scans p
    WHERE p.device_fp_id = s.device_fp_id AND p.scan_time < s.scan_time AND p.location IS NOT NULL
    ORDER BY p.scan_time DESC LIMIT 1
) AS device ON true
WHERE s.id = %s
"""

_SCORED = """
UPDATE public.qr_scans SET score = %s, band = %s, evidence = %s, flagged = %s, scored_at = now() WHERE id = %s
"""

# Counted anew each time, so that it doesn't matter how often or in which order scans are scored.
_ENGAGED = """
WITH counted AS (
    SELECT s.brand_id, s.campaign_id, s.user_id, min(s.scan_time) AS first_at, max(s.scan_time) AS last_at,
        count(*) FILTER (WHERE s.band IN ('accept', 'review')) AS accepted
    FROM public.qr_scans s
    WHERE s.campaign_id = %s AND s.user_id = %s AND s.decision = 'accepted' AND s.band IS NOT NULL
    GROUP BY s.brand_id, s.campaign_id, s.user_id
)
INSERT INTO public.engagements (brand_id, campaign_id, user_id, accepted_scans, first_scan_at, last_scan_at)
SELECT brand_id, campaign_id, user_id, accepted, first_at, last_at FROM counted
ON CONFLICT (campaign_id, user_id) DO UPDATE SET accepted_scans = excluded.accepted_scans,
    first_scan_at = excluded.first_scan_at, last_scan_at = excluded.last_scan_at
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """A scan to be scored: whose it is, and its case."""

    campaign_id: UUID
    user_id: UUID
    accepted: bool
    case: Case


def with_history(scan_id: UUID) -> Scored:
    """A scan of the job's brand with all that the fraud rules look at.

    Raises:
        NotFound: the brand has no such scan.
    """
    found = row(_HISTORY, (VELOCITY_WINDOW, SHARING_WINDOW, scan_id))
    if found is None:
        raise NotFound
    return Scored(found["campaign_id"], found["user_id"], found["decision"] == "accepted", _case(found))


def apply(scan_id: UUID, score: Score) -> None:
    """Write a score down, and bring the person's part in the campaign up to date with it.

    Raises:
        NotFound: the brand has no such scan.
    """
    scan = row("SELECT campaign_id, user_id FROM public.qr_scans WHERE id = %s", (scan_id,))
    if scan is None:
        raise NotFound
    # The count that is written last has to be the one that was read last.
    lock("engagement", scan["campaign_id"], scan["user_id"])
    evidence = json.dumps([asdict(found) for found in score.evidence])
    execute(_SCORED, (score.value, score.band.value, evidence, score.band is not Band.ACCEPT, scan_id))
    execute(_ENGAGED, (scan["campaign_id"], scan["user_id"]))


def _case(found: dict[str, Any]) -> Case:
    place = None
    if found["lat"] is not None:
        place = Place(found["lat"], found["lon"], found["accuracy_m"], found["scan_time"])
    before = (found["person_before"], found["device_before"])
    return Case(
        scanned_at=found["scan_time"],
        received_at=found["received_at"],
        late=found["late"],
        fence=found["fence"],
        overshoot_m=max(0.0, found["overshoot_m"]),
        wants_review=found["wants_review"],
        place=place,
        before=tuple(_place(one) for one in before if one is not None),
        device_scans=found["device_scans"],
        device_people=found["device_people"],
    )


def _place(packed: list[Any]) -> Place:
    lat, lon, accuracy_m, at = packed
    return Place(lat, lon, accuracy_m, datetime.fromisoformat(at))
