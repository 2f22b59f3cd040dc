"""Merge and delete the counts of unstored scans (`app.scan_refusals`)."""

from datetime import timedelta

from models.core.database import execute

KEEP_REFUSALS = timedelta(days=400)
"""How long the counts are kept."""

_MERGE = """
WITH merged AS (
    DELETE FROM app.scan_refusals WHERE hour < date_trunc('hour', now(), 'UTC') AND hour >= now() - interval '2 days'
    RETURNING brand_id, campaign_id, hour, reason, n
)
INSERT INTO app.scan_refusals (brand_id, campaign_id, hour, reason, n)
SELECT brand_id, campaign_id, hour, reason, sum(n) FROM merged GROUP BY brand_id, campaign_id, hour, reason
"""


def merge_refusals() -> None:
    """Merge the rows of each past hour into one for each campaign and reason; delete those past `KEEP_REFUSALS`.

    Batches only insert into the current hour, so a merge waits for no batch.
    """
    execute(_MERGE)
    execute("DELETE FROM app.scan_refusals WHERE hour < now() - %s", (KEEP_REFUSALS,))
