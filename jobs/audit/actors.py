"""Report unsealed audit entries. The seal process seals them (`jobs.audit.seal`)."""

import logging

from jobs.engine import actor
from models.audit import chain, checkpoints

logger = logging.getLogger(__name__)


@actor("audit.sweep", runs_as="system")
def sweep_unsealed() -> None:
    """Report audit entries without a seal for too long, and overdue checkpoints."""
    for brand_id, seconds in chain.unsealed_since(chain.OVERDUE):
        logger.error(
            "audit entries of %s have waited %.0f s for their seal",
            brand_id or "the platform",
            seconds,
            extra={"brand_id": str(brand_id) if brand_id else None},
        )
    if checkpoints.gauges().checkpoint_overdue:
        logger.error("no checkpoint of the audit trail has been stored for %.0f s", checkpoints.OVERDUE)
