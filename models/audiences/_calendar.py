"""Calendar days of a brand's time zone."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from models.audiences.dsl import CalendarPeriod

_YEARS = (1000, 9000)
"""First and last year of a computed day. Contacts have no dates beyond them."""


def shift(day: date, by: CalendarPeriod, sign: int) -> date:
    """Return the day that is `by` calendar units after (`sign` 1) or before (-1) a day.

    In a shorter month it is the last day: 31 March less one month is 28 February.
    """
    if by.unit in ("day", "week"):
        return day + sign * timedelta(days=by.n * (7 if by.unit == "week" else 1))
    months = day.year * 12 + day.month - 1 + sign * by.n * (12 if by.unit == "year" else 1)
    year, month = divmod(min(max(months, _YEARS[0] * 12), _YEARS[1] * 12 + 11), 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def today(zone: str, at: datetime) -> date:
    """Return the day in a time zone at a time."""
    return at.astimezone(ZoneInfo(zone)).date()


def start_of(day: date, zone: str) -> datetime:
    """Return the time at which a day begins in a time zone, in UTC. A midnight that is skipped is the first instant."""
    return datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)
