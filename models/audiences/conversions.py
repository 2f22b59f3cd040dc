"""Conversions: purchases and other goals of people who took part, as brands report them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from models.audiences import engagement_events
from models.core import context
from models.core.database import new_id, now, row
from models.core.enumerations import enumeration
from models.core.errors import Conflict, FieldError, Invalid, Members
from models.core.messages import Message

MAX_BATCH = 100
"""Maximum number of conversions in one request."""
MAX_AGE = timedelta(days=400)
"""Greatest age of a conversion when it is reported."""
MAX_SKEW = timedelta(minutes=5)
"""Time by which the brand's clock may be ahead."""

ConversionOutcome = Annotated[
    Literal["recorded", "known"],
    enumeration(
        "ConversionOutcome",
        "What became of a reported conversion. `recorded`: it is new. `known`: the brand has reported it before, so "
        "nothing has changed.",
    ),
]


class ConversionReusedMembers(Members):
    """The external id."""

    external_id: Annotated[
        str, msgspec.Meta(description="The id under which another conversion is stored.", examples=["order-2041"])
    ]


class ConversionReused(Conflict):
    """The brand has reported another conversion with this `external_id`; nothing of the request was stored."""

    code = "conversion_reused"
    members = ConversionReusedMembers


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A conversion as reported. One of `user_id` and `contact_id` names the person."""

    external_id: str
    occurred_at: datetime
    user_id: UUID | None = None
    contact_id: UUID | None = None
    value_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored conversion."""

    external_id: str
    id: UUID
    outcome: ConversionOutcome


def record(campaign_id: UUID, reported: Sequence[Conversion]) -> list[Recorded]:
    """Store conversions of the caller's brand and record their engagement events: all of them or none.

    Raises:
        Invalid: names every conversion with a wrong person, value or time.
        NotFound: the brand has no such campaign.
        ConversionReused: the brand has reported another conversion with one of the external ids.
    """
    errors = [error for index, one in enumerate(reported) for error in _faults(index, one)]
    if errors:
        raise Invalid(errors=errors)
    # Sorted, because two requests with the same conversions in other orders would deadlock otherwise.
    order = sorted(range(len(reported)), key=lambda index: reported[index].external_id)
    stored = {index: _store(campaign_id, reported[index]) for index in order}
    found = [stored[index] for index in range(len(reported))]
    unknown = [index for index, one in enumerate(found) if one["outcome"] == "unknown_person"]
    if unknown:
        raise Invalid(errors=[FieldError(_path(index, reported[index]), _UNKNOWN) for index in unknown])
    return [Recorded(one.external_id, kept["id"], kept["outcome"]) for one, kept in zip(reported, found, strict=True)]


_UNKNOWN = "must be a person who took part in a campaign of the brand, or one of its contacts"
_ONE_PERSON = "must be set if `{other}` is not, and must not be set with it"
_TOGETHER = "must be set together with `{other}`"
_PERIOD = Message("must be within the last {days} days, and not in the future", days=MAX_AGE.days)


def _path(index: int, one: Conversion) -> str:
    return f"conversions[{index}].{'contact_id' if one.user_id is None else 'user_id'}"


def _faults(index: int, one: Conversion) -> list[FieldError]:
    errors = []
    if (one.user_id is None) == (one.contact_id is None):
        wrong, other = ("user_id", "contact_id") if one.user_id is None else ("contact_id", "user_id")
        errors.append(FieldError(f"conversions[{index}].{wrong}", Message(_ONE_PERSON, other=other)))
    if (one.value_minor is None) != (one.currency is None):
        missing, other = ("value_minor", "currency") if one.value_minor is None else ("currency", "value_minor")
        errors.append(FieldError(f"conversions[{index}].{missing}", Message(_TOGETHER, other=other)))
    if not now() - MAX_AGE <= one.occurred_at <= now() + MAX_SKEW:
        errors.append(FieldError(f"conversions[{index}].occurred_at", _PERIOD))
    return errors


def _store(campaign_id: UUID, one: Conversion) -> dict[str, Any]:
    person = (one.user_id, one.contact_id)
    found = row(
        "SELECT * FROM app.add_conversion(%s, %s, %s, %s, %s, %s, %s, %s)",
        (new_id(), campaign_id, one.external_id, *person, one.value_minor, one.currency, one.occurred_at),
    )
    assert found is not None
    if found["outcome"] == "reused":
        raise ConversionReused(external_id=one.external_id)
    if found["outcome"] == "recorded":
        identity = context.current()
        assert identity is not None
        assert identity.brand_id is not None
        engagement_events.record(
            "conversion",
            brand_id=identity.brand_id,
            campaign_id=campaign_id,
            user_id=found["user_id"],
            contact_id=found["contact_id"],
            source_id=found["id"],
            occurred_at=one.occurred_at,
        )
    return found
