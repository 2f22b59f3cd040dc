"""Recent dispatches of each tenant: the tenant with fewer is served first.

Without this record, a tenant with too many jobs is served in every round. In most rounds only one or two other tenants
have waiting jobs, so half of the dispatches go to the noisy tenant. With the record, the noisy tenant gets only the
capacity that the others do not use, as long as they use less than their share.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

MEMORY = 1.0
"""Seconds after which a dispatch counts as 1/e of one."""
MAX_TENANTS = 32
"""Maximum number of tenants that `FairShare.recent` returns: those with the highest counts."""
_NEGLIGIBLE = 0.5
"""Count below which a tenant is removed."""


class FairShare:
    """Recent dispatches of each tenant in one queue, as recorded by this relay. Not thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._dispatched: dict[UUID, float] = {}
        self._decayed_at = clock()

    def record(self, tenant_keys: Iterable[UUID]) -> None:
        """Count one published job for each tenant key."""
        for tenant_key in tenant_keys:
            self._dispatched[tenant_key] = self._dispatched.get(tenant_key, 0.0) + 1.0

    def recent(self) -> Mapping[UUID, float]:
        """Return the recent dispatches of the `MAX_TENANTS` tenants with the highest counts.

        If other tenants are left out, their highest count is subtracted from each: they count as 0.
        """
        now = self._clock()
        decay, self._decayed_at = math.exp((self._decayed_at - now) / MEMORY), now
        self._dispatched = {key: n * decay for key, n in self._dispatched.items() if n * decay >= _NEGLIGIBLE}
        if len(self._dispatched) <= MAX_TENANTS:
            return self._dispatched
        left_out, *highest = sorted(self._dispatched.items(), key=lambda each: each[1])[-MAX_TENANTS - 1 :]
        return {key: n - left_out[1] for key, n in highest}
