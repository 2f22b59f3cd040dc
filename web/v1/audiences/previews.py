"""Previews: the counts of segments and of definitions that are not saved."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import preview, segments
from models.audiences.dsl import Condition
from models.audiences.preview import PreviewReplaced, TooManyPreviews
from web.http.endpoint import endpoint
from web.v1.audiences._schemas import DEFINITION, EXAMPLE, Counts, require_contacts


class PreviewIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A definition that is not saved."""

    definition: Annotated[Condition, Meta(description=DEFINITION)]


class AudiencePreview:
    """`/api/v1/audiences/{segment_id}/preview`: the counts of a segment."""

    @endpoint(
        operation_id="previewAudience",
        response=Counts,
        permission="audiences:read",
        problems=(PreviewReplaced, TooManyPreviews),
    )
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Count the contacts of a segment now, and how many of them can be reached. `preview` keeps the result.

        Small counts are withheld. Few previews of a brand run at the same time. If the definition changes meanwhile,
        the preview ends with `preview_replaced`. API keys also need the scope `contacts:read`.
        """
        require_contacts(req)
        resp.media = Counts.of(preview.of_segment(segments.get(segment_id)))


class UnsavedPreview:
    """`/api/v1/audiences/preview`: the counts of a definition that is not saved."""

    @endpoint(
        operation_id="previewDefinition",
        body=PreviewIn,
        response=Counts,
        permission="audiences:read",
        problems=(PreviewReplaced, TooManyPreviews),
        example={"definition": EXAMPLE["definition"]},
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Count the contacts that fulfil a definition. An older preview of the caller that still runs is cancelled.

        The cancelled one ends with `preview_replaced`. API keys also need the scope `contacts:read`.
        """
        require_contacts(req)
        body: PreviewIn = req.context.body
        resp.media = Counts.of(preview.of_definition(body.definition))


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/audiences/preview", UnsavedPreview()),
    ("/api/v1/audiences/{segment_id:uuid}/preview", AudiencePreview()),
]
