"""Present claim of a scan: a reward, a reservation while it is reviewed, or nothing."""

from collections.abc import Mapping
from uuid import UUID

from models.campaigns.rewards import Earned, Standing
from models.core.database import row

EARNED: Mapping[str, Earned] = {"accept": "reward", "review": "reservation"}
"""Claim of an accepted scan in each band; none in the others, and nothing before its first score."""

_FIND = """
SELECT s.id AS scan_id, s.campaign_id, s.user_id, c.name AS campaign_name, s.band, s.decision
FROM app.real_scans s JOIN public.campaigns c ON c.id = s.campaign_id WHERE s.id = %s
"""


def find(scan_id: UUID) -> Standing | None:
    """Return what a scan of the job's brand has earned; None if there is no such scan."""
    found = row(_FIND, (scan_id,))
    if found is None:
        return None
    band, decision = found.pop("band"), found.pop("decision")
    return Standing(**found, earned=EARNED.get(band, "nothing") if decision == "accepted" else "nothing")
