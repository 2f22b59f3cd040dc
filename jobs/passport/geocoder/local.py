"""The local implementation of the geocoder: the offline gazetteer."""

from jobs.passport.geocoder.contract import MAX_CANDIDATES, Candidate, Locate, Located
from models.passport import gazetteer


class LocalGeocoder:
    """Finds cities. A question has no effect, so the key is not needed."""

    def locate(self, request: Locate, *, key: str) -> Located:
        """Return the cities that an address may name."""
        found = gazetteer.find(request.address, request.country, MAX_CANDIDATES)
        return Located(
            [Candidate(city.name, city.country, city.lat, city.lon, "city") for city in found], gazetteer.ATTRIBUTION
        )
