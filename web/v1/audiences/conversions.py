"""Conversions: report purchases and other goals of people who took part in a campaign.

Each is an engagement event of the kind `conversion`.
"""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import conversions
from models.audiences.conversions import MAX_BATCH, Conversion, ConversionOutcome, ConversionReused
from models.campaigns.config import Currency
from web.http.datetimes import Instant
from web.http.endpoint import audited, endpoint
from web.http.fields import Id, Text200

ExternalId = Annotated[
    Text200,
    Meta(
        description="Id of the conversion in the brand's system. It counts once for each brand.",
        examples=["order-2041"],
    ),
]


class ConversionIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A conversion. Exactly one of `user_id` and `contact_id` names the person."""

    external_id: ExternalId
    occurred_at: Annotated[
        Instant,
        Meta(description="Time of the conversion: within the last 400 days, and at most five minutes in the future."),
    ]
    user_id: Annotated[
        UUID | None, Meta(description="Id of a fan who took part in a campaign of the brand. Default: null.")
    ] = None
    contact_id: Annotated[UUID | None, Meta(description="Id of a contact of the brand. Default: null.")] = None
    value_minor: Annotated[
        Annotated[int, Meta(ge=0, le=10**12)] | None,
        Meta(
            description="Value in minor units of the currency, such as cents. Default: null, no value.", examples=[1990]
        ),
    ] = None
    currency: Annotated[
        Currency | None,
        Meta(description="Currency of the value (ISO 4217); required with `value_minor`.", examples=["EUR"]),
    ] = None


class ConversionsIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Conversions of one campaign."""

    conversions: Annotated[
        list[ConversionIn],
        Meta(min_length=1, max_length=MAX_BATCH, description="Conversions to record: all of them, or none."),
    ]


class ConversionOut(msgspec.Struct):
    """A stored conversion."""

    external_id: ExternalId
    id: Id
    outcome: Annotated[ConversionOutcome, Meta(description="Whether it is new.", examples=["recorded"])]


class ConversionsOut(msgspec.Struct):
    """The conversions, in the order of the request."""

    items: Annotated[list[ConversionOut], Meta(description="One item for each conversion of the request.")]


class CampaignConversions:
    """`/api/v1/campaigns/{campaign_id}/conversions`: the conversions of a campaign."""

    @endpoint(
        operation_id="recordConversions",
        body=ConversionsIn,
        response=ConversionsOut,
        permission="conversions:write",
        audit="conversion.record",
        idempotent=True,
        problems=(ConversionReused,),
        example={
            "conversions": [
                {
                    "external_id": "order-2041",
                    "occurred_at": "2026-11-22T18:30:00Z",
                    "user_id": "01941f28-5de0-7f06-b3a9-0c7e2d4b8a61",
                    "value_minor": 1990,
                    "currency": "EUR",
                }
            ]
        },
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Record up to 100 conversions of a campaign: all of them, or none.

        Repeat the request after a lost answer: a conversion that is stored already has the outcome `known`. Another
        conversion under the same `external_id` is refused with `conversion_reused`.
        """
        body: ConversionsIn = req.context.body
        asked = [msgspec.convert(one, Conversion, from_attributes=True) for one in body.conversions]
        recorded = conversions.record(campaign_id, asked)
        counts = {"conversions": len(recorded), "new": sum(one.outcome == "recorded" for one in recorded)}
        audited(req, table="campaigns", record_id=campaign_id, after=counts)
        resp.media = ConversionsOut([ConversionOut(one.external_id, one.id, one.outcome) for one in recorded])


ROUTES: list[tuple[str, object]] = [("/api/v1/campaigns/{campaign_id:uuid}/conversions", CampaignConversions())]
