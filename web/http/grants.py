"""Permissions of roles, read in a thread and cached for the event loop."""

from collections.abc import Callable

from cachetools import TTLCache

from models.core.context import Identity
from web.http.thread_pool import ThreadPool

MAX_AGE = 30.0
"""Seconds that a copy of all permissions is used. Row policies apply a change at once."""

Pairs = frozenset[tuple[str, str]]
"""Role and permission."""


class Grants:
    """Decide by a cached copy of the permissions; belongs to one event loop."""

    def __init__(self, pool: ThreadPool, read: Callable[[], Pairs]) -> None:
        self._pool = pool
        self._read = read
        self._cache: TTLCache[str, Pairs] = TTLCache(maxsize=1, ttl=MAX_AGE)

    async def allow(self, identity: Identity, permission: str) -> bool:
        """Return whether the caller's role has the permission."""
        granted = self._cache.get("granted")
        if granted is None:
            granted = self._cache["granted"] = await self._pool.run(self._read)
        return (identity.user_role or "", permission) in granted
