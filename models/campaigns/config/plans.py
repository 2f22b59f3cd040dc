"""Plans of a campaign: its venue, rewards, event, budget and goals."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.campaigns.config.currencies import CURRENCIES, UNKNOWN_CURRENCY
from models.campaigns.config.survey import Key
from models.campaigns.venues import Precision
from models.core.enumerations import enumeration
from models.core.messages import NORMALISE
from models.core.text_fields import Text200

Admission = Annotated[
    Literal["open", "guest_list", "tickets"],
    enumeration(
        "EventAdmission",
        "Who may check in. `open`: every fan, up to the capacity. `guest_list`: people on the guest list. `tickets`: "
        "people with a ticket.",
    ),
]
GoalMetric = Annotated[
    Literal["scans", "reach", "surveys", "rewards_claimed", "rewards_redeemed", "check_ins", "conversions"],
    enumeration(
        "GoalMetric",
        "Measured number. `scans`: accepted scans. `reach`: people with an accepted scan. `surveys`: answered surveys. "
        "`rewards_claimed`, `rewards_redeemed`: rewards. `check_ins`: people who checked in at an event. "
        "`conversions`: reported conversions.",
    ),
]


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError(UNKNOWN_CURRENCY)
    return code


Currency = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=3,
        description="Currency (ISO 4217), in capital letters.",
        examples=["EUR"],
        extra={NORMALISE: _currency},
    ),
]


class Venue(Struct, frozen=True, forbid_unknown_fields=True):
    """The place of an activation."""

    name: Annotated[Text200, Meta(description="Name of the place; fans see it.", examples=["Chocolatería San Ginés"])]
    address: Annotated[
        Text200,
        Meta(description="Postal address in one line.", examples=["Pasadizo de San Ginés 5, 28013 Madrid"]),
    ]
    lat: Annotated[
        Annotated[float, Meta(ge=-90, le=90)] | None,
        Meta(description="Latitude in degrees (WGS-84); null: unknown. Default: null.", examples=[40.41541]),
    ] = None
    lon: Annotated[
        Annotated[float, Meta(ge=-180, le=180)] | None,
        Meta(description="Longitude in degrees (WGS-84); null: unknown. Default: null.", examples=[-3.7074]),
    ] = None
    precision: Annotated[
        Precision | None,
        Meta(description="Precision of `lat` and `lon`; null without them. Default: null.", examples=["address"]),
    ] = None


class Reward(Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of reward and its inventory."""

    key: Annotated[Key, Meta(description="Key of the reward, unique in the campaign.", examples=["churros"])]
    name: Annotated[Text200, Meta(description="Name of the reward; fans see it.", examples=["Six churros"])]
    quantity: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Number of rewards that can be granted.", examples=[500])
    ]
    per_user: Annotated[
        int,
        Meta(ge=1, le=1000, description="Most rewards of this kind for one person. Default: 1.", examples=[1]),
    ] = 1


class EventPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """Capacity and admission of an event."""

    capacity: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Most people who can check in; null: no limit. Default: null.", examples=[250]),
    ] = None
    admission: Annotated[Admission, Meta(description="Who may check in. Default: `open`.")] = "open"
    doors_open_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="Time from which people can check in, before `ends_at`; null: from the start of the campaign. "
            "Default: null.",
            examples=["2026-12-24T18:00:00Z"],
        ),
    ] = None


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """The planned cost."""

    amount: Annotated[
        int,
        Meta(
            ge=0,
            le=10**15,
            description="Amount in minor units of the currency, such as cents.",
            examples=[250_000],
        ),
    ]
    currency: Currency


class Goal(Struct, frozen=True, forbid_unknown_fields=True):
    """A number that the campaign is to reach."""

    metric: Annotated[GoalMetric, Meta(description="The number that is measured.", examples=["reach"])]
    target: Annotated[int, Meta(ge=1, le=10**9, description="Number to reach.", examples=[2000])]
