"""Imports of contacts from CSV and JSON Lines.

Upload a file as an asset with the purpose `import`, then create an import: a job reads the file and decides about each
row. Every row counts under exactly one outcome. Refused rows are listed in a file with their reasons.
"""

from typing import Annotated, Literal, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences.transfer import imports
from models.audiences.transfer.cleaning import Conventions
from models.audiences.transfer.detection import Encoding, Format
from models.audiences.transfer.imports import CannotImport, ContactImport, ImportIsOver, TransferState
from models.audiences.transfer.planning import Overwrite
from models.core.enumerations import enumeration
from models.core.messages import REASON, Message
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Id

MatchKey = Annotated[
    Literal["companon_id", "external_id", "email", "phone"],
    enumeration(
        "ImportMatchKey",
        "Field by which a row finds its contact. `companon_id`: the id of the contact, as in exports. `external_id`: "
        "the id in the brand's system.",
    ),
]
AssetId = Annotated[
    UUID,
    Meta(description="Id of the uploaded file: an asset with the purpose `import`, `ready`."),
]
Mapping = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=200)],
        Annotated[str, Meta(min_length=1, max_length=100)] | None,
    ],
    Meta(
        max_length=500,
        description="Field of each column: a profile field, `properties.<key>`, `companon_id`, or `consent.marketing`. "
        "Columns that are null or missing are ignored.",
        examples=[{"Correo": "email", "Nombre": "name", "Talla": "properties.size"}],
    ),
]
JobId = Annotated[UUID, Meta(description="Id of its job, for `GET /api/v1/jobs/{job_id}`.")]
MatchKeys = Annotated[
    list[MatchKey],
    Meta(min_length=1, max_length=4, description="Fields by which a row finds its contact.", examples=[["email"]]),
]


class ImportIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An import of an uploaded file."""

    asset_id: AssetId
    mapping: Annotated[
        Mapping | None, Meta(description="Field of each column. Default: null, as suggested by the columns' names.")
    ] = None
    match_keys: MatchKeys = msgspec.field(default_factory=lambda: cast(list[MatchKey], ["email"]))
    overwrite: Annotated[
        Overwrite, Meta(description="Values of known contacts that change. Default: `missing`.", examples=["missing"])
    ] = "missing"
    dry_run: Annotated[bool, Meta(description="Only count the outcomes; store no contact. Default: false.")] = False
    region: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Z]{2}$(?!\n)",
                extra={REASON: Message("must be a country (ISO 3166-1 alpha-2), such as ES")},
            ),
        ]
        | None,
        Meta(
            description="Country of phone numbers without a country code (ISO 3166-1 alpha-2). Default: null; such "
            "numbers are refused.",
            examples=["ES"],
        ),
    ] = None
    encoding: Annotated[
        Encoding | None,
        Meta(description="Encoding of a file without a byte-order mark. Default: null, detected."),
    ] = None
    day_first: Annotated[bool, Meta(description="Whether 3/4/1990 is 3 April. Default: true.")] = True
    decimal_comma: Annotated[bool, Meta(description="Whether numbers have a decimal comma. Default: false.")] = False


class OutcomesOut(msgspec.Struct):
    """Rows by outcome. Their sum is the number of rows so far."""

    created: Annotated[int, Meta(description="Rows that created a contact.", examples=[812])]
    updated: Annotated[int, Meta(description="Rows that changed a known contact.", examples=[90])]
    unchanged: Annotated[int, Meta(description="Rows whose contact has these values already.", examples=[61])]
    duplicate: Annotated[
        int, Meta(description="Rows about a contact of an earlier row; their values were added to it.", examples=[17])
    ]
    refused: Annotated[int, Meta(description="Rows of which nothing was stored.", examples=[20])]


class LayoutOut(msgspec.Struct):
    """Layout that was detected."""

    encoding: Annotated[str, Meta(description="Encoding of the file.", examples=["windows-1252"])]
    delimiter: Annotated[str, Meta(description="Delimiter of a CSV file; otherwise empty.", examples=[";"])]
    columns: Annotated[list[str], Meta(description="Names of the columns.", examples=[["Correo", "Nombre", "Talla"]])]


class ImportOut(msgspec.Struct):
    """An import of a file."""

    id: Id
    asset_id: AssetId
    filename: Annotated[str, Meta(description="Name of the file.", examples=["clientes.csv"])]
    format: Annotated[Format, Meta(description="Format of the file.", examples=["csv"])]
    state: Annotated[TransferState, Meta(description="State of the import.", examples=["done"])]
    failure: Annotated[CannotImport | None, Meta(description="Why it has failed before its first row; otherwise null.")]
    dry_run: Annotated[bool, Meta(description="Whether no contact is stored.")]
    match_keys: MatchKeys
    overwrite: Annotated[Overwrite, Meta(description="Values of known contacts that change.", examples=["missing"])]
    layout: Annotated[LayoutOut | None, Meta(description="Layout of the file; null until the job has read it.")]
    mapping: Annotated[Mapping | None, Meta(description="Field of each column; null until the job has read the file.")]
    progress: Annotated[float, Meta(description="Processed part of the file, 0 to 1.", examples=[1.0], ge=0, le=1)]
    rows: Annotated[int, Meta(description="Rows so far. The header and blank lines are no rows.", examples=[1000])]
    outcomes: Annotated[OutcomesOut, Meta(description="Rows by outcome.")]
    reasons: Annotated[
        dict[str, int],
        Meta(
            description="Number of rows by reason: of refusals, whose sum is `outcomes.refused`, and of the notices "
            "`consent_withdrawn` and `consent_not_given`, whose rows count under another outcome, too. A row counts "
            "under its first reason.",
            examples=[{"bad_email": 12, "no_key": 8, "consent_withdrawn": 1}],
        ),
    ]
    errors_asset_id: Annotated[
        UUID | None,
        Meta(
            description="Asset with a line for each refused row and notice: row, field, reason and original values. At "
            "most 100,000 lines; deleted after 7 days. Null without any, or before the end."
        ),
    ]
    job_id: JobId
    created_at: CreatedAt
    finished_at: Annotated[Instant | None, Meta(description="End of the import, in UTC; null before.")]

    @classmethod
    def of(cls, one: ContactImport) -> "ImportOut":
        """Build the response for an import."""
        return cls(
            id=one.id,
            asset_id=one.asset_id,
            filename=one.filename,
            format=cast(Format, one.format),
            state=cast(TransferState, one.state),
            failure=cast(CannotImport | None, one.unreadable),
            dry_run=one.dry_run,
            match_keys=cast(list[MatchKey], one.match_keys),
            overwrite=cast(Overwrite, one.overwrite),
            layout=None if one.layout is None else LayoutOut(**one.layout),
            mapping=one.mapping,
            progress=1.0 if one.state == "done" else min(1.0, one.position / one.size) if one.size else 0.0,
            rows=one.row_number,
            outcomes=OutcomesOut(one.created, one.updated, one.unchanged, one.duplicate, one.refused),
            reasons=one.reasons,
            errors_asset_id=one.errors_asset_id,
            job_id=one.job_id,
            created_at=one.created_at,
            finished_at=one.finished_at,
        )


IMPORT = {
    "asset_id": "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f",
    "mapping": {"Correo": "email", "Nombre": "name", "Teléfono": "phone"},
    "match_keys": ["email"],
    "overwrite": "missing",
    "region": "ES",
}
"""Example of an import."""


class Imports:
    """`/api/v1/crm/imports`: the imports of a brand."""

    @endpoint(operation_id="listImports", query=PageQuery, response=Page[ImportOut], permission="contacts:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List imports, newest first. They are kept for 90 days."""
        query: PageQuery = req.context.query
        found = imports.find(limit=query.limit + 1, after=decode_cursor(query.cursor, UUID, scope="imports"))
        resp.media = page_of([ImportOut.of(one) for one in found], query.limit, lambda item: item.id, scope="imports")

    @endpoint(
        operation_id="createImport",
        body=ImportIn,
        response=ImportOut,
        status=201,
        permission="contacts:write",
        audit="import.create",
        idempotent=True,
        example=IMPORT,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Start the import of an uploaded file.

        Poll `GET /api/v1/crm/imports/{import_id}` for progress and outcomes. Imports of a brand run one after the
        other. An import never grants a consent: `consent.marketing` false opts a contact out, and true is reported as
        `consent_withdrawn` or `consent_not_given` unless the person has given it.
        """
        body: ImportIn = req.context.body
        options = imports.Options(
            mapping=body.mapping,
            match_keys=list(dict.fromkeys(body.match_keys)),
            overwrite=body.overwrite,
            dry_run=body.dry_run,
            encoding=body.encoding,
            conventions=Conventions(body.region, body.day_first, body.decimal_comma),
        )
        one, _ = imports.create(body.asset_id, options)
        details = {"asset_id": one.asset_id, "dry_run": one.dry_run, "overwrite": one.overwrite}
        audited(req, table="contact_imports", record_id=one.id, after=details)
        resp.location = f"/api/v1/crm/imports/{one.id}"
        resp.media = ImportOut.of(one)


class Import:
    """`/api/v1/crm/imports/{import_id}`: one import."""

    @endpoint(operation_id="getImport", response=ImportOut, permission="contacts:read")
    def on_get(self, req: Request, resp: Response, import_id: UUID) -> None:
        """Read the progress and the outcomes of an import."""
        resp.media = ImportOut.of(imports.get(import_id))


class ImportCancellation:
    """`/api/v1/crm/imports/{import_id}/cancel`: the end of a running import."""

    @endpoint(
        operation_id="cancelImport",
        response=ImportOut,
        permission="contacts:write",
        audit="import.cancel",
        problems=(ImportIsOver,),
    )
    def on_post(self, req: Request, resp: Response, import_id: UUID) -> None:
        """Cancel an import. Rows that were processed stay; the job writes the file of errors."""
        one = imports.cancel(import_id)
        audited(req, table="contact_imports", record_id=import_id, after={"rows": one.row_number})
        resp.media = ImportOut.of(one)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/imports", Imports()),
    ("/api/v1/crm/imports/{import_id:uuid}", Import()),
    ("/api/v1/crm/imports/{import_id:uuid}/cancel", ImportCancellation()),
]
