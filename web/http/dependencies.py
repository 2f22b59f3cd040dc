"""What every endpoint stands on, in one place, so that an application can be put together from other parts."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from models.core.context import Identity
from web.http.grants import Grants
from web.http.rate_limits import Rate, RateLimiter
from web.http.refusals import Refusals
from web.http.thread_pool import ThreadPool


class Transaction(Protocol):
    """`models.core.database.transaction`."""

    def __call__(self, identity: Identity, *, timeout: float) -> AbstractContextManager[Any]: ...


class IdempotencyStore(Protocol):
    """Where the first answer to an `Idempotency-Key` is kept, within the caller's transaction."""

    def begin(self, scope: str, key: str, digest: bytes) -> dict[str, Any] | None: ...

    def store(self, scope: str, key: str, status: int, headers: dict[str, str], body: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The collaborators of all endpoints of one application.

    Attributes:
        slow_pool: runs sign-ins, and what else hashes passwords.
        new_password_pool: runs requests that choose a password and ask another server. Sign-ins do not wait for them.
        verify: whose access token or API key this is.
        key_rate: what one API key may ask in all.
        person_rate: what one person may ask of all endpoints without a limit of their own.
        address_rate: what may be asked of them from one address by whoever isn't known.
        record: writes the audit entry of an act.
        refusals: what refusals go through into the trail.
        signs_in: whether people sign in here, and not at somebody else's.
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
    max_body_bytes: int
    signs_in: bool = True
