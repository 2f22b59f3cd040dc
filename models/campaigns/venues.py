"""Positions of venues: look-ups of addresses at the geocoder, and which positions may be the centre of a geofence."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import context
from models.core.database import Row, execute, new_id, now
from models.core.enumerations import enumeration
from models.core.errors import NotFound
from models.jobs.ledger import JobRef, enqueue
from settings import settings

KEEP = timedelta(days=30)
"""Time for which an answer is kept and used again."""

Precision = Annotated[
    Literal["address", "street", "city"],
    enumeration(
        "PlacePrecision",
        "What a position is that of. `address`: a building or the place itself. `street`: a street. `city`: a city or "
        "a district; too coarse for the centre of a geofence.",
    ),
]

FENCE_PRECISIONS = ("address", "street")
"""Precisions of positions that may be the centre of a geofence. The centre of a city says nothing about a venue."""


class VenueLookup(Row):
    """A look-up of an address. `candidates` is None until the geocoder has answered."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    geocoder = peewee.TextField()
    address = peewee.TextField()
    country = peewee.TextField(null=True)
    language = peewee.TextField()
    candidates = peewee.JSONField(null=True)
    attribution = peewee.TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "venue_lookups"


@dataclass(frozen=True, slots=True)
class Question:
    """An address in one line, its country (ISO 3166) if known, and the language of the answer."""

    address: str
    country: str | None
    language: str


def look_up(question: Question) -> tuple[VenueLookup, JobRef | None]:
    """Return the look-up of an address of the caller's brand, and the job that answers it if it is not answered yet."""
    identity = context.current()
    assert identity is not None
    known = {
        "geocoder": settings.geocoder,
        "address": " ".join(question.address.casefold().split()),
        "country": question.country,
        "language": question.language,
    }
    conditions = [
        getattr(VenueLookup, name).is_null() if of is None else getattr(VenueLookup, name) == of
        for name, of in known.items()
    ]
    lookup = VenueLookup.get_or_none(*conditions)
    if lookup is None:
        insert = VenueLookup.insert(id=new_id(), brand_id=identity.brand_id, created_at=now(), **known)
        insert.on_conflict_ignore().execute()
        lookup = VenueLookup.get(*conditions)
    if lookup.candidates is not None:
        return lookup, None
    return lookup, enqueue("venue.geocode", lookup.id, unique="until_done", subject=("venue", lookup.id))


def get(lookup_id: UUID) -> VenueLookup:
    """Return a look-up of the caller's brand.

    Raises:
        NotFound: the brand has no such look-up.
    """
    found: VenueLookup | None = VenueLookup.get_or_none(VenueLookup.id == lookup_id)
    if found is None:
        raise NotFound
    return found


def settle(lookup_id: UUID, candidates: list[Any], attribution: str) -> None:
    """Store the answer of the geocoder."""
    VenueLookup.update(candidates=candidates, attribution=attribution).where(VenueLookup.id == lookup_id).execute()


def may_centre_fence(precision: str | None) -> bool:
    """Return whether a position of this precision may be the centre of a geofence."""
    return precision is None or precision in FENCE_PRECISIONS


def expire() -> None:
    """Delete old look-ups, as a system job."""
    execute("DELETE FROM public.venue_lookups WHERE created_at < %s", (now() - KEEP,))
