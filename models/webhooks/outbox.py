"""The outbox: events that wait for delivery to the endpoints of brands."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from models.core import context
from models.core.database import after_commit, execute, execute_deferred, new_id, now, row, rows
from models.core.errors import NotFound
from models.jobs.ledger import enqueue, notify_relay
from models.webhooks.events import TEST, EventType

RETENTION = timedelta(days=3)
"""Time for which an event is kept: for delivery, and for a replay."""
MAX_EVENTS = 100_000
"""Maximum number of events that are kept for one endpoint; the oldest are deleted."""
KEEP_ATTEMPTS = timedelta(days=7)
"""Retention of attempts."""
MAX_ATTEMPTS = 10_000
"""Maximum number of attempts that are kept for one endpoint; the oldest are deleted."""
STALLED = timedelta(minutes=1)
"""Time after which an event without a job is noticed."""

_PUBLISH = "CALL app.publish_webhook_event(%s, %s, %s, %s, %s, %s, %s, %s)"


def publish(event_type: EventType, *, brand_id: UUID, data: Mapping[str, Any]) -> None:
    """Publish an event in the caller's transaction. It is sent if, and only if, the transaction commits.

    The statement is sent with the caller's next one. It reads the brand's endpoints without a lock, and writes nothing
    if none selects the type.

    Args:
        event_type: what happened.
        brand_id: the brand whose endpoints receive the event.
        data: ids of the objects that are concerned, as UUIDs or text; no personal data. Receivers read the rest from
            the API.

    Raises:
        Forbidden: with the next statement or COMMIT: the caller belongs to another brand, or is a fan who is not known
            to the brand.
    """
    happened, request = now(), context.request_info()
    after_commit(notify_relay)
    execute_deferred(
        _PUBLISH,
        (
            *(new_id(), brand_id, event_type),
            *(_encode(event_type, happened, data), happened),
            *(request.request_id, request.correlation_id, request.traceparent),
        ),
    )


def _encode(event_type: EventType, happened: datetime, data: Mapping[str, Any]) -> str:
    """Return the body as it is stored, signed and sent."""
    timestamp = happened.astimezone(UTC).isoformat().replace("+00:00", "Z")
    payload = {"type": event_type, "timestamp": timestamp, "data": dict(data)}
    return json.dumps(payload, default=str, separators=(",", ":"), ensure_ascii=False)


def add_test(endpoint_id: UUID, brand_id: UUID) -> UUID:
    """Add a test event for one endpoint, whatever types it selects. Return the event's id."""
    event_id, happened = new_id(), now()
    execute(
        "INSERT INTO app.webhook_outbox (brand_id, endpoint_id, event_id, type, payload, occurred_at)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (brand_id, endpoint_id, event_id, TEST, _encode(TEST, happened, {"endpoint_id": endpoint_id}), happened),
    )
    return event_id


def enqueue_delivery(endpoint_id: UUID, *, brand_id: UUID | None = None, delay: timedelta = timedelta()) -> None:
    """Enqueue the delivery of an endpoint's events. Waiting jobs of one endpoint run as one."""
    enqueue(
        "webhook.deliver",
        endpoint_id,
        delay=delay,
        unique="while_waiting",
        unique_key=f"webhook:{endpoint_id}",
        brand_id=brand_id,
    )


def oldest(endpoint_id: UUID) -> dict[str, Any] | None:
    """Return id, type and payload of the oldest event that waits for delivery."""
    return row(
        "SELECT event_id, type, payload FROM app.webhook_outbox WHERE endpoint_id = %s AND delivered_at IS NULL"
        " ORDER BY event_id LIMIT 1",
        (endpoint_id,),
    )


def mark_delivered(endpoint_id: UUID, event_id: UUID) -> None:
    """Record that the endpoint has accepted an event."""
    execute(
        "UPDATE app.webhook_outbox SET delivered_at = now() WHERE endpoint_id = %s AND event_id = %s",
        (endpoint_id, event_id),
    )


def count_pending(endpoint_ids: list[UUID]) -> dict[UUID, int]:
    """Return the number of events that wait for delivery, for each endpoint that has any."""
    found = rows(
        "SELECT endpoint_id, count(*) AS pending FROM app.webhook_outbox"
        " WHERE endpoint_id = ANY (%s) AND delivered_at IS NULL GROUP BY endpoint_id",
        (endpoint_ids,),
    )
    return {one["endpoint_id"]: one["pending"] for one in found}


def replay(endpoint_id: UUID, event_id: UUID) -> int:
    """Deliver one stored event again. An event that waits stays as it is. Return 1.

    Raises:
        NotFound: the outbox does not hold the event, or not any more.
    """
    changed = execute(
        "UPDATE app.webhook_outbox SET delivered_at = NULL WHERE endpoint_id = %s AND event_id = %s",
        (endpoint_id, event_id),
    )
    if not changed:
        raise NotFound
    return changed


def replay_since(endpoint_id: UUID, since: datetime) -> int:
    """Deliver again the stored events that happened at `since` or later. Return their number."""
    return execute(
        "UPDATE app.webhook_outbox SET delivered_at = NULL"
        " WHERE endpoint_id = %s AND occurred_at >= %s AND delivered_at IS NOT NULL",
        (endpoint_id, since),
    )


def expire() -> None:
    """Delete events older than `RETENTION` and beyond the newest `MAX_EVENTS` of an endpoint, and old attempts.

    The endpoint counts the events that were deleted before they were delivered.
    """
    execute("SELECT app.expire_webhook_outbox(%s, %s)", (RETENTION, MAX_EVENTS))
    execute("SELECT app.expire_webhook_attempts(%s, %s)", (KEEP_ATTEMPTS, MAX_ATTEMPTS))


def enqueue_stalled() -> None:
    """Enqueue the delivery of endpoints with events that have waited for `STALLED` without a job.

    Their job was cancelled or is a dead letter.
    """
    for found in rows("SELECT id, brand_id FROM app.stalled_webhook_endpoints(%s)", (STALLED,)):
        enqueue_delivery(found["id"], brand_id=found["brand_id"])
