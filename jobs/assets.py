"""Actors of the domain assets. They call the storage, so they hold no transaction meanwhile."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from jobs.engine import actor, own_transaction
from models.assets import assets, content
from models.assets.assets import Asset
from models.assets.content import Checked, Rejected
from models.assets.storage.base import AREAS, FOR_EVER, NOT_STORED, Area, StoredObject, TooBig
from models.assets.storage.by_url import storage
from models.core.database import now
from models.webhooks import outbox

logger = logging.getLogger(__name__)

BATCH = 1000
_LAST_ID = UUID(int=2**128 - 1)


@actor("asset.check", outward=True, time_limit=300.0)
def check_asset(asset_id: UUID) -> None:
    """Check an uploaded file and store its clean version under its final key, or reject it."""
    with own_transaction():
        asset = assets.to_check(asset_id)
    if asset is not None:
        _decide(asset)
    # Also after an attempt that was killed between its decision and this call.
    storage().delete(assets.upload_key_of(asset_id))


def _decide(asset: Asset) -> None:
    with TemporaryDirectory(prefix="asset-") as folder:
        try:
            checked = _check(asset, Path(folder) / "upload")
        except Rejected as rejected:
            with own_transaction():
                assets.reject(asset.id, rejected.reason)
        else:
            _keep(asset, checked)


def _check(asset: Asset, path: Path) -> Checked:
    """Copy the upload and check the copy: another upload to the same URL can't change it."""
    try:
        storage().fetch(asset.upload_key, path, max_bytes=asset.size)
    except FileNotFoundError:
        raise Rejected("missing") from None
    except TooBig:
        raise Rejected("wrong_size") from None
    return content.check(path, asset.content_type, asset.size, asset.sha256)


def _keep(asset: Asset, checked: Checked) -> None:
    key = assets.key_of(asset.id, asset.purpose, asset.content_type, checked.sha256)
    cache_control = FOR_EVER if asset.purpose == "media" else NOT_STORED
    storage().store(key, checked.path, content_type=asset.content_type, cache_control=cache_control)
    with own_transaction():
        is_kept = assets.accept(asset.id, size=checked.size, sha256=checked.sha256)
        if is_kept:
            outbox.publish("asset.ready", brand_id=asset.brand_id, data={"asset_id": asset.id})
    if not is_kept:
        storage().delete(key)


@actor("asset.delete_files", outward=True)
def delete_files(asset_id: UUID) -> None:
    """Delete all files of a deleted asset."""
    for area in AREAS:
        for found in storage().list(area, str(asset_id)):
            storage().delete(found.key)


@actor("assets.clean", runs_as="system", outward=True, time_limit=600.0)
def clean_assets() -> None:
    """Delete expired assets and files that belong to no asset. Report assets whose file is missing."""
    before = now() - assets.KEEP_UNFINISHED
    with own_transaction():
        expired = assets.expire()
    orphans = missing = 0
    for area in AREAS:
        first = UUID(int=0)
        for batch in _batches(storage().list(area)):
            last = (batch and len(batch) == BATCH and _id_in(batch[-1])) or _LAST_ID
            orphans += _delete_orphans(batch, before)
            missing += _count_missing(area, batch, first, last, before)
            first = last
    logger.info("deleted %d expired assets and %d files without an asset", len(expired), orphans)
    if missing:
        logger.error("the storage lacks the files of %d assets", missing)


def _batches(found: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    """Return lists of `BATCH` files; the last one is shorter, and may be empty."""
    files = iter(found)
    while len(batch := list(islice(files, BATCH))) == BATCH:
        yield batch
    yield batch


def _delete_orphans(batch: list[StoredObject], before: datetime) -> int:
    """Delete the files of a batch that are older than `before` and belong to no asset. Return their number."""
    with own_transaction():
        kept = assets.keys_of(asset_id for one in batch if (asset_id := _id_in(one)))
    orphans = [one for one in batch if one.key not in kept and one.modified_at < before]
    if orphans:
        logger.info("%d of %d files belong to no asset, e.g. %s", len(orphans), len(batch), orphans[0].key)
    for one in orphans:
        storage().delete(one.key)
    return len(orphans)


def _count_missing(area: Area, batch: list[StoredObject], first: UUID, last: UUID, before: datetime) -> int:
    if area == "uploads":
        return 0
    with own_transaction():
        return assets.count_without_files(area, {one.key for one in batch}, first, last, before)


def _id_in(found: StoredObject) -> UUID | None:
    with suppress(ValueError):
        return UUID(found.key.partition("/")[2][:36])
    return None
