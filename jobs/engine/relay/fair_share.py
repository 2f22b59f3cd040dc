"""The turns that brands have had lately: whoever has had fewer goes first.

Without a memory a brand that asks for far too much has its turn in every round, and in most rounds only one or two
others have anything waiting: half of the turns are the noisy one's. With a memory it has what the others leave, for as
long as they ask for less than their share.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

MEMORY = 1.0
"""Seconds after which a turn counts for 1/e of one."""
MOST = 32
"""Brands whose turns are told: those that have had most."""
_FORGOTTEN = 0.5


class Turns:
    """The turns that each brand has had in one queue, as far as this relay has given them. Not for several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._had: dict[UUID, float] = {}
        self._at = clock()

    def given(self, tenant_keys: Iterable[UUID]) -> None:
        """Note that a job of each of these has been taken."""
        for tenant_key in tenant_keys:
            self._had[tenant_key] = self._had.get(tenant_key, 0.0) + 1.0

    def lately(self) -> Mapping[UUID, float]:
        """By how many turns brands are ahead: of those that are not named."""
        now = self._clock()
        share, self._at = math.exp((self._at - now) / MEMORY), now
        self._had = {tenant_key: had * share for tenant_key, had in self._had.items() if had * share >= _FORGOTTEN}
        if len(self._had) <= MOST:
            return self._had
        first, *heaviest = sorted(self._had.items(), key=lambda each: each[1])[-MOST - 1 :]
        return {tenant_key: had - first[1] for tenant_key, had in heaviest}
