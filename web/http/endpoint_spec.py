"""What an endpoint says about itself: the source of what it checks and of its documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Required, TypedDict

from models.core.errors import Problem

Mode = Literal["sync", "async"]

JSON = "application/json"

PUBLIC = "public"
"""Nobody has to be signed in, and it makes no difference if somebody is."""
OPTIONAL = "optional"
"""Nobody has to be signed in; who is, is known."""
AUTHENTICATED = "authenticated"
"""Somebody has to be signed in, whoever it is."""
OPEN = (PUBLIC, OPTIONAL)

GENERAL = "general"
"""The limit of all endpoints that don't say otherwise: `PERSON_RATE` and `ADDRESS_RATE`, counted over all of them."""

TIMEOUT = 10.0
SLOW_TIMEOUT = 30.0


class EndpointOptions(TypedDict, total=False):
    """The arguments of `@endpoint(…)`; `EndpointSpec` says what they mean."""

    permission: Required[str]
    body: Any
    body_optional: bool
    query: Any
    scope: str | None
    response: Any
    status: int
    media: str
    audit: str | None
    refused_as: str | None
    rate: str | None
    address_rate: str | None
    total_rate: str | None
    idempotent: bool
    slow: bool
    chooses_password: bool
    outward: bool
    recent: bool
    own_sign_in: bool
    before_mfa: bool
    credentials: bool
    mode: Mode
    problems: tuple[type[Problem], ...]
    other_responses: Mapping[int, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """One endpoint, as its `@endpoint(…)` declares it.

    Attributes:
        permission: `"public"`, `"optional"`, `"authenticated"`, or what the caller's role has to be allowed.
        body: the type of the JSON body (a struct that forbids unknown fields); without it, no body is read.
        body_optional: an empty body is one without any fields.
        query: the struct of the query parameters; without it, none is known.
        scope: what an API key needs where people need nothing but to be signed in; without it, no key will do there.
        response: the type of the answer.
        status: of the answer, unless the responder says otherwise.
        media: the answer's media type; for any but JSON, the responder sets `resp.data` and `resp.content_type`.
        audit: the action that is recorded with the act, as `subject.verb`; refusals are recorded, too. The rules
            that an outward responder calls record it themselves, in the transaction of the act
            (`models.audit.trail.record`).
        refused_as: the action that refusals are recorded as, where the act writes its own entry, or none.
        rate: e.g. `"10/minute; 100/day"`, for each person, or for each address before anybody is known; the general
            limit by default; None: there is none, as for what watches over us and for scans.
        address_rate: the same for each address besides, for all callers: needed where a request is costly and anonymous
            callers may send it, because one address may open any number of anonymous sessions.
        total_rate: the same for all callers together: bounds the rows that callers without an account can create.
        idempotent: honours `Idempotency-Key`.
        slow: runs in the small pool for password hashing and the like.
        chooses_password: runs in the pool for choices of passwords instead; every endpoint that takes a new one.
        outward: opens no transaction: the responder calls somebody else, and opens its own around that.
        recent: the caller has to have shown a password or a code within the last minutes (`step_up.RECENT`).
        own_sign_in: belongs to our own signing in, and isn't there where Supabase does that (`sign_in_is_elsewhere`).
        before_mfa: open to sessions that owe the second factor, too.
        credentials: reads or changes a password hash, address, factor, recovery code, session or one-time link; its
            transactions use the account login and the role `app_credentials`, which no other request can take.
        mode: `"async"` runs a coroutine in the event loop and opens no transaction.
        problems: refusals of its own, for the documentation.
        other_responses: other statuses that it answers with and their types, for the documentation.
    """

    permission: str
    body: Any = None
    body_optional: bool = False
    query: Any = None
    scope: str | None = None
    response: Any = None
    status: int = 200
    media: str = JSON
    audit: str | None = None
    refused_as: str | None = None
    rate: str | None = GENERAL
    address_rate: str | None = None
    total_rate: str | None = None
    idempotent: bool = False
    slow: bool = False
    chooses_password: bool = False
    outward: bool = False
    recent: bool = False
    own_sign_in: bool = False
    before_mfa: bool = False
    credentials: bool = False
    mode: Mode = "sync"
    problems: tuple[type[Problem], ...] = ()
    other_responses: Mapping[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.permission:
            raise TypeError('say who may call it: permission="public", "optional", "authenticated" or "subject:verb"')
        if self.scope and self.permission != AUTHENTICATED:
            raise TypeError("an API key needs what a person needs, unless that is nothing")
        if self.idempotent and (self.outward or self.mode == "async"):
            raise TypeError("an idempotent endpoint keeps its answer in the transaction that @endpoint opens")
        if self.chooses_password and not (self.slow and self.outward):
            raise TypeError("`chooses_password` needs `slow` and `outward`")
        if self.recent and (self.permission in OPEN or self.mode == "async"):
            raise TypeError("only a session that is looked up in a transaction can have been authenticated recently")
        if self.audit and self.refused_as:
            raise TypeError("refusals are recorded as the act is")
        if self.audit and self.mode == "async":
            raise TypeError("an asynchronous endpoint has no transaction that an audit entry could be part of")

    @property
    def timeout(self) -> float:
        """Seconds that a statement may take."""
        return SLOW_TIMEOUT if self.slow else TIMEOUT
