"""Scans of campaigns with a polygon, compared with a plane that touches the earth there."""

import math

import psycopg2.extras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

METRES = 111_320.0
"""Length of a degree of latitude."""
CENTRES = {"Madrid": (-3.7, 40.4), "antimeridian": (180.0, -16.8), "equator": (0.0, 0.0)}
SIDE = 1000.0
"""Half of the side of the square in metres."""

LOCATE = """
    select located.status, located.distance_m from app.locate_scan(
        jsonb_populate_record(null::app.scan_request, %(scan)s),
        jsonb_populate_record(null::app.scan_fence, '{"when_uncertain": "accept"}'), app.area_of(%(fence)s),
        app.border_of(app.area_of(%(fence)s))) located
"""


def at(centre, east, north):
    """Return the position this many metres east and north of a centre, as [lon, lat]."""
    lon, lat = CENTRES[centre]
    moved = lon + east / METRES / math.cos(math.radians(lat))
    return [(moved + 180) % 360 - 180, lat + north / METRES]


@pytest.fixture
def locate(superuser):
    def ask(centre, east, north, accuracy, ring):
        lon, lat = at(centre, east, north)
        polygon = {"type": "Polygon", "coordinates": [[at(centre, *corner) for corner in (*ring, ring[0])]]}
        values = {
            "scan": psycopg2.extras.Json({"lat": lat, "lon": lon, "accuracy_m": accuracy}),
            "fence": psycopg2.extras.Json({"polygon": polygon}),
        }
        with superuser.cursor() as cursor:
            cursor.execute(LOCATE, values)
            return cursor.fetchone()

    return ask


SQUARE = [(-SIDE, -SIDE), (SIDE, -SIDE), (SIDE, SIDE), (-SIDE, SIDE)]
NOTCHED = [(-SIDE, -SIDE), (SIDE, -SIDE), (SIDE, SIDE), (0, 0), (-SIDE, SIDE)]


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize(
    ("east", "accuracy", "status"),
    [(890, 100, "inside"), (910, 100, "uncertain"), (1090, 100, "uncertain"), (1110, 100, "outside")],
)
def test_polygon_status_follows_distance_to_its_border(locate, centre, east, accuracy, status):
    found, distance = locate(centre, east, 0, accuracy, SQUARE)

    assert found == status
    assert distance == pytest.approx(east - SIDE, abs=8)


@settings(max_examples=40)
@given(st.sampled_from(sorted(CENTRES)), st.integers(-1500, 1500), st.integers(-1500, 1500), st.booleans())
def test_position_is_inside_polygon_as_on_the_plane(locate, centre, east, north, is_reversed):
    ring = NOTCHED[::-1] if is_reversed else NOTCHED
    in_square = max(abs(east), abs(north)) < SIDE
    expected = in_square and not north > abs(east)
    margin = min(abs(SIDE - abs(east)), abs(SIDE - abs(north)), abs(north - abs(east)))

    status, distance = locate(centre, east, north, 0.001, ring)

    if margin > 15:  # The plane is off by up to 0.6 %.
        assert status == ("inside" if expected else "outside")
        assert (distance < 0) == expected
