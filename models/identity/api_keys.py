"""API keys, with which programs act for a brand.

A key is `cpk_` and 36 bytes as base64url: 32 random bytes and 4 bytes of a keyed hash of them. The hash lets us refuse
forged keys without a query. Only a keyed hash of the key is stored.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any
from uuid import UUID

import peewee
from cachetools import TTLCache
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.core import base64url, context, keys
from models.core.context import Identity
from models.core.database import Row, new_id, row, rows, transaction, value
from models.core.errors import Conflict, FieldError, Invalid, NotFound, Unauthenticated

PREFIX = "cpk_"
MAX_KEYS = 50
"""Maximum number of live keys of one brand."""

_SECRET_BYTES, _CHECK_BYTES = 32, 4  # bytes
_PREFIX_LENGTH = len(PREFIX) + 8
_CACHE_SECONDS = 60.0  # each transaction checks in the database that a cached key is still valid
_CACHE_SIZE = 10_000

_known: TTLCache[bytes, Identity] = TTLCache(_CACHE_SIZE, _CACHE_SECONDS)
_known_lock = Lock()


class ApiKeyInvalid(Unauthenticated):
    """The key is unknown, revoked or expired."""

    code = "api_key_invalid"


class UnknownScope(Invalid):
    """The caller may not grant a scope: it does not exist, keys may not have it, or the caller's role lacks it."""

    code = "unknown_scope"


class TooManyApiKeys(Conflict):
    """The brand has the maximum number of keys that are neither revoked nor expired."""

    code = "too_many_api_keys"


@dataclass(frozen=True, slots=True)
class Scope:
    """A permission that API keys may have, its meaning, and whether the caller may grant it."""

    scope: str
    meaning: str
    grantable: bool


class ApiKey(Row):
    """An API key. The column `key_hash` is not readable."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    name = peewee.TextField()
    prefix = peewee.TextField()
    key_hash = peewee.BlobField()
    scopes = ArrayField(peewee.TextField)  # type: ignore[no-untyped-call]
    created_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()
    expires_at = DateTimeTZField()
    last_used_at = DateTimeTZField(null=True)
    revoked_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "api_keys"
        schema = "app"


def _visible() -> Any:
    fields = [field for field in ApiKey._meta.sorted_fields if field is not ApiKey.key_hash]  # noqa: SLF001
    return ApiKey.select(*fields)


def page(limit: int, after: UUID | None = None) -> list[ApiKey]:
    """Return the keys of the caller's brand, newest first, including revoked and expired ones."""
    query = _visible().order_by(ApiKey.id.desc()).limit(limit)
    return list(query if after is None else query.where(ApiKey.id < after))


def get(key_id: UUID) -> ApiKey:
    """Return one key.

    Raises:
        NotFound: the caller's brand has no such key.
    """
    found: ApiKey | None = _visible().where(ApiKey.id == key_id).first()
    if found is None:
        raise NotFound
    return found


def create(name: str, scopes: list[str], lifetime: timedelta) -> tuple[ApiKey, str]:
    """Create a key for the caller's brand. Return it with its text, which is not stored.

    Raises:
        UnknownScope: the caller may not grant some of the scopes; names each of them.
        TooManyApiKeys: the brand has `MAX_KEYS` live keys.
    """
    _require_grantable(scopes)
    key_id, text = new_id(), _new_key()
    value(
        "SELECT app.create_api_key(%s, %s, %s, %s, %s, %s, %s)",
        (
            key_id,
            name,
            text[:_PREFIX_LENGTH],
            _hash(text, keys.active_version()),
            sorted(set(scopes)),
            lifetime,
            MAX_KEYS,
        ),
    )
    return get(key_id), text


def scopes() -> list[Scope]:
    """Return every scope that API keys may have, by name."""
    return [Scope(**found) for found in rows("SELECT scope, meaning, grantable FROM app.describe_scopes()")]


def _require_grantable(asked: list[str]) -> None:
    grantable = {found["scope"] for found in rows("SELECT app.grantable_scopes() AS scope")}
    reason = "can't be granted by you: `GET /api/v1/api-keys/scopes` lists the scopes that can"
    unknown = [FieldError(f"scopes[{index}]", reason) for index, scope in enumerate(asked) if scope not in grantable]
    if unknown:
        raise UnknownScope(errors=unknown)


def revoke(key_id: UUID) -> bool:
    """Revoke a key from the next request on. Return False if it was revoked before.

    Raises:
        NotFound: the caller's brand has no such key.
    """
    return bool(value("SELECT app.revoke_api_key(%s)", (key_id,)))


def identify(text: str) -> Identity:
    """Return the identity of a key. Looks the key up once a minute, in its own transaction.

    Raises:
        ApiKeyInvalid: the key is unknown, revoked or expired.
    """
    if not _has_valid_check(text):
        raise ApiKeyInvalid
    newest = _hash(text, keys.active_version())
    with _known_lock:
        known = _known.get(newest)
    if known is not None:
        return known
    hashes = [_hash(text, version) for version in keys.versions()]
    with transaction(context.unauthenticated()):
        found = row("SELECT id, brand_id, scopes, is_valid FROM app.identify_api_key(%s)", (hashes,))
    if found is None:
        raise ApiKeyInvalid
    identity = context.of_api_key(found["id"], found["brand_id"], found["scopes"])
    if not found["is_valid"]:
        refusal = ApiKeyInvalid()
        refusal.claims = identity.claims
        raise refusal
    with _known_lock:
        _known[newest] = identity
    return identity


def _new_key() -> str:
    secret = secrets.token_bytes(_SECRET_BYTES)
    return PREFIX + base64url.encode(secret + _check(secret, keys.active_version()))


def _has_valid_check(text: str) -> bool:
    try:
        raw = base64url.decode(text.removeprefix(PREFIX))
    except ValueError:
        return False
    secret, check = raw[:_SECRET_BYTES], raw[_SECRET_BYTES:]
    return any(hmac.compare_digest(check, _check(secret, version)) for version in keys.versions())


def _check(secret: bytes, version: int) -> bytes:
    return keys.keyed_hash("api-key-check", secret, version=version)[:_CHECK_BYTES]


def _hash(text: str, version: int) -> bytes:
    return keys.keyed_hash("api-key", text.encode(), version=version)
