"""Actors of the domain webhooks: deliver events to servers of brands, and delete old ones."""

import logging
import socket
import ssl
import time
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from models.core import http_fetch
from models.core.texts import escape
from models.notifications.notifications import notify
from models.webhooks import delivery, outbox, signatures, targets
from models.webhooks.delivery import Attempt, Delivery, Lease, LeaseLost
from settings import VERSION, settings

logger = logging.getLogger(__name__)

RUN_SECONDS = 30.0
"""Time after which a job begins no further delivery, but enqueues its successor."""
RESPONSE_BYTES = 4096
"""Maximum number of bytes of a response's body that are read and stored."""


@actor(
    "webhook.deliver",
    queue="webhooks",
    outward=True,
    time_limit=RUN_SECONDS + delivery.TIMEOUT + 10,
    max_per_brand=2,
    max_running=settings.webhook_concurrency,
)
def deliver(endpoint_id: UUID) -> None:
    """Deliver the events of an endpoint in order, until one fails, none is left or the time is over."""
    job, started = current_job(), time.monotonic()
    with own_transaction():
        current = delivery.begin(Lease(endpoint_id, job.id, job.claim.fence))
    while current is not None:
        attempt = send(current)
        may_continue = time.monotonic() - started < RUN_SECONDS
        try:
            current = _record(current, attempt, may_continue=may_continue)
        except LeaseLost:
            logger.info("the lease of webhook endpoint %s was lost", endpoint_id)
            return


def _record(sent: Delivery, attempt: Attempt, *, may_continue: bool) -> Delivery | None:
    """Record an attempt and return the next delivery. Notify the brand if its endpoint was disabled."""
    with own_transaction():
        step = delivery.record(sent, attempt, may_continue=may_continue)
        if step.disabled is not None:
            notify(
                "webhook_disabled",
                brand_id=sent.brand_id,
                subject=("webhook_endpoint", sent.lease.endpoint_id),
                values={"url": targets.origin(sent.url)},
                permission="webhooks:manage",
            )
    return step.next


@actor("webhooks.sweep", runs_as="system", time_limit=300.0)
def sweep() -> None:
    """Delete old events and attempts, and enqueue deliveries that no job is left for."""
    outbox.expire()
    outbox.enqueue_stalled()


def send(event: Delivery) -> Attempt:
    """Send an event once. The outcome is returned, never raised."""
    started, timestamp = time.monotonic(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Companon-Webhooks/{VERSION}",
        "webhook-id": str(event.event_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signatures.sign(event.secrets, event.event_id, timestamp, event.body),
    }
    if not targets.is_allowed(event.url):
        return Attempt(status=None, error="url_refused", duration=0.0)
    if not event.secrets:
        return Attempt(status=None, error="secret_unreadable", duration=0.0)
    try:
        response = http_fetch.request(
            "POST",
            event.url,
            timeout=delivery.TIMEOUT,
            max_bytes=RESPONSE_BYTES,
            content=event.body,
            headers=headers,
            allows=targets.allows,
            is_cut=True,
        )
    except OSError as error:
        return Attempt(status=None, error=_kind(error), duration=time.monotonic() - started)
    return Attempt(
        status=response.status,
        error=None if 200 <= response.status < 300 else f"status_{response.status}",
        duration=time.monotonic() - started,
        response=escape(response.content.decode(errors="replace"), keep="\n\t"),
        retry_after=response.retry_after(),
    )


def _kind(error: OSError) -> str:
    """Return why there was no response. Texts of the operating system are not shown to brands."""
    kinds: dict[type[Exception], str] = {
        http_fetch.AddressRefused: "address_refused",
        TimeoutError: "timeout",
        ssl.SSLError: "tls_failed",
        socket.gaierror: "name_unknown",
        ConnectionError: "connection_failed",
        http_fetch.FetchError: "no_http",
    }
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "connection_failed")
