"""Traits of fans at the brands that may use them: copies of what MediaID knows.

A row of `public.fan_traits` exists while the fan is a contact of the brand and consents to marketing. Triggers enqueue
the refresh when a consent or a contact begins, and delete the rows when the consent ends.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core.database import execute, row, rows
from models.jobs.ledger import enqueue

REFRESH_AFTER = timedelta(days=7)
"""Age after which the copies of a person are refreshed."""
REFRESHES = 10_000
"""Maximum number of people whose copies one scheduled job has refreshed."""


@dataclass(frozen=True, slots=True)
class FanTrait:
    """A trait of the caller, as brands may use it."""

    name: str
    value: str
    observed_at: datetime
    usable_until: datetime
    brand_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class Fan:
    """A person whose traits are refreshed: with an account or without, what the profile says, and who may use it."""

    is_anonymous: bool
    observed: Mapping[str, str]
    brand_ids: Sequence[UUID]


def find_own() -> list[FanTrait]:
    """Return the traits of the caller that brands may use now, by name."""
    found = rows("SELECT name, value, observed_at, usable_until, brand_ids FROM app.own_traits()")
    return [FanTrait(**one) for one in found]


def find_fan(user_id: UUID) -> Fan | None:
    """Return a person whose traits brands may use; None if no brand may."""
    found = row("SELECT is_anonymous, locale, brand_ids FROM app.find_trait_fan(%s)", (user_id,))
    if found is None:
        return None
    language, _, region = found["locale"].partition("-")
    observed = {"language": language} | ({"region": region} if region else {})
    return Fan(found["is_anonymous"], observed, found["brand_ids"])


def store(user_id: UUID, traits: Iterable[Mapping[str, Any]]) -> None:
    """Replace the traits of a person at all brands that may use them.

    Args:
        user_id: the person.
        traits: `name`, `value` and `observed_at` of each.
    """
    execute("SELECT app.store_fan_traits(%s, %s)", (user_id, json.dumps(list(traits), default=str)))


def enqueue_old() -> None:
    """Enqueue the refresh of people whose copies are older than `REFRESH_AFTER`, the oldest first."""
    found = rows(
        "SELECT user_id FROM public.fan_traits WHERE refreshed_at < now() - %s"
        " GROUP BY user_id ORDER BY min(refreshed_at) LIMIT %s",
        (REFRESH_AFTER, REFRESHES),
    )
    for one in found:
        enqueue("mediaid.refresh", one["user_id"], user_id=one["user_id"], unique="while_waiting")
