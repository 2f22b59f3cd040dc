"""API keys: what acts for a brand without being anybody.

A key is `cpk_` and 36 bytes as base64url: 32 random ones and a check that only we can make, so that what is no key of
ours is refused without a look into the database. Only a keyed hash of it is stored.
"""

import hmac
import secrets
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
from models.core.errors import Conflict, Invalid, NotFound, Unauthenticated

PREFIX = "cpk_"
MAX_KEYS = 50
"""Keys of one brand that are good at a time."""

_SECRET, _CHECK = 32, 4  # bytes
_SHOWN = len(PREFIX) + 8
_REMEMBERED = 60.0  # seconds; whether a key is still good is asked in every transaction, whatever is remembered here
_CACHE_SIZE = 10_000

_known: TTLCache[bytes, Identity] = TTLCache(_CACHE_SIZE, _REMEMBERED)
_known_lock = Lock()


class ApiKeyInvalid(Unauthenticated):
    """It is no key of ours, or has been revoked or run out."""

    code = "api_key_invalid"


class TooManyApiKeys(Conflict):
    """The brand has `MAX_KEYS` keys that are good."""

    code = "too_many_api_keys"


class ApiKey(Row):
    """A key, as its brand's admins see it."""

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
        """Where it lives."""

        table_name = "api_keys"
        schema = "app"


def _visible() -> Any:
    fields = [field for field in ApiKey._meta.sorted_fields if field is not ApiKey.key_hash]  # noqa: SLF001
    return ApiKey.select(*fields)


def page(limit: int, after: UUID | None = None) -> list[ApiKey]:
    """The keys of the caller's brand, newest first; those that are over, too."""
    query = _visible().order_by(ApiKey.id.desc()).limit(limit)
    return list(query if after is None else query.where(ApiKey.id < after))


def get(key_id: UUID) -> ApiKey:
    """One of them.

    Raises:
        NotFound: there is none in the caller's brand.
    """
    found: ApiKey | None = _visible().where(ApiKey.id == key_id).first()
    if found is None:
        raise NotFound
    return found


def create(name: str, scopes: list[str], lifetime: timedelta) -> tuple[ApiKey, str]:
    """Make a key for the caller's brand; it, and its text, which nobody will ever see again.

    Raises:
        Invalid: a scope is none that the caller may give to a key.
        TooManyApiKeys: the brand has `MAX_KEYS` of them.
    """
    grantable = {found["scope"] for found in rows("SELECT app.grantable_scopes() AS scope")}
    if unknown := sorted(set(scopes) - grantable):
        raise Invalid("scopes", f"nothing that you could give to a key: {', '.join(unknown)[:200]}")
    key_id, text = new_id(), _make()
    value(
        "SELECT app.create_api_key(%s, %s, %s, %s, %s, %s, %s)",
        (key_id, name, text[:_SHOWN], _hash(text, keys.active_version()), sorted(set(scopes)), lifetime, MAX_KEYS),
    )
    return get(key_id), text


def revoke(key_id: UUID) -> bool:
    """Revoke a key: it is refused from the next request on. False if it was revoked before.

    Raises:
        NotFound: there is none in the caller's brand.
    """
    return bool(value("SELECT app.revoke_api_key(%s)", (key_id,)))


def identify(text: str) -> Identity:
    """What a key acts as. Looks it up in a transaction of its own, once a minute.

    Raises:
        ApiKeyInvalid: it is no key of ours, or has been revoked or run out.
    """
    if not _is_ours(text):
        raise ApiKeyInvalid
    newest = _hash(text, keys.active_version())
    with _known_lock:
        known = _known.get(newest)
    if known is not None:
        return known
    hashes = [_hash(text, version) for version in keys.versions()]
    with transaction(context.unauthenticated()):
        found = row("SELECT id, brand_id, scopes, is_good FROM app.identify_api_key(%s)", (hashes,))
    if found is None:
        raise ApiKeyInvalid
    identity = context.of_api_key(found["id"], found["brand_id"], found["scopes"])
    if not found["is_good"]:
        refusal = ApiKeyInvalid()
        refusal.claims = identity.claims
        raise refusal
    with _known_lock:
        _known[newest] = identity
    return identity


def _make() -> str:
    secret = secrets.token_bytes(_SECRET)
    return PREFIX + base64url.encode(secret + _check(secret, keys.active_version()))


def _is_ours(text: str) -> bool:
    try:
        raw = base64url.decode(text.removeprefix(PREFIX))
    except ValueError:
        return False
    secret, check = raw[:_SECRET], raw[_SECRET:]
    return any(hmac.compare_digest(check, _check(secret, version)) for version in keys.versions())


def _check(secret: bytes, version: int) -> bytes:
    return keys.keyed_hash("api-key-check", secret, version=version)[:_CHECK]


def _hash(text: str, version: int) -> bytes:
    return keys.keyed_hash("api-key", text.encode(), version=version)
