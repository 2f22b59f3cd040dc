"""The kinds of schedule: pure arithmetic over due times, in UTC."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Literal

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

CatchUp = Literal["none", "last", "all"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TOLERANCE = timedelta(minutes=1)
"""Maximum delay of an occurrence that is not caught up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(ABC):
    """A recurring job.

    Attributes:
        do: actor name.
        catch_up: occurrences to run that passed while no clock ran: `none`, the `last` one, or `all` in order.
        late_means: consequence of a delay, for operators.
    """

    do: str
    catch_up: CatchUp
    late_means: str

    @property
    @abstractmethod
    def period(self) -> timedelta:
        """The time between two occurrences."""

    @property
    @abstractmethod
    def first(self) -> datetime:
        """An occurrence in the past, from which all others are counted."""

    @abstractmethod
    def trigger(self) -> BaseTrigger:
        """Return a trigger of APScheduler with the same times."""

    def previous(self, moment: datetime) -> datetime:
        """Return the newest occurrence that is due at `moment`."""
        return self.first + (moment - self.first) // self.period * self.period

    def missed(self, last: datetime | None, moment: datetime) -> Iterator[datetime]:
        """Yield the occurrences to enqueue at `moment`, oldest first. `last` is the newest enqueued one."""
        newest = self.previous(moment)
        if last is not None and last >= newest:
            return
        if last is None or self.catch_up == "last":
            yield newest
        elif self.catch_up == "all":
            due = self.previous(last) + self.period
            while due <= newest:
                yield due
                due += self.period
        elif moment - newest <= TOLERANCE:
            yield newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Every(Schedule):
    """A fixed interval, at the same moments for every clock."""

    hours: int = 0
    minutes: int = 0
    seconds: int = 0

    @property
    def period(self) -> timedelta:
        """The interval."""
        return timedelta(hours=self.hours, minutes=self.minutes, seconds=self.seconds)

    @property
    def first(self) -> datetime:
        """The start of a past year."""
        return _EPOCH

    def trigger(self) -> BaseTrigger:
        """Return an interval trigger with a fixed start."""
        return IntervalTrigger(seconds=int(self.period.total_seconds()), start_date=_EPOCH, timezone=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily(Schedule):
    """Once a day at a time of day in UTC, which has no days of 23 or 25 hours."""

    at: str

    @property
    def period(self) -> timedelta:
        """A day."""
        return timedelta(days=1)

    @property
    def first(self) -> datetime:
        """The time of day, on a past day."""
        return datetime.combine(_EPOCH.date(), time.fromisoformat(self.at), UTC)

    def trigger(self) -> BaseTrigger:
        """Return a trigger for that time every day."""
        return CronTrigger(hour=self.first.hour, minute=self.first.minute, timezone=UTC)
