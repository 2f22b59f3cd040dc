"""Whose access token it is: an API key, one of ours, or one of the Supabase project's that signs people in."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachetools import TLRUCache

from models.core.context import Identity, of_claims
from models.core.errors import TokenExpired
from models.identity import access_tokens, api_keys, supabase
from models.identity.jwks import RemoteKeys
from models.identity.supabase import Project, Verifier
from settings import Settings
from web.http.thread_pool import ThreadPool

FRESH = 30.0
"""Seconds for which a token of Supabase's isn't looked at again. Its session is, in every transaction."""
MOST = 10_000

Verify = Callable[[str], Awaitable[Identity]]


def verifier(config: Settings, pool: ThreadPool) -> Verify:
    """What this installation's tokens are verified by.

    Raises:
        ValueError: the settings don't say, or say something that isn't safe.
    """
    people = _people(config, pool)

    async def verify(token: str) -> Identity:
        if token.startswith(api_keys.PREFIX):
            key: Identity = await pool.run(api_keys.identify, token)
            return key
        return await people(token)

    return verify


def _people(config: Settings, pool: ThreadPool) -> Verify:
    if config.auth_mode == "own":
        return _own
    if config.auth_mode != "supabase":
        raise ValueError(f"AUTH_MODE must be own or supabase, not {config.auth_mode!r}")
    return SupabaseTokens(Project.of(config), pool)


async def _own(token: str) -> Identity:
    return of_claims(access_tokens.verify(token))


@dataclass(frozen=True, slots=True)
class _Known:
    identity: Identity
    expires_at: int


def _expiry(_token: str, _known: _Known, now: float) -> float:
    return now + FRESH


class SupabaseTokens:
    """Verifies a Supabase project's tokens, and finds or makes whom they speak of; belongs to one event loop."""

    def __init__(self, project: Project, pool: ThreadPool, keys: RemoteKeys | None = None) -> None:
        self._project = project
        self._pool = pool
        self._keys = keys or RemoteKeys(project.jwks_url)
        self._verifier = Verifier(project, self._keys)
        self._known: TLRUCache[str, _Known] = TLRUCache(MOST, _expiry)
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self, token: str) -> Identity:
        """Whose it is.

        Raises:
            Problem: nobody's whom we let in (401, 403), or that can't be known now (503).
        """
        known = self._known.get(token)
        if known is None:
            known = await self._look(token)
        if known.expires_at <= time.time():
            raise TokenExpired
        return known.identity

    async def _look(self, token: str) -> _Known:
        head = supabase.head_of(token)
        if head.alg != "HS256":
            await self._have_key(head.kid)
        claims = self._verifier.verify(token)
        identity = await self._pool.run(supabase.identity_of, claims, self._project)
        known = self._known[token] = _Known(identity, claims.exp)
        return known

    async def _have_key(self, kid: str | None) -> None:
        """See to it that the key is there, if it can be had. All who wait, wait for one fetch and in no thread."""
        for _ in range(2):  # a fetch that had begun before the token came may have missed its key
            need = self._keys.needs_fetch(kid)
            if self._fetching is None and need != "no":
                self._fetching = asyncio.create_task(asyncio.to_thread(self._keys.fetch))
                self._fetching.add_done_callback(self._fetched)
            if self._fetching is None or self._keys.find(kid) is not None:
                return
            await asyncio.shield(self._fetching)

    def _fetched(self, fetching: "asyncio.Task[None]") -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.result()
