"""Actors of imports and exports of contacts.

Each batch of an import commits by itself, so a job that was killed resumes after it.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from uuid import UUID

from jobs.engine import JobCancelled, actor, current_job, own_transaction
from models.assets import assets
from models.assets.content import hash_of
from models.assets.storage.base import NOT_STORED
from models.assets.storage.by_url import storage
from models.assets.types import TABLES
from models.audiences.transfer import batches, errors_file, exports, fields, imports, writing
from models.audiences.transfer.batches import Preparer
from models.audiences.transfer.exports import ContactExport
from models.audiences.transfer.imports import CannotBegin, ContactImport, Opened
from models.audiences.transfer.writing import ExportFormat
from models.core.database import new_id

logger = logging.getLogger(__name__)

TIME_LIMIT = 3600.0
"""Maximum seconds of one attempt. The next attempt continues where it ended."""


# One import of a brand at a time: two could create the same contact, and each would have to repeat its batch.
@actor("import.run", outward=True, max_per_brand=1, max_attempts=5, time_limit=TIME_LIMIT)
def run_import(import_id: UUID) -> None:
    """Import a file batch by batch, and write the file of its errors."""
    with own_transaction():
        one = imports.begin(import_id)
        known = fields.of_brand()
    if one is None:
        return
    with TemporaryDirectory(prefix="import-") as folder:
        try:
            opened = imports.open_file(one, _fetch(one.asset_id, Path(folder)), known)
        except CannotBegin as refused:
            with own_transaction():
                imports.fail(import_id, refused.reason)
            return
        with own_transaction():
            imports.store_layout(import_id, opened)
        try:
            _apply(one, opened)
        except JobCancelled:
            with own_transaction():
                imports.stop(import_id)
            raise
        _finish(import_id, opened, Path(folder) / "errors.csv")


def _fetch(asset_id: UUID, folder: Path) -> Path:
    path = folder / "file"
    most = max(rule.max_bytes for rule in TABLES.values())
    try:
        storage().fetch(f"private/{asset_id}", path, max_bytes=most)
    except FileNotFoundError:
        raise CannotBegin("file_gone") from None
    return path


def _apply(one: ContactImport, opened: Opened) -> None:
    job, total = current_job(), opened.table.size
    preparer = Preparer(opened, one.conventions)
    job.progress(one.position, total, "importing")
    for batch in preparer.batches(opened, position=one.position, number=one.row_number):
        with own_transaction():
            is_applied = batches.apply(one, batch)
        if not is_applied:
            return
        job.progress(batch.end, total, "importing")


def _finish(import_id: UUID, opened: Opened, path: Path) -> None:
    """Store the file of errors, if there are any, and end the import."""
    with own_transaction():
        one = imports.get(import_id)
    asset_id = None
    if one.listed:
        columns = opened.layout.columns
        with writing.writer("csv", path, dict.fromkeys(errors_file.header(columns), "text")) as written:
            after = (0, "", "")
            while True:
                with own_transaction():
                    found = errors_file.page(import_id, after)
                if not found:
                    break
                written.write(errors_file.lines(found, len(columns)))
                after = (found[-1]["row_number"], found[-1]["field"], found[-1]["reason"])
        asset_id = store(path, f"errors-{one.filename[:150]}.csv", "text/csv")
    with own_transaction():
        imports.finish(import_id, asset_id)


def store(path: Path, filename: str, content_type: str) -> UUID:
    """Store a file that a job has written, as a private asset, and return its id."""
    asset_id, digest, size = new_id(), hash_of(path), path.stat().st_size
    key = assets.key_of(asset_id, "export", content_type, digest)
    storage().store(key, path, content_type=content_type, cache_control=NOT_STORED)
    with own_transaction():
        assets.add_export(asset_id, filename=filename, content_type=content_type, size=size, sha256=digest)
    return asset_id


@actor("export.run", outward=True, max_per_brand=1, max_attempts=5, time_limit=TIME_LIMIT)
def run_export(export_id: UUID) -> None:
    """Write contacts to a file, page by page. Each attempt writes the whole file."""
    with own_transaction():
        one = exports.begin(export_id)
        columns = {name: field.type for name, field in exports.columns().items()}
    if one is None:
        return
    with TemporaryDirectory(prefix="export-") as folder:
        path = Path(folder) / "file"
        if not _write(one, path, columns):
            return
        kind = cast(ExportFormat, one.format)
        name = f"contacts-{one.created_at:%Y-%m-%d}.{one.format}"
        asset_id = store(path, name, writing.CONTENT_TYPES[kind])
        with own_transaction():
            exports.finish(export_id, asset_id)


def _write(one: ContactExport, path: Path, columns: Mapping[str, str]) -> bool:
    """Write the file of an export. Return False if it was cancelled."""
    job, exported, after, names = current_job(), 0, None, list(columns)
    with writing.writer(cast(ExportFormat, one.format), path, columns) as written:
        while True:
            with own_transaction():
                is_open = exports.count(one.id, exported)
                found = exports.page(one, after)
                kept = exports.members(one, found)
            if not is_open or not found:
                return is_open
            written.write([exports.cells(contact, names) for contact in kept])
            exported, after = exported + len(kept), found[-1]["id"]
            job.progress(exported, max(exported, one.total or 0), "exporting")


@actor("transfers.expire", runs_as="system")
def expire_transfers() -> None:
    """Delete old imports and exports, and end those whose job has failed."""
    logger.info("deleted %d imports and exports", imports.expire())
