"""Schemas of segments that several resources use."""

from typing import Annotated, Any

import msgspec
from falcon.asgi import Request
from msgspec import Meta

from models.audiences.preview import EXACT, SMALL, Preview
from models.core.context import Identity
from models.core.errors import Forbidden
from models.core.messages import Message
from web.http.datetimes import Instant

DEFINITION = (
    "Condition on contacts, in the grammar of `dsl_version` 1: at most 5 levels and 50 leaves. "
    "`GET /api/v1/audiences/schema` returns its JSON Schema."
)
EXAMPLE: dict[str, Any] = {
    "name": "Regulars in Spain",
    "definition": {
        "all": [
            {"profile": {"field": "country", "op": "in", "value": ["ES"]}},
            {"event": {"kind": "scan", "count": {"op": "gte", "n": 2}, "window": {"last": {"n": 30, "unit": "day"}}}},
            {"not": {"consent": {"tier": "marketing", "state": "withdrawn"}}},
        ]
    },
}

_WITHHELD = (
    f"null if it is withheld: it is below {SMALL}, or differs from a count that the brand has seen within a day by "
    "so few contacts that the two together would tell about single people."
)
_Withheld = Annotated[int, Meta(ge=0)] | None


class BlockedCounts(msgspec.Struct):
    """Contacts of the segment that can't be reached, by reason."""

    never: Annotated[_Withheld, Meta(description=f"No consent to marketing was given; {_WITHHELD}", examples=[120])]
    withdrawn: Annotated[_Withheld, Meta(description=f"The consent was withdrawn; {_WITHHELD}", examples=[35])]
    expired: Annotated[_Withheld, Meta(description=f"The consent has expired; {_WITHHELD}", examples=[20])]
    opted_out: Annotated[
        _Withheld,
        Meta(description=f"A consent is in force, but the person told the brand to stop; {_WITHHELD}", examples=[0]),
    ]


class LeafCount(msgspec.Struct):
    """A leaf of the definition."""

    path: Annotated[str, Meta(description="Path of the leaf.", examples=["definition.all[0].profile"])]
    count: Annotated[
        _Withheld, Meta(description=f"Contacts of the brand that fulfil the leaf; {_WITHHELD}", examples=[2100])
    ]


class Counts(msgspec.Struct, kw_only=True):
    """Counts of a definition."""

    contacts: Annotated[
        int,
        Meta(
            ge=0,
            description=f"Number of contacts of the brand. Above {EXACT:,} it may be a minute old.",
            examples=[5200],
        ),
    ]
    total: Annotated[_Withheld, Meta(description=f"Contacts that fulfil the definition; {_WITHHELD}", examples=[1800])]
    reachable: Annotated[
        _Withheld,
        Meta(
            description="Of these, contacts with a consent to marketing in force that have not told the brand to stop; "
            f"{_WITHHELD}",
            examples=[1625],
        ),
    ]
    blocked: Annotated[BlockedCounts, Meta(description="The others by reason: `total` is the sum of all.")]
    leaves: Annotated[list[LeafCount], Meta(description="Each leaf, in the order of the definition.")]
    exact: Annotated[
        bool,
        Meta(
            description=f"Whether the counts are exact, as they are up to {EXACT:,} contacts. Otherwise they are "
            "estimates from a sample."
        ),
    ]
    half_width: Annotated[
        float,
        Meta(
            ge=0,
            le=0.01,
            description="Half of the 95 % interval of an estimate, as a share of `contacts`; 0 if exact.",
            examples=[0.0],
        ),
    ]
    as_of: Annotated[Instant, Meta(description="Time of the counts, in UTC.")]

    @classmethod
    def of(cls, found: Preview) -> "Counts":
        """Build the response for a preview."""
        return cls(
            contacts=found.contacts,
            total=found.total,
            reachable=found.reachable,
            blocked=msgspec.convert(dict(found.blocked), BlockedCounts),
            leaves=[LeafCount(path, count) for path, count in found.leaves],
            exact=found.exact,
            half_width=found.half_width,
            as_of=found.as_of,
        )


def require_contacts(req: Request) -> None:
    """Refuse an API key that may read segments, but no contacts: it would count none.

    Raises:
        Forbidden: the key lacks the scope `contacts:read`.
    """
    identity: Identity = req.context.identity
    if identity.is_api_key and "contacts:read" not in identity.scopes:
        raise Forbidden(Message("The API key needs the scope `{scope}`.", scope="contacts:read"), scope="contacts:read")
