r"""Types of fields that several resources use. Patterns end in `$(?!\n)`: Python's `$` allows a final newline."""

from typing import Annotated
from uuid import UUID

import msgspec

from models.consents.consents import TIERS, ConsentTier
from models.core import emails, text_fields, texts, timezones
from models.core.errors import FieldError, Invalid
from models.core.messages import NORMALISE, REASON, Message
from models.identity import passwords
from web.http.datetimes import Instant

Id = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the record: a UUID of version 7, so ids sort by the time of creation.",
        examples=["01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f"],
    ),
]
BrandId = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the brand: the `brand_id` of its members' access tokens.",
        examples=["01941f29-7c00-7b10-9c4e-6a1d0e8f2b35"],
    ),
]
CampaignId = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the campaign, as in `GET /api/v1/campaigns`.",
        examples=["01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"],
    ),
]
UserId = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the person: the `sub` of the person's access tokens.",
        examples=["01941f28-5de0-7f06-b3a9-0c7e2d4b8a61"],
    ),
]
SessionId = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the session: the `session_id` of its access tokens.",
        examples=["01941f2c-90f0-7e8d-a2b6-5d3c1f7e4a09"],
    ),
]
NoticeId = Annotated[
    UUID,
    msgspec.Meta(
        description="Id of the notice in this version and language. Send it as `notice_id` with each consent.",
        examples=["0197a000-0000-7000-8000-000000000002"],
    ),
]
NoticeVersion = Annotated[int, msgspec.Meta(description="Number of the notice's version, from 1.", examples=[1])]
NoticeLocale = Annotated[str, msgspec.Meta(description="Language of the notice (BCP 47).", examples=["es"])]
NoticeTitle = Annotated[
    str, msgspec.Meta(description="Heading of the notice.", examples=["Tus datos en esta activación"])
]
NoticeBody = Annotated[
    str,
    msgspec.Meta(
        description="Text of the notice: show all of it before a person consents. Plain text, without markup.",
        examples=["Compañon y la marca en cuya activación participas tratan tu escaneo: hora, lugar …"],
    ),
]
NoticeTiers = Annotated[
    list[ConsentTier],
    msgspec.Meta(description="Consents that can be given under the notice.", examples=[["essential", "analytics"]]),
]
CreatedAt = Annotated[Instant, msgspec.Meta(description="Time of creation, in UTC.")]
UpdatedAt = Annotated[
    Instant, msgspec.Meta(description="Time of the last change, in UTC; the time of creation if there was none.")
]
Version = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        description="Version of the record: 1 when created, one more after each change. In quotes it is the `ETag`.",
        examples=[3],
    ),
]
RequestId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9._-]{8,64}$(?!\n)",
        description="Id of a request, as in the header `X-Request-Id` of its answer.",
        examples=["0f6b2c1d4e5a4f7b9c8d7e6f5a4b3c2d"],
        extra={REASON: Message("must have 8 to 64 letters, digits, dots, underscores or hyphens")},
    ),
]

Text100 = text_fields.Text100
Text200 = text_fields.Text200
EmailText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "email"})]
"""An address in an answer."""
UriText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
"""A URL or another URI with a scheme."""
Email = Annotated[
    EmailText,
    msgspec.Meta(
        min_length=3,
        max_length=emails.MAX_LENGTH,
        description="An e-mail address.",
        examples=["ana@brand.example"],
        extra={NORMALISE: emails.canonical},
    ),
]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024, examples=["chocolate con churros"])]
NewPassword = Annotated[
    str,
    msgspec.Meta(
        min_length=passwords.MIN_LENGTH,
        max_length=passwords.MAX_LENGTH,
        description="Any characters. Refused if it is easy to guess or appears in a known data breach.",
        examples=["paseo por el prado"],
    ),
]
Code = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        pattern=r"^[\s-]*([0-9][\s-]*){6}$",
        description="Six digits, from the authenticator. Blanks and hyphens are ignored.",
        examples=["123456"],
        extra={REASON: Message("must have six digits")},
    ),
]
RecoveryCode = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=40, description="In upper or lower case. Blanks and hyphens are ignored."),
]
LINK_TOKEN = "AZQfKXwAejuNXj8bLE1eb3c2QmVpc3BpZWwtVG9rZW4gQA"
"""The token in the document's examples; it is valid for nothing."""
Token = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=100,
        description="The token of the link in the mail: the part after `#token=`.",
        examples=[LINK_TOKEN],
    ),
]
Locale = Annotated[
    str,
    msgspec.Meta(
        max_length=255,
        description="A language tag (BCP 47), in any case, also with underscores. Kept as language and region.",
        examples=["es-MX"],
        extra_json_schema={"pattern": "^[A-Za-z0-9]{1,8}([-_][A-Za-z0-9]{1,8})*$"},
        extra={NORMALISE: texts.locale},
    ),
]
DeviceLocale = Annotated[
    str,
    msgspec.Meta(
        description="A language tag (BCP 47). Kept as language and region; ignored if it is no language tag.",
        examples=["es-MX"],
        extra={NORMALISE: texts.locale_or_none},
    ),
]
DeviceTimezone = Annotated[
    str, msgspec.Meta(max_length=64, description="A name from the IANA database.", examples=["Europe/Madrid"])
]
"""Time zone that a device reports. Its database may be newer than the server's, so the name is not checked."""

Timezone = Annotated[
    str,
    msgspec.Meta(
        max_length=64,
        description="A name from the IANA database.",
        examples=["Europe/Madrid"],
        extra={NORMALISE: timezones.known},
    ),
]
Phone = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)",
        description="E.164.",
        examples=["+34600000000"],
        extra={REASON: Message("must be + and the number with its country code, such as +34600000000")},
    ),
]
Tiers = Annotated[
    list[ConsentTier], msgspec.Meta(max_length=len(TIERS), description="Consents for every brand's activations.")
]
ActorName = Annotated[
    str,
    msgspec.Meta(
        max_length=100,
        pattern=r"^[a-z0-9_.]+$(?!\n)",
        description="Name of an actor.",
        examples=["scan.score"],
        extra={REASON: Message("must be the name of an actor, such as scan.score")},
    ),
]


def exactly_one_of(one: str, other: str) -> Invalid:
    """Return the refusal of a body that has both of two fields, or neither."""
    return Invalid(
        errors=[
            FieldError(name, Message("must be set if `{other}` is not, and must not be set with it", other=rest))
            for name, rest in ((one, other), (other, one))
        ]
    )
