"""Verification of bearer tokens: API keys, own access tokens, or access tokens of a Supabase project."""

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

CACHE_SECONDS = 30.0
"""Seconds for which a verified Supabase token is cached. Every transaction checks its session."""
MAX_CACHED = 10_000

Verify = Callable[[str], Awaitable[Identity]]


def verifier(config: Settings, pool: ThreadPool) -> Verify:
    """Return the function that verifies tokens according to the settings.

    Raises:
        ValueError: a setting is missing or unsafe.
    """
    verify_session = _sessions_verifier(config, pool)

    async def verify(token: str) -> Identity:
        if token.startswith(api_keys.PREFIX):
            key: Identity = await pool.run(api_keys.identify, token)
            return key
        return await verify_session(token)

    return verify


def _sessions_verifier(config: Settings, pool: ThreadPool) -> Verify:
    if config.auth_mode == "own":
        return _own
    if config.auth_mode != "supabase":
        raise ValueError(f"AUTH_MODE must be own or supabase, not {config.auth_mode!r}")
    return SupabaseTokens(Project.of(config), pool)


async def _own(token: str) -> Identity:
    return of_claims(access_tokens.verify(token))


@dataclass(frozen=True, slots=True)
class _Cached:
    identity: Identity
    expires_at: int


def _expiry(_token: str, _cache: _Cached, now: float) -> float:
    return now + CACHE_SECONDS


class SupabaseTokens:
    """Verify a Supabase project's tokens, and insert or update their users. Belongs to one event loop."""

    def __init__(self, project: Project, pool: ThreadPool, keys: RemoteKeys | None = None) -> None:
        self._project = project
        self._pool = pool
        self._keys = keys or RemoteKeys(project.jwks_url)
        self._verifier = Verifier(project, self._keys)
        self._cache: TLRUCache[str, _Cached] = TLRUCache(MAX_CACHED, _expiry)
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self, token: str) -> Identity:
        """Return the identity of a token.

        Raises:
            Problem: the token is refused (401, 403), or the project's keys can't be fetched (503).
        """
        known = self._cache.get(token)
        if known is None:
            known = await self._verify(token)
        if known.expires_at <= time.time():
            raise TokenExpired
        return known.identity

    async def _verify(self, token: str) -> _Cached:
        head = supabase.head_of(token)
        if head.alg != "HS256":
            await self._ensure_key(head.kid)
        claims = self._verifier.verify(token)
        identity = await self._pool.run(supabase.identity_of, claims, self._project)
        known = self._cache[token] = _Cached(identity, claims.exp)
        return known

    async def _ensure_key(self, kid: str | None) -> None:
        """Fetch the key set if the key is unknown and a fetch is allowed. All requests wait for the same fetch."""
        for _ in range(2):  # a fetch that began before the token arrived may lack its key
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
