"""Geofences: a circle or a polygon on the WGS-84 ellipsoid."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.core.enumerations import enumeration

MAX_POSITIONS = 500
"""Maximum number of positions in all rings of a polygon."""

WhenUncertain = Annotated[
    Literal["accept", "flag", "reject"],
    enumeration(
        "WhenUncertain",
        "Decision on a position that may be inside or outside the geofence within its accuracy. `accept`: count the "
        "scan. `flag`: count it and send it to review. `reject`: refuse it with `geofence_uncertain`.",
    ),
]

Position = Annotated[
    list[float],
    Meta(
        min_length=2,
        max_length=2,
        description="Longitude from -180 to 180 and latitude from -90 to 90 in degrees (WGS-84), in this order "
        "(GeoJSON).",
    ),
]
Ring = Annotated[
    list[Position],
    Meta(min_length=4, max_length=MAX_POSITIONS, description="Positions of a closed line: the last repeats the first."),
]


class Polygon(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="Polygon"):
    """An area in the form of a GeoJSON polygon (RFC 7946).

    A line between two positions is the shortest way between them, also across the antimeridian: do not split a polygon
    there. The direction of a ring does not matter. Every position is within 2,500 km of the first one.
    """

    coordinates: Annotated[
        list[Ring],
        Meta(
            min_length=1,
            max_length=20,
            description="The outer ring, then the rings of holes in it; at most 500 positions in all.",
            examples=[
                [[[-3.7085, 40.4148], [-3.7061, 40.4148], [-3.7061, 40.4162], [-3.7085, 40.4162], [-3.7085, 40.4148]]]
            ],
        ),
    ]


class Geofence(Struct, frozen=True, forbid_unknown_fields=True):
    """An area in which scans must be made: a circle (`lat`, `lon`, `radius_m`) or a `polygon`.

    Phones must then send their position.
    """

    lat: Annotated[
        Annotated[float, Meta(ge=-90, le=90)] | None,
        Meta(
            description="Latitude of a circle's centre in degrees (WGS-84), north positive; null for a polygon. "
            "Default: null.",
            examples=[40.41541],
        ),
    ] = None
    lon: Annotated[
        Annotated[float, Meta(ge=-180, le=180)] | None,
        Meta(
            description="Longitude of a circle's centre in degrees (WGS-84), east positive; null for a polygon. "
            "Default: null.",
            examples=[-3.7074],
        ),
    ] = None
    radius_m: Annotated[
        Annotated[float, Meta(ge=1, le=100_000)] | None,
        Meta(
            description="Radius of a circle in metres: from 1 m to 100 km; null for a polygon. Default: null.",
            examples=[300],
        ),
    ] = None
    polygon: Annotated[Polygon | None, Meta(description="Polygon of any form; null for a circle. Default: null.")] = (
        None
    )
    when_uncertain: Annotated[
        WhenUncertain,
        Meta(description="Decision on positions near the border. Default: `accept`."),
    ] = "accept"
