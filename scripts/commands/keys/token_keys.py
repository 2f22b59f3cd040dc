"""The key set that signs access tokens (AUTH_JWKS), and how it changes without logging anybody out.

The first key signs; all are published and verify. What is known of a key's life stands beside it, in members that are
never published: `iat` (made at), `nbf` (signs since), `exp` (its last token is over then; only once another signs).
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.identity import access_tokens
from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_key

SPREAD = access_tokens.KEYS_MAX_AGE + 300
"""Seconds until everybody knows a new key set: as long as others keep the old one, and time for restarts."""

Jwk = dict[str, Any]


@dataclass
class TokenKeys:
    """A key set, at the moment `now` (Unix time)."""

    keys: list[Jwk]
    now: int

    @classmethod
    def read(cls, text: str, now: int) -> "TokenKeys":
        """From the value of AUTH_JWKS.

        Raises:
            SetupError: it is no key set.
        """
        try:
            keys = json.loads(text)["keys"]
            if not keys or not all(key["kid"] and key["d"] for key in keys):
                raise ValueError(text)
        except (ValueError, KeyError, TypeError):
            fail("AUTH_JWKS holds no private keys with names")
        return cls(keys, now)

    def text(self) -> str:
        """Return the value of AUTH_JWKS."""
        return json.dumps({"keys": self.keys})

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For each key: its id, what it does, since when it exists, and what comes next."""
        return [(key["kid"], self._state(key), _when(key.get("iat")), self._next(key)) for key in self.keys]

    def add(self) -> str:
        """Append a new key and return the next steps."""
        self.keys.append(new_key(self.now))
        ready = _when(self.now + SPREAD)
        return f"{self.keys[-1]['kid']} is published once every process has been restarted; `promote` it after {ready}"

    def promote(self, kid: str | None, *, force: bool) -> str:
        """Let a key sign from now on; what to do next.

        Raises:
            SetupError: there is none, or not everybody may know it yet.
        """
        chosen = self._named(kid) if kid else self._standby()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} signs already")
        ready = chosen.get("iat", 0) + SPREAD
        if self.now < ready and not force:
            fail(f"Not everybody may know {chosen['kid']} before {_when(ready)}; tokens that it signs would be refused")
        self.keys[0]["exp"] = self.now + SPREAD + access_tokens.LIFETIME
        chosen["nbf"] = self.now
        chosen.pop("exp", None)
        self.keys.sort(key=lambda key: key is not chosen)
        over = f"`retire` {self.keys[1]['kid']} after {_when(self.keys[1]['exp'])}"
        return f"{chosen['kid']} signs once every process has been restarted; {over}"

    def retire(self, kid: str | None, *, force: bool) -> str:
        """Drop a key; what to do next.

        Raises:
            SetupError: it signs, or tokens that it signed are still good.
        """
        chosen = self._named(kid) if kid else self._outgoing()
        if chosen is self.keys[0]:
            fail(f"{chosen['kid']} signs; `promote` another one first")
        if self.now < chosen.get("exp", 0) and not force:
            fail(f"Tokens of {chosen['kid']} are good until {_when(chosen['exp'])}")
        self.keys.remove(chosen)
        return f"{chosen['kid']} verifies nothing any more once every process has been restarted"

    def _named(self, kid: str) -> Jwk:
        found = [key for key in self.keys if key["kid"].startswith(kid)]
        return found[0] if len(found) == 1 else fail(f"{len(found)} keys have an id that begins with {kid}")

    def _standby(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" not in key]
        return found[-1] if found else fail("There is no key that could be promoted; `add` one first")

    def _outgoing(self) -> Jwk:
        found = [key for key in self.keys[1:] if "exp" in key]
        return min(found, key=lambda key: key["exp"]) if found else fail("There is no key that was promoted away")

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
