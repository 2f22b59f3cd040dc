"""Imports of contacts: create, read, cancel; and what the job does with each batch of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, cast
from uuid import UUID

import peewee
import phonenumbers
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.assets import assets
from models.audiences.transfer import detection, fields, mapping
from models.audiences.transfer.cleaning import Conventions
from models.audiences.transfer.detection import Encoding, FileUnreadable, Format, Layout
from models.audiences.transfer.fields import Field
from models.audiences.transfer.planning import Overwrite
from models.audiences.transfer.records import Table
from models.core import context
from models.core.database import Row, execute, new_id, now
from models.core.enumerations import enumeration
from models.core.errors import Conflict, FieldError, Invalid, NotFound
from models.jobs.ledger import JobRef, enqueue
from models.notifications.notifications import notify
from models.webhooks import outbox

TransferState = Annotated[
    Literal["waiting", "running", "done", "failed", "cancelled"],
    enumeration(
        "TransferState",
        "State of an import or export. `waiting`: its job has not begun. `running`: rows are processed. `done`: all "
        "are. `failed`: it could not be ended. `cancelled`: a member has ended it; rows that were processed stay.",
    ),
]
"""CHECK constraints list the same values; a test compares them."""

CannotImport = Annotated[
    Literal[
        "empty_file",
        "no_columns",
        "too_many_columns",
        "no_match_key",
        "unknown_column",
        "unknown_field",
        "file_gone",
    ],
    enumeration(
        "ImportFailure",
        "Reason why an import has failed before its first row. `empty_file`, `no_columns`, `too_many_columns`: the "
        "file has no rows to import. `no_match_key`: no column is mapped to a match key. `unknown_column`: the mapping "
        "names a column that the file does not have. `unknown_field`: a property was archived meanwhile. `file_gone`: "
        "the file was deleted.",
    ),
]
KEEP = timedelta(days=90)
"""Time for which the numbers of an ended import or export are kept."""
FORMATS: Mapping[str, Format] = {"text/csv": "csv", "application/x-ndjson": "jsonl"}
"""Format of an uploaded file by its type."""


class ImportIsOver(Conflict):
    """The import or export has ended."""

    code = "transfer_is_over"


class ContactImport(Row):
    """An import of a file."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    asset_id = peewee.UUIDField()
    filename = peewee.TextField()
    format = peewee.TextField()
    encoding = peewee.TextField(null=True)
    state = peewee.TextField()
    unreadable = peewee.TextField(null=True)
    dry_run = peewee.BooleanField()
    match_keys = ArrayField(peewee.TextField, index=False)  # type: ignore[no-untyped-call]
    overwrite = peewee.TextField()
    region = peewee.TextField(null=True)
    day_first = peewee.BooleanField()
    decimal_comma = peewee.BooleanField()
    mapping = peewee.JSONField(null=True)
    layout = peewee.JSONField(null=True)
    size = peewee.BigIntegerField(null=True)
    position = peewee.BigIntegerField()
    row_number = peewee.IntegerField()
    created = peewee.IntegerField()
    updated = peewee.IntegerField()
    unchanged = peewee.IntegerField()
    duplicate = peewee.IntegerField()
    refused = peewee.IntegerField()
    listed = peewee.IntegerField()
    reasons = peewee.JSONField()
    errors_asset_id = peewee.UUIDField(null=True)
    job_id = peewee.UUIDField()
    created_at = DateTimeTZField()
    started_at = DateTimeTZField(null=True)
    finished_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "contact_imports"

    @property
    def conventions(self) -> Conventions:
        """Conventions of the file for its values."""
        return Conventions(self.region, self.day_first, self.decimal_comma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of an import.

    Attributes:
        mapping: field of each column; columns that are missing or None are ignored. None: as suggested.
        match_keys: fields by which a row finds its contact.
        overwrite: which values of known contacts change.
        dry_run: whether nothing is stored but the outcome.
        encoding: of a file without a byte-order mark; None: detected.
        conventions: how the file writes its values.
    """

    mapping: Mapping[str, str | None] | None
    match_keys: Sequence[str]
    overwrite: Overwrite
    dry_run: bool
    encoding: Encoding | None
    conventions: Conventions


def create(asset_id: UUID, options: Options) -> tuple[ContactImport, JobRef]:
    """Create an import of an uploaded file and enqueue its job.

    Raises:
        Invalid: names the wrong options, or the asset that is no checked file with the purpose `import`.
    """
    asset = _asset(asset_id)
    errors = _faults(options)
    if errors:
        raise Invalid(errors=errors)
    identity = context.current()
    assert identity is not None
    import_id = new_id()
    job = enqueue("import.run", import_id, subject=("import", import_id))
    made = ContactImport.create(
        id=import_id,
        brand_id=identity.brand_id,
        asset_id=asset.id,
        filename=asset.filename,
        format=FORMATS[asset.content_type],
        encoding=options.encoding,
        state="waiting",
        dry_run=options.dry_run,
        match_keys=list(options.match_keys),
        overwrite=options.overwrite,
        region=options.conventions.region,
        day_first=options.conventions.day_first,
        decimal_comma=options.conventions.decimal_comma,
        mapping=None if options.mapping is None else dict(options.mapping),
        job_id=job.id,
        created_at=now(),
    )
    return get(made.id), job


def _asset(asset_id: UUID) -> assets.Asset:
    try:
        asset = assets.get(asset_id)
    except NotFound:
        raise Invalid("asset_id", _NOT_USABLE) from None
    if asset.purpose != "import" or asset.state != "ready":
        raise Invalid("asset_id", _NOT_USABLE)
    return asset


_NOT_USABLE = "must be a file with the purpose `import` whose state is `ready`"
_NO_FIELD = "must be a field that can be imported, such as `email` or `properties.<key>` of a declared property"
_TWICE = "must not be the field of two columns"
_NO_KEY = "must contain a field of the mapping"
_NO_KEY_MAPPED = "must be one of the match keys for one column"


def _faults(options: Options) -> list[FieldError]:
    errors = []
    if options.conventions.region is not None and options.conventions.region not in phonenumbers.SUPPORTED_REGIONS:
        errors.append(FieldError("region", "must be a country (ISO 3166-1 alpha-2), such as ES"))
    known = fields.of_brand()
    mapped = [field for field in (options.mapping or {}).values() if field is not None]
    for column, field in (options.mapping or {}).items():
        if field is not None and field not in known:
            errors.append(FieldError(f"mapping.{column}", _NO_FIELD))
        elif field is not None and mapped.count(field) > 1:
            errors.append(FieldError(f"mapping.{column}", _TWICE))
    if options.mapping is not None and not errors and not set(mapped) & set(options.match_keys):
        errors += [FieldError("mapping[...]", _NO_KEY_MAPPED), FieldError("match_keys", _NO_KEY)]
    return errors


def find(*, limit: int, after: UUID | None = None) -> list[ContactImport]:
    """Return up to `limit` imports of the brand, newest first, that follow the one with the id `after`."""
    query = ContactImport.select().order_by(ContactImport.id.desc()).limit(limit)
    return list(query if after is None else query.where(ContactImport.id < after))


def get(import_id: UUID) -> ContactImport:
    """Return an import of the brand.

    Raises:
        NotFound: the brand has no such import.
    """
    found = ContactImport.select().where(ContactImport.id == import_id).first()
    if found is None:
        raise NotFound
    return cast(ContactImport, found)


def cancel(import_id: UUID) -> ContactImport:
    """End an import after the present batch. Its job then writes the file of errors.

    Raises:
        NotFound: the brand has no such import.
        ImportIsOver: the import has ended.
    """
    update = ContactImport.update(state="cancelled").where(
        ContactImport.id == import_id, ContactImport.state.in_(("waiting", "running"))
    )
    if not update.execute():
        get(import_id)
        raise ImportIsOver
    return get(import_id)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is being imported.

    Attributes:
        table: its rows.
        layout: its layout.
        columns: position, name and field of each mapped column.
    """

    table: Table
    layout: Layout
    columns: Sequence[tuple[int, str, Field]]


def begin(import_id: UUID) -> ContactImport | None:
    """Mark an import as running and return it; None if it has ended. Called by each attempt of its job."""
    ContactImport.update(state="running", started_at=now()).where(
        ContactImport.id == import_id, ContactImport.state == "waiting"
    ).execute()
    found = ContactImport.select().where(ContactImport.id == import_id).first()
    is_over = found is None or found.finished_at is not None
    return None if is_over else cast(ContactImport, found)


class CannotBegin(Exception):
    """The import can't begin; `reason` says why."""

    def __init__(self, reason: CannotImport) -> None:
        super().__init__(reason)
        self.reason = reason


def open_file(one: ContactImport, path: Path, known: Mapping[str, Field]) -> Opened:
    """Detect the layout of a file and map its columns.

    Args:
        one: the import.
        path: its file.
        known: the fields of the brand (`fields.of_brand`).

    Raises:
        CannotBegin: the file can't be read, or the mapping does not fit it.
    """
    try:
        layout = detection.detect(path, cast(Format, one.format), cast(Encoding | None, one.encoding))
    except FileUnreadable as unreadable:
        raise CannotBegin(unreadable.reason) from None
    chosen = one.mapping
    if chosen is None:
        chosen = mapping.suggest(layout.columns, known, {name: field.label for name, field in known.items()})
    if not chosen.keys() <= set(layout.columns):
        raise CannotBegin("unknown_column")
    named = [(place, chosen.get(column)) for place, column in enumerate(layout.columns)]
    mapped = [(place, name) for place, name in named if name is not None]
    if not known.keys() >= {name for _, name in mapped}:
        raise CannotBegin("unknown_field")
    if not {name for _, name in mapped} & set(one.match_keys):
        raise CannotBegin("no_match_key")
    return Opened(Table(path, layout), layout, [(place, name, known[name]) for place, name in mapped])


def store_layout(import_id: UUID, opened: Opened) -> None:
    """Store what was detected, and the mapping that is used."""
    columns = opened.layout.columns
    used = {columns[place]: name for place, name, _ in opened.columns}
    layout = {name: getattr(opened.layout, name) for name in ("encoding", "delimiter")} | {"columns": list(columns)}
    ContactImport.update(
        layout=layout, mapping={column: used.get(column) for column in columns}, size=opened.table.size
    ).where(ContactImport.id == import_id).execute()


def fail(import_id: UUID, reason: CannotImport) -> None:
    """End an import that can't begin."""
    ContactImport.update(state="failed", unreadable=reason, finished_at=now()).where(
        ContactImport.id == import_id, ContactImport.finished_at.is_null()
    ).execute()
    _announce(get(import_id))


def stop(import_id: UUID) -> None:
    """End an import whose job a system admin has cancelled. The rows that were processed stay."""
    execute("UPDATE public.contact_imports SET state = 'cancelled' WHERE id = %s AND state = 'running'", (import_id,))
    finish(import_id, None)


def finish(import_id: UUID, errors_asset_id: UUID | None) -> None:
    """End an import whose rows are processed or that was cancelled. Delete the kept rows and keys."""
    ended = (
        ContactImport.update(
            state=peewee.Case(None, [(ContactImport.state == "cancelled", "cancelled")], "done"),
            errors_asset_id=errors_asset_id,
            finished_at=now(),
        )
        .where(ContactImport.id == import_id, ContactImport.finished_at.is_null())
        .execute()
    )
    if ended:
        execute("DELETE FROM public.contact_import_rows WHERE import_id = %s", (import_id,))
        execute("DELETE FROM public.contact_import_keys WHERE import_id = %s", (import_id,))
        _announce(get(import_id))


def _announce(one: ContactImport) -> None:
    outbox.publish("import.finished", brand_id=one.brand_id, data={"import_id": one.id})
    notify(
        "import_finished",
        brand_id=one.brand_id,
        subject=("import", one.id),
        values={"file": one.filename, "imported": one.row_number - one.refused, "refused": one.refused},
        permission="contacts:write",
    )


def expire() -> int:
    """Delete ended imports and exports after `KEEP`, and fail those whose job is dead. Return the number deleted."""
    execute(_FAIL_IMPORTS)
    execute(_FAIL_EXPORTS)
    execute(_DELETE_KEYS)
    execute(_DELETE_ROWS)
    before = now() - KEEP
    return execute("DELETE FROM public.contact_imports WHERE finished_at < %s", (before,)) + execute(
        "DELETE FROM public.contact_exports WHERE finished_at < %s", (before,)
    )


_DELETE_KEYS = """
DELETE FROM public.contact_import_keys k
WHERE NOT EXISTS (SELECT FROM public.contact_imports i WHERE i.id = k.import_id AND i.finished_at IS NULL)
"""
_DELETE_ROWS = """
DELETE FROM public.contact_import_rows r
WHERE NOT EXISTS (SELECT FROM public.contact_imports i WHERE i.id = r.import_id AND i.finished_at IS NULL)
"""
# A job that has just been enqueued may be invisible to this statement's snapshot: five minutes are enough.
_FAIL_IMPORTS = """
UPDATE public.contact_imports t SET state = 'failed', finished_at = now()
WHERE t.finished_at IS NULL AND t.created_at < now() - interval '5 minutes' AND NOT app.is_live_job(t.job_id)
"""
_FAIL_EXPORTS = """
UPDATE public.contact_exports t SET state = 'failed', finished_at = now()
WHERE t.finished_at IS NULL AND t.created_at < now() - interval '5 minutes' AND NOT app.is_live_job(t.job_id)
"""
