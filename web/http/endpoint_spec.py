"""Specification of an endpoint: the source of its checks and of its documentation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Required, TypedDict

import msgspec

from models.core.errors import DownstreamUnavailable, Problem
from models.identity.permissions import FOR_KEYS, PermissionName
from web.http.accepted import JobFailed, JobOut

Mode = Literal["sync", "async"]
Requirement = PermissionName | Literal["public", "optional", "authenticated"]
"""Values of `permission`. `web.http.routes.collect` refuses others."""
Counts = Literal["scans", "sign_ins"]

JSON = "application/json"

PUBLIC = "public"
"""No access token is needed, and none is read."""
OPTIONAL = "optional"
"""No access token is needed. One that is sent is verified."""
AUTHENTICATED = "authenticated"
"""An access token of any role is needed."""
OPEN = (PUBLIC, OPTIONAL)

GENERAL = "general"
"""The default limit: `PERSON_RATE` and `ADDRESS_RATE`, counted over all endpoints that use it."""

TIMEOUT = 10.0
SLOW_TIMEOUT = 30.0


class EndpointOptions(TypedDict, total=False):
    """The arguments of `@endpoint(…)`; `EndpointSpec` explains them."""

    permission: Required[Requirement]
    body: Any
    body_optional: bool
    example: Mapping[str, Any]
    query: Any
    scope: PermissionName | None
    response: Any
    status: int
    media: str
    audit: str | None
    refused_as: str | None
    rate: str | None
    address_rate: str | None
    total_rate: str | None
    idempotent: bool
    secret: bool
    slow: bool
    chooses_password: bool
    outward: bool
    waits: bool
    recent: bool
    own_sign_in: bool
    before_mfa: bool
    credentials: bool
    counts: Counts | None
    mode: Mode
    problems: tuple[type[Problem], ...]
    other_responses: Mapping[int, Any]
    operation_id: str | None
    deprecated_since: date | None
    sunset: date | None
    successor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """The specification of one endpoint.

    Attributes:
        permission: `"public"`, `"optional"`, `"authenticated"`, or the permission that the caller's role needs.
        body: the type of the JSON body (a struct that forbids unknown fields); without one, no body is read.
        body_optional: an empty body counts as `{}`.
        example: a realistic body, as JSON would hold it; required with `body`. The document shows it, and the contract
            tests send it.
        query: the struct of the query parameters; without one, every parameter is unknown.
        scope: the scope that an API key needs where people need only be signed in; without one, keys are refused.
        response: the type of the answer.
        status: of the answer, unless the responder sets another.
        media: media type of the answer; unless it is JSON, the responder sets `resp.data` and `resp.content_type`.
        audit: the action recorded in the audit trail with the act, as `subject.verb`; refusals are recorded, too.
            The rules that an outward responder calls record it themselves, in the transaction of the act
            (`models.audit.trail.record`).
        refused_as: the action of recorded refusals, where the act writes its own entry or no entry.
        rate: e.g. `"10/minute; 100/day"`, for each person, or for each address of anonymous callers. The default is
            the general limit. None: no limit, as for health checks and scans.
        address_rate: an additional limit for each address, for all callers. Needed where a request is costly and
            anonymous callers may send it: one address may open any number of anonymous sessions.
        total_rate: a limit for all callers together: bounds the rows that callers without an account can create.
        idempotent: honours `Idempotency-Key`.
        secret: the answer contains a secret that no other answer repeats. It is stored encrypted, for five minutes, and
            never compressed.
        slow: runs in the small pool for password hashing and other slow work.
        chooses_password: sets a new password, and runs in the pool for that instead of the slow pool.
        outward: opens no transaction. The responder calls another service and opens transactions before and after it.
        waits: the responder enqueues a job and calls `wait_for` (web/http/waiting.py): the answer is the job's result,
            or 202 and the job if it takes longer.
        recent: needs step-up: a password or code entered within `step_up.RECENT`.
        own_sign_in: part of our own sign-in. Where Supabase signs people in, it returns `sign_in_is_elsewhere`.
        before_mfa: also open to sessions that still need MFA.
        credentials: reads or changes a password hash, address, factor, recovery code, session or one-time link. Its
            transactions use the account login and the role `app_credentials`, which other requests can't use.
        counts: the metric of outcomes that counts the answers: `"scans"` or `"sign_ins"` (web/http/request_metrics.py).
        mode: `"async"` runs a coroutine in the event loop and opens no transaction.
        problems: refusals specific to the endpoint, for the documentation.
        other_responses: types of answers with other statuses, for the documentation.
        operation_id: name in the document and in generated clients, where the one that `web.openapi.operation_ids`
            derives reads badly.
        deprecated_since: first day on which clients are told to stop using the endpoint (`Deprecation`, RFC 9745).
        sunset: day after which the endpoint may be gone (`Sunset`, RFC 8594).
        successor: path or URL of the endpoint to use instead, sent as `Link` with `rel="successor-version"`.
    """

    permission: str
    body: Any = None
    body_optional: bool = False
    example: Mapping[str, Any] | None = None
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
    secret: bool = False
    slow: bool = False
    chooses_password: bool = False
    outward: bool = False
    waits: bool = False
    recent: bool = False
    own_sign_in: bool = False
    before_mfa: bool = False
    credentials: bool = False
    counts: Counts | None = None
    mode: Mode = "sync"
    problems: tuple[type[Problem], ...] = ()
    other_responses: Mapping[int, Any] = field(default_factory=dict)
    operation_id: str | None = None
    deprecated_since: date | None = None
    sunset: date | None = None
    successor: str | None = None

    def __post_init__(self) -> None:
        if not self.permission:
            raise TypeError('set the permission: "public", "optional", "authenticated" or "subject:verb"')
        if self.scope and self.permission != AUTHENTICATED:
            raise TypeError('`scope` needs the permission "authenticated"')
        if self.idempotent and (self.outward or self.mode == "async"):
            raise TypeError("`idempotent` needs the transaction that @endpoint opens")
        if self.chooses_password and not (self.slow and self.outward):
            raise TypeError("`chooses_password` needs `slow` and `outward`")
        if self.recent and (self.permission in OPEN or self.mode == "async"):
            raise TypeError("`recent` needs a session that is read in a transaction")
        if self.audit and self.refused_as:
            raise TypeError("set `audit` or `refused_as`, not both")
        if self.audit and self.mode == "async":
            raise TypeError("`audit` needs a transaction, which an asynchronous endpoint does not have")

        if self.waits:
            if self.outward or self.mode == "async":
                raise TypeError("`waits` needs the transaction that @endpoint opens, in which the job is enqueued")
            object.__setattr__(self, "other_responses", {202: JobOut, **self.other_responses})
            object.__setattr__(self, "problems", (*self.problems, JobFailed, DownstreamUnavailable))

        self._require_sound_documentation()

    def _require_sound_documentation(self) -> None:
        if (self.sunset or self.successor) and self.deprecated_since is None:
            raise TypeError("`sunset` and `successor` need `deprecated_since`: the day on which clients are told")
        if self.sunset and self.deprecated_since and self.sunset <= self.deprecated_since:
            raise TypeError("`sunset` must be later than `deprecated_since`: clients need time to change")
        if self.body is not None and self.example is None:
            raise TypeError(
                "Show a realistic body: `example={…}` of @endpoint. The document shows it, and tests send it"
            )
        if self.example is not None:
            _require_fit(self.example, self.body)

    @property
    def key_scope(self) -> str | None:
        """Return the scope with which an API key may call an endpoint that needs a caller; None if keys are refused."""
        needed = self.scope or self.permission
        return needed if needed in FOR_KEYS else None

    @property
    def timeout(self) -> float:
        """Return the statement timeout in seconds."""
        return SLOW_TIMEOUT if self.slow else TIMEOUT


def _require_fit(example: Mapping[str, Any], body: Any) -> None:
    if body is None:
        raise TypeError("`example` shows a body, and the endpoint declares none: remove it, or set `body`")
    try:
        msgspec.json.decode(msgspec.json.encode(example), type=body)
    except msgspec.ValidationError as error:
        raise TypeError(f"`example` does not fit {getattr(body, '__name__', body)}: {error}") from None


def spec_of(resource: Any, method: str) -> EndpointSpec | None:
    """Return the specification of the endpoint that answers a method; None for pages and unknown paths."""
    return getattr(getattr(resource, f"on_{method.lower()}", None), "spec", None)
