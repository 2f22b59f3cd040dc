"""The JWK set of another server, cached, and still used for `MAX_STALE` seconds if the server is unavailable.

Threads share an instance. `find` never blocks. `needs_fetch` returns when to call `fetch`, in one thread at a time.
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
"""Seconds after which the set is fetched again in the background."""
FETCH_WINDOW = 30.0
"""Seconds of the window that allows `MAX_FETCHES` fetches."""
MAX_FETCHES = 3
"""Maximum number of fetches in the window. More than one, to find a key that was published just after a fetch."""
FIRST_FETCH_PAUSE = 3.0
"""Seconds between two fetches while no set was fetched yet."""
MAX_STALE = 6 * 3600.0
"""Seconds for which a set is used if no newer one can be fetched."""
TIMEOUT = 3.0
"""Seconds until a fetch fails, from the first byte to the last."""
MAX_BYTES = 65_536
MAX_KEYS = 20
MAX_UNKNOWN_KIDS = 1000
"""Maximum number of stored ids of unknown keys."""
MAX_KID = 200
"""Maximum number of characters of a key id. A token with a longer one is refused."""
MIN_RSA_BITS = 2048

Algorithm = Literal["ES256", "RS256"]


class InvalidKeySet(Exception):
    """The response is not a JWK set."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the only algorithm that it is used with; the token's header can't choose another."""

    algorithm: Algorithm
    key: ECKey | RSAKey


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: Mapping[str | None, VerifyingKey] = field(default_factory=dict)
    fetched_at: float | None = None


class RemoteKeys:
    """The keys that are published at a URL."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._clock = clock
        self._key_set = _KeySet()
        self._fetches: deque[float] = deque(maxlen=MAX_FETCHES)
        self._unknown: FIFOCache[str | None, float] = FIFOCache(MAX_UNKNOWN_KIDS)
        self._failed = False

    @property
    def may_lack_new_keys(self) -> bool:
        """Whether an unknown key may be new: the last fetch failed, or there was none within `MAX_STALE` seconds."""
        return self._failed or self._key_set.fetched_at is None or self._age() > MAX_STALE

    def find(self, kid: str | None) -> VerifyingKey | None:
        """Return the key with this id; without an id, the only key of the set."""
        if self._age() > MAX_STALE:
            return None
        keys = self._key_set.keys
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def needs_fetch(self, kid: str | None) -> Literal["no", "soon", "first"]:
        """Return whether to fetch the set for a token with this key: `first`, or `soon` in the background."""
        if self.find(kid) is not None:
            return "soon" if self._age() > MAX_AGE and self._since_last() >= FETCH_WINDOW else "no"
        if len(kid or "") > MAX_KID or (self._was_fetched_for(kid) and self._since_last() < FETCH_WINDOW):
            return "no"
        self._note_unknown(kid)
        return "no" if self.seconds_to_fetch() > 0 else "first"

    def is_absent(self, kid: str | None) -> bool:
        """Return whether an unknown key is invalid: a set was fetched for it, or it may cause no fetch."""
        return kid not in self._unknown or self._was_fetched_for(kid)

    def seconds_to_fetch(self) -> float:
        """Return the seconds until the set may be fetched for an unknown key, 0 if it may now."""
        if self._key_set.fetched_at is None:
            return max(0.0, FIRST_FETCH_PAUSE - self._since_last())
        if len(self._fetches) < MAX_FETCHES:
            return 0.0
        return max(0.0, FETCH_WINDOW - (self._clock() - self._fetches[0]))

    def fetch(self) -> None:
        """Fetch the set. If that fails, keep the present set and log the error."""
        began = self._clock()
        self._fetches.append(began)
        try:
            keys = parse(fetch(self.url, timeout=TIMEOUT, max_bytes=MAX_BYTES))
        except (OSError, ValueError, InvalidKeySet) as error:
            self._failed = True
            logger.warning("The key set at %s can't be fetched: %s: %s", self.url, type(error).__name__, error)
            return
        self._key_set, self._failed = _KeySet(keys, began), False

    def _note_unknown(self, kid: str | None) -> None:
        if self.is_absent(kid):
            self._unknown[kid] = self._clock()

    def _was_fetched_for(self, kid: str | None) -> bool:
        asked, fetched_at = self._unknown.get(kid), self._key_set.fetched_at
        return asked is not None and fetched_at is not None and asked <= fetched_at

    def _since_last(self) -> float:
        return self._clock() - self._fetches[-1] if self._fetches else float("inf")

    def _age(self) -> float:
        fetched_at = self._key_set.fetched_at
        return float("inf") if fetched_at is None else self._clock() - fetched_at


def parse(content: bytes) -> dict[str | None, VerifyingKey]:
    """Return the keys of a JWK set that verify ES256 or RS256. Ignore others: a symmetric key would allow forgery.

    Raises:
        InvalidKeySet: the content is not a JWK set.
    """
    try:
        members = msgspec.json.decode(content, type=dict[str, Any])["keys"]
        found = [_verifying(member) for member in msgspec.convert(members, list[dict[str, Any]])[:MAX_KEYS]]
    except (msgspec.MsgspecError, KeyError, RecursionError) as error:
        raise InvalidKeySet(f"not a JWK set ({type(error).__name__})") from None
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
