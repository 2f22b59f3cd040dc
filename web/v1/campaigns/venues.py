"""Positions of venues: find the coordinates of an address, with their precision."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import venues
from models.campaigns.venues import Precision, Question, VenueLookup
from models.core.messages import REASON, Message
from web.http.endpoint import audited, endpoint, wait_for
from web.http.fields import Id, Locale, Text200


class VenueQuestion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An address to find."""

    address: Annotated[
        Text200,
        Meta(
            description="Address in one line, with commas between its parts.",
            examples=["Pasadizo de San Ginés 5, 28013 Madrid, España"],
        ),
    ]
    country: Annotated[
        Annotated[
            str, Meta(pattern="^[A-Z]{2}$(?!\n)", extra={REASON: Message("must be two capital letters, such as ES")})
        ]
        | None,
        Meta(description="Country (ISO 3166, two capital letters); null: unknown. Default: null.", examples=["ES"]),
    ] = None
    language: Annotated[Locale, Meta(description="Language of the names (BCP 47). Default: `en`.")] = "en"


class VenueCandidate(msgspec.Struct, kw_only=True):
    """A place that the address may mean."""

    name: Annotated[str, Meta(description="Name of the place, for people.", examples=["Madrid"])]
    country: Annotated[str | None, Meta(description="Country (ISO 3166); null: unknown.", examples=["ES"])]
    lat: Annotated[float, Meta(description="Latitude in degrees (WGS-84).", examples=[40.4165])]
    lon: Annotated[float, Meta(description="Longitude in degrees (WGS-84).", examples=[-3.7026])]
    precision: Annotated[Precision, Meta(description="What the position is that of.", examples=["city"])]
    may_centre_geofence: Annotated[
        bool,
        Meta(
            description="Whether the position may be the centre of a geofence: false for that of a city, which says "
            "nothing about the venue.",
            examples=[False],
        ),
    ]


class VenueLookupOut(msgspec.Struct, kw_only=True):
    """Places of an address."""

    id: Id
    candidates: Annotated[
        list[VenueCandidate] | None,
        Meta(
            description="Up to five places, the most likely first; several if the address is ambiguous. Null until the "
            "job has found them."
        ),
    ]
    attribution: Annotated[
        str | None,
        Meta(description="Source of the data: name it beside the results.", examples=["GeoNames (CC BY 4.0)"]),
    ]

    @classmethod
    def of(cls, lookup: VenueLookup) -> "VenueLookupOut":
        """Build the response for a look-up."""
        candidates = lookup.candidates and [
            VenueCandidate(**found, may_centre_geofence=venues.may_centre_fence(found["precision"]))
            for found in lookup.candidates
        ]
        return cls(id=lookup.id, candidates=candidates, attribution=lookup.attribution)


class VenueGeocoding:
    """`/api/v1/venues/geocode`: positions of an address."""

    @endpoint(
        operation_id="geocodeVenue",
        body=VenueQuestion,
        example={"address": "Pasadizo de San Ginés 5, 28013 Madrid, España"},
        response=VenueLookupOut,
        permission="campaigns:write",
        audit="venue.geocode",
        rate="240/minute; 2000/day",
        waits=True,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Find the position of an address, for the `venue` and the `geofence` of a campaign.

        By default an offline gazetteer answers, which knows cities only. Ask people to choose among several candidates.
        The answer to an address is kept for 30 days. After 202, poll the look-up.
        """
        body: VenueQuestion = req.context.body
        lookup, job = venues.look_up(Question(body.address, body.country, body.language))
        audited(req, table="venue_lookups", record_id=lookup.id)
        if job is None:
            resp.media = VenueLookupOut.of(lookup)
        else:
            wait_for(req, resp, job, lambda: _answer(lookup.id), location=f"/api/v1/venues/lookups/{lookup.id}")


def _answer(lookup_id: UUID) -> VenueLookupOut:
    return VenueLookupOut.of(venues.get(lookup_id))


class VenueLookupResource:
    """`/api/v1/venues/lookups/{lookup_id}`: one look-up of an address."""

    @endpoint(operation_id="getVenueLookup", response=VenueLookupOut, permission="campaigns:write")
    def on_get(self, req: Request, resp: Response, lookup_id: UUID) -> None:
        """Read the look-up of an address. Poll it while `candidates` is null."""
        resp.media = _answer(lookup_id)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/venues/geocode", VenueGeocoding()),
    ("/api/v1/venues/lookups/{lookup_id:uuid}", VenueLookupResource()),
]
