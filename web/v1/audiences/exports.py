"""Exports of contacts and of members of segments to CSV, JSON Lines and Parquet.

A job writes the file as a private asset, which is deleted after seven days. An import reads CSV and JSON Lines back.
"""

from typing import Annotated, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences.transfer import exports
from models.audiences.transfer.exports import ContactExport
from models.audiences.transfer.imports import ImportIsOver, TransferState
from models.audiences.transfer.writing import ExportFormat
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Id

FormatField = Annotated[ExportFormat, Meta(description="Format of the file.", examples=["csv"])]
Tag = Annotated[str, Meta(min_length=1, max_length=100)]


class ExportIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An export of contacts. Without a condition, of all contacts."""

    format: FormatField
    segment_id: Annotated[UUID | None, Meta(description="Only members of this segment. Default: null, all.")] = None
    tag: Annotated[Tag | None, Meta(description="Only contacts with this tag. Default: null, all.")] = None


class ExportOut(msgspec.Struct):
    """An export of contacts."""

    id: Id
    format: FormatField
    segment_id: Annotated[UUID | None, Meta(description="The segment whose members are exported; null: all contacts.")]
    tag: Annotated[str | None, Meta(description="Tag of the exported contacts; null: any.", examples=["vip"])]
    state: Annotated[TransferState, Meta(description="State of the export.", examples=["done"])]
    exported: Annotated[int, Meta(description="Contacts in the file so far.", examples=[1000])]
    total: Annotated[
        int | None,
        Meta(
            description="Contacts at the beginning; null until the job has counted them, and for a segment.",
            examples=[1000],
        ),
    ]
    asset_id: Annotated[
        UUID | None,
        Meta(description="Asset with the file, deleted after 7 days; null before the end. Its `url` downloads it."),
    ]
    job_id: Annotated[UUID, Meta(description="Id of its job, for `GET /api/v1/jobs/{job_id}`.")]
    created_at: CreatedAt
    finished_at: Annotated[Instant | None, Meta(description="End of the export, in UTC; null before.")]

    @classmethod
    def of(cls, one: ContactExport) -> "ExportOut":
        """Build the response for an export."""
        return cls(
            id=one.id,
            format=cast(ExportFormat, one.format),
            segment_id=one.segment_id,
            tag=one.tag,
            state=cast(TransferState, one.state),
            exported=one.exported,
            total=one.total,
            asset_id=one.asset_id,
            job_id=one.job_id,
            created_at=one.created_at,
            finished_at=one.finished_at,
        )


class Exports:
    """`/api/v1/crm/exports`: the exports of a brand."""

    @endpoint(operation_id="listExports", query=PageQuery, response=Page[ExportOut], permission="contacts:export")
    def on_get(self, req: Request, resp: Response) -> None:
        """List exports, newest first. They are kept for 90 days, their files for 7."""
        query: PageQuery = req.context.query
        found = exports.find(limit=query.limit + 1, after=decode_cursor(query.cursor, UUID, scope="exports"))
        resp.media = page_of([ExportOut.of(one) for one in found], query.limit, lambda item: item.id, scope="exports")

    @endpoint(
        operation_id="createExport",
        body=ExportIn,
        response=ExportOut,
        status=201,
        permission="contacts:export",
        audit="export.create",
        idempotent=True,
        recent=True,
        example={"format": "csv"},
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Start an export of contacts, or of the members of a segment. It needs step-up.

        Poll `GET /api/v1/crm/exports/{export_id}`; then read the asset. Contacts that change during the export may have
        their values from before or after.
        """
        body: ExportIn = req.context.body
        one, _ = exports.create(body.format, segment_id=body.segment_id, tag=body.tag)
        details = {"format": one.format, "segment_id": one.segment_id, "tag": one.tag}
        audited(req, table="contact_exports", record_id=one.id, after=details)
        resp.location = f"/api/v1/crm/exports/{one.id}"
        resp.media = ExportOut.of(one)


class Export:
    """`/api/v1/crm/exports/{export_id}`: one export."""

    @endpoint(operation_id="getExport", response=ExportOut, permission="contacts:export")
    def on_get(self, req: Request, resp: Response, export_id: UUID) -> None:
        """Read the progress of an export, and the id of its file."""
        resp.media = ExportOut.of(exports.get(export_id))


class ExportCancellation:
    """`/api/v1/crm/exports/{export_id}/cancel`: the end of a running export."""

    @endpoint(
        operation_id="cancelExport",
        response=ExportOut,
        permission="contacts:export",
        audit="export.cancel",
        problems=(ImportIsOver,),
    )
    def on_post(self, req: Request, resp: Response, export_id: UUID) -> None:
        """Cancel an export. There is no file then."""
        one = exports.cancel(export_id)
        audited(req, table="contact_exports", record_id=export_id, after={"exported": one.exported})
        resp.media = ExportOut.of(one)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/exports", Exports()),
    ("/api/v1/crm/exports/{export_id:uuid}", Export()),
    ("/api/v1/crm/exports/{export_id:uuid}/cancel", ExportCancellation()),
]
