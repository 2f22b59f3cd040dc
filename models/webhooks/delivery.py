"""Deliver the outbox of one endpoint in order: leases, results of attempts, and back-off.

One job at a time delivers to an endpoint. It leases the endpoint before each request for longer than a request may
take, so a job that was killed, or that lost its claim, can't overlap with its successor.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import uniform
from typing import Any
from uuid import UUID

from models.core.database import execute, new_id, row
from models.webhooks import outbox, signatures
from models.webhooks.endpoints import DisabledReason

TIMEOUT = 15.0
"""Seconds for one request, from the look-up of the name to the end of the response."""
LEASE = timedelta(seconds=TIMEOUT + 10)
"""Lifetime of a lease. It begins before the request, and is longer than the request."""
GIVE_UP_AFTER = timedelta(days=3)
"""Time of failing attempts only after which an endpoint is disabled."""
WAITS = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""Time between attempts, in order; the last one repeats. The schedule of the Standard Webhooks specification."""
MAX_WAIT = 86_400.0
"""Maximum seconds that a `Retry-After` may ask for."""
GONE = 410

_LOCK = (
    "SELECT id, brand_id, url, secret, CASE WHEN previous_secret_until > now() THEN previous_secret END AS"
    " previous_secret, disabled_at IS NOT NULL AS is_disabled, coalesce(retry_at > now(), false) AS is_waiting,"
    " greatest(leased_until - clock_timestamp(), '0') AS lease_left, lease_job, lease_fence, failures, failing_since,"
    " now() AS now FROM app.webhook_endpoints WHERE id = %s FOR NO KEY UPDATE"
)


class LeaseLost(Exception):
    """Another job delivers to the endpoint, or the endpoint was deleted or disabled during the request."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to call an endpoint: a job and the fence of its claim."""

    endpoint_id: UUID
    job_id: UUID
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An event to send to a leased endpoint."""

    lease: Lease
    brand_id: UUID
    event_id: UUID
    type: str
    body: bytes
    url: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The result of a request. `status` is None if there was no response, `error` None if it succeeded.

    Times are in seconds.
    """

    status: int | None
    error: str | None
    duration: float
    response: str = ""
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """Result of recording an attempt: the next delivery, if there is one; the reason if the endpoint was disabled."""

    next: Delivery | None = None
    disabled: DisabledReason | None = None


def begin(lease: Lease) -> Delivery | None:
    """Lease an endpoint and return its oldest event. None if there is nothing to do now.

    A job that finds the endpoint leased by another may end: its event has been committed, and the holder reads the
    outbox once more, under the lock of the endpoint, before it ends the lease.
    """
    endpoint = row(_LOCK, (lease.endpoint_id,))
    if endpoint is None or endpoint["is_disabled"] or endpoint["is_waiting"]:
        return None
    if endpoint["lease_left"]:
        if endpoint["lease_job"] == lease.job_id:
            # An earlier claim of this job was lost. Its request may still be on its way.
            outbox.enqueue_delivery(lease.endpoint_id, delay=endpoint["lease_left"])
        return None
    _reencrypt(endpoint)
    return _next(lease, endpoint)


def record(delivery: Delivery, attempt: Attempt, *, may_continue: bool) -> Step:
    """Record an attempt and return what follows. A failure ends the lease and enqueues the next attempt.

    Args:
        delivery: what was sent.
        attempt: the result.
        may_continue: whether the job has time for another delivery; otherwise its successor is enqueued.

    Raises:
        LeaseLost: another job holds the lease.
    """
    lease = delivery.lease
    endpoint = row(_LOCK, (lease.endpoint_id,))
    if endpoint is None or (endpoint["lease_job"], endpoint["lease_fence"]) != (lease.job_id, lease.fence):
        raise LeaseLost
    _log(delivery, attempt)
    if attempt.error is not None:
        return _fail(lease, endpoint, attempt)
    outbox.mark_delivered(lease.endpoint_id, delivery.event_id)
    execute(
        "UPDATE app.webhook_endpoints SET failures = 0, failing_since = NULL, retry_at = NULL, last_success_at = now()"
        " WHERE id = %s",
        (lease.endpoint_id,),
    )
    if may_continue and not endpoint["is_disabled"]:
        return Step(_next(lease, endpoint))
    if outbox.oldest(lease.endpoint_id) is not None:
        outbox.enqueue_delivery(lease.endpoint_id)
    _release(lease)
    return Step()


def _next(lease: Lease, endpoint: dict[str, Any]) -> Delivery | None:
    """Renew the lease for the oldest event and return it. Without one, end the lease."""
    event = outbox.oldest(lease.endpoint_id)
    if event is None:
        _release(lease)
        return None
    execute(
        "UPDATE app.webhook_endpoints SET lease_job = %s, lease_fence = %s, leased_until = clock_timestamp() + %s"
        " WHERE id = %s",
        (lease.job_id, lease.fence, LEASE, lease.endpoint_id),
    )
    encrypted = (bytes(secret) for secret in (endpoint["secret"], endpoint["previous_secret"]) if secret is not None)
    secrets = signatures.decrypt_all(encrypted, lease.endpoint_id)
    return Delivery(
        lease=lease,
        brand_id=endpoint["brand_id"],
        event_id=event["event_id"],
        type=event["type"],
        body=event["payload"].encode(),
        url=endpoint["url"],
        secrets=secrets,
    )


def _fail(lease: Lease, endpoint: dict[str, Any], attempt: Attempt) -> Step:
    _release(lease)
    if endpoint["is_disabled"]:
        return Step()
    failures, since = endpoint["failures"] + 1, endpoint["failing_since"] or endpoint["now"]
    reason = _reason_to_disable(attempt, since, endpoint["now"])
    if reason is not None:
        execute(
            "UPDATE app.webhook_endpoints SET failures = %s, failing_since = %s, disabled_at = now(),"
            " disabled_reason = %s, retry_at = NULL, version = version + 1, updated_at = now() WHERE id = %s",
            (failures, since, reason, lease.endpoint_id),
        )
        return Step(disabled=reason)
    wait = wait_after(failures, endpoint["now"] - since, attempt.retry_after)
    execute(
        "UPDATE app.webhook_endpoints SET failures = %s, failing_since = %s, retry_at = now() + %s WHERE id = %s",
        (failures, since, wait, lease.endpoint_id),
    )
    outbox.enqueue_delivery(lease.endpoint_id, delay=wait)
    return Step()


def _reason_to_disable(attempt: Attempt, since: datetime, now: datetime) -> DisabledReason | None:
    if attempt.status == GONE:
        return "gone"
    return "failing" if now - since >= GIVE_UP_AFTER else None


def wait_after(failures: int, failing_for: timedelta, retry_after: float = 0.0) -> timedelta:
    """Return the time until the next attempt.

    Args:
        failures: failed attempts since the last success, 1 or more.
        failing_for: time since the first of them. The last attempt before the endpoint is disabled is made when
            `GIVE_UP_AFTER` is over.
        retry_after: seconds that the receiver asks for.
    """
    scheduled = WAITS[min(failures, len(WAITS)) - 1] * uniform(1.0, 1.1)
    until_last = max(GIVE_UP_AFTER - failing_for, WAITS[0])
    return max(min(scheduled, until_last), timedelta(seconds=min(retry_after, MAX_WAIT)))


def _release(lease: Lease) -> None:
    execute("UPDATE app.webhook_endpoints SET leased_until = NULL WHERE id = %s", (lease.endpoint_id,))


def _log(delivery: Delivery, attempt: Attempt) -> None:
    execute(
        "INSERT INTO app.webhook_attempts (id, brand_id, endpoint_id, event_id, type, duration_ms, status, error,"
        " response) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(new_id(), delivery.brand_id, delivery.lease.endpoint_id, delivery.event_id, delivery.type),
            *(round(attempt.duration * 1000), attempt.status, attempt.error, attempt.response),
        ),
    )


def _reencrypt(endpoint: dict[str, Any]) -> None:
    """Encrypt the secret with the active key if it is not yet, so that an old root secret can be retired."""
    stored = bytes(endpoint["secret"])
    if signatures.is_current(stored):
        return
    for secret in signatures.decrypt_all([stored], endpoint["id"]):
        renewed = signatures.encrypt(secret, endpoint["id"])
        execute("UPDATE app.webhook_endpoints SET secret = %s WHERE id = %s", (renewed, endpoint["id"]))
