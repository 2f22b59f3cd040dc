"""Assets of a brand: reserve an upload, complete it, record the result of the check, list and delete."""

from collections.abc import Iterable, Set
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.assets.storage.base import Area, SignedUpload
from models.assets.storage.by_url import storage
from models.assets.types import RULES, AssetState, Purpose, RejectionReason
from models.core import context
from models.core.database import Row, execute, new_id, now, rows
from models.core.errors import Conflict, FieldError, Invalid, NotFound
from models.core.messages import Message
from models.jobs.ledger import JobRef, enqueue
from settings import settings

UPLOAD_PERIOD = timedelta(minutes=15)
"""Time in which an upload must begin."""
DOWNLOAD_PERIOD = timedelta(minutes=15)
"""Time for which the URL of a private file is valid."""
KEEP_UNFINISHED = timedelta(days=1)
"""Time for which an asset that was not completed, and a file without an asset, is kept."""
KEEP_REJECTED = timedelta(days=30)
KEEP_EXPORTS = timedelta(days=7)
KEEP_IMPORTS = timedelta(days=30)
"""Time for which an uploaded table is kept: it holds personal data."""
MAX_BYTES_PER_BRAND = 5_000_000_000
MAX_FILES_PER_BRAND = 10_000


class AssetSpaceUsedUp(Conflict):
    """The brand has the maximum number or size of assets."""

    code = "asset_space_used_up"


class AssetNotPending(Conflict):
    """The upload of the asset has been completed before."""

    code = "asset_not_pending"


class Asset(Row):
    """A file of a brand."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    purpose = peewee.TextField()
    filename = peewee.TextField()
    content_type = peewee.TextField()
    size = peewee.BigIntegerField()
    sha256 = peewee.TextField(null=True)
    state = peewee.TextField()
    reason = peewee.TextField(null=True)
    created_at = DateTimeTZField()
    upload_until = DateTimeTZField(null=True)
    checked_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "assets"

    @property
    def upload_key(self) -> str:
        """Key of the unchecked upload."""
        return upload_key_of(self.id)

    @property
    def key(self) -> str:
        """Key of the checked file. That of a public file contains a hash of its content, so it never changes."""
        return key_of(self.id, self.purpose, self.content_type, self.sha256 or "")


def upload_key_of(asset_id: UUID) -> str:
    """Return the key of the unchecked upload of an asset."""
    return f"uploads/{asset_id}"


def key_of(asset_id: UUID, purpose: str, content_type: str, sha256: str) -> str:
    """Return the key of a checked file."""
    if purpose != "media":
        return f"private/{asset_id}"
    return f"media/{asset_id}-{sha256[:16]}.{RULES[purpose][content_type].extension}"


def reserve(
    *, purpose: Purpose, filename: str, content_type: str, size: int, sha256: str | None = None
) -> tuple[Asset, SignedUpload]:
    """Create a pending asset of the caller's brand and sign the request that uploads its file.

    Raises:
        Invalid: the purpose does not allow the type or the size.
        AssetSpaceUsedUp: the brand has `MAX_FILES_PER_BRAND` files, or would exceed `MAX_BYTES_PER_BRAND`.
    """
    _require_allowed(purpose, content_type, size)
    execute("SELECT app.reserve_asset_space(%s, %s, %s)", (size, MAX_BYTES_PER_BRAND, MAX_FILES_PER_BRAND))
    identity = context.current()
    assert identity is not None
    asset = Asset.create(
        id=new_id(),
        brand_id=identity.brand_id,
        purpose=purpose,
        filename=filename,
        content_type=content_type,
        size=size,
        sha256=sha256,
        state="pending",
        created_at=now(),
        upload_until=now() + UPLOAD_PERIOD,
    )
    upload = storage().sign_upload(
        asset.upload_key, content_type=content_type, size=size, expires_at=asset.upload_until
    )
    return asset, upload


def _require_allowed(purpose: Purpose, content_type: str, size: int) -> None:
    rules = RULES[purpose]
    if purpose == "export":
        raise Invalid("purpose", "must be `media` or `import`: exports are written by jobs")
    if content_type not in rules:
        raise Invalid(errors=[FieldError("content_type", Message("must be one of {types}", types=", ".join(rules)))])
    most = rules[content_type].max_bytes
    if size > most:
        raise Invalid(errors=[FieldError("size", Message("must be at most {most}", most=most))])


def complete(asset_id: UUID) -> JobRef:
    """End the upload of an asset and enqueue its check. Return the running job if the check has begun.

    Raises:
        NotFound: the brand has no such asset.
        AssetNotPending: the asset has been checked.
    """
    begin = Asset.update(state="checking").where(Asset.id == asset_id, Asset.state.in_(("pending", "checking")))
    if not begin.execute():
        get(asset_id)
        raise AssetNotPending
    return enqueue("asset.check", asset_id, unique="until_done")


def to_check(asset_id: UUID) -> Asset | None:
    """Return an asset whose check has not ended, or None."""
    return cast(Asset | None, Asset.select().where(Asset.id == asset_id, Asset.state == "checking").first())


def accept(asset_id: UUID, *, size: int, sha256: str) -> bool:
    """Record the checked file of an asset. Return False if the asset was deleted meanwhile."""
    update = Asset.update(state="ready", size=size, sha256=sha256, checked_at=now())
    return bool(update.where(Asset.id == asset_id, Asset.state == "checking").execute())


def reject(asset_id: UUID, reason: RejectionReason) -> None:
    """Record that the file of an asset was rejected."""
    update = Asset.update(state="rejected", reason=reason, checked_at=now())
    update.where(Asset.id == asset_id, Asset.state == "checking").execute()


def find(
    *, limit: int, after: UUID | None = None, purpose: Purpose | None = None, state: AssetState | None = None
) -> list[Asset]:
    """Return up to `limit` assets of the brand, newest first, that follow the one with the id `after`."""
    query = Asset.select().order_by(Asset.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Asset.id < after)
    if purpose is not None:
        query = query.where(Asset.purpose == purpose)
    if state is not None:
        query = query.where(Asset.state == state)
    return list(query)


def add_export(asset_id: UUID, *, filename: str, content_type: str, size: int, sha256: str) -> Asset:
    """Record a file that a job of the brand has written and stored under its `key_of`. Its purpose is `export`."""
    identity = context.current()
    assert identity is not None
    return Asset.create(
        id=asset_id,
        brand_id=identity.brand_id,
        purpose="export",
        filename=filename,
        content_type=content_type,
        size=size,
        sha256=sha256,
        state="ready",
        created_at=now(),
        checked_at=now(),
    )


def get(asset_id: UUID) -> Asset:
    """Return an asset of the brand.

    Raises:
        NotFound: the brand has no such asset.
    """
    found = Asset.select().where(Asset.id == asset_id).first()
    if found is None:
        raise NotFound
    return cast(Asset, found)


def delete(asset_id: UUID) -> Asset:
    """Delete an asset of the brand and return it. A job deletes its files.

    Raises:
        NotFound: the brand has no such asset.
    """
    asset = get(asset_id)
    Asset.delete().where(Asset.id == asset_id).execute()
    enqueue("asset.delete_files", asset_id)
    return asset


def url_of(asset: Asset) -> str | None:
    """Return the URL of a checked file, or None before. That of a private file expires after `DOWNLOAD_PERIOD`."""
    if asset.state != "ready":
        return None
    if asset.purpose == "media":
        name = asset.key.partition("/")[2]
        return f"{(settings.media_url or f'{settings.public_url}/media').rstrip('/')}/{name}"
    return storage().sign_download(
        asset.key,
        filename=asset.filename,
        content_type=asset.content_type,
        expires_at=now() + DOWNLOAD_PERIOD,
    )


def expire() -> list[UUID]:
    """Delete the assets whose time is over and return their ids.

    These are uploads that were not completed within `KEEP_UNFINISHED`, rejected ones after `KEEP_REJECTED`, exports
    after `KEEP_EXPORTS` and imports after `KEEP_IMPORTS`. An asset in check is left to its job.
    """
    gone = rows(
        "DELETE FROM public.assets WHERE (state = 'pending' AND created_at < %s)"
        " OR (state = 'rejected' AND created_at < %s) OR (purpose = 'export' AND created_at < %s)"
        " OR (purpose = 'import' AND state <> 'checking' AND created_at < %s) RETURNING id",
        (now() - KEEP_UNFINISHED, now() - KEEP_REJECTED, now() - KEEP_EXPORTS, now() - KEEP_IMPORTS),
    )
    return [found["id"] for found in gone]


def keys_of(asset_ids: Iterable[UUID]) -> set[str]:
    """Return the keys of the files that these assets have."""
    found = Asset.select().where(Asset.id.in_(list(asset_ids)), Asset.state != "rejected")
    return {asset.key if asset.state == "ready" else asset.upload_key for asset in found}


def count_without_files(area: Area, keys: Set[str], after: UUID, last: UUID, before: datetime) -> int:
    """Return the number of ready assets whose file is not among the keys of an area.

    Only assets with an id after `after`, up to `last`, that were created before a time are counted.
    """
    found = Asset.select().where(Asset.id > after, Asset.id <= last, Asset.state == "ready", Asset.created_at < before)
    return sum(asset.key.startswith(area) and asset.key not in keys for asset in found)
