"""Rotate the key set that signs access tokens (AUTH_JWKS) while all sessions stay valid.

The first key signs. All keys are published and verify. Three members of a key hold its times and are never published:
`iat` (created), `nbf` (signs since) and `exp` (expiry of its last token; set when another key begins to sign).
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.identity import access_tokens
from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_key

SPREAD = access_tokens.KEYS_MAX_AGE + 300
"""Seconds until every verifier has a new key set: the time that caches keep the old one, and 300 for restarts."""

Jwk = dict[str, Any]


@dataclass
class TokenKeys:
    """A key set, and the time `now` of the step (Unix time)."""

    keys: list[Jwk]
    now: int

    @classmethod
    def read(cls, text: str, now: int) -> "TokenKeys":
        """Parse the value of AUTH_JWKS.

        Raises:
            SetupError: the value is not a set of private keys.
        """
        try:
            keys = json.loads(text)["keys"]
            if not keys or not all(key["kid"] and key["d"] for key in keys):
                raise ValueError(text)
        except (ValueError, KeyError, TypeError):
            fail("AUTH_JWKS must be a key set of private keys, each with a `kid`")
        return cls(keys, now)

    def text(self) -> str:
        """Return the value of AUTH_JWKS."""
        return json.dumps({"keys": self.keys})

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the id, use, creation time and next step of each key."""
        return [(key["kid"], self._state(key), _when(key.get("iat")), self._next(key)) for key in self.keys]

    def add(self) -> str:
        """Append a new key and return the next steps."""
        self.keys.append(new_key(self.now))
        ready = _when(self.now + SPREAD)
        return f"Restart every process to publish {self.keys[-1]['kid']}; `promote` it after {ready}"

    def promote(self, kid: str | None, *, force: bool) -> str:
        """Make a key the signing key and return the next step.

        Raises:
            SetupError: the key doesn't exist, or was published less than `SPREAD` seconds ago.
        """
        chosen = self._named(kid) if kid else self._standby()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} is already the signing key")
        ready = chosen.get("iat", 0) + SPREAD
        if self.now < ready and not force:
            fail(f"Verifiers may lack {chosen['kid']} until {_when(ready)} and would refuse its tokens")
        self.keys[0]["exp"] = self.now + SPREAD + access_tokens.LIFETIME
        chosen["nbf"] = self.now
        chosen.pop("exp", None)
        self.keys.sort(key=lambda key: key is not chosen)
        then = f"`retire` {self.keys[1]['kid']} after {_when(self.keys[1]['exp'])}"
        return f"Restart every process to sign with {chosen['kid']}; {then}"

    def retire(self, kid: str | None, *, force: bool) -> str:
        """Remove a key and return the consequence.

        Raises:
            SetupError: the key signs, or tokens that it signed are still valid.
        """
        chosen = self._named(kid) if kid else self._outgoing()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} is the signing key; `promote` another one first")
        if self.now < chosen.get("exp", 0) and not force:
            fail(f"Tokens of {chosen['kid']} are valid until {_when(chosen['exp'])}")
        self.keys.remove(chosen)
        return f"Tokens of {chosen['kid']} are refused after the restart of every process"

    def _named(self, kid: str) -> Jwk:
        found = [key for key in self.keys if key["kid"].startswith(kid)]
        return found[0] if len(found) == 1 else fail(f"{len(found)} keys have an id that begins with {kid}")

    def _standby(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" not in key]
        return found[-1] if found else fail("No key can be promoted; `add` one first")

    def _outgoing(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" in key]
        return min(found, key=lambda key: key["exp"]) if found else fail("No key can be retired; `promote` one first")

    def _state(self, key: Jwk) -> str:
        return "signs" if key is self.keys[0] else "verifies" if "exp" in key else "published"

    def _next(self, key: Jwk) -> str:
        if key is self.keys[0]:
            return ""
        return (
            f"retire after {_when(key['exp'])}"
            if "exp" in key
            else f"promote after {_when(key.get('iat', 0) + SPREAD)}"
        )


def _when(at: int | None) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""
