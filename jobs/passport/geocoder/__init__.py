"""Geocoder: positions of addresses. `docs/services/geocoder.md` describes the service."""

from collections.abc import Callable

from jobs.passport.gateway import connect
from jobs.passport.geocoder.contract import SERVICE, Geocoder
from jobs.passport.geocoder.local import LocalGeocoder
from jobs.passport.geocoder.nominatim import NominatimGeocoder
from settings import settings


def geocoder() -> Geocoder:
    """Return the geocoder that `GEOCODER` chooses."""
    sources: dict[str, Callable[[], Geocoder]] = {"gazetteer": LocalGeocoder, "nominatim": NominatimGeocoder}
    return connect(SERVICE, sources[settings.geocoder])
