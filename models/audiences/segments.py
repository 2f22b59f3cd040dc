"""Segments of a brand's audience: saved definitions with their versions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.audiences import _calendar, _contradictions, changes, compiler, dsl
from models.audiences._fields import fields_of
from models.audiences.compiler import Compiled, Context
from models.audiences.dsl import Condition, SegmentCondition
from models.core import context
from models.core.database import Row, execute, new_id, now, rows, value
from models.core.errors import Conflict, Invalid, Members, NotFound


class AudienceSegment(Row):
    """A saved segment; `preview` holds the counts of the last preview."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    name = peewee.TextField()
    description = peewee.TextField(null=True)
    version = peewee.IntegerField(default=1)
    preview = peewee.JSONField(null=True)
    created_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    archived_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "audience_segments"


class SegmentQuery(Row):
    """A version of a segment's definition; the newest version is in effect."""

    brand_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()
    version = peewee.IntegerField()
    dsl_version = peewee.IntegerField(default=dsl.DSL_VERSION)
    definition = peewee.JSONField()
    created_by = peewee.UUIDField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Name and key of the table."""

        table_name = "segment_queries"
        primary_key = peewee.CompositeKey("brand_id", "segment_id", "version")


class SegmentDependency(Row):
    """A segment that the newest definition of a segment refers to."""

    brand_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()
    depends_on = peewee.UUIDField()

    class Meta:
        """Name and key of the table."""

        table_name = "segment_dependencies"
        primary_key = peewee.CompositeKey("brand_id", "segment_id", "depends_on")


class CampaignAudience(Row):
    """A segment that a campaign addresses."""

    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    segment_id = peewee.UUIDField()

    class Meta:
        """Name of the table."""

        table_name = "campaign_audience"
        primary_key = peewee.CompositeKey("campaign_id", "segment_id")


class SegmentNameTaken(Conflict):
    """Another segment of the brand, which is not archived, has this name."""

    code = "segment_name_taken"


class SegmentArchived(Conflict):
    """An archived segment can't be changed."""

    code = "segment_archived"


class SegmentInUseMembers(Members):
    """The segments and campaigns that refer to the segment."""

    segment_ids: Annotated[list[UUID], msgspec.Meta(description="Segments whose definition refers to it.")]
    campaign_ids: Annotated[
        list[UUID], msgspec.Meta(description="Campaigns that address it and are neither completed nor archived.")
    ]


class SegmentInUse(Conflict):
    """Another segment, or a campaign that is not over, refers to the segment."""

    code = "segment_in_use"
    members = SegmentInUseMembers


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a definition that differs between two versions; None where a version has no such part."""

    path: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def find(
    *, limit: int, after: tuple[datetime, UUID] | None = None, name: str | None = None, archived: bool = False
) -> list[AudienceSegment]:
    """Return up to `limit` segments of the caller's brand, newest first.

    Args:
        limit: maximum number of segments.
        after: `created_at` and `id` of the segment before the first one to return.
        name: part of the name, in any case.
        archived: whether archived segments are returned, instead of the others.
    """
    query = AudienceSegment.select().where(AudienceSegment.archived_at.is_null(not archived))
    if name is not None:
        query = query.where(peewee.fn.strpos(peewee.fn.lower(AudienceSegment.name), name.lower()) > 0)
    if after is not None:
        query = query.where(peewee.Tuple(AudienceSegment.created_at, AudienceSegment.id) < after)
    return list(query.order_by(AudienceSegment.created_at.desc(), AudienceSegment.id.desc()).limit(limit))


def get(segment_id: UUID) -> AudienceSegment:
    """Return a segment.

    Raises:
        NotFound: the caller's brand has no such segment.
    """
    return _first(AudienceSegment.select().where(AudienceSegment.id == segment_id))


def get_for_update(segment_id: UUID) -> AudienceSegment:
    """Lock a segment's row until the transaction ends and return it.

    Raises:
        NotFound: the caller's brand has no such segment, or the caller may not change it.
    """
    return _first(AudienceSegment.select().where(AudienceSegment.id == segment_id).for_update())


def _first(query: Any) -> AudienceSegment:
    found: AudienceSegment | None = next(iter(query), None)
    if found is None:
        raise NotFound
    return found


def create(*, name: str, definition: Condition, description: str | None = None) -> AudienceSegment:
    """Create a segment in the caller's brand.

    Raises:
        Invalid: the definition can't be evaluated, or contradicts itself; carries the path of each leaf that is wrong.
        SegmentNameTaken: another segment has this name.
    """
    identity, at, segment_id = context.current(), now(), new_id()
    assert identity is not None
    assert identity.brand_id is not None
    _serialise()
    check(definition, identity.brand_id, segment_id=segment_id)
    _require_free(name)
    made = AudienceSegment.create(
        id=segment_id,
        brand_id=identity.brand_id,
        name=name,
        description=description,
        created_by=identity.user_id,
        created_at=at,
        updated_at=at,
    )
    _store_definition(made, definition, at)
    return made


def replace(segment: AudienceSegment, *, name: str, definition: Condition, description: str | None) -> AudienceSegment:
    """Replace the contents of a segment that `get_for_update` has locked. Without a change it keeps its version.

    Raises:
        Invalid: the definition can't be evaluated, or contradicts itself; carries the path of each leaf that is wrong.
        SegmentArchived: the segment is archived.
        SegmentNameTaken: another segment has this name.
    """
    if segment.archived_at is not None:
        raise SegmentArchived
    _serialise()
    present = definition_of(segment.id)
    if (name, description, definition) == (segment.name, segment.description, present):
        return segment
    check(definition, segment.brand_id, segment_id=segment.id)
    _require_free(name, except_id=segment.id)
    at, changes = now(), {"name": name, "description": description, "version": segment.version + 1}
    if definition != present:
        changes["preview"] = None
    replaced = _first(
        AudienceSegment.update(**changes, updated_at=at)
        .where(AudienceSegment.id == segment.id)
        .returning(AudienceSegment)
        .execute()
    )
    if definition != present:
        _store_definition(replaced, definition, at)
        cancel_previews(segment.brand_id, preview_key(segment.id))
    return replaced


def archive(segment: AudienceSegment) -> AudienceSegment:
    """Archive a segment that `get_for_update` has locked. An archived segment stays as it is.

    Raises:
        SegmentInUse: another segment, or a campaign that is not over, refers to it.
    """
    if segment.archived_at is not None:
        return segment
    _serialise()
    uses = rows("SELECT kind, id FROM app.find_segment_uses(%s) ORDER BY id", (segment.id,))
    if uses:
        raise SegmentInUse(
            segment_ids=[one["id"] for one in uses if one["kind"] == "segment"],
            campaign_ids=[one["id"] for one in uses if one["kind"] == "campaign"],
        )
    changes = {"archived_at": now(), "updated_at": now(), "version": segment.version + 1}
    archived = _first(
        AudienceSegment.update(**changes).where(AudienceSegment.id == segment.id).returning(AudienceSegment).execute()
    )
    SegmentDependency.delete().where(SegmentDependency.segment_id == segment.id).execute()
    return archived


def _serialise() -> None:
    # Without the lock, two definitions saved at once could refer to each other.
    execute("SELECT app.lock_segments('definitions')")


def _require_free(name: str, *, except_id: UUID | None = None) -> None:
    others = AudienceSegment.select().where(AudienceSegment.name == name, AudienceSegment.archived_at.is_null())
    if any(found.id != except_id for found in others):
        raise SegmentNameTaken


def _store_definition(segment: AudienceSegment, definition: Condition, at: datetime) -> None:
    identity = context.current()
    assert identity is not None
    key = {"brand_id": segment.brand_id, "segment_id": segment.id}
    SegmentQuery.insert(
        **key,
        version=segment.version,
        definition=dsl.dump(definition),
        created_by=identity.user_id,
        created_at=at,
    ).execute()
    SegmentDependency.delete().where(SegmentDependency.segment_id == segment.id).execute()
    if referred := _referred([definition]):
        SegmentDependency.insert_many([{**key, "depends_on": one} for one in sorted(referred)]).execute()


def _referred(definitions: Iterable[Condition]) -> set[UUID]:
    return {leaf.segment_id for one in definitions for _, leaf in dsl.leaves(one) if isinstance(leaf, SegmentCondition)}


def check(definition: Condition, brand_id: UUID, *, segment_id: UUID | None = None) -> Compiled:
    """Check a definition as it is saved, and return it compiled.

    Raises:
        Invalid: the definition can't be evaluated, or contradicts itself; carries the path of each leaf that is wrong.
    """
    dsl.require_shape(definition)
    found = context_of(definition, brand_id, segment_id=segment_id)
    compiled = compiler.compile(definition, found)
    _contradictions.require_consistent(definition, found, _calendar.today(found.zone, found.as_of))
    return compiled


def context_of(
    definition: Condition,
    brand_id: UUID,
    *,
    segment_id: UUID | None = None,
    as_of: datetime | None = None,
    contacts: Sequence[UUID] | None = None,
    buckets: int | None = None,
) -> Context:
    """Return what the definition is compiled for: the brand's time zone, fields, and segments that it refers to.

    Args:
        definition: the definition.
        brand_id: brand of the caller.
        segment_id: the segment that it belongs to; None for an unsaved definition.
        as_of: present time of the windows; None for now.
        contacts: only these contacts; None for all.
        buckets: only contacts of the first buckets, for a sample; None for all.
    """
    return Context(
        brand_id=brand_id,
        zone=timezone(brand_id),
        as_of=as_of or now(),
        fields=fields_of(brand_id),
        segments=_definitions(_referred([definition])),
        segment_id=segment_id,
        contacts=contacts,
        buckets=buckets,
    )


def can_be_evaluated(segment_id: UUID, brand_id: UUID) -> bool:
    """Return whether the definition of a segment that is in effect can be compiled now."""
    definition = definition_of(segment_id)
    try:
        compiler.compile(definition, context_of(definition, brand_id, segment_id=segment_id))
    except Invalid:
        return False
    return True


def timezone(brand_id: UUID) -> str:
    """Return the time zone of a brand, in which windows and periods are calendar units."""
    return value("SELECT app.brand_timezone(%s)", (brand_id,)) or "UTC"


def _definitions(wanted: set[UUID]) -> dict[UUID, Condition]:
    """Return the newest definitions of segments, and of those that they refer to. Archived segments have none."""
    known: dict[UUID, Condition] = {}
    while wanted:
        found = {one["segment_id"]: dsl.load(one["definition"]) for one in rows(_NEWEST, (sorted(wanted),))}
        known |= found
        wanted = _referred(found.values()) - known.keys()
    return known


_NEWEST = """
SELECT DISTINCT ON (q.segment_id) q.segment_id, q.definition FROM public.segment_queries q
JOIN public.audience_segments s ON s.brand_id = q.brand_id AND s.id = q.segment_id AND s.archived_at IS NULL
WHERE q.segment_id = ANY (%s::uuid[]) ORDER BY q.segment_id, q.version DESC
"""


def definition_of(segment_id: UUID) -> Condition:
    """Return the definition of a segment that is in effect.

    Raises:
        NotFound: the caller's brand has no such segment.
    """
    return definitions_of([segment_id])[segment_id]


def definitions_of(segment_ids: Sequence[UUID]) -> dict[UUID, Condition]:
    """Return the definitions of segments that are in effect, also of archived segments.

    Raises:
        NotFound: the caller's brand does not have all of them.
    """
    newest = (
        SegmentQuery.select()
        .where(SegmentQuery.segment_id.in_(list(segment_ids)))
        .distinct(SegmentQuery.segment_id)
        .order_by(SegmentQuery.segment_id, SegmentQuery.version.desc())
    )
    found = {one.segment_id: dsl.load(one.definition) for one in newest} if segment_ids else {}
    if len(found) != len(set(segment_ids)):
        raise NotFound
    return found


def versions(segment_id: UUID, *, limit: int, before: int | None = None) -> list[SegmentQuery]:
    """Return up to `limit` versions of a segment's definition, newest first, older than the version `before`."""
    query = SegmentQuery.select().where(SegmentQuery.segment_id == segment_id)
    if before is not None:
        query = query.where(SegmentQuery.version < before)
    return list(query.order_by(SegmentQuery.version.desc()).limit(limit))


def get_version(segment_id: UUID, version: int) -> SegmentQuery:
    """Return the definition that was in effect at a version of a segment.

    Raises:
        NotFound: the segment has no such version.
    """
    segment = get(segment_id)
    found = versions(segment_id, limit=1, before=version + 1) if version <= segment.version else []
    if not found:
        raise NotFound
    return found[0]


def diff(before: Condition, after: Condition, path: str = dsl.ROOT) -> list[Change]:
    """Return the parts of a definition that differ, with their paths.

    Parts of `all` and `any` are compared in their order.
    """
    if before == after:
        return []
    old, new = before.children(), after.children()
    if not old or not new or before.present() != after.present():
        return [Change(path, dsl.dump(before), dsl.dump(after))]
    found = [
        change for (step, one), (_, other) in zip(old, new, strict=False) for change in diff(one, other, path + step)
    ]
    found += [Change(path + step, dsl.dump(one), None) for step, one in old[len(new) :]]
    found += [Change(path + step, None, dsl.dump(one)) for step, one in new[len(old) :]]
    return found


def preview_key(segment_id: UUID) -> str:
    """Return the key that the running previews of a segment hold."""
    return f"segment:{segment_id}"


_CANCEL = """
SELECT pg_cancel_backend(l.pid) FROM pg_locks l CROSS JOIN (SELECT hashtextextended(%s, 0) AS key) k
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((l.classid::bigint << 32) | l.objid::bigint) = k.key
"""


def cancel_previews(brand_id: UUID, key: str) -> None:
    """Cancel the statements of the brand's previews that hold a key: their results are obsolete."""
    role = value("SELECT current_setting('role')")
    # Only the login itself may cancel its statements; it has no rights to any table.
    execute("SELECT set_config('role', 'none', true)")
    execute(_CANCEL, (f"preview:{brand_id}:{key}",))
    execute("SELECT set_config('role', %s, true)", (role,))


def store_preview(segment: AudienceSegment, preview: dict[str, Any]) -> None:
    """Store the counts of a preview at the segment, unless its definition has changed meanwhile."""
    execute(
        "SELECT app.keep_segment_preview(%s, %s, %s)",
        (segment.id, segment.version, msgspec.json.encode(preview).decode()),
    )


def freeze(brand_id: UUID, campaign_id: UUID, segment_ids: Sequence[UUID]) -> int:
    """Store the contacts that are in the segments now as the members of a campaign, in place of earlier ones.

    Returns:
        The number of members.

    Raises:
        NotFound: the brand does not have all segments.
        Invalid: a definition can no longer be evaluated; carries the path of each leaf that is wrong.
    """
    execute("DELETE FROM public.campaign_members WHERE brand_id = %s AND campaign_id = %s", (brand_id, campaign_id))
    stored = 0
    for segment_id, definition in definitions_of(segment_ids).items():
        compiled = compiler.compile(definition, context_of(definition, brand_id, segment_id=segment_id))
        statement = _FREEZE.format(members=compiled.sql)
        stored += execute(statement, {**compiled.arguments, "brand": brand_id, "campaign": campaign_id})
    if stored:
        execute(_MARK_FROZEN, (brand_id, campaign_id))
        changes.enqueue_apply(brand_id)
    return stored


_FREEZE = """
INSERT INTO public.campaign_members (brand_id, campaign_id, contact_id)
SELECT %(brand)s, %(campaign)s, found.contact_id FROM ({members}) found ON CONFLICT DO NOTHING
"""
_MARK_FROZEN = """
INSERT INTO app.segment_changes (brand_id, contact_id, kinds)
SELECT brand_id, contact_id, '{campaign}' FROM public.campaign_members WHERE brand_id = %s AND campaign_id = %s
"""
