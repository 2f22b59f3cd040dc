"""Checkpoints of the audit trail: signed statements of what every chain's head is, each linked to the one before.

Kept outside the database, they show what a chain's own head can't: that entries were cut off at its end, or that a
whole chain was sealed anew. Who verifies them needs the public key alone.

A document is one line of canonical JSON (`models.audit.chain.canonical`). Its signature is Ed25519 (RFC 8032), over the
canonical form of everything but `signature`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.audit.chain import Head, canonical
from models.core import base64url, keys
from models.core.database import execute, now, row, rows, value
from models.core.errors import Conflict
from settings import settings

FORMAT = "companon-audit-checkpoint/1"
PURPOSE = "audit-checkpoint"

AT_MOST_EVERY = timedelta(minutes=5)
"""A checkpoint that is younger is not followed by another: a job that is tried again makes one, not eight."""

OVERDUE = 7200.0
"""Seconds after the newest stored one at which its absence is a reason for alarm: there is one an hour."""

PublicKeys = Mapping[str, Ed25519PublicKey]


class Unsigned(Exception):
    """A document is not what somebody with the key has signed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint as it is stored."""

    number: int
    document: str

    @property
    def name(self) -> str:
        """Of the file or object that it is stored as."""
        return name_of(self.number)


@dataclass(frozen=True, slots=True)
class Gauges:
    """How far sealing and checkpoints are; times in seconds, None where there is nothing to tell of."""

    unsealed: int
    oldest_unsealed_seconds: float
    checkpoint_seconds: float | None
    first_sealed_seconds: float | None

    @property
    def checkpoint_overdue(self) -> bool:
        """Whether what is sealed has not been vouched for from outside for too long."""
        since = self.checkpoint_seconds if self.checkpoint_seconds is not None else self.first_sealed_seconds
        return since is not None and since > OVERDUE


def name_of(number: int) -> str:
    """The name that a checkpoint is stored under."""
    return f"checkpoint-{number:010d}.json"


@cache
def _private_keys() -> list[Ed25519PrivateKey]:
    """The active one first. Without any in the settings, they are derived from the root secrets."""
    seeds = [keys.derive(PURPOSE, version) for version in keys.versions()]
    if settings.audit_checkpoint_keys:
        seeds = [base64url.decode(text) for text in settings.audit_checkpoint_keys.split(",")]
    return [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]


def new_key() -> str:
    """A new private key, for `AUDIT_CHECKPOINT_KEYS`."""
    return base64url.encode(Ed25519PrivateKey.generate().private_bytes_raw())


def public_key_set() -> dict[str, Any]:
    """What verifies our checkpoints, as a JWK set (RFC 7517, 8037)."""
    public = [key.public_key() for key in _private_keys()]
    found = [
        {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(key.public_bytes_raw()), "kid": _kid(key)}
        for key in public
    ]
    return {"keys": found}


def public_keys(key_set: Mapping[str, Any]) -> PublicKeys:
    """The keys of a JWK set, by their names.

    Raises:
        ValueError: it is none, or not of Ed25519 keys.
    """
    try:
        found = [Ed25519PublicKey.from_public_bytes(base64url.decode(key["x"])) for key in key_set["keys"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a set of public keys: {error}") from None
    return {_kid(key): key for key in found}


def _kid(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def signed(statement: Mapping[str, Any]) -> str:
    """A statement as one line, signed with the active key."""
    key = _private_keys()[0]
    named = {**statement, "key": _kid(key.public_key())}
    return canonical({**named, "signature": base64url.encode(key.sign(canonical(named).encode()))})


def opened(document: str, public: PublicKeys) -> dict[str, Any]:
    """What a signed line says, its numbers as decimals.

    Raises:
        Unsigned: it says something else than what was signed, or was not signed with any of these keys.
    """
    try:
        said = json.loads(document, parse_float=Decimal, parse_int=Decimal)
        signature = base64url.decode(said["signature"])
        claimed = {name: part for name, part in said.items() if name != "signature"}
        # There is more than one way to write some bytes in base64, and one in which we do.
        if canonical(said) != document or base64url.encode(signature) != said["signature"]:
            raise Unsigned("it is not in canonical form")
        public[said["key"]].verify(signature, canonical(claimed).encode())
    except KeyError as error:
        raise Unsigned(f"no public key, or no member, of the name {error}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise Unsigned("it is no signed document") from None
    except InvalidSignature:
        raise Unsigned("its signature is wrong") from None
    return dict(claimed)


def digest(document: str) -> bytes:
    """What the next checkpoint calls this one."""
    return hashlib.sha256(document.encode()).digest()


def heads_of(statement: Mapping[str, Any]) -> dict[UUID, Head]:
    """The heads of the chains that a signed statement tells of."""
    return {UUID(head["chain"]): Head(int(head["seq"]), bytes.fromhex(head["mac"])) for head in statement["chains"]}


def starts_of(statement: Mapping[str, Any]) -> dict[UUID, Head]:
    """After which entry each chain is held, where a signed statement says that it isn't from its beginning."""
    return heads_of({"chains": statement.get("starts", [])})


def statement_of(heads: Mapping[UUID, Head]) -> list[dict[str, Any]]:
    """Heads as a signed statement tells of them; a chain's entries are as many as its last sequence number says."""
    listed = sorted(heads.items(), key=lambda head: head[0])
    return [{"chain": chain, "seq": head.seq, "mac": head.mac.hex()} for chain, head in listed]


def heads(chains: Iterable[UUID] | None = None) -> dict[UUID, Head]:
    """The heads of these chains, or of all, at one moment."""
    asked = None if chains is None else list(chains)
    found = rows(
        "SELECT chain_id, seq, mac FROM app.audit_chains WHERE seq > 0 AND (%s::uuid[] IS NULL OR chain_id = ANY (%s))",
        (asked, asked),
    )
    return {head["chain_id"]: Head(head["seq"], bytes(head["mac"])) for head in found}


def take(
    *, unless_younger_than: timedelta = AT_MOST_EVERY, starts: Mapping[UUID, Head] | None = None
) -> Checkpoint | None:
    """Make the next checkpoint, which is yet to be stored; None if the newest one is younger than that.

    Args:
        unless_younger_than: how old the newest has to be.
        starts: after which entries chains are held from now on; those of the checkpoint before stay as they are.

    Raises:
        Conflict: somebody else has made it meanwhile.
        Unsigned: the one before is not what was signed.
    """
    newest = row("SELECT number, at, sha256, document FROM app.audit_checkpoints ORDER BY number DESC LIMIT 1")
    at = now()
    if newest and newest["at"] > at - unless_younger_than:
        return None
    number = newest["number"] + 1 if newest else 1
    document = signed(
        {
            "format": FORMAT,
            "number": number,
            "at": at,
            "previous": bytes(newest["sha256"]).hex() if newest else None,
            "chains": statement_of(heads()),
            "starts": statement_of({**(_own_starts(newest["document"]) if newest else {}), **(starts or {})}),
            "unsealed": value("SELECT count(*) FROM public.audit_logs WHERE seq IS NULL"),
        }
    )
    _insert(number, at, document)
    return Checkpoint(number, document)


def _own_starts(document: str) -> dict[UUID, Head]:
    """The starts that we have said ourselves: what stands in the database is not signed anew unseen.

    Raises:
        Unsigned: it says some, and is not what was signed.
    """
    if not json.loads(document)["starts"]:
        return {}  # so a key that signed nothing of the kind may go
    return starts_of(opened(document, public_keys(public_key_set())))


def newest_stored() -> tuple[int, dict[UUID, Head]]:
    """The number of the newest stored checkpoint (0 if there is none), and the starts that it tells of.

    Raises:
        Unsigned: it is not what was signed.
    """
    found = row(
        "SELECT number, document FROM app.audit_checkpoints WHERE stored_at IS NOT NULL ORDER BY number DESC LIMIT 1"
    )
    return (found["number"], _own_starts(found["document"])) if found else (0, {})


def _insert(number: int, at: datetime, document: str) -> None:
    if not value("SELECT app.add_checkpoint(%s, %s, %s)", (number, at, document)):
        raise Conflict(f"Checkpoint {number} has been made by somebody else.")


def unstored() -> list[Checkpoint]:
    """The checkpoints that are not known to be stored, oldest first."""
    found = rows("SELECT number, document FROM app.audit_checkpoints WHERE stored_at IS NULL ORDER BY number")
    return [Checkpoint(**checkpoint) for checkpoint in found]


def mark_stored(number: int) -> None:
    """Remember that a checkpoint is stored.

    Raises:
        Problem: one before it is not.
    """
    execute("SELECT app.mark_checkpoint_stored(%s)", (number,))


def last_number() -> int:
    """The number of the newest stored checkpoint, 0 if there is none."""
    return int(value("SELECT coalesce(max(number), 0) FROM app.audit_checkpoints WHERE stored_at IS NOT NULL"))


def gauges() -> Gauges:
    """How far sealing and checkpoints are. Anybody may ask."""
    found = row("SELECT * FROM app.audit_gauges()")
    assert found is not None
    return Gauges(**found)
