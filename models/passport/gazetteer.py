"""The offline gazetteer: cities by name, for the local implementation of the geocoder.

It knows cities with 15,000 or more inhabitants (GeoNames, CC BY 4.0) and no streets, so each of its positions is one of
a city. `scripts/data/build_gazetteer.py` builds its file.
"""

import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.core.texts import folded

ATTRIBUTION = "GeoNames (CC BY 4.0)"
"""Source to name beside the results."""

_FILE = Path(__file__).with_name("gazetteer.txt.xz")
_MAX_WORDS = 6
"""Maximum number of words of a name that is looked for at the end of a part of an address."""
_NUMBERS = re.compile(r"\b\w*\d\w*\b")


@dataclass(frozen=True, slots=True)
class City:
    """A city: its name in its own language, its country (ISO 3166), and its centre in degrees (WGS-84)."""

    name: str
    country: str
    lat: float
    lon: float


def find(address: str, country: str | None, limit: int) -> list[City]:
    """Return up to `limit` cities that an address may name, the most likely first.

    Commas separate the parts of the address. A country at its end limits the cities. Then come cities whose name is at
    the end of the last part, longer names first, and cities whose name is another part. Of one name the largest is
    first.

    Args:
        address: in any case, with or without accents.
        country: ISO 3166 code of the country, if known.
        limit: maximum number of cities.
    """
    # The file is read for each new address, and not kept: results are cached, and a worker's memory is scarce.
    countries, _, cities = lzma.decompress(_FILE.read_bytes()).decode().partition("\n\n")
    parts = [folded(_NUMBERS.sub(" ", part)) for part in address.split(",")]
    parts = [part for part in parts if part]
    if country is None and len(parts) > 1:
        country = _country(countries, parts[-1])
        parts = parts if country is None else parts[:-1]
    found = [city for name in _names(parts) for city in _cities(cities, name, country)]
    return list(dict.fromkeys(found))[:limit]


def _names(parts: list[str]) -> Iterator[str]:
    """Yield the names that an address may contain: the ends of its last part, the longest first, and other parts."""
    words = parts[-1].split() if parts else []
    yield from (" ".join(words[start:]) for start in range(max(0, len(words) - _MAX_WORDS), len(words)))
    yield from reversed(parts[:-1])


def _country(countries: str, name: str) -> str | None:
    at = countries.find(f"|{name}|")
    if at < 0:
        return None
    start = countries.rfind("\n", 0, at) + 1
    return countries[start : start + 2]


def _cities(cities: str, name: str, country: str | None) -> Iterator[City]:
    at = cities.find(f"|{name}|")
    while at >= 0:
        start, end = cities.rfind("\n", 0, at) + 1, cities.find("\n", at)
        code, lat, lon, own_name, _ = cities[start:end].split("\t")
        if country in (None, code):
            yield City(own_name, code, float(lat), float(lon))
        at = cities.find(f"|{name}|", end)
