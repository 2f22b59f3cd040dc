"""A JWK set that somebody else publishes: fetched seldom, kept while its server is away, and trusted with nothing else.

An instance is shared by threads. Whoever looks a key up never waits; `fetch` is called by one thread at a time, and by
`needs_fetch` it is known when.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from cachetools import FIFOCache
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from models.core.http_fetch import fetch

logger = logging.getLogger(__name__)

MAX_AGE = 600.0
"""Seconds after which the set is fetched anew, while the one that is there goes on being used."""
PAUSE = 30.0
"""Length of the window, in seconds, with at most `FETCHES` fetches."""
FETCHES = 3
"""Most fetches in the window. More than one, to find a key that was published just after a fetch."""
PAUSE_WITHOUT = 3.0
"""The same, as long as there is no set at all."""
STALE = 6 * 3600.0
"""Seconds that a set is used for when no newer one can be had."""
TIMEOUT = 3.0
"""Seconds that a fetch may take from the first byte to the last."""
MAX_BYTES = 65_536
MAX_KEYS = 20
MAX_ASKED = 1000
"""Most names of unknown keys that are stored."""
MAX_KID = 200
"""Most characters of a key's name. A longer name is refused."""
MIN_RSA_BITS = 2048

Algorithm = Literal["ES256", "RS256"]


class Unusable(Exception):
    """What was fetched is no JWK set."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, and the one algorithm that it verifies: never what a token says of itself."""

    algorithm: Algorithm
    key: ECKey | RSAKey


@dataclass(frozen=True, slots=True)
class _Held:
    keys: Mapping[str | None, VerifyingKey] = field(default_factory=dict)
    fetched_at: float | None = None


class RemoteKeys:
    """The keys published at a URL."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock
        self._held = _Held()
        self._tries: deque[float] = deque(maxlen=FETCHES)
        self._asked: FIFOCache[str | None, float] = FIFOCache(MAX_ASKED)
        self._failed = False

    @property
    def is_uncertain(self) -> bool:
        """Whether the last fetch failed, or there has been none: an unknown key may be a new one."""
        return self._failed or self._held.fetched_at is None or self._age() > STALE

    def find(self, kid: str | None) -> VerifyingKey | None:
        """The key of that name; without a name, the only key that there is."""
        if self._age() > STALE:
            return None
        keys = self._held.keys
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def needs_fetch(self, kid: str | None) -> Literal["no", "soon", "first"]:
        """Return whether to fetch the set for a token with this key: `first`, or `soon` in the background."""
        if self.find(kid) is not None:
            return "soon" if self._age() > MAX_AGE and self._since_last() >= PAUSE else "no"
        if len(kid or "") > MAX_KID or (self._was_fetched_for(kid) and self._since_last() < PAUSE):
            return "no"
        self._ask(kid)
        return "no" if self.seconds_to_fetch() > 0 else "first"

    def is_absent(self, kid: str | None) -> bool:
        """Return whether an unknown key is invalid: a set was fetched for it, or it may cause no fetch."""
        return kid not in self._asked or self._was_fetched_for(kid)

    def seconds_to_fetch(self) -> float:
        """Return the seconds until the set may be fetched for an unknown key, 0 if it may now."""
        if self._held.fetched_at is None:
            return max(0.0, PAUSE_WITHOUT - self._since_last())
        if len(self._tries) < FETCHES:
            return 0.0
        return max(0.0, PAUSE - (self._clock() - self._tries[0]))

    def fetch(self) -> None:
        """Fetch the set. If that fails, what is there stays, and the log says why."""
        began = self._clock()
        self._tries.append(began)
        try:
            keys = parse(fetch(self.url, timeout=TIMEOUT, max_bytes=MAX_BYTES))
        except (OSError, ValueError, Unusable) as error:
            self._failed = True
            logger.warning("The key set at %s can't be had: %s: %s", self.url, type(error).__name__, error)
            return
        self._held, self._failed = _Held(keys, began), False

    def _ask(self, kid: str | None) -> None:
        if self.is_absent(kid):
            self._asked[kid] = self._clock()

    def _was_fetched_for(self, kid: str | None) -> bool:
        asked, fetched_at = self._asked.get(kid), self._held.fetched_at
        return asked is not None and fetched_at is not None and asked <= fetched_at

    def _since_last(self) -> float:
        return self._clock() - self._tries[-1] if self._tries else float("inf")

    def _age(self) -> float:
        fetched_at = self._held.fetched_at
        return float("inf") if fetched_at is None else self._clock() - fetched_at


def parse(content: bytes) -> dict[str | None, VerifyingKey]:
    """The keys of a JWK set that can verify ES256 or RS256; others are passed over, symmetric ones above all.

    Raises:
        Unusable: it is no JWK set.
    """
    try:
        members = msgspec.json.decode(content, type=dict[str, Any])["keys"]
        found = [_verifying(member) for member in msgspec.convert(members, list[dict[str, Any]])[:MAX_KEYS]]
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise Unusable(f"no JWK set ({type(error).__name__})") from None
    keys: dict[str | None, VerifyingKey] = {}
    for named in filter(None, found):
        keys.setdefault(*named)
    return keys


def _verifying(member: dict[str, Any]) -> tuple[str | None, VerifyingKey] | None:
    kid = member.get("kid")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(kid, str | None) or member.get("use", "sig") != "sig" or "verify" not in operations:
        return None
    try:
        made = _elliptic(member) if member.get("kty") == "EC" else _rsa(member)
    except (JoseError, ValueError, TypeError, KeyError):
        made = None
    fits = made is not None and member.get("alg", made.algorithm) == made.algorithm
    return (kid, made) if made is not None and fits else None


def _elliptic(member: dict[str, Any]) -> VerifyingKey | None:
    if member.get("crv") != "P-256":
        return None
    return VerifyingKey("ES256", ECKey.import_key({name: member[name] for name in ("kty", "crv", "x", "y")}))


def _rsa(member: dict[str, Any]) -> VerifyingKey | None:
    if member.get("kty") != "RSA":
        return None
    key = RSAKey.import_key({name: member[name] for name in ("kty", "n", "e")})
    return VerifyingKey("RS256", key) if key.raw_value.key_size >= MIN_RSA_BITS else None
