"""The identity that a transaction runs as, and the request that caused it.

The audit trail and jobs record both.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

Login = Literal["web", "account", "scan", "worker", "seal"]

FAN = "Fan"
SYSTEM_ADMIN = "System Admin"
API_KEY = "API Key"
"""Takes the place of a role if an API key acts for a brand."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Login, database role and claims of a transaction."""

    login: Login
    role: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    is_session: bool = False  # the session of a person; each transaction checks that it is valid

    @property
    def user_id(self) -> UUID | None:
        """The id of the person; None for an API key, a job or an unauthenticated request."""
        return None if self.is_api_key else self.actor_id

    @property
    def actor_id(self) -> UUID | None:
        """The id of the person or the API key."""
        return _uuid(self.claims.get("sub"))

    @property
    def is_api_key(self) -> bool:
        """Whether an API key acts for a brand."""
        return self.user_role == API_KEY

    @property
    def is_checked(self) -> bool:
        """Whether each transaction first checks that the session or the API key is valid."""
        return self.is_session or self.is_api_key

    @property
    def scopes(self) -> frozenset[str]:
        """The permissions of an API key; empty for a person, who has the permissions of a role."""
        return frozenset(self._metadata.get("scopes") or ())

    @property
    def session_id(self) -> UUID | None:
        """The id of the session of the person's token."""
        return _uuid(self.claims.get("session_id"))

    @property
    def brand_id(self) -> UUID | None:
        """The id of the brand of a member, an API key or a job; None for fans, system admins and system jobs."""
        return _uuid(self._metadata.get("brand_id"))

    @property
    def user_role(self) -> str | None:
        """The role's name in the `roles` table, e.g. `Campaign Manager`."""
        return self._metadata.get("user_role")

    @property
    def is_anonymous(self) -> bool:
        """Whether the person is a fan without an account."""
        return bool(self.claims.get("is_anonymous"))

    @property
    def mfa_pending(self) -> bool:
        """Whether the session must verify a second factor; system admins always must (`aal2`)."""
        return bool(self.claims.get("mfa_pending")) or (
            self.user_role == SYSTEM_ADMIN and self.claims.get("aal") != "aal2"
        )

    def on_credentials(self) -> "Identity":
        """Return this identity with the login and role for requests that read or change credentials or sessions."""
        return replace(self, login="account", role="app_credentials")

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return self.claims.get("app_metadata") or {}


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def unauthenticated() -> Identity:
    """Return the identity of a request without credentials. It may call a short list of SQL functions only."""
    return Identity("web", "app_public")


def of_claims(claims: Mapping[str, Any]) -> Identity:
    """Return the identity of a verified access token.

    A system admin who has not verified the second factor gets the role of members, without a brand.
    """
    person = Identity("web", "authenticated", claims, is_session=True)
    if person.user_role == FAN:
        return replace(person, role="app_fan")
    if person.user_role == SYSTEM_ADMIN and not person.mfa_pending:
        return replace(person, login="account", role="app_admin")
    return person


def of_api_key(key_id: UUID, brand_id: UUID, scopes: list[str]) -> Identity:
    """Return the identity of an API key, which acts for a brand within its scopes."""
    metadata = {"brand_id": str(brand_id), "user_role": API_KEY, "scopes": scopes}
    return Identity("web", "authenticated", {"sub": str(key_id), "role": "authenticated", "app_metadata": metadata})


def for_brand_job(brand_id: UUID, job_id: UUID | None = None) -> Identity:
    """Return the identity of a brand's job. It can access rows of this brand only."""
    claims = {"app_metadata": {"brand_id": str(brand_id)}, "job_id": job_id and str(job_id)}
    return Identity("worker", "app_job", claims)


def for_fan_job(user_id: UUID, job_id: UUID | None = None) -> Identity:
    """Return the identity of a fan's job. It can access rows of this fan only."""
    return Identity("worker", "app_fan", {"sub": str(user_id), "job_id": job_id and str(job_id)})


def for_system_job(job_id: UUID | None = None) -> Identity:
    """Return the identity of a system job, which works across brands. Its actor must be declared so."""
    return Identity("worker", "app_system", {"job_id": job_id and str(job_id)})


def for_sealer() -> Identity:
    """Return the identity of the process that seals the audit trail, stores checkpoints and deletes old entries."""
    return Identity("seal", "app_sealer")


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Origin of an act. Its ids link the act to its log lines, audit entries and jobs."""

    request_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    address: str = ""
    user_agent: str = ""


_identity: ContextVar[Identity | None] = ContextVar("identity", default=None)
_request: ContextVar[RequestInfo] = ContextVar("request", default=RequestInfo())  # noqa: B039 (frozen)


def current() -> Identity | None:
    """Return the identity of the current context, if it has one."""
    return _identity.get()


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Set the identity of the current context within the block."""
    token = _identity.set(identity)
    try:
        yield
    finally:
        _identity.reset(token)


def request_info() -> RequestInfo:
    """Return the current request; in a job, the request that enqueued it."""
    return _request.get()


def set_request_info(info: RequestInfo) -> None:
    """Set the request of the current context."""
    _request.set(info)
