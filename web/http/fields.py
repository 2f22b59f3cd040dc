r"""Types of fields that several resources use. Patterns end in `$(?!\n)`: Python's `$` allows a final newline."""

from typing import Annotated

import msgspec

from models.consents.consents import TIERS, Tier
from models.core import emails, texts
from models.core.errors import Invalid
from models.identity import passwords
from web.http.normalise import NORMALISE

Text200 = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=texts.MAX_LINE_CHARACTERS,
        description="One line with a visible character. Stored in NFC and trimmed, each run of blanks as one space.",
        extra_json_schema={"pattern": rf"^[^{texts.UNSAFE}]*\S[^{texts.UNSAFE}]*$"},
        extra={NORMALISE: texts.line},
    ),
]
Email = Annotated[
    str,
    msgspec.Meta(
        min_length=3, max_length=emails.MAX_LENGTH, description="An e-mail address.", examples=["ana@brand.example"]
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
    ),
]
RecoveryCode = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=40, description="In upper or lower case. Blanks and hyphens are ignored."),
]
Token = Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="The token of the link in the mail.")]
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
Timezone = Annotated[
    str, msgspec.Meta(max_length=64, description="A name from the IANA database.", examples=["Europe/Madrid"])
]
Phone = Annotated[
    str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}$(?!\n)", description="E.164.", examples=["+34600000000"])
]
Tiers = Annotated[
    list[Tier], msgspec.Meta(max_length=len(TIERS), description="Consents for every brand's activations.")
]
ActorName = Annotated[
    str,
    msgspec.Meta(
        max_length=100, pattern=r"^[a-z0-9_.]+$(?!\n)", description="Name of an actor.", examples=["scan.score"]
    ),
]


def exactly_one_of(one: str, other: str) -> Invalid:
    """Return the refusal of a body that has both of two fields, or neither."""
    return Invalid(
        errors=[
            {"field": one, "reason": f"must be set if {other} is not, and not both"},
            {"field": other, "reason": f"must be set if {one} is not, and not both"},
        ]
    )
