"""Members of segments now and at a time in the past, and their number over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count, islice, takewhile
from typing import Annotated, Literal
from uuid import UUID

from models.audiences import _calendar
from models.audiences.dsl import CalendarPeriod
from models.core.database import execute, now, row, rows
from models.core.enumerations import enumeration
from models.core.errors import Invalid
from models.core.messages import Message

HISTORY = timedelta(days=400)
"""Time for which an ended membership is kept. Members and counts of an earlier time are incomplete."""
MAX_PERIODS = 750
"""Maximum number of periods that one request counts: 31 days of hours, or 400 days."""

Interval = Annotated[
    Literal["hour", "day", "week", "month"],
    enumeration(
        "CountInterval", "Length of a period. All but `hour` are calendar units in the time zone of the brand."
    ),
]


_NOW = """
SELECT contact_id, entered_at FROM public.segment_members
WHERE segment_id = %(segment)s AND left_at IS NULL AND contact_id > %(after)s ORDER BY contact_id LIMIT %(limit)s
"""
_PAST = """
SELECT contact_id, entered_at FROM public.segment_members
WHERE segment_id = %(segment)s AND contact_id > %(after)s AND entered_at <= %(at)s
    AND (left_at IS NULL OR left_at > %(at)s)
ORDER BY contact_id LIMIT %(limit)s
"""


def members(
    segment_id: UUID, *, limit: int, after: UUID | None = None, at: datetime | None = None
) -> list[tuple[UUID, datetime]]:
    """Return up to `limit` members of a segment of the caller's brand by contact, each with the time of entering.

    Args:
        segment_id: the segment.
        limit: maximum number of members.
        after: the contact before the first one to return.
        at: members at this time, at most `HISTORY` ago; None for now.

    Raises:
        Invalid: `at` is in the future, or longer ago than `HISTORY`.
    """
    if at is not None:
        _require_history("as_of", at)
    params = {"segment": segment_id, "after": after or UUID(int=0), "at": at, "limit": limit}
    return [(one["contact_id"], one["entered_at"]) for one in rows(_PAST if at else _NOW, params)]


def _require_history(field: str, at: datetime) -> None:
    present = now()
    if at > present:
        raise Invalid(field, "must not be in the future")
    if at < present - HISTORY:
        raise Invalid(field, Message("must be at most {days} days ago", days=HISTORY.days))


_LAST = """
SELECT CASE WHEN left_at IS NULL THEN entered_at END AS member_since, left_at FROM public.segment_members
WHERE segment_id = %s AND contact_id = %s ORDER BY left_at DESC NULLS FIRST LIMIT 1
"""


def last_membership(segment_id: UUID, contact_id: UUID) -> tuple[datetime | None, datetime | None]:
    """Return the time since which a contact is a member, and the time at which it left; None for what doesn't apply."""
    found = row(_LAST, (segment_id, contact_id))
    return (found["member_since"], found["left_at"]) if found else (None, None)


@dataclass(frozen=True, slots=True)
class Count:
    """The members at the end of a period, and the contacts that entered and left in it.

    Attributes:
        start: beginning of the period, which does not belong to it.
        at: its end: the present time for a period that has not ended.
        members: members at the end.
        entered: contacts that entered.
        left: contacts that left.
    """

    start: datetime
    at: datetime
    members: int
    entered: int
    left: int


_COUNTS = """
WITH times AS (
    SELECT at, lag(at, 1, '-infinity') OVER (ORDER BY at) AS before FROM unnest(%(times)s::timestamptz[]) AS at
),
moved AS (
    SELECT t.at, t.before,
        (SELECT count(*) FROM public.segment_members m
            WHERE m.segment_id = %(segment)s AND m.entered_at > t.before AND m.entered_at <= t.at)::int AS entered,
        (SELECT count(*) FROM public.segment_members m
            WHERE m.segment_id = %(segment)s AND m.left_at > t.before AND m.left_at <= t.at)::int AS gone
    FROM times t
)
SELECT before AS start, at, members, entered, gone AS "left"
FROM (SELECT m.*, (sum(entered - gone) OVER (ORDER BY at))::int AS members FROM moved m) counted
WHERE before > '-infinity' ORDER BY at
"""


def counts(segment_id: UUID, first: date, last: date, interval: Interval, zone: str) -> list[Count]:
    """Count the members of a segment of the caller's brand at the end of each period of these days.

    Args:
        segment_id: the segment.
        first: first day, in the time zone.
        last: last day, which is included.
        interval: length of the periods; the last one may be shorter.
        zone: time zone of the brand.

    Raises:
        Invalid: `to` is in the future; or `from` is after `to`, too long ago, or makes more than `MAX_PERIODS` periods.
    """
    present = now()
    if last > _calendar.today(zone, present):
        raise Invalid("to", "must not be in the future")
    if first > last:
        raise Invalid("from", "must not be after `to`")
    begin, end = _calendar.start_of(first, zone), _calendar.start_of(last + timedelta(days=1), zone)
    _require_history("from", begin)
    times = list(islice(takewhile(lambda at: at < end, _steps(first, interval, zone)), MAX_PERIODS + 1))
    if len(times) > MAX_PERIODS:
        raise Invalid("from", Message("makes more than {count} periods: choose a longer `interval`", count=MAX_PERIODS))
    times = [at for at in times if at < present]
    found = rows(_COUNTS, {"segment": segment_id, "times": [*times, min(end, present)]})
    return [Count(**one) for one in found]


def _steps(first: date, interval: Interval, zone: str) -> Iterator[datetime]:
    """Yield the beginnings of the periods from a day on."""
    for n in count():
        if interval == "hour":
            yield _calendar.start_of(first, zone) + timedelta(hours=n)
        else:
            yield _calendar.start_of(_calendar.shift(first, CalendarPeriod(n, interval), 1), zone)


def expire() -> None:
    """Delete memberships that ended longer than `HISTORY` ago."""
    execute("DELETE FROM public.segment_members WHERE left_at < now() - %s", (HISTORY,))
