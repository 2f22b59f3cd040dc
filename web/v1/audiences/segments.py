"""Audiences: segments of a brand's contacts (DNA Query Builder), with the versions of their definitions."""

import hashlib
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.audiences import dsl, segments
from models.audiences.dsl import Condition
from models.audiences.preview import Preview
from models.audiences.segments import AudienceSegment, SegmentArchived, SegmentInUse, SegmentNameTaken
from models.core.errors import PreconditionFailed
from web.http.datetimes import Instant
from web.http.endpoint import (
    Page,
    PageQuery,
    audited,
    changes,
    decode_cursor,
    endpoint,
    etag,
    page_of,
    require_match,
)
from web.http.fields import CreatedAt, Id, Text200, UpdatedAt, UserId, Version
from web.v1.audiences._schemas import DEFINITION, EXAMPLE, Counts

Name = Annotated[Text200, Meta(description="Name, unique among the brand's segments.", examples=["Regulars in Spain"])]
Description = Annotated[
    Annotated[str, Meta(min_length=1, max_length=2000)] | None,
    Meta(description="What the segment is for; null without a description.", examples=["For the autumn drop."]),
]
Definition = Annotated[Condition, Meta(description=DEFINITION)]
SCHEMA_TYPE = "application/schema+json"


class AudienceFilter(PageQuery, kw_only=True):
    """Filter of the list of segments."""

    name: Annotated[
        Text200 | None,
        Meta(
            description="Only segments with this text in their name, in any case. Default: all.", examples=["regular"]
        ),
    ] = None
    archived: Annotated[bool, Meta(description="List archived segments instead of the others. Default: false.")] = False


class AudienceIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A segment: its name and its definition."""

    name: Name
    description: Description = None
    definition: Definition


class AudienceChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a segment: a member that is left out stays as it is."""

    name: Annotated[Name | UnsetType, Meta(description="New name. Default: unchanged.")] = UNSET
    description: Annotated[Description | UnsetType, Meta(description="New description. Default: unchanged.")] = UNSET
    definition: Annotated[
        Condition | UnsetType, Meta(description="New definition, as a whole. Default: unchanged.")
    ] = UNSET


class AudienceOut(msgspec.Struct, kw_only=True):
    """A segment."""

    id: Id
    name: Name
    description: Description
    dsl_version: Annotated[int, Meta(description="Version of the grammar of `definition`.", examples=[1])]
    definition: Definition
    version: Version
    preview: Annotated[
        Counts | None,
        Meta(description="Counts of the last preview of this definition, with their time; null before the first one."),
    ]
    archived_at: Annotated[Instant | None, Meta(description="Time of archiving, in UTC; null if it is not archived.")]
    created_at: CreatedAt
    updated_at: UpdatedAt


class AudienceVersionOut(msgspec.Struct, kw_only=True):
    """A definition that was in effect."""

    version: Annotated[
        int, Meta(description="Version of the segment that brought the definition into effect.", examples=[3])
    ]
    dsl_version: Annotated[int, Meta(description="Version of the grammar of `definition`.", examples=[1])]
    definition: Definition
    created_by: Annotated[
        UserId | None, Meta(description="Member who made the change; null for an API key or an erased account.")
    ]
    created_at: CreatedAt


class DefinitionChange(msgspec.Struct):
    """A part of the definition that differs."""

    path: Annotated[str, Meta(description="Path of the part.", examples=["definition.all[0]"])]
    before: Annotated[Condition | None, Meta(description="The part in the earlier version; null if it has none.")]
    after: Annotated[Condition | None, Meta(description="The part in the later version; null if it has none.")]


class DiffOut(msgspec.Struct):
    """The difference of two versions."""

    before: Annotated[int, Meta(description="The earlier version.", examples=[1])]
    after: Annotated[int, Meta(description="The later version.", examples=[2])]
    changes: Annotated[
        list[DefinitionChange], Meta(description="The parts that differ, in the order of the definition.")
    ]


class DiffQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The versions to compare."""

    to: Annotated[
        Annotated[int, Meta(ge=1, le=2147483647)] | None,
        Meta(description="Version to compare with. Default: the newest.", examples=[2]),
    ] = None


def audiences_out(found: list[AudienceSegment]) -> list[AudienceOut]:
    """Build the responses for segments, with one query for all definitions."""
    definitions = segments.definitions_of([one.id for one in found])
    return [
        AudienceOut(
            id=one.id,
            name=one.name,
            description=one.description,
            dsl_version=dsl.DSL_VERSION,
            definition=definitions[one.id],
            version=one.version,
            preview=None if one.preview is None else Counts.of(msgspec.convert(one.preview, Preview)),
            archived_at=one.archived_at,
            created_at=one.created_at,
            updated_at=one.updated_at,
        )
        for one in found
    ]


def _respond(resp: Response, segment: AudienceSegment) -> None:
    (shown,) = audiences_out([segment])
    counted = shown.preview.as_of.isoformat() if shown.preview else "none"
    etag(resp, segment.version, counted)
    resp.media = shown


def _content(name: str, description: str | None, definition: Condition) -> dict[str, Any]:
    return {"name": name, "description": description, "definition": dsl.dump(definition)}


class Audiences:
    """`/api/v1/audiences`: the segments of a brand."""

    @endpoint(query=AudienceFilter, response=Page[AudienceOut], permission="audiences:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List segments, the newest first."""
        query: AudienceFilter = req.context.query
        scope = f"audiences:{query.archived}:{query.name}"
        found = segments.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, tuple[datetime, UUID], scope=scope),
            name=query.name,
            archived=query.archived,
        )
        resp.media = page_of(audiences_out(found), query.limit, lambda one: (one.created_at, one.id), scope=scope)

    @endpoint(
        body=AudienceIn,
        response=AudienceOut,
        status=201,
        permission="audiences:write",
        audit="audience.create",
        idempotent=True,
        problems=(SegmentNameTaken,),
        example=EXAMPLE,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a segment.

        A definition that can't be evaluated or contradicts itself is refused: unknown fields and segments, operators
        and values of another type, segments that lead back to themselves, and conditions that exclude each other.
        `errors` has the path of each leaf.
        """
        body: AudienceIn = req.context.body
        made = segments.create(name=body.name, description=body.description, definition=body.definition)
        after = _content(body.name, body.description, body.definition)
        audited(req, table="audience_segments", record_id=made.id, after=after)
        resp.location = f"/api/v1/audiences/{made.id}"
        _respond(resp, made)


class Audience:
    """`/api/v1/audiences/{segment_id}`: one segment."""

    @endpoint(response=AudienceOut, permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Read a segment. Send its `ETag` as `If-Match` with the next change."""
        _respond(resp, segments.get(segment_id))

    @endpoint(
        body=AudienceChange,
        response=AudienceOut,
        permission="audiences:write",
        audit="audience.update",
        problems=(SegmentArchived, SegmentNameTaken, PreconditionFailed),
        example={"name": "Regulars in Spain and Portugal"},
    )
    def on_patch(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Change a segment. A new definition is a new version; its members are computed again."""
        body: AudienceChange = req.context.body
        segment = segments.get_for_update(segment_id)
        require_match(req, segment.version)
        present = segments.definition_of(segment.id)
        name = segment.name if body.name is UNSET else body.name
        description = segment.description if body.description is UNSET else body.description
        definition = present if body.definition is UNSET else body.definition
        old = _content(segment.name, segment.description, present)
        replaced = segments.replace(segment, name=name, description=description, definition=definition)
        before, after = changes(old, _content(name, description, definition))
        audited(req, table="audience_segments", record_id=segment.id, before=before, after=after)
        _respond(resp, replaced)

    @endpoint(
        response=None,
        status=204,
        permission="audiences:write",
        audit="audience.archive",
        problems=(SegmentInUse, PreconditionFailed),
    )
    def on_delete(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """Archive a segment. Refused while another segment or a campaign that is not over refers to it.

        The versions and the history of its members are kept.
        """
        segment = segments.get_for_update(segment_id)
        require_match(req, segment.version)
        archived = segments.archive(segment)
        audited(req, table="audience_segments", record_id=segment.id, after={"archived_at": archived.archived_at})


class AudienceVersions:
    """`/api/v1/audiences/{segment_id}/versions`: the definitions that were in effect."""

    @endpoint(query=PageQuery, response=Page[AudienceVersionOut], permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID) -> None:
        """List the versions of a segment's definition, the newest first."""
        query: PageQuery = req.context.query
        scope = f"audience_versions:{segment_id}"
        segments.get(segment_id)
        before = decode_cursor(query.cursor, int, scope=scope)
        found = segments.versions(segment_id, limit=query.limit + 1, before=before)
        items = [_version_out(one) for one in found]
        resp.media = page_of(items, query.limit, lambda one: one.version, scope=scope)


def _version_out(found: segments.SegmentQuery) -> AudienceVersionOut:
    return AudienceVersionOut(
        version=found.version,
        dsl_version=found.dsl_version,
        definition=dsl.load(found.definition),
        created_by=found.created_by,
        created_at=found.created_at,
    )


class AudienceVersionDiff:
    """`/api/v1/audiences/{segment_id}/versions/{version_number}/diff`: what changed since a version."""

    @endpoint(operation_id="diffAudienceVersions", query=DiffQuery, response=DiffOut, permission="audiences:read")
    def on_get(self, req: Request, resp: Response, segment_id: UUID, version_number: int) -> None:
        """Compare the definitions that were in effect at two versions of a segment."""
        query: DiffQuery = req.context.query
        newest = segments.get(segment_id).version
        before = segments.get_version(segment_id, version_number)
        after = segments.get_version(segment_id, newest if query.to is None else query.to)
        differing = segments.diff(dsl.load(before.definition), dsl.load(after.definition))
        resp.media = DiffOut(
            before.version,
            after.version,
            [DefinitionChange(one.path, _part(one.before), _part(one.after)) for one in differing],
        )


def _part(stored: dict[str, Any] | None) -> Condition | None:
    return None if stored is None else dsl.load(stored)


_AUDIENCE = "/api/v1/audiences/{segment_id:uuid}"

_SCHEMA = msgspec.json.encode(dsl.schema())
_SCHEMA_DIGEST = hashlib.sha256(_SCHEMA).hexdigest()[:16]


class DefinitionSchema:
    """`/api/v1/audiences/schema`: the JSON Schema of definitions."""

    @endpoint(operation_id="getDefinitionSchema", permission="public", media=SCHEMA_TYPE, mode="async")
    async def on_get(self, req: Request, resp: Response) -> None:
        """Return the JSON Schema (2020-12) of the grammar of definitions.

        A definition that fits may still be refused when it is saved: the schema knows neither the fields of a brand nor
        the limits of levels and leaves.
        """
        etag(resp, dsl.DSL_VERSION, _SCHEMA_DIGEST)
        resp.data = _SCHEMA
        resp.content_type = SCHEMA_TYPE


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/audiences", Audiences()),
    ("/api/v1/audiences/schema", DefinitionSchema()),
    (_AUDIENCE, Audience()),
    (f"{_AUDIENCE}/versions", AudienceVersions()),
    (f"{_AUDIENCE}/versions/{{version_number:int(min=1, max=2147483647)}}/diff", AudienceVersionDiff()),
]
