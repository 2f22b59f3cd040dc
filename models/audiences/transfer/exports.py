"""Exports of contacts: create, read, cancel; and the pages of rows that the job writes."""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences import compiler, segments
from models.audiences.profile import FIELDS
from models.audiences.transfer import fields
from models.audiences.transfer.contact_rows import values_of
from models.audiences.transfer.fields import CONSENT, OPTED_OUT, Field
from models.audiences.transfer.imports import ImportIsOver
from models.audiences.transfer.planning import ID
from models.audiences.transfer.writing import ExportFormat
from models.core import context
from models.core.database import Row, new_id, now, rows, value
from models.core.errors import Invalid, NotFound
from models.jobs.ledger import JobRef, enqueue

PAGE = 5_000
"""Contacts of one page; each is a row group of a Parquet file."""


class ContactExport(Row):
    """An export of contacts to a file."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    format = peewee.TextField()
    segment_id = peewee.UUIDField(null=True)
    tag = peewee.TextField(null=True)
    state = peewee.TextField()
    exported = peewee.IntegerField()
    total = peewee.IntegerField(null=True)
    asset_id = peewee.UUIDField(null=True)
    job_id = peewee.UUIDField()
    created_at = DateTimeTZField()
    finished_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "contact_exports"


def create(kind: ExportFormat, *, segment_id: UUID | None, tag: str | None) -> tuple[ContactExport, JobRef]:
    """Create an export of the brand's contacts and enqueue its job.

    Args:
        kind: format of the file.
        segment_id: export the members of a segment only.
        tag: export contacts with a tag only.

    Raises:
        Invalid: the brand has no such segment.
    """
    identity = context.current()
    assert identity is not None
    if segment_id is not None and not value(
        "SELECT EXISTS (SELECT FROM public.audience_segments WHERE id = %s)", (segment_id,)
    ):
        raise Invalid("segment_id", "must be a segment of the brand")
    export_id = new_id()
    job = enqueue("export.run", export_id, subject=("export", export_id))
    ContactExport.create(
        id=export_id,
        brand_id=identity.brand_id,
        format=kind,
        segment_id=segment_id,
        tag=tag,
        state="waiting",
        job_id=job.id,
        created_at=now(),
    )
    return get(export_id), job


def find(*, limit: int, after: UUID | None = None) -> list[ContactExport]:
    """Return up to `limit` exports of the brand, newest first, that follow the one with the id `after`."""
    query = ContactExport.select().order_by(ContactExport.id.desc()).limit(limit)
    return list(query if after is None else query.where(ContactExport.id < after))


def get(export_id: UUID) -> ContactExport:
    """Return an export of the brand.

    Raises:
        NotFound: the brand has no such export.
    """
    found = ContactExport.select().where(ContactExport.id == export_id).first()
    if found is None:
        raise NotFound
    return cast(ContactExport, found)


def cancel(export_id: UUID) -> ContactExport:
    """End an export after the present page. There is no file then.

    Raises:
        NotFound: the brand has no such export.
        ImportIsOver: the export has ended.
    """
    update = ContactExport.update(state="cancelled", finished_at=now()).where(
        ContactExport.id == export_id, ContactExport.finished_at.is_null()
    )
    if not update.execute():
        get(export_id)
        raise ImportIsOver
    return get(export_id)


def begin(export_id: UUID) -> ContactExport | None:
    """Mark an export as running, count its contacts, and return it; None if it has ended."""
    found = ContactExport.select().where(ContactExport.id == export_id, ContactExport.finished_at.is_null()).first()
    if found is None:
        return None
    query = f"SELECT count(*) FROM public.contacts k WHERE {_where(found)}"  # noqa: S608 (no input in it)
    total = value(query, _parameters(found)) if found.segment_id is None else None
    ContactExport.update(state="running", total=total, exported=0).where(ContactExport.id == export_id).execute()
    return get(export_id)


def columns() -> Mapping[str, Field]:
    """Return the columns of an export: all that an import of the brand knows, and the times of the contact."""
    return {name: one for name, one in fields.of_brand().items() if name != CONSENT} | {
        name: Field(one.type, name) for name, one in FIELDS.items() if not one.importable
    }


def page(one: ContactExport, after: UUID | None) -> list[dict[str, Any]]:
    """Return the next contacts that an export looks at, by id; `members` says which of them it writes."""
    query = f"SELECT * FROM public.contacts k WHERE {_where(one)} AND k.id > %s ORDER BY k.id LIMIT %s"  # noqa: S608
    return rows(query, (*_parameters(one), after or UUID(int=0), PAGE))


def _where(one: ContactExport) -> str:
    """Return the condition of an export. Contacts that were merged into others are left out."""
    conditions = ["k.brand_id = %s", "k.merged_into IS NULL"]
    if one.tag is not None:
        conditions.append("k.tags @> ARRAY[%s]")
    return " AND ".join(conditions)


def _parameters(one: ContactExport) -> tuple[Any, ...]:
    return (one.brand_id,) if one.tag is None else (one.brand_id, one.tag)


def members(one: ContactExport, found: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Return those contacts of a page that fulfil the segment of an export, as of its creation.

    Raises:
        Invalid: the definition can't be evaluated any more.
    """
    if one.segment_id is None:
        return found
    definition = segments.definition_of(one.segment_id)
    at = segments.context_of(
        definition,
        one.brand_id,
        segment_id=one.segment_id,
        as_of=one.created_at,
        contacts=[contact["id"] for contact in found],
    )
    compiled = compiler.compile(definition, at)
    kept = {row["contact_id"] for row in rows(compiled.sql, compiled.arguments)}
    return [contact for contact in found if contact["id"] in kept]


def cells(contact: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return the values of a contact for the columns of an export."""
    values = values_of(contact) | {ID: str(contact["id"])}
    values.pop(OPTED_OUT, None)
    for name, one in FIELDS.items():
        if not one.importable and contact[one.column] is not None:
            values[name] = contact[one.column].isoformat()
    return [values.get(name) for name in names]


def count(export_id: UUID, exported: int) -> bool:
    """Store the progress of an export. Return False if it was cancelled."""
    update = ContactExport.update(exported=exported)
    return bool(update.where(ContactExport.id == export_id, ContactExport.finished_at.is_null()).execute())


def finish(export_id: UUID, asset_id: UUID) -> None:
    """End an export with its file."""
    ContactExport.update(state="done", asset_id=asset_id, finished_at=now()).where(
        ContactExport.id == export_id, ContactExport.finished_at.is_null()
    ).execute()
