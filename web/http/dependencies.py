"""Dependencies of the endpoints, collected in one object, so that a test can replace each of them."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from models.core.context import Identity
from web.http.grants import Grants
from web.http.rate_limits import Rate, RateLimiter
from web.http.refusals import Refusals
from web.http.thread_pool import ThreadPool
from web.http.waiting import JobWaiter


class Transaction(Protocol):
    """`models.core.database.transaction`."""

    def __call__(self, identity: Identity, *, timeout: float) -> AbstractContextManager[Any]:
        """Return the context of a transaction; `timeout` is in seconds."""
        ...


class IdempotencyStore(Protocol):
    """Stores the first answer to an `Idempotency-Key` within the caller's transaction."""

    def begin(self, scope: str, key: str, digest: bytes) -> dict[str, Any] | None:
        """Claim a key, or return the answer that is stored for it."""
        ...

    def store(
        self, scope: str, key: str, status: int, headers: dict[str, str], body: str, *, is_secret: bool = False
    ) -> None:
        """Store the answer to the request that claimed a key; encrypted if it contains a secret."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of all endpoints of one application.

    Attributes:
        slow_pool: runs sign-ins and other requests that hash passwords.
        new_password_pool: runs requests that set a password, which query the breach service. Sign-ins do not wait for
            them.
        verify: returns the identity of an access token or API key.
        key_rate: limit of all requests of one API key.
        person_rate: limit of one person over all endpoints with the general limit.
        address_rate: limit of anonymous callers of one address over these endpoints.
        record: writes the audit entry of an act.
        refusals: records refused requests in the audit trail.
        jobs: wakes requests that wait for the end of a job.
        signs_in: whether people sign in here, not at a Supabase project.
    """

    pool: ThreadPool
    slow_pool: ThreadPool
    new_password_pool: ThreadPool
    limiter: RateLimiter
    verify: Callable[[str], Awaitable[Identity]]
    key_rate: Rate
    person_rate: Rate
    address_rate: Rate
    grants: Grants
    transaction: Transaction
    record: Callable[..., Any]
    refusals: Refusals
    require_recent: Callable[[], None]
    idempotency: IdempotencyStore
    jobs: JobWaiter
    max_body_bytes: int
    signs_in: bool = True
