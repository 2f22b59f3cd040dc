"""Merge and delete the counts of scans that are not stored (`app.scan_refusals`)."""

from datetime import timedelta

from models.core.database import execute

KEEP_REFUSALS = timedelta(days=400)
"""Retention of the counts."""

_MERGE = """
WITH merged AS (
    DELETE FROM app.scan_refusals WHERE hour < date_trunc('hour', now(), 'UTC') AND hour >= now() - interval '2 days'
    RETURNING brand_id, campaign_id, hour, reason, n
)
INSERT INTO app.scan_refusals (brand_id, campaign_id, hour, reason, n)
SELECT brand_id, campaign_id, hour, reason, sum(n) FROM merged GROUP BY brand_id, campaign_id, hour, reason
"""


def merge() -> None:
    """Merge the rows of each past hour into one per campaign and reason. Delete rows older than `KEEP_REFUSALS`.

    Batches only insert into the current hour, so a merge waits for no batch.
    """
    execute(_MERGE)
    execute("DELETE FROM app.scan_refusals WHERE hour < now() - %s", (KEEP_REFUSALS,))
