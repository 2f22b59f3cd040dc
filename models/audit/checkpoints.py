"""Checkpoints of the audit trail: signed lists of the heads of all chains. Each names the one before by its hash.

They are stored outside the database. They show two changes that a chain's own head can't show: entries cut off at the
end, and a whole chain that was sealed again. Verification needs the public key only.

A document is one line of canonical JSON (`models.audit.chain.canonical`). Its signature is Ed25519 (RFC 8032) over the
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
from models.core.messages import Message
from settings import settings

FORMAT = "companon-audit-checkpoint/1"
PURPOSE = "audit-checkpoint"

MIN_INTERVAL = timedelta(minutes=5)
"""Least time between two checkpoints, so that maintenance that is retried makes one checkpoint and not eight."""

OVERDUE = 7200.0
"""Seconds after the newest stored checkpoint at which its age raises an alarm. One is made each hour."""

PublicKeys = Mapping[str, Ed25519PublicKey]
"""Public keys by their key ids."""


class InvalidSignedDocument(Exception):
    """A document is not signed, or was changed after it was signed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Signed document of a checkpoint and its number."""

    number: int
    document: str

    @property
    def name(self) -> str:
        """Name of the file or object that the checkpoint is stored as."""
        return name_of(self.number)


@dataclass(frozen=True, slots=True)
class Gauges:
    """State of sealing and checkpoints. Times are in seconds; None without a stored checkpoint or a seal."""

    unsealed: int
    oldest_unsealed_seconds: float
    checkpoint_seconds: float | None
    first_sealed_seconds: float | None

    @property
    def checkpoint_overdue(self) -> bool:
        """Return whether sealed entries have been without a stored checkpoint for longer than `OVERDUE`."""
        since = self.checkpoint_seconds if self.checkpoint_seconds is not None else self.first_sealed_seconds
        return since is not None and since > OVERDUE


def name_of(number: int) -> str:
    """Return the name that a checkpoint is stored under."""
    return f"checkpoint-{number:010d}.json"


@cache
def _private_keys() -> list[Ed25519PrivateKey]:
    """Return the signing keys, the active one first. Derive them from the root secrets if the settings have none."""
    seeds = [keys.derive(PURPOSE, version) for version in keys.versions()]
    if settings.audit_checkpoint_keys:
        seeds = [base64url.decode(text) for text in settings.audit_checkpoint_keys.split(",")]
    return [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]


def new_key() -> str:
    """Return a new private key for `AUDIT_CHECKPOINT_KEYS`."""
    return base64url.encode(Ed25519PrivateKey.generate().private_bytes_raw())


def public_key_set() -> dict[str, Any]:
    """Return the public keys of our checkpoints as a JWK set (RFC 7517, RFC 8037)."""
    public = [key.public_key() for key in _private_keys()]
    found = [
        {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(key.public_bytes_raw()), "kid": _kid(key)}
        for key in public
    ]
    return {"keys": found}


def public_keys(key_set: Mapping[str, Any]) -> PublicKeys:
    """Return the keys of a JWK set by their key ids.

    Raises:
        ValueError: this is no JWK set, or a key is not an Ed25519 key.
    """
    try:
        found = [Ed25519PublicKey.from_public_bytes(base64url.decode(key["x"])) for key in key_set["keys"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"must be a set of public keys: {error}") from None
    return {_kid(key): key for key in found}


def _kid(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign(statement: Mapping[str, Any]) -> str:
    """Return a statement as one line, signed with the active key."""
    key = _private_keys()[0]
    named = {**statement, "key": _kid(key.public_key())}
    return canonical({**named, "signature": base64url.encode(key.sign(canonical(named).encode()))})


def verify_document(document: str, public: PublicKeys) -> dict[str, Any]:
    """Return the statement of a signed line, its numbers as decimals.

    Raises:
        InvalidSignedDocument: the line was changed, or was signed with none of these keys.
    """
    try:
        statement = json.loads(document, parse_float=Decimal, parse_int=Decimal)
        signature = base64url.decode(statement["signature"])
        claimed = {name: part for name, part in statement.items() if name != "signature"}
        # Several base64 texts decode to the same bytes. Accept the one that `sign` writes, so that no character can
        # be changed.
        if canonical(statement) != document or base64url.encode(signature) != statement["signature"]:
            raise InvalidSignedDocument("it is not in canonical form")
        public[statement["key"]].verify(signature, canonical(claimed).encode())
    except KeyError as error:
        raise InvalidSignedDocument(f"no public key, or no member, of the name {error}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidSignedDocument("it is no signed document") from None
    except InvalidSignature:
        raise InvalidSignedDocument("its signature is wrong") from None
    return dict(claimed)


def digest(document: str) -> bytes:
    """Return the hash by which the next checkpoint names this document."""
    return hashlib.sha256(document.encode()).digest()


def heads_of(statement: Mapping[str, Any]) -> dict[UUID, Head]:
    """Return the heads of chains that a signed statement contains."""
    return {UUID(head["chain"]): Head(int(head["seq"]), bytes.fromhex(head["mac"])) for head in statement["chains"]}


def starts_of(statement: Mapping[str, Any]) -> dict[UUID, Head]:
    """Return the last deleted entry of each chain that a signed statement contains. Other chains are complete."""
    return heads_of({"chains": statement.get("starts", [])})


def list_heads(heads: Mapping[UUID, Head]) -> list[dict[str, Any]]:
    """Return heads as a signed statement contains them, in the order of the chains' ids."""
    listed = sorted(heads.items(), key=lambda head: head[0])
    return [{"chain": chain, "seq": head.seq, "mac": head.mac.hex()} for chain, head in listed]


def heads(chains: Iterable[UUID] | None = None) -> dict[UUID, Head]:
    """Return the heads of these chains, or of all chains, at one moment."""
    wanted = None if chains is None else list(chains)
    found = rows(
        "SELECT chain_id, seq, mac FROM app.audit_chains WHERE seq > 0 AND (%s::uuid[] IS NULL OR chain_id = ANY (%s))",
        (wanted, wanted),
    )
    return {head["chain_id"]: Head(head["seq"], bytes(head["mac"])) for head in found}


def create(*, min_age: timedelta = MIN_INTERVAL, starts: Mapping[UUID, Head] | None = None) -> Checkpoint | None:
    """Create the next checkpoint, which is not stored yet; None if the newest one is younger than `min_age`.

    Args:
        min_age: the age that the newest checkpoint must have.
        starts: the entries after which chains start from now on. Starts of the checkpoint before are carried on.

    Raises:
        Conflict: another process has created the checkpoint meanwhile.
        InvalidSignedDocument: the checkpoint before was changed after it was signed.
    """
    newest = row("SELECT number, at, sha256, document FROM app.audit_checkpoints ORDER BY number DESC LIMIT 1")
    at = now()
    if newest and newest["at"] > at - min_age:
        return None
    number = newest["number"] + 1 if newest else 1
    document = sign(
        {
            "format": FORMAT,
            "number": number,
            "at": at,
            "previous": bytes(newest["sha256"]).hex() if newest else None,
            "chains": list_heads(heads()),
            "starts": list_heads({**(_verified_starts(newest["document"]) if newest else {}), **(starts or {})}),
            "unsealed": value("SELECT count(*) FROM public.audit_logs WHERE seq IS NULL"),
        }
    )
    _insert(number, at, document)
    return Checkpoint(number, document)


def _verified_starts(document: str) -> dict[UUID, Head]:
    """Return the starts of our own document. Verify it first: a changed row of the database must not be signed again.

    Raises:
        InvalidSignedDocument: the document has starts and was changed after it was signed.
    """
    if not json.loads(document)["starts"]:
        return {}  # Without starts no signature is needed, so the key of such a checkpoint may be retired.
    return starts_of(verify_document(document, public_keys(public_key_set())))


def newest_stored() -> tuple[int, dict[UUID, Head]]:
    """Return the number of the newest stored checkpoint (0 without one) and its starts.

    Raises:
        InvalidSignedDocument: the checkpoint was changed after it was signed.
    """
    found = row(
        "SELECT number, document FROM app.audit_checkpoints WHERE stored_at IS NOT NULL ORDER BY number DESC LIMIT 1"
    )
    return (found["number"], _verified_starts(found["document"])) if found else (0, {})


def _insert(number: int, at: datetime, document: str) -> None:
    if not value("SELECT app.add_checkpoint(%s, %s, %s)", (number, at, document)):
        raise Conflict(Message("Another process has created checkpoint {number}.", number=number))


def unstored() -> list[Checkpoint]:
    """Return the checkpoints that are not marked as stored, oldest first."""
    found = rows("SELECT number, document FROM app.audit_checkpoints WHERE stored_at IS NULL ORDER BY number")
    return [Checkpoint(**checkpoint) for checkpoint in found]


def mark_stored(number: int) -> None:
    """Record that a checkpoint is stored.

    Raises:
        Problem: an older checkpoint is not stored.
    """
    execute("SELECT app.mark_checkpoint_stored(%s)", (number,))


def last_stored_number() -> int:
    """Return the number of the newest stored checkpoint; 0 without one."""
    return int(value("SELECT coalesce(max(number), 0) FROM app.audit_checkpoints WHERE stored_at IS NOT NULL"))


def gauges() -> Gauges:
    """Return the state of sealing and checkpoints. Every caller may read it."""
    found = row("SELECT * FROM app.audit_gauges()")
    assert found is not None
    return Gauges(**found)
