"""Rules between the members of a configuration that the types can't express."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime

from models.campaigns.config import areas
from models.campaigns.config.dates import EARLIEST, LATEST, OUT_OF_RANGE
from models.campaigns.config.geofence import Geofence
from models.campaigns.config.plans import EventPlan, Reward, Venue
from models.campaigns.config.scan_rules import WEEKDAYS, ScanWindow
from models.campaigns.config.survey import ChoiceQuestion, Survey
from models.campaigns.config.types import Config, EventConfig, LockerConfig
from models.campaigns.venues import FENCE_PRECISIONS
from models.consents import notices
from models.core import timezones
from models.core.errors import FieldError
from models.core.messages import Message

DAY = 24 * 60
WEEK = 7 * DAY
"""In minutes."""


def contradictions(config: Config) -> list[FieldError]:
    """Return all violations of rules that the types can't express."""
    found = [*_of_scans(config), *_of_dates(config), *_of_survey(config.survey), *_of_venue(config.venue)]
    found += _repeated("config.goals[{n}].metric", [goal.metric for goal in config.goals])
    found += _repeated("config.segment_ids[{n}]", config.segment_ids)
    if isinstance(config, LockerConfig):
        found += _of_rewards(config.rewards)
    if isinstance(config, EventConfig):
        found += _of_event(config.event, config)
    return found


def missing_at_launch(config: Config) -> list[FieldError]:
    """Return the members that a draft may lack and a launched campaign may not."""
    if isinstance(config, EventConfig) and config.ends_at is None:
        return [FieldError("config.ends_at", "must be set for an event")]
    return []


def missing_of_notice(config: Config) -> list[FieldError]:
    """Return the members that a launched campaign needs for its consent notice. Needs a transaction."""
    notice = notices.in_force(config.notice_key, ["en"])
    if notice is None:
        return [FieldError("config.notice_key", "must be the key of a notice in force")]
    if not set(config.consent_tiers) <= set(notice.tiers):
        return [FieldError("config.consent_tiers", "must be tiers of the notice of `config.notice_key`")]
    return []


def dates(config: Config) -> dict[str, datetime | None]:
    """Return the dates of a configuration by the path of their field within it."""
    found = {"starts_at": config.starts_at, "ends_at": config.ends_at}
    if isinstance(config, EventConfig):
        found["event.doors_open_at"] = config.event.doors_open_at
    return found


def _of_scans(config: Config) -> Iterator[FieldError]:
    if len(set(config.consent_tiers)) < len(config.consent_tiers):
        yield FieldError("config.consent_tiers", "must not name a tier twice")
    if config.timezone not in timezones.names():
        yield FieldError("config.timezone", timezones.UNKNOWN)
    if config.geofence is not None:
        yield from _of_geofence(config.geofence)
        yield from _of_centre(config.geofence, config.venue)
    yield from _of_windows(config.scan_windows)


def _of_geofence(geofence: Geofence) -> Iterator[FieldError]:
    circle = {"lat": geofence.lat, "lon": geofence.lon, "radius_m": geofence.radius_m}
    if geofence.polygon is None:
        for name, value in circle.items():
            if value is None:
                yield FieldError(f"config.geofence.{name}", "is required without a `polygon`")
        return
    for name, value in circle.items():
        if value is not None:
            yield FieldError(f"config.geofence.{name}", "must be null with a `polygon`")
    yield from areas.faults(geofence.polygon, "config.geofence.polygon.coordinates")


def _of_centre(geofence: Geofence, venue: Venue | None) -> Iterator[FieldError]:
    """Refuse the position of a city as the centre of a circle: the venue may be far away."""
    if venue is None or venue.lat is None or venue.precision is None or venue.precision in FENCE_PRECISIONS:
        return
    if (geofence.lat, geofence.lon) == (venue.lat, venue.lon):
        text = Message("must be a measured position: the venue's is that of a {precision}", precision=venue.precision)
        yield FieldError("config.geofence.lat", text)


def _of_windows(windows: Sequence[ScanWindow]) -> Iterator[FieldError]:
    taken = [False] * WEEK
    for number, window in enumerate(windows):
        path = f"config.scan_windows[{number}]"
        if len(set(window.days)) < len(window.days):
            yield FieldError(f"{path}.days", "must not name a day twice")
        minutes = {minute % WEEK for start, end in spans(window) for minute in range(start, end)}
        if any(taken[minute] for minute in minutes) or len(minutes) < _length(window) * len(set(window.days)):
            yield FieldError(path, "must not overlap with another window")
        for minute in minutes:
            taken[minute] = True


def spans(window: ScanWindow) -> list[tuple[int, int]]:
    """Return the first minute of the week and the end of each day's window; the end may be in the next week."""
    return [
        (opening, opening + _length(window))
        for day in sorted(set(window.days))
        for opening in [WEEKDAYS.index(day) * DAY + _minute(window.opens)]
    ]


def _length(window: ScanWindow) -> int:
    """Return the length of a window in minutes: up to a day, and a day if it closes when it opens."""
    return (_minute(window.closes) - _minute(window.opens)) % DAY or DAY


def _minute(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)


def _of_dates(config: Config) -> Iterator[FieldError]:
    for field, at in dates(config).items():
        if at is not None and not EARLIEST <= at < LATEST:
            yield FieldError(f"config.{field}", OUT_OF_RANGE)
    if config.starts_at and config.ends_at and config.starts_at >= config.ends_at:
        yield FieldError("config.ends_at", "must be later than `starts_at`")


def _of_event(event: EventPlan, config: Config) -> Iterator[FieldError]:
    if event.doors_open_at and config.ends_at and event.doors_open_at >= config.ends_at:
        yield FieldError("config.event.doors_open_at", "must be before `ends_at`")


def _of_rewards(rewards: Sequence[Reward]) -> Iterator[FieldError]:
    yield from _repeated("config.rewards[{n}].key", [reward.key for reward in rewards])
    for number, reward in enumerate(rewards):
        if reward.per_user > reward.quantity:
            yield FieldError(f"config.rewards[{number}].per_user", "must be at most `quantity`")


def _of_venue(venue: Venue | None) -> Iterator[FieldError]:
    if venue is None:
        return
    if (venue.lat is None) != (venue.lon is None):
        missing = "lat" if venue.lat is None else "lon"
        yield FieldError(f"config.venue.{missing}", "is required: `lat` and `lon` belong together")
    if venue.precision is not None and venue.lat is None and venue.lon is None:
        yield FieldError("config.venue.precision", "must be null without `lat` and `lon`")


def _of_survey(survey: Survey | None) -> Iterator[FieldError]:
    if survey is None:
        return
    yield from _repeated("config.survey.questions[{n}].id", [question.id for question in survey.questions])
    languages = set(survey.questions[0].text)
    for number, question in enumerate(survey.questions):
        path = f"config.survey.questions[{number}]"
        texts = {f"{path}.text": question.text}
        if isinstance(question, ChoiceQuestion):
            yield from _repeated(path + ".options[{n}].id", [option.id for option in question.options])
            texts |= {f"{path}.options[{n}].text": option.text for n, option in enumerate(question.options)}
        for field, text in texts.items():
            if set(text) != languages:
                shown = ", ".join(sorted(languages))
                yield FieldError(field, Message("must have the languages of the first question: {shown}", shown=shown))


def _repeated(path: str, values: Iterable[Hashable]) -> Iterator[FieldError]:
    """Yield an error for each value that occurs before. `path`: the field of a value, with `{n}` for its place."""
    seen: set[Hashable] = set()
    for number, value in enumerate(values):
        if value in seen:
            yield FieldError(path.format(n=number), "must be unique in the list")
        seen.add(value)
