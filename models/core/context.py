"""Who is asking, and within which request: what a transaction runs as and what audit and jobs remember."""

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
"""What stands in place of a role where a machine acts for a brand."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The login, the database role and the claims that a transaction runs with."""

    login: Login
    role: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    is_session: bool = False  # a person's session, which has to be alive

    @property
    def user_id(self) -> UUID | None:
        """The person, if there is one."""
        return None if self.is_api_key else self.actor_id

    @property
    def actor_id(self) -> UUID | None:
        """Whoever acts: the person, or the API key."""
        return _uuid(self.claims.get("sub"))

    @property
    def is_api_key(self) -> bool:
        """A machine that acts for a brand, with an API key."""
        return self.user_role == API_KEY

    @property
    def is_checked(self) -> bool:
        """Each transaction begins by asking whether the session or the API key is still good."""
        return self.is_session or self.is_api_key

    @property
    def scopes(self) -> frozenset[str]:
        """What an API key may do; of a person, the role says it."""
        return frozenset(self._metadata.get("scopes") or ())

    @property
    def session_id(self) -> UUID | None:
        """The session that the person's token belongs to."""
        return _uuid(self.claims.get("session_id"))

    @property
    def brand_id(self) -> UUID | None:
        """The brand that is acted for; None for fans, system admins and system jobs."""
        return _uuid(self._metadata.get("brand_id"))

    @property
    def user_role(self) -> str | None:
        """The role's name in the `roles` table, e.g. `Campaign Manager`."""
        return self._metadata.get("user_role")

    @property
    def is_anonymous(self) -> bool:
        """A fan who has not signed up."""
        return bool(self.claims.get("is_anonymous"))

    @property
    def mfa_pending(self) -> bool:
        """The session owes the second factor. A system admin's always does without one (`aal2`)."""
        return bool(self.claims.get("mfa_pending")) or (
            self.user_role == SYSTEM_ADMIN and self.claims.get("aal") != "aal2"
        )

    def on_credentials(self) -> "Identity":
        """Return this identity with the login and the role of requests that read or change credentials or sessions."""
        return replace(self, login="account", role="app_credentials")

    @property
    def _metadata(self) -> Mapping[str, Any]:
        return self.claims.get("app_metadata") or {}


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def unauthenticated() -> Identity:
    """Before anybody is known: may call a short list of functions and nothing else."""
    return Identity("web", "app_public")


def of_claims(claims: Mapping[str, Any]) -> Identity:
    """The identity behind a verified access token. A system admin without the second factor is nobody's member."""
    person = Identity("web", "authenticated", claims, is_session=True)
    if person.user_role == FAN:
        return replace(person, role="app_fan")
    if person.user_role == SYSTEM_ADMIN and not person.mfa_pending:
        return replace(person, login="account", role="app_admin")
    return person


def of_api_key(key_id: UUID, brand_id: UUID, scopes: list[str]) -> Identity:
    """A machine that acts for a brand, within its key's scopes."""
    metadata = {"brand_id": str(brand_id), "user_role": API_KEY, "scopes": scopes}
    return Identity("web", "authenticated", {"sub": str(key_id), "role": "authenticated", "app_metadata": metadata})


def for_brand_job(brand_id: UUID, job_id: UUID | None = None) -> Identity:
    """A job that works for one brand and can reach no other's rows."""
    claims = {"app_metadata": {"brand_id": str(brand_id)}, "job_id": job_id and str(job_id)}
    return Identity("worker", "app_job", claims)


def for_fan_job(user_id: UUID, job_id: UUID | None = None) -> Identity:
    """A job that works for one fan and can reach no other's rows."""
    return Identity("worker", "app_fan", {"sub": str(user_id), "job_id": job_id and str(job_id)})


def for_system_job(job_id: UUID | None = None) -> Identity:
    """A job that works across brands; actors have to be declared as such by name."""
    return Identity("worker", "app_system", {"job_id": job_id and str(job_id)})


def for_sealer() -> Identity:
    """Return the identity of the process that seals the audit trail, stores checkpoints and drops old entries."""
    return Identity("seal", "app_sealer")


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Where an act comes from: the ids that tie its consequences together."""

    request_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""
    address: str = ""
    user_agent: str = ""


_identity: ContextVar[Identity | None] = ContextVar("identity", default=None)
_request: ContextVar[RequestInfo] = ContextVar("request", default=RequestInfo())  # noqa: B039 (frozen)


def current() -> Identity | None:
    """Whoever is asking at this point of the code."""
    return _identity.get()


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Be `identity` within the block."""
    token = _identity.set(identity)
    try:
        yield
    finally:
        _identity.reset(token)


def request_info() -> RequestInfo:
    """The request (or the job's originating request) being worked on."""
    return _request.get()


def set_request_info(info: RequestInfo) -> None:
    """Say which request the code that follows in this context belongs to."""
    _request.set(info)
