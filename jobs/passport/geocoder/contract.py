"""Contract of the geocoder. `docs/services/geocoder.md` explains it."""

from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from jobs.passport.contract import Operation, Service

MAX_CANDIDATES = 5
"""Maximum number of places of one address."""


class Locate(Struct, frozen=True):
    """An address to find, in one line, with the country at the end or in `country`."""

    address: Annotated[str, Meta(min_length=1, max_length=200, description="Address in one line.")]
    country: Annotated[
        Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None, Meta(description="Country (ISO 3166); null: unknown.")
    ] = None
    language: Annotated[str, Meta(description="Language of the names (BCP 47).")] = "en"


class Candidate(Struct, frozen=True):
    """A place that the address may mean."""

    name: Annotated[str, Meta(description="Name of the place with its surroundings, for people.")]
    country: Annotated[str | None, Meta(description="Country (ISO 3166); null: unknown.")]
    lat: Annotated[float, Meta(ge=-90, le=90, description="Latitude in degrees (WGS-84).")]
    lon: Annotated[float, Meta(ge=-180, le=180, description="Longitude in degrees (WGS-84).")]
    precision: Annotated[
        Literal["address", "street", "city"],
        Meta(description="What the position is that of. Coarser places, such as countries, are left out."),
    ]


class Located(Struct, frozen=True):
    """Places of an address, the most likely first."""

    candidates: Annotated[
        list[Candidate], Meta(max_length=MAX_CANDIDATES, description="Several if the address is ambiguous.")
    ]
    attribution: Annotated[str, Meta(description="Source of the data, to name beside it.")]


class Geocoder(Protocol):
    """Positions of addresses."""

    def locate(self, request: Locate, *, key: str) -> Located:
        """Return the places that an address may mean."""


SERVICE = Service("geocoder", operations=(Operation("locate", Locate, Located, timeout=10.0, redacted=("address",)),))
"""The geocoder as the gateway calls it."""
