"""Report entries that the seal process (`jobs.audit.seal`) has not sealed, and overdue checkpoints."""

import logging

from jobs.engine import actor
from models.audit import chain, checkpoints

logger = logging.getLogger(__name__)


@actor("audit.sweep", runs_as="system")
def sweep_unsealed() -> None:
    """Log an error for each tenant whose entries have been unsealed for too long, and for overdue checkpoints."""
    for brand_id, seconds in chain.overdue_tenants(chain.OVERDUE):
        logger.error(
            "audit entries of %s have been unsealed for %.0f s",
            brand_id or "the platform",
            seconds,
            extra={"brand_id": str(brand_id) if brand_id else None},
        )
    if checkpoints.gauges().checkpoint_overdue:
        logger.error("no checkpoint of the audit trail has been stored for %.0f s", checkpoints.OVERDUE)
