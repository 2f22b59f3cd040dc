"""Types of fields that describe people: in answers about accounts, members, sessions and assignments."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta

from models.core.enumerations import enumeration
from models.identity import permissions, sessions
from web.http.datetimes import Instant
from web.http.fields import EmailText

_MEANINGS = (
    "`Brand Admin`: manages the brand, its members and API keys, and its campaigns. `Campaign Manager`: creates and"
    " launches campaigns, and assigns Creators to them. `Creator`: reads assigned campaigns."
)
_FAN = " `Fan`: takes part in activations, with or without an account."

Role = Annotated[
    permissions.Role,
    enumeration("Role", f"Role, which decides the permissions. {_MEANINGS}{_FAN} `System Admin`: runs the platform."),
]
MemberRole = Annotated[permissions.MemberRole, enumeration("MemberRole", f"Role of a member of a brand. {_MEANINGS}")]
AssignableRole = Annotated[
    Literal["Brand Admin", "Campaign Manager", "Creator", "Fan"],
    enumeration("AssignableRole", f"Role that a system admin can give to an account. {_MEANINGS}{_FAN}"),
]
MfaStep = Annotated[
    sessions.MfaStep,
    enumeration(
        "MfaStep",
        "Step that a session must do before any other request. `verify`: send a code of the authenticator to"
        " `POST /api/v1/auth/mfa/verify`. `enrol`: the role or the brand requires an authenticator; create one with"
        " `POST /api/v1/users/me/mfa`.",
    ),
]

PersonRole = Annotated[
    Role, Meta(description="Present role of the person. Access tokens that name an earlier role are refused.")
]
PersonEmail = Annotated[
    EmailText | None,
    Meta(
        description="Address of the account, in lower case. Null for anonymous fans, and for people whom an external"
        " identity provider signs in without an address.",
        examples=["ana@brand.example"],
    ),
]
PersonName = Annotated[
    str | None, Meta(description="Name that the person chose; null if there is none.", examples=["Ana García"])
]
PersonLocale = Annotated[
    str,
    Meta(
        description="Language of the person's mails and pages: a language tag (BCP 47) with at most a region.",
        examples=["es-MX"],
    ),
]
PersonTimezone = Annotated[
    str, Meta(description="Time zone of times in the person's mails.", examples=["Europe/Madrid"])
]
PersonPhone = Annotated[
    str | None,
    Meta(description="Phone number in international form (E.164); null if there is none.", examples=["+34600000000"]),
]
MemberBrandId = Annotated[
    UUID | None,
    Meta(
        description="Id of the brand that the person works for; null for fans and system admins.",
        examples=["01941f29-7c00-7b10-9c4e-6a1d0e8f2b35"],
    ),
]
IsAnonymous = Annotated[
    bool, Meta(description="Whether the person is a fan without an account: no address, no password.")
]
SuspendedAt = Annotated[
    Instant | None,
    Meta(description="Time when the account was suspended, which ended its sessions; null if it is not suspended."),
]
