"""The geocoder over Nominatim (https://nominatim.org/release-docs/latest/api/Search/), through geopy."""

from typing import Any, Literal
from urllib.parse import urlsplit

from geopy.exc import GeocoderRateLimited, GeocoderServiceError, GeocoderTimedOut
from geopy.geocoders import Nominatim

from jobs.passport.contract import ServiceUnavailable
from jobs.passport.geocoder.contract import MAX_CANDIDATES, SERVICE, Candidate, Locate, Located
from settings import settings

PUBLIC_SERVER = "https://nominatim.openstreetmap.org"
ATTRIBUTION = "OpenStreetMap contributors (ODbL)"

_PLACE, _STREET, _CITY = 28, 26, 13
"""Smallest ranks of a building or a point of interest, of a street, and of a city or a part of one. Smaller ranks are
counties, states and countries (https://nominatim.org/release-docs/latest/customize/Ranking/)."""


class NominatimGeocoder:
    """Asks the Nominatim server at `GEOCODER_URL`."""

    def locate(self, request: Locate, *, key: str) -> Located:
        """Return the places that an address may mean.

        Raises:
            ServiceUnavailable: the server does not answer, refuses, or answers with anything else.
        """
        try:
            found = _client().geocode(
                request.address,
                exactly_one=False,
                limit=MAX_CANDIDATES,
                addressdetails=True,
                language=request.language,
                country_codes=request.country,
            )
            places = [_candidate(place.raw) for place in found or ()]
        except GeocoderTimedOut as error:
            raise ServiceUnavailable(cause="timeout", detail=str(error)) from error
        except GeocoderRateLimited as error:
            raise ServiceUnavailable(error.retry_after or 1.0, cause="throttled", detail=str(error)) from error
        except GeocoderServiceError as error:
            raise ServiceUnavailable(cause="error", detail=str(error)[:200]) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServiceUnavailable(cause="bad_answer", detail=f"not the documented JSON: {error!r}"[:200]) from error
        return Located([place for place in places if place is not None], ATTRIBUTION)


def _client() -> Any:
    server = urlsplit(settings.geocoder_url or PUBLIC_SERVER)
    return Nominatim(
        user_agent=f"companon ({settings.frontend_url})",
        scheme=server.scheme,
        domain=server.netloc + server.path.rstrip("/"),
        timeout=SERVICE.by_name["locate"].timeout,
    )


def _candidate(place: dict[str, Any]) -> Candidate | None:
    precision = _precision(int(place["place_rank"]))
    if precision is None:
        return None
    country = place.get("address", {}).get("country_code")
    return Candidate(
        place["display_name"], country and country.upper(), float(place["lat"]), float(place["lon"]), precision
    )


def _precision(rank: int) -> Literal["address", "street", "city"] | None:
    if rank >= _PLACE:
        return "address"
    if rank >= _STREET:
        return "street"
    return "city" if rank >= _CITY else None
