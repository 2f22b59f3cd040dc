"""Polygons of geofences: their faults, with the place of each, and the same area at any place on the earth."""

import pytest

from models.campaigns.config import Geofence, Polygon, QrConfig, canonical
from models.core.errors import Invalid

FIELD = "config.geofence.polygon.coordinates"


def closed(*positions):
    return [*positions, positions[0]]


SQUARE = closed((-3.71, 40.41), (-3.70, 40.41), (-3.70, 40.42), (-3.71, 40.42))
HOLE = closed((-3.707, 40.413), (-3.703, 40.413), (-3.703, 40.417), (-3.707, 40.417))
BOW_TIE = closed((-3.71, 40.41), (-3.70, 40.42), (-3.70, 40.41), (-3.71, 40.42))
OVER_ANTIMERIDIAN = closed((179.99, -16.8), (-179.99, -16.8), (-179.99, -16.7), (179.99, -16.7))
BOW_TIE_OVER_ANTIMERIDIAN = closed((179.99, -16.8), (-179.99, -16.7), (-179.99, -16.8), (179.99, -16.7))
AROUND_POLE = closed((0.0, 89.9), (120.0, 89.9), (-120.0, 89.9))
SPIKE = closed((-3.71, 40.41), (-3.70, 40.41), (-3.69, 40.41), (-3.70, 40.41))


@pytest.fixture
def errors_of(manager):
    """`errors_of(*rings)`: the errors of a configuration with this polygon, as (field, reason)."""

    def check(*rings):
        config = QrConfig(geofence=Geofence(polygon=Polygon([list(ring) for ring in rings])))
        with manager.acting():
            try:
                canonical(config)
            except Invalid as refused:
                return [(error["field"], error["reason"]) for error in refused.extra["errors"]]
        return []

    return check


def test_polygon_is_accepted_anywhere_and_in_any_direction(errors_of):
    accepted = ([SQUARE], [SQUARE[::-1]], [SQUARE, HOLE], [OVER_ANTIMERIDIAN], [AROUND_POLE], [[SQUARE[0], *SQUARE]])

    assert [errors_of(*rings) for rings in accepted] == [[]] * len(accepted)


def test_polygon_that_crosses_itself_is_refused_with_the_place(errors_of):
    ((field, reason),) = errors_of(BOW_TIE)

    assert field == FIELD
    assert "cross" in reason
    assert "[-3.705" in reason
    assert "40.415" in reason
    assert "-16.75" in errors_of(BOW_TIE_OVER_ANTIMERIDIAN)[0][1]
    assert "cross" in errors_of(SPIKE)[0][1]


def test_hole_outside_of_ring_or_across_it_is_refused(errors_of):
    outside = [(lon + 1, lat) for lon, lat in HOLE]
    across = [(lon + 0.005, lat) for lon, lat in HOLE]

    assert "holes" in errors_of(SQUARE, outside)[0][1]
    assert "cross" in errors_of(SQUARE, across)[0][1]


def test_ring_must_be_closed_and_have_three_positions(errors_of):
    assert errors_of(SQUARE[:-1]) == [(f"{FIELD}[0]", "must end with its first position")]
    assert errors_of([SQUARE[0], SQUARE[1], SQUARE[0], SQUARE[1], SQUARE[0]]) == [
        (f"{FIELD}[0]", "must have at least three different positions")
    ]


def test_polygon_too_wide_or_too_small_or_long_is_refused(errors_of):
    wide = closed((0.0, 0.0), (30.0, 0.0), (0.0, 10.0))
    small = closed((0.0, 0.0), (0.00005, 0.0), (0.0, 0.00005))
    long = [(lon / 1000, 1.0) for lon in range(300)]

    assert "within 2500 km" in errors_of(wide)[0][1]
    assert "30.00000" in errors_of(wide)[0][1]
    # PostGIS raises an error for a line of 180 degrees.
    assert "within 2500 km" in errors_of(closed((0.0, 0.0), (180.0, 0.0), (90.0, 0.0)))[0][1]
    assert "within 2500 km" in errors_of(closed((-180.0, -90.0), (180.0, -90.0), (180.0, 90.0)))[0][1]
    assert "100 m²" in errors_of(small)[0][1]
    assert "500 positions" in errors_of(closed(*long), closed(*long))[0][1]


def test_geofence_is_a_circle_or_a_polygon(manager):
    with manager.acting(), pytest.raises(Invalid) as both:
        canonical(QrConfig(geofence=Geofence(lat=40.4, lon=-3.7, polygon=Polygon([SQUARE]))))
    with pytest.raises(Invalid) as neither:
        canonical(QrConfig(geofence=Geofence(lat=40.4)))

    assert [error["field"] for error in both.value.extra["errors"]] == ["config.geofence.lat", "config.geofence.lon"]
    fields = [error["field"] for error in neither.value.extra["errors"]]
    assert fields == ["config.geofence.lon", "config.geofence.radius_m"]
