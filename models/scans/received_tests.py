"""Scans that campaigns received in test mode: how many, and when the last one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.core.database import rows


@dataclass(frozen=True, slots=True)
class ReceivedTests:
    """Number of test scans of a campaign, accepted or rejected, and the receipt of the last one."""

    count: int = 0
    last_at: datetime | None = None


def find(campaign_ids: Iterable[UUID]) -> dict[UUID, ReceivedTests]:
    """Return the test scans of each of these campaigns that has any. The caller may read the campaigns."""
    found = rows("SELECT * FROM app.count_test_scans(%s::uuid[])", (list(campaign_ids),))
    return {one.pop("campaign_id"): ReceivedTests(**one) for one in found}
