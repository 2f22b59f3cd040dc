"""Sealing the audit trail."""

from uuid import UUID

from jobs.engine import actor
from models import seals
from models.jobs import enqueue

BATCHES = 20
"""Batches that one job seals; more are left to the next one, so that none holds a chain for long."""

OVERDUE = 10.0
"""Seconds after which an entry without a seal has been forgotten by its job."""


@actor("audit.seal", runs_as="system", time_limit=60.0)
def seal_entries(brand_id: UUID | None) -> None:
    """Seal a tenant's entries (null: the platform's) into its chain."""
    for _ in range(BATCHES):
        if seals.seal(brand_id) < seals.BATCH:
            return
    ask_for_seal(brand_id)


@actor("audit.sweep", runs_as="system")
def sweep_unsealed() -> None:
    """Ask again for what lies unsealed, tenant by tenant."""
    for brand_id in seals.unsealed_since(OVERDUE):
        ask_for_seal(brand_id)


def ask_for_seal(brand_id: UUID | None) -> None:
    """Enqueue the seal of a tenant's entries, under the key that `app.add_audit` enqueues it with."""
    tenant = str(brand_id or "platform")
    enqueue(
        "audit.seal", brand_id, unique="while_waiting", unique_key=f"audit.seal:{tenant}", subject=("audit", tenant)
    )
