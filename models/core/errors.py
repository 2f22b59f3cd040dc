"""The registry of error codes, and the exceptions that carry them.

`REGISTRY` is the one list of codes: each has its HTTP status and title there, whether SQL (`app.refuse`) or Python
raises it. A class with a `code` takes both from there. `Problem.of_code` returns an instance of that class, so
`except LastBrandAdmin` also catches an error of the database. A code without a class of its own has the class of its
status, e.g. `Conflict` for 409.

A problem document has further members for some codes, e.g. `errors` for `invalid`. The class declares them as a struct
in `members`. Raising it with a member that the struct does not have, or without one that it requires, is a TypeError.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from models.core.messages import Joined, Message


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """HTTP status and title (RFC 9457) of an error code."""

    status: int
    title: str


_TITLES: dict[int, dict[str, str]] = {
    400: {
        "bad_request": "The request is not valid HTTP",
        "malformed_json": "The body is not valid JSON",
    },
    401: {
        "unauthenticated": "Sign in first",
        "account_closed": "The account has been deleted",
        "account_suspended": "The account is suspended, or its brand is archived",
        "api_key_invalid": "The API key is unknown, revoked or expired",
        "invalid_credentials": "The email address or the password is wrong",
        "refresh_token_invalid": "The refresh token is not valid: sign in again",
        "session_ended": "The session has ended: sign in again",
    },
    403: {
        "forbidden": "Not allowed",
        "account_required": "The campaign counts scans of people with an account only",
        "audit_is_append_only": "Audit entries can't be changed or deleted",
        "call_denied": "The job may not call this operation of the service",
        "consent_missing": "No consent allows this use",
        "consent_required": "A required consent is missing",
        "email_of_other_account": "Another account has this email address",
        "geofence_outside": "The position is outside the campaign's area",
        "geofence_uncertain": "The position is too inaccurate to decide whether it is in the campaign's area",
        "invalid_code": "The code is wrong, expired or already used",
        "legacy_token": "System admins need a token that a signing key has signed",
        "mfa_required": "Verify the second factor first",
        "recent_authentication_required": "Confirm your identity again first",
        "role_not_grantable": "The caller may not grant this role",
        "unknown_role": "The account's role or brand does not exist here",
        "wrong_password": "The password is wrong",
    },
    404: {
        "not_found": "Not found",
        "link_invalid": "The link is unknown, expired or already used",
        "sign_in_is_elsewhere": "People sign in at the Supabase project, not here",
        "unknown_campaign": "The service does not know the campaign",
        "unknown_check_in": "The event has no such check-in",
        "unknown_code": "The code does not exist or is disabled",
        "unknown_event": "The event is not published",
        "unknown_reservation": "There is no such reservation",
        "unknown_reward": "The campaign has no such reward",
        "unknown_reward_code": "The code belongs to no reward here, or has expired",
        "unknown_ticket": "The text is no ticket of the event",
    },
    405: {"method_not_allowed": "The resource does not support this method"},
    406: {"not_acceptable": "The response is not available in an accepted media type"},
    408: {"request_timeout": "The request did not arrive in time"},
    409: {
        "conflict": "The request conflicts with the current state",
        "already_checked_in": "Checked in already",
        "already_invited": "There is an open invitation to this address",
        "already_linked": "The anonymous person is linked to another account",
        "already_member": "The person is already a member of a brand",
        "already_redeemed": "The reward is already redeemed",
        "already_registered": "The session already belongs to an account",
        "already_uploaded": "The file has been uploaded before",
        "anonymous_account": "The account is anonymous",
        "asset_not_pending": "The upload of the asset has been completed before",
        "asset_space_used_up": "The brand has no space for more assets",
        "at_capacity": "The event has no place left",
        "audit_chain_has_moved": "The audit chain has new entries",
        "audit_checkpoint_not_next": "The checkpoint's number is not the next one",
        "audit_entries_differ": "The audit entries to seal have changed",
        "below_given": "More units are given than the new quantity",
        "brand_archived": "The brand is archived",
        "campaign_archived": "The campaign is archived",
        "campaign_completed": "The campaign is completed",
        "campaign_not_active": "The campaign is not active",
        "scan_window_closed": "Scans do not count at this hour",
        "cap_exhausted": "The campaign's limit is exhausted",
        "check_in_not_accepted": "Only an accepted check-in can be undone",
        "client_scan_id_reused": "This client_scan_id belongs to another scan",
        "consent_events_are_append_only": "Consent events can't be changed or deleted",
        "email_in_use": "An account with this email address already exists",
        "event_not_open": "The event is not open",
        "fixed_since_launch": "This field can't be changed after the launch",
        "group_is_over": "The group has ended",
        "guest_list_full": "The guest list is full",
        "illegal_transition": "The campaign's status does not allow this transition",
        "conversion_reused": "Another conversion has this `external_id`",
        "contact_key_taken": "Another contact has this address or external id",
        "contact_merged": "Another contact has taken this one in",
        "merge_not_last": "A later merge is in force",
        "merge_undone": "The merge was undone before",
        "property_exists": "Another property has this key",
        "property_in_use": "Contacts have values that do not fit",
        "too_many_properties": "The brand has the maximum number of properties",
        "invitation_closed": "The invitation has been accepted or revoked",
        "job_is_over": "The job has ended",
        "label_taken": "Another code of the campaign has this label",
        "last_brand_admin": "The brand would have no active Brand Admin left",
        "launch_in_progress": "The campaign is being launched",
        "mfa_mandatory": "The role or the brand requires an authenticator",
        "mfa_not_enrolled": "The account has no authenticator",
        "no_such_group": "The group does not exist or is not open to this job",
        "not_a_creator": "The member is not a Creator",
        "not_an_event": "The campaign is not an event",
        "not_in_a_group": "The job is not a running child of a group",
        "not_granted": "The reward is not granted yet",
        "not_on_guest_list": "The event admits guests of its list only",
        "notice_is_published": "A published notice can't be changed",
        "notice_not_in_force": "Another version of the notice is in force",
        "own_account": "You can't do this to your own account",
        "preview_replaced": "A newer preview has replaced this one",
        "party_exceeded": "The party has fewer places left",
        "per_user_limit": "The person has as many units of the reward as allowed",
        "reservation_expired": "The reservation has expired or was released",
        "reservation_suspended": "The reward is suspended",
        "reward_unavailable": "The state of the reward does not allow this",
        "same_password": "The new password is the current one",
        "scan_required": "Scan a code of the event first",
        "segment_archived": "The segment is archived",
        "segment_in_use": "Another segment or a campaign refers to the segment",
        "segment_name_taken": "Another segment has this name",
        "sold_out": "No unit of the reward is left",
        "stale_fence": "The claim of the job is no longer the newest",
        "ticket_cancelled": "The ticket is cancelled",
        "ticket_held": "The person has a ticket already",
        "ticket_required": "The event admits people with a ticket only",
        "tickets_not_offered": "The event has no tickets",
        "transfer_is_over": "The import or export has ended",
        "too_many_api_keys": "The brand has the maximum number of valid API keys",
        "too_many_webhook_endpoints": "The brand has the maximum number of webhook endpoints",
        "webhook_endpoint_disabled": "The webhook endpoint is disabled",
    },
    410: {"campaign_ended": "The campaign has ended"},
    412: {"precondition_failed": "The resource has changed since you read it"},
    413: {"content_too_large": "The body is too large"},
    414: {"uri_too_long": "The URL is too long"},
    415: {"unsupported_media_type": "The type or coding of the body is not accepted"},
    421: {"misdirected_request": "This server does not serve the requested host"},
    422: {
        "invalid": "The request is not valid",
        "audit_checkpoint_invalid": "The checkpoint does not match the audit chains",
        "audit_seal_invalid": "An audit entry has no valid MAC",
        "audit_start_invalid": "The audit chain has no such entry",
        "bad_token": "The text is not a code of this system",
        "brand_by_role": "Members need a brand, and fans can't have one",
        "idempotency_key_reused": "This Idempotency-Key belongs to another request",
        "location_inaccurate": "The position is not accurate enough",
        "location_stale": "The position was not measured at the time of the scan",
        "mail_undeliverable": "The mail can't be delivered",
        "not_ready": "The campaign is not ready to be launched",
        "scan_time_invalid": "The time of the scan is in the future",
        "scan_too_old": "The scan is older than the campaign accepts",
        "tier_not_in_notice": "The notice does not contain this consent tier",
        "unknown_brand": "The brand does not exist",
        "unknown_notice": "The notice does not exist or is no longer in force",
        "unknown_scope": "The API key can't have this scope",
        "webhook_url_refused": "The URL of a webhook endpoint may not be called",
    },
    428: {
        "precondition_required": "The If-Match header is missing",
        "location_required": "The campaign requires a position",
    },
    429: {
        "rate_limited": "Too many requests",
        "limit_reached": "The limit of scans is reached for now",
        "sent_just_now": "The invitation was sent less than a minute ago",
        "too_many_previews": "The brand has the maximum number of previews that run at the same time",
        "too_many_invitations": "The brand has sent the maximum number of invitations of one day",
        "too_many_refreshes": "The session has been refreshed too often",
    },
    431: {"headers_too_large": "The headers are too large"},
    500: {"internal": "The server failed"},
    503: {
        "unavailable": "A service does not respond: try again in a moment",
        "audit_behind": "Seals or checkpoints of the audit trail are overdue",
        "busy": "Scans of the same limit are being decided: try again in a moment",
        "changed_meanwhile": "The campaign changed during the scan: try again in a moment",
        "failed": "The scan could not be recorded: try again in a moment",
        "job_failed": "The work has failed: system admins see the cause",
        "no_heartbeat": "A process has recorded no heartbeat recently",
        "overloaded": "The server has too many requests to answer",
        "service_unavailable": "A downstream service does not answer: try again in a moment",
    },
}

REGISTRY: dict[str, ErrorCode] = {
    code: ErrorCode(status, title) for status, titles in _TITLES.items() for code, title in titles.items()
}
"""Every error code. The first code of a status is the general one: it is used where only the status is known."""


class Members(msgspec.Struct, kw_only=True):
    """Members of a problem document besides those that every problem has."""


class FieldError(msgspec.Struct, frozen=True):
    """An invalid field and the reason."""

    field: Annotated[
        str,
        msgspec.Meta(
            description="Path of the field in the body, or name of the parameter or header. `body` and `query` are the "
            "whole body and the whole query.",
            examples=["config.geofence.lat", "items[2].name"],
        ),
    ]
    reason: Annotated[
        str,
        msgspec.Meta(
            description="The reason in plain words, in the language of the answer.",
            examples=["must be at most 90"],
        ),
    ]


MAX_ERRORS = 50
"""Maximum number of invalid fields that an answer lists."""

MAX_IN_DETAIL = 3
"""Maximum number of invalid fields that the detail names."""


class InvalidMembers(Members):
    """The invalid fields."""

    errors: Annotated[
        list[FieldError],
        msgspec.Meta(description="Every invalid, missing and unknown field, up to 50. Empty if no single field is it."),
    ] = []


class ForbiddenMembers(Members):
    """The missing permission or scope."""

    permission: (
        Annotated[
            str,
            msgspec.Meta(
                description="The permission that the caller's role lacks. Absent if no permission would be enough.",
                examples=["campaigns:write"],
            ),
        ]
        | UnsetType
    ) = UNSET
    scope: (
        Annotated[
            str,
            msgspec.Meta(
                description="The scope that the API key lacks. Absent for people.", examples=["campaigns:write"]
            ),
        ]
        | UnsetType
    ) = UNSET


class Problem(Exception):
    """An error that the caller can understand, in the terms of RFC 9457.

    The `members` go into the problem document beside `detail`, the `headers` into the response.

    Attributes:
        members: struct of the further members of the document.
        inherited: the same for subclasses with another code that declare no `members`.
        values: the further members of this problem.
        is_audited: whether the audit trail records the refusal. False if it has been recorded already, or is routine.
        claims: claims of the refused credentials, if these were valid once.
    """

    code = "internal"
    status = REGISTRY[code].status
    title = REGISTRY[code].title
    members: ClassVar[type[Members]] = Members
    inherited: ClassVar[type[Members]] = Members
    is_audited = True
    claims: Mapping[str, Any] | None = None
    _classes: ClassVar[dict[str, type["Problem"]]] = {}

    def __init_subclass__(cls) -> None:
        """Take status and title of the class's own code from the registry."""
        code = vars(cls).get("code")
        if code is None:
            return
        entry = REGISTRY[code]
        if cls.status not in (Problem.status, entry.status):  # the inherited status
            raise TypeError(f"{cls.__name__}: {code!r} has status {entry.status}, and its base {cls.status}")
        if Problem._classes.setdefault(code, cls) is not cls:
            raise TypeError(f"{cls.__name__}: {code!r} belongs to {Problem._classes[code].__name__}")
        cls.status, cls.title = entry.status, entry.title
        if "members" not in vars(cls):
            cls.members = cls.inherited

    @staticmethod
    def class_of(code: str) -> type["Problem"]:
        """Return the class of a code, or the general class of its status. Its module must have been imported."""
        general = next(iter(_TITLES[REGISTRY[code].status]))
        return Problem._classes.get(code) or Problem._classes.get(general) or Problem

    @classmethod
    def of_code(
        cls,
        code: str,
        detail: str = "",
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> "Problem":
        """Return the exception for a code, of the code's class.

        Args:
            code: a registered code.
            detail: text for the caller.
            status: HTTP status, if it differs from that of the code.
            headers: response headers.
            members: the further members, by name.
        """
        entry, kind = REGISTRY[code], Problem.class_of(code)
        problem = kind.__new__(kind)
        Problem.__init__(problem, detail or entry.title, headers=headers, **(members or {}))
        problem.code, problem.status, problem.title, problem.detail = code, status or entry.status, entry.title, detail
        return problem

    def __init__(self, detail: str = "", *, headers: dict[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = dict(headers or {})
        self.values = self.members(**members)

    @property
    def extra(self) -> dict[str, Any]:
        """The further members of the document, by name."""
        found: dict[str, Any] = msgspec.to_builtins(self.values, builtin_types=(UUID, datetime), enc_hook=str)
        return found


class Malformed(Problem):
    """The bytes of the request do not have the declared format."""

    code = "malformed_json"


class Invalid(Problem):
    """The request is well formed, but a value is not valid; `errors` names each field and the reason."""

    code = "invalid"
    members = inherited = InvalidMembers
    values: InvalidMembers

    def __init__(self, field: str = "", reason: str = "", *, errors: Iterable[FieldError] = ()) -> None:
        found = list(errors) or ([FieldError(field, reason)] if field else [])
        super().__init__(_summary(found), errors=found[:MAX_ERRORS])


def check_all(*checks: Callable[[], object]) -> None:
    """Run all checks, and refuse with the invalid fields of all of them.

    Raises:
        Invalid: at least one check has raised `Invalid`.
    """
    errors: list[FieldError] = []
    for check in checks:
        try:
            check()
        except Invalid as error:
            errors += error.values.errors
    if errors:
        raise Invalid(errors=errors)


def _summary(errors: Sequence[FieldError]) -> str:
    """Return the first errors as one text, and the number of the others."""
    parts = [
        Message("{field}: {reason}", field=error.field, reason=Joined([error.reason]))
        for error in errors[:MAX_IN_DETAIL]
    ]
    if len(errors) > MAX_ERRORS:
        parts.append(Message("and more than {count} others", count=MAX_ERRORS - MAX_IN_DETAIL))
    elif len(errors) > MAX_IN_DETAIL:
        parts.append(Message("and {count} more", count=len(errors) - MAX_IN_DETAIL))
    return Joined(parts)


class Unauthenticated(Problem):
    """The request has no credentials, or none that are valid."""

    code = "unauthenticated"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class TokenExpired(Unauthenticated):
    """The access token was valid and has expired. Clients refresh it: this is routine, so it is not audited."""

    is_audited = False

    def __init__(self) -> None:
        super().__init__("The access token has expired.")


class SessionEnded(Unauthenticated):
    """The session has expired, or was revoked."""

    code = "session_ended"


class Forbidden(Problem):
    """The caller is known and not permitted to do this."""

    code = "forbidden"
    members = ForbiddenMembers


class MfaRequired(Forbidden):
    """The session has verified one factor, and the account or the role requires a second one."""

    code = "mfa_required"


class NotFound(Problem):
    """The record does not exist, or the caller may not see it."""

    code = "not_found"


class Conflict(Problem):
    """The current state does not allow the request."""

    code = "conflict"


class PreconditionFailed(Problem):
    """Another request changed the record after the caller read it."""

    code = "precondition_failed"


class TooMany(Problem):
    """The caller has exceeded a rate limit."""

    code = "rate_limited"

    def __init__(self, detail: str = "", *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


class Unavailable(Problem):
    """A service that the request needs does not respond; the caller may try again later.

    A job that raises it is not retried earlier than after `retry_after` seconds.
    """

    code = "unavailable"
    retry_after = 0.0

    def __init__(self, detail: str = "", *, retry_after: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, math.ceil(retry_after)))})
        self.retry_after = float(retry_after)


class DownstreamUnavailable(Unavailable):
    """A downstream service that the request needs has not answered (`jobs.passport`)."""

    code = "service_unavailable"
