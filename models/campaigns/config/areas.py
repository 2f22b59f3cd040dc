"""Check the form of polygons. PostGIS decides on their geometry, as it does for scans."""

from collections.abc import Iterator

import msgspec

from models.campaigns.config.geofence import MAX_POSITIONS, Polygon
from models.core.database import row
from models.core.errors import FieldError
from models.core.messages import Message

MAX_EXTENT_KM = 2_500
"""Largest distance between the first position of a polygon and any other."""

MIN_AREA_M2 = 100
"""Smallest area in square metres: the size of a phone's best accuracy."""

OUTSIDE_OF_EARTH = "must be a longitude from -180 to 180 and a latitude from -90 to 90"

_FAULT = "SELECT reason, lat, lon FROM app.area_fault(%s, %s, %s)"


def faults(polygon: Polygon, path: str) -> Iterator[FieldError]:
    """Yield the faults of a polygon. `path`: the field of its coordinates. Needs a transaction."""
    found = list(_of_rings(polygon, path))
    yield from found
    if found:
        return
    fault = row(_FAULT, (msgspec.json.encode(polygon).decode(), MAX_EXTENT_KM * 1000, MIN_AREA_M2))
    if fault is not None:
        yield FieldError(path, _REASONS[fault["reason"]](fault["lat"], fault["lon"]))


def _of_rings(polygon: Polygon, path: str) -> Iterator[FieldError]:
    if sum(len(ring) for ring in polygon.coordinates) > MAX_POSITIONS:
        yield FieldError(path, Message("must have at most {most} positions in all rings", most=MAX_POSITIONS))
    for number, ring in enumerate(polygon.coordinates):
        for place, (lon, lat) in enumerate(ring):
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                yield FieldError(f"{path}[{number}][{place}]", OUTSIDE_OF_EARTH)
        if ring[0] != ring[-1]:
            yield FieldError(f"{path}[{number}]", "must end with its first position")
        elif len({tuple(position) for position in ring}) < 3:
            yield FieldError(f"{path}[{number}]", "must have at least three different positions")


def _place(lat: float, lon: float) -> dict[str, str]:
    return {"lon": f"{lon:.5f}", "lat": f"{lat:.5f}"}


_REASONS = {
    "too_wide": lambda lat, lon: Message(
        "must be within {most} km of its first position; [{lon}, {lat}] is not", most=MAX_EXTENT_KM, **_place(lat, lon)
    ),
    "crossing": lambda lat, lon: Message("must not cross or touch itself, as near [{lon}, {lat}]", **_place(lat, lon)),
    "outside": lambda lat, lon: Message(
        "must have its holes inside the outer ring and apart; see [{lon}, {lat}]", **_place(lat, lon)
    ),
    "too_small": lambda lat, lon: Message("must have an area of at least {least} m²", least=MIN_AREA_M2),
}
"""Reason of SQL → text with the place of the fault."""
