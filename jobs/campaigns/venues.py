"""Actors of venues: ask the geocoder for positions of addresses."""

from datetime import timedelta
from uuid import UUID

import msgspec

from jobs.engine import actor, current_job, own_transaction
from jobs.passport.geocoder import geocoder
from jobs.passport.geocoder.contract import Locate
from models.campaigns import venues
from settings import settings

PER_SECOND = 1.0 if settings.geocoder == "nominatim" else None
"""Maximum number of questions per second: the usage policy of the public Nominatim server allows one."""


@actor(
    "venue.geocode",
    runs_as="brand",
    outward=True,
    max_attempts=None,
    give_up_after=timedelta(hours=1),
    rate=PER_SECOND,
)
def geocode_venue(lookup_id: UUID) -> None:
    """Ask the geocoder for the position of an address, and store the answer."""
    with own_transaction():
        lookup = venues.get(lookup_id)
    if lookup.candidates is not None:
        return
    request = Locate(lookup.address, lookup.country, lookup.language)
    found = geocoder().locate(request, key=current_job().idempotency_key)
    with own_transaction():
        venues.settle(lookup_id, msgspec.to_builtins(found.candidates), found.attribution)


@actor("venues.expire", runs_as="system")
def expire_lookups() -> None:
    """Delete old look-ups of addresses."""
    venues.expire()
