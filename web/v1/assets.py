"""Assets: images, videos and tables of a brand.

Create an asset, send its file to the signed URL of the answer, then complete the asset: a job checks the file. A file
has a URL once it is `ready`. Images are encoded again, without their metadata.
"""

from typing import Annotated, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.assets import assets
from models.assets.assets import AssetNotPending, AssetSpaceUsedUp
from models.assets.storage.base import SignedUpload
from models.assets.types import MAX_BYTES, AssetState, Purpose, RejectionReason
from models.core.messages import REASON, Message
from web.http.accepted import JobOut
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, accept, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Id, Text200, UriText

PurposeField = Annotated[Purpose, Meta(description="Use of the file.", examples=["media"])]
StateField = Annotated[AssetState, Meta(description="State of the file.", examples=["ready"])]
Filename = Annotated[
    Text200, Meta(description="Name of the file, for people and for downloads.", examples=["plaza.jpg"])
]
ContentType = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="Media type. `media`: `image/gif`, `image/jpeg`, `image/png`, `image/webp`, `video/mp4` or "
        "`video/webm`; `import`: `text/csv` or `application/x-ndjson`.",
        examples=["image/jpeg"],
    ),
]
Size = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_BYTES,
        description="Size of the file in bytes. At most 20 MB for images (GIF: 10 MB), 200 MB for videos and 100 MB "
        "for tables.",
        examples=[184320],
    ),
]
Sha256 = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{64}$(?!\n)",
        description="SHA-256 of the file, hexadecimal in lower case.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        extra={REASON: Message("must be 64 hexadecimal digits in lower case")},
    ),
]


class AssetFilter(PageQuery, kw_only=True):
    """Filter of the list of assets; all conditions must hold."""

    purpose: Annotated[Purpose | None, Meta(description="Only assets with this use. Default: all.")] = None
    state: Annotated[AssetState | None, Meta(description="Only assets in this state. Default: all.")] = None


class AssetIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file to upload."""

    purpose: PurposeField
    filename: Filename
    content_type: ContentType
    size: Size
    sha256: Annotated[
        Sha256 | None,
        Meta(description="SHA-256 of the file, hexadecimal. The check compares it. Default: null, not compared."),
    ] = None


class UploadOut(msgspec.Struct):
    """The request that uploads the file. It needs no access token: its URL is signed."""

    method: Annotated[str, Meta(description="Method of the request.", examples=["PUT"])]
    url: Annotated[
        UriText,
        Meta(
            description="URL of the request, for one upload of a file of this type and size.",
            examples=["https://api.companon.example/files/01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f?expires=1799000000"],
        ),
    ]
    headers: Annotated[
        dict[str, str],
        Meta(
            description="Headers of the request, to send unchanged. Browsers set `Content-Length` by themselves.",
            examples=[{"Content-Type": "image/jpeg", "Content-Length": "184320"}],
        ),
    ]
    expires_at: Annotated[Instant, Meta(description="Time until which the upload must begin, in UTC.")]

    @classmethod
    def of(cls, upload: SignedUpload) -> "UploadOut":
        """Build the response for a signed upload."""
        return cls(upload.method, upload.url, dict(upload.headers), upload.expires_at)


class AssetOut(msgspec.Struct):
    """A file of the brand."""

    id: Id
    purpose: PurposeField
    filename: Filename
    content_type: ContentType
    size: Annotated[
        int, Meta(description="Size in bytes: as announced; once ready, of the checked file.", examples=[184320])
    ]
    sha256: Annotated[
        Sha256 | None,
        Meta(description="SHA-256, hexadecimal: as announced, or null; once ready, of the checked file."),
    ]
    state: StateField
    reason: Annotated[
        RejectionReason | None, Meta(description="Reason of the rejection; null unless `rejected`.", examples=[None])
    ]
    url: Annotated[
        UriText | None,
        Meta(
            description="URL of the file; null unless `ready`. That of `media` is public and never changes its content;"
            " that of other files is valid for 15 minutes.",
            examples=["https://api.companon.example/media/01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f-9f86d081884c7d65.jpg"],
        ),
    ]
    created_at: CreatedAt
    checked_at: Annotated[Instant | None, Meta(description="End of the check, in UTC; null before.")]

    @classmethod
    def of(cls, asset: assets.Asset) -> "AssetOut":
        """Build the response for an asset."""
        return cls(
            id=asset.id,
            purpose=cast(Purpose, asset.purpose),
            filename=asset.filename,
            content_type=asset.content_type,
            size=asset.size,
            sha256=asset.sha256,
            state=cast(AssetState, asset.state),
            reason=cast(RejectionReason | None, asset.reason),
            url=assets.url_of(asset),
            created_at=asset.created_at,
            checked_at=asset.checked_at,
        )


class NewAssetOut(msgspec.Struct):
    """A new asset, and the request that uploads its file."""

    asset: Annotated[AssetOut, Meta(description="The asset, which awaits its file.")]
    upload: Annotated[UploadOut, Meta(description="The request that uploads the file.")]


ASSET = {"purpose": "media", "filename": "plaza.jpg", "content_type": "image/jpeg", "size": 184320}
"""Example of an asset."""


class Assets:
    """`/api/v1/assets`: the files of a brand."""

    @endpoint(query=AssetFilter, response=Page[AssetOut], permission="assets:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the files of the brand, newest first."""
        query: AssetFilter = req.context.query
        scope = f"assets:{query.purpose}:{query.state}"
        found = assets.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, UUID, scope=scope),
            purpose=query.purpose,
            state=query.state,
        )
        _not_stored(resp)
        resp.media = page_of([AssetOut.of(asset) for asset in found], query.limit, lambda item: item.id, scope=scope)

    @endpoint(
        body=AssetIn,
        response=NewAssetOut,
        status=201,
        permission="assets:write",
        audit="asset.create",
        idempotent=True,
        secret=True,
        problems=(AssetSpaceUsedUp,),
        example=ASSET,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Announce a file and get the signed request that uploads it.

        Send the file with that request within 15 minutes, then call `POST /api/v1/assets/{asset_id}/complete`. A brand
        may have 10,000 files of 5 GB together (`asset_space_used_up`). Uploads that are not completed are deleted after
        a day.
        """
        body: AssetIn = req.context.body
        asset, upload = assets.reserve(
            purpose=body.purpose,
            filename=body.filename,
            content_type=body.content_type,
            size=body.size,
            sha256=body.sha256,
        )
        audited(req, table="assets", record_id=asset.id, after=_content(asset))
        resp.location = f"/api/v1/assets/{asset.id}"
        _not_stored(resp)
        resp.media = NewAssetOut(AssetOut.of(asset), UploadOut.of(upload))


class Asset:
    """`/api/v1/assets/{asset_id}`: one file."""

    @endpoint(response=AssetOut, permission="assets:read")
    def on_get(self, req: Request, resp: Response, asset_id: UUID) -> None:
        """Read the state of a file, and its URL once it is ready."""
        _not_stored(resp)
        resp.media = AssetOut.of(assets.get(asset_id))

    @endpoint(status=204, permission="assets:write", audit="asset.delete")
    def on_delete(self, req: Request, resp: Response, asset_id: UUID) -> None:
        """Delete a file. Its URL is refused from then on, but caches may keep a public file for a year."""
        deleted = assets.delete(asset_id)
        audited(req, table="assets", record_id=asset_id, before=_content(deleted))


class AssetCompletion:
    """`/api/v1/assets/{asset_id}/complete`: the end of an upload."""

    @endpoint(
        operation_id="completeAsset",
        response=JobOut,
        status=202,
        permission="assets:write",
        audit="asset.complete",
        problems=(AssetNotPending,),
    )
    def on_post(self, req: Request, resp: Response, asset_id: UUID) -> None:
        """Start the check of an uploaded file. Returns the running job if there is one.

        When the job has ended, the asset is `ready` or `rejected`.
        """
        job = assets.complete(asset_id)
        audited(req, table="assets", record_id=asset_id)
        accept(resp, job)


def _content(asset: assets.Asset) -> dict[str, object]:
    names = ("purpose", "filename", "content_type", "size", "sha256")
    return {name: getattr(asset, name) for name in names}


def _not_stored(resp: Response) -> None:
    """Keep signed URLs out of caches."""
    resp.set_header("Cache-Control", "no-store")


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/assets", Assets()),
    ("/api/v1/assets/{asset_id:uuid}", Asset()),
    ("/api/v1/assets/{asset_id:uuid}/complete", AssetCompletion()),
]
