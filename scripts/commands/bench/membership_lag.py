"""Measure the lag of memberships: seconds from an engagement until its person is a member of a segment.

`python -m scripts.commands.bench.membership_lag BRAND SEGMENT CAMPAIGN COUNT` records an event of kind `survey` for
COUNT contacts with a person who are not members, one after another, and prints JSON. The segment needs
`{"event": {"kind": "survey"}}`; a relay and the workers of the queue `default` must be running.
"""

import json
import statistics
import sys
import time
from uuid import UUID

from models.audiences import engagement_events
from models.core import context
from models.core.database import new_id, now, rows, transaction, value

POLL = 0.002
"""Seconds between two looks at the membership."""
PATIENCE = 30.0
"""Seconds after which a membership counts as lost."""

_OUTSIDE = """
SELECT c.id, c.user_id FROM public.contacts c
WHERE c.brand_id = %s AND c.user_id IS NOT NULL AND c.merged_into IS NULL AND NOT EXISTS (
    SELECT FROM public.segment_members m
    WHERE m.brand_id = c.brand_id AND m.segment_id = %s AND m.contact_id = c.id AND m.left_at IS NULL)
ORDER BY c.id LIMIT %s
"""
_IS_MEMBER = """
SELECT count(*) FROM public.segment_members
WHERE brand_id = %s AND segment_id = %s AND contact_id = %s AND left_at IS NULL
"""


def measure(brand_id: UUID, segment_id: UUID, campaign_id: UUID, count: int) -> list[float]:
    """Return the lag of each of `count` contacts, in seconds, in ascending order."""
    with transaction(context.for_brand_job(brand_id)):
        people = rows(_OUTSIDE, (brand_id, segment_id, count))
    return sorted(_lag(brand_id, segment_id, campaign_id, one["id"], one["user_id"]) for one in people)


def _lag(brand_id: UUID, segment_id: UUID, campaign_id: UUID, contact_id: UUID, user_id: UUID) -> float:
    with transaction(context.for_brand_job(brand_id)):
        engagement_events.record(
            "survey",
            brand_id=brand_id,
            campaign_id=campaign_id,
            user_id=user_id,
            source_id=new_id(),
            occurred_at=now(),
        )
    begun = time.perf_counter()
    while time.perf_counter() - begun < PATIENCE:
        with transaction(context.for_brand_job(brand_id)):
            if value(_IS_MEMBER, (brand_id, segment_id, contact_id)):
                return time.perf_counter() - begun
        time.sleep(POLL)
    raise TimeoutError(f"contact {contact_id} is no member after {PATIENCE} seconds")


def numbers(lags: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of lags, in milliseconds."""
    cut = statistics.quantiles(lags, n=20, method="inclusive")
    return {"membership_lag_p50_ms": round(cut[9] * 1000), "membership_lag_p95_ms": round(cut[18] * 1000)}


if __name__ == "__main__":
    brand, segment, campaign, many = sys.argv[1:]
    print(json.dumps(numbers(measure(UUID(brand), UUID(segment), UUID(campaign), int(many)))))
