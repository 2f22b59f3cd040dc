"""Which permissions a role has, answered in the event loop and asked for in a thread."""

import time
from collections.abc import Callable

from models.core.context import Identity
from web.http.thread_pool import Pool

MAX_AGE = 30.0  # seconds; row policies bite at once, whatever is remembered here


class Grants:
    """Remembers for `MAX_AGE` seconds what the database says about a role and a permission."""

    def __init__(self, pool: Pool, allowed: Callable[[str | None, str], bool]) -> None:
        self._pool = pool
        self._ask = allowed
        self._known: dict[tuple[str, str], tuple[float, bool]] = {}

    async def allow(self, identity: Identity, permission: str) -> bool:
        """Whether `identity`'s role has `permission`."""
        role = identity.user_role or ""
        known = self._known.get((role, permission))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        answer: bool = await self._pool.run(self._ask, role, permission)
        self._known[role, permission] = (time.monotonic() + MAX_AGE, answer)
        return answer
