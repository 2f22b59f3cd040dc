"""Types of fields that several resources take. A pattern ends in `$(?!\\n)`, since Python's `$` lets a newline pass."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from models.emails import MAX_LENGTH
from models.errors import Invalid

Tier = Literal["essential", "analytics", "marketing", "ai_processing"]

Text200 = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$(?!\n)", description="One line."
    ),
]
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_LENGTH, description="An e-mail address.")]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
NewPassword = Annotated[
    str, msgspec.Meta(min_length=10, max_length=128, description="Any characters; not the e-mail address.")
]
Code = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}$(?!\n)", description="Six digits, from the authenticator.")]
RecoveryCode = Annotated[str, msgspec.Meta(min_length=1, max_length=40, description="In any spelling.")]
Token = Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="From the link in the mail.")]
Locale = Annotated[
    str,
    msgspec.Meta(
        max_length=35, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)", description="A language tag, e.g. `es-MX`."
    ),
]
Timezone = Annotated[
    str, msgspec.Meta(max_length=64, description="A name from the IANA database, e.g. `Europe/Madrid`.")
]
Phone = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="E.164, e.g. `+34600000000`.")]
Tiers = Annotated[list[Tier], msgspec.Meta(max_length=4, description="Consents for every brand's activations.")]
Instant = Annotated[datetime, msgspec.Meta(tz=True, description="RFC 3339.")]
ActorName = Annotated[
    str, msgspec.Meta(max_length=100, pattern=r"^[a-z0-9_.]+$(?!\n)", description="A kind of job, e.g. `scan.score`.")
]


def either(one: str, other: str) -> Invalid:
    """The refusal of a body that has both of two fields, or neither."""
    return Invalid(
        errors=[
            {"field": one, "reason": f"has to be there, or {other}, and not both"},
            {"field": other, "reason": f"has to be there, or {one}, and not both"},
        ]
    )


def in_utc(field: str, at: datetime | None) -> datetime | None:
    """An instant in the time zone that it is compared in.

    Raises:
        Invalid: it is beyond what can be told there.
    """
    try:
        return at and at.astimezone(UTC)
    except OverflowError:
        raise Invalid(field, "beyond the years 1 to 9999 in UTC") from None
