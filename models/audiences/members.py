"""Members of segments: who they are, why, and how many there were."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from models.audiences import compiler, segments
from models.audiences.segments import AudienceSegment
from models.core.database import row, rows
from models.core.errors import NotFound

MAX_DAYS = 400
"""Maximum number of days of a list of counts."""


@dataclass(frozen=True, slots=True)
class Member:
    """A contact in a segment, and since when."""

    contact_id: UUID
    entered_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a contact is in a segment, or is not.

    Attributes:
        contact_id: the contact; the one that it was merged into, if it was.
        holds: whether the contact fulfils the definition now.
        since: when the contact entered the segment; None if the stored membership has no such contact.
        leaves: path of each leaf, and whether it holds.
        as_of: time of the evaluation.
    """

    contact_id: UUID
    holds: bool
    since: datetime | None
    leaves: Sequence[tuple[str, bool]]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class DayCount:
    """Members of a segment on a day in the time zone of the brand."""

    day: date
    entered: int
    left: int
    members: int


_PAGE = """
SELECT m.contact_id, m.entered_at FROM public.segment_members m
WHERE m.brand_id = %s AND m.segment_id = %s AND m.left_at IS NULL AND (%s::uuid IS NULL OR m.contact_id > %s::uuid)
ORDER BY m.contact_id LIMIT %s
"""
_PAGE_IN_THE_PAST = """
SELECT DISTINCT ON (m.contact_id) m.contact_id, m.entered_at FROM public.segment_members m
WHERE m.brand_id = %s AND m.segment_id = %s AND m.entered_at <= %s AND (m.left_at IS NULL OR m.left_at > %s)
    AND (%s::uuid IS NULL OR m.contact_id > %s::uuid)
ORDER BY m.contact_id, m.entered_at DESC LIMIT %s
"""


def find(
    segment: AudienceSegment, *, limit: int, after: UUID | None = None, as_of: datetime | None = None
) -> list[Member]:
    """Return up to `limit` members of a segment, by the id of the contact.

    Args:
        segment: the segment.
        limit: maximum number of members.
        after: id of the contact before the first one to return.
        as_of: a time in the past; None for now.
    """
    key = (segment.brand_id, segment.id)
    found = (
        rows(_PAGE, (*key, after, after, limit))
        if as_of is None
        else rows(_PAGE_IN_THE_PAST, (*key, as_of, as_of, after, after, limit))
    )
    return [Member(**one) for one in found]


def explain(segment: AudienceSegment, contact_id: UUID) -> Explanation:
    """Evaluate the definition of a segment for one contact.

    Raises:
        NotFound: the brand has no such contact.
        Invalid: the definition can no longer be evaluated; carries the path of each leaf that is wrong.
    """
    known = row(
        "SELECT coalesce(c.merged_into, c.id) AS id FROM public.contacts c WHERE c.brand_id = %s AND c.id = %s",
        (segment.brand_id, contact_id),
    )
    if known is None:
        raise NotFound
    definition = segments.definition_of(segment.id)
    at = segments.context_of(definition, segment.brand_id, segment_id=segment.id, contacts=[known["id"]])
    compiled = compiler.compile(definition, at)
    leaves = ", ".join(f"{expression} AS l{number}" for number, (_, expression) in enumerate(compiled.leaves))
    truth = row(f"SELECT {compiled.condition} AS holds, {leaves} {compiled.source}", compiled.arguments)
    if truth is None:
        raise NotFound
    since = row(
        "SELECT m.entered_at FROM public.segment_members m WHERE m.brand_id = %s AND m.segment_id = %s"
        " AND m.contact_id = %s AND m.left_at IS NULL",
        (segment.brand_id, segment.id, known["id"]),
    )
    return Explanation(
        contact_id=known["id"],
        holds=truth["holds"],
        since=since["entered_at"] if since else None,
        leaves=[(path, truth[f"l{number}"]) for number, (path, _) in enumerate(compiled.leaves)],
        as_of=at.as_of,
    )


_COUNTS = """
WITH zone AS (SELECT app.brand_timezone(%(brand)s) AS name),
days AS (
    SELECT day::date, (day::date)::timestamp AT TIME ZONE zone.name AS start,
        (day::date + 1)::timestamp AT TIME ZONE zone.name AS next
    FROM zone, generate_series(%(first)s::date, %(last)s::date, interval '1 day') AS day
),
members AS (
    SELECT m.entered_at, m.left_at FROM public.segment_members m
    WHERE m.brand_id = %(brand)s AND m.segment_id = %(segment)s
        AND m.entered_at < (SELECT max(next) FROM days)
        AND (m.left_at IS NULL OR m.left_at >= (SELECT min(start) FROM days))
)
SELECT d.day,
    count(*) FILTER (WHERE m.entered_at >= d.start) AS entered,
    count(*) FILTER (WHERE m.left_at < d.next) AS "left",
    count(*) FILTER (WHERE m.left_at IS NULL OR m.left_at >= d.next) AS members
FROM days d LEFT JOIN members m ON m.entered_at < d.next AND (m.left_at IS NULL OR m.left_at >= d.start)
GROUP BY d.day ORDER BY d.day
"""


def counts(segment: AudienceSegment, first: date, last: date) -> list[DayCount]:
    """Return the members at the end of each day, and how many entered and left, from `first` to `last`."""
    bounds = {"brand": segment.brand_id, "segment": segment.id, "first": first, "last": last}
    return [DayCount(**one) for one in rows(_COUNTS, bounds)]
