"""The key set that signs access tokens (AUTH_JWKS), and its rotation without the end of any session.

The first key signs; all keys are published and verify. Each key has members that are never published: `iat` (creation),
`nbf` (start of signing) and `exp` (expiry of its last token, set when another key signs).
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.identity import access_tokens
from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_key

SPREAD = access_tokens.KEYS_MAX_AGE + 300
"""Seconds until all clients have a new key set: the period for which they cache the old one, and time for restarts."""

Jwk = dict[str, Any]


@dataclass
class TokenKeys:
    """A key set at the Unix time `now`."""

    keys: list[Jwk]
    now: int

    @classmethod
    def read(cls, text: str, now: int) -> "TokenKeys":
        """Read the value of AUTH_JWKS.

        Raises:
            SetupError: the value is not a set of private keys.
        """
        try:
            keys = json.loads(text)["keys"]
            if not keys or not all(key["kid"] and key["d"] for key in keys):
                raise ValueError(text)
        except (ValueError, KeyError, TypeError):
            fail("AUTH_JWKS must be a set of private keys with ids")
        return cls(keys, now)

    def text(self) -> str:
        """Return the value of AUTH_JWKS."""
        return json.dumps({"keys": self.keys})

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the id, state, creation time and next step of each key."""
        return [(key["kid"], self._state(key), _when(key.get("iat")), self._next(key)) for key in self.keys]

    def add(self) -> str:
        """Append a new key and return the next steps."""
        self.keys.append(new_key(self.now))
        ready = _when(self.now + SPREAD)
        return f"{self.keys[-1]['kid']} is published once every process has been restarted; `promote` it after {ready}"

    def promote(self, kid: str | None, *, force: bool) -> str:
        """Make a key the signing one and return the next step.

        Raises:
            SetupError: the key does not exist, or clients may not have it yet.
        """
        chosen = self._named(kid) if kid else self._standby()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} signs already")
        ready = chosen.get("iat", 0) + SPREAD
        if self.now < ready and not force:
            fail(f"Clients may not have {chosen['kid']} before {_when(ready)} and would refuse its tokens")
        self.keys[0]["exp"] = self.now + SPREAD + access_tokens.LIFETIME
        chosen["nbf"] = self.now
        chosen.pop("exp", None)
        self.keys.sort(key=lambda key: key is not chosen)
        over = f"`retire` {self.keys[1]['kid']} after {_when(self.keys[1]['exp'])}"
        return f"{chosen['kid']} signs once every process has been restarted; {over}"

    def retire(self, kid: str | None, *, force: bool) -> str:
        """Remove a key and return the next step.

        Raises:
            SetupError: the key signs, or tokens that it signed are still valid.
        """
        chosen = self._named(kid) if kid else self._outgoing()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} signs; `promote` another one first")
        if self.now < chosen.get("exp", 0) and not force:
            fail(f"Tokens of {chosen['kid']} are valid until {_when(chosen['exp'])}")
        self.keys.remove(chosen)
        return f"{chosen['kid']} is removed once every process has been restarted"

    def _named(self, kid: str) -> Jwk:
        found = [key for key in self.keys if key["kid"].startswith(kid)]
        return found[0] if len(found) == 1 else fail(f"{len(found)} keys have an id that begins with {kid}")

    def _standby(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" not in key]
        return found[-1] if found else fail("There is no key that could be promoted; `add` one first")

    def _outgoing(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" in key]
        return min(found, key=lambda key: key["exp"]) if found else fail("There is no key that has stopped signing")

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
