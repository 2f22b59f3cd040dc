"""Endpoints: the URLs of a brand that receive events, their secrets and their state."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.core.database import Row, execute, new_id, now, value
from models.core.enumerations import enumeration
from models.core.errors import Conflict, NotFound
from models.jobs.ledger import JobRef, enqueue
from models.webhooks import signatures, targets
from models.webhooks.events import EventType

MAX_ENDPOINTS = 10
"""Maximum number of endpoints of one brand."""
OVERLAP = timedelta(hours=24)
"""Time for which the previous secret signs as well."""

DisabledReason = Annotated[
    Literal["member", "gone", "failing"],
    enumeration(
        "WebhookDisabledReason",
        "Why an endpoint is disabled. `member`: a member disabled it. `gone`: it answered 410. `failing`: every attempt"
        " of three days failed.",
    ),
]


class TooManyWebhookEndpoints(Conflict):
    """The brand has the maximum number of webhook endpoints."""

    code = "too_many_webhook_endpoints"


class WebhookEndpointDisabled(Conflict):
    """The endpoint is disabled: enable it first."""

    code = "webhook_endpoint_disabled"


class Endpoint(Row):
    """An endpoint. The columns with secrets are not readable by members."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    url = peewee.TextField()
    description = peewee.TextField(null=True)
    event_types = ArrayField(peewee.TextField, null=True)  # type: ignore[no-untyped-call]
    secret = peewee.BlobField()
    previous_secret = peewee.BlobField(null=True)
    previous_secret_until = DateTimeTZField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    version = peewee.IntegerField(default=1)
    disabled_at = DateTimeTZField(null=True)
    disabled_reason = peewee.TextField(null=True)
    failures = peewee.IntegerField(default=0)
    failing_since = DateTimeTZField(null=True)
    retry_at = DateTimeTZField(null=True)
    last_success_at = DateTimeTZField(null=True)
    dropped = peewee.BigIntegerField(default=0)
    lease_job = peewee.UUIDField(null=True)
    lease_fence = peewee.BigIntegerField(null=True)
    leased_until = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "webhook_endpoints"
        schema = "app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """Definition of an endpoint by members. `event_types` is None for all types."""

    url: str
    description: str | None
    event_types: list[EventType] | None
    enabled: bool


_HIDDEN = ("secret", "previous_secret", "lease_job", "lease_fence", "leased_until")
_VISIBLE = [field for field in Endpoint._meta.sorted_fields if field.name not in _HIDDEN]  # noqa: SLF001


def find() -> list[Endpoint]:
    """Return the endpoints of the caller's brand, newest first."""
    return list(Endpoint.select(*_VISIBLE).order_by(Endpoint.id.desc()))


def get(endpoint_id: UUID) -> Endpoint:
    """Return one endpoint.

    Raises:
        NotFound: the caller's brand has no such endpoint.
    """
    return _found(Endpoint.select(*_VISIBLE).where(Endpoint.id == endpoint_id).first())


def get_for_update(endpoint_id: UUID) -> Endpoint:
    """Lock an endpoint and return it.

    Raises:
        NotFound: the caller's brand has no such endpoint.
    """
    return _found(Endpoint.select(*_VISIBLE).where(Endpoint.id == endpoint_id).for_update().first())


def _found(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound
    return endpoint


def create(definition: Definition) -> tuple[Endpoint, str]:
    """Create an endpoint of the caller's brand. Return it with its secret, which is stored encrypted only.

    Raises:
        TargetRefused: the URL may not be called.
        TooManyWebhookEndpoints: the brand has `MAX_ENDPOINTS`.
    """
    targets.require_allowed(definition.url)
    endpoint_id, secret = new_id(), signatures.new_secret()
    encrypted = signatures.encrypt(secret, endpoint_id)
    fields = (definition.url, definition.description, definition.event_types)
    value(
        "SELECT app.create_webhook_endpoint(%s, %s, %s, %s, %s, %s)", (endpoint_id, *fields, encrypted, MAX_ENDPOINTS)
    )
    if not definition.enabled:
        _update(endpoint_id, _disabling(get(endpoint_id)))
    return get(endpoint_id), secret


def change(endpoint: Endpoint, definition: Definition) -> Endpoint:
    """Replace what members decide about a locked endpoint, and return it.

    Enabling it, or another URL, ends its back-off: the stored events are delivered from now on.

    Raises:
        TargetRefused: the URL may not be called.
    """
    is_moved = definition.url != endpoint.url
    if is_moved:
        targets.require_allowed(definition.url)
    is_enabled_again = definition.enabled and endpoint.disabled_at is not None
    changes: dict[str, Any] = {
        "url": definition.url,
        "description": definition.description,
        "event_types": definition.event_types,
        "version": Endpoint.version + 1,
        "updated_at": now(),
    }
    if is_enabled_again:
        changes |= {"disabled_at": None, "disabled_reason": None}
    elif not definition.enabled:
        changes |= _disabling(endpoint)
    _update(endpoint.id, changes)
    if definition.enabled and (is_moved or is_enabled_again):
        resume(endpoint.id)
    return get(endpoint.id)


def _disabling(endpoint: Endpoint) -> dict[str, Any]:
    """Return the changes of a member who disables the endpoint; an earlier reason stays."""
    return {
        "disabled_at": endpoint.disabled_at or now(),
        "disabled_reason": endpoint.disabled_reason or "member",
    }


def require_enabled(endpoint_id: UUID) -> Endpoint:
    """Lock an enabled endpoint and return it.

    Raises:
        NotFound: the caller's brand has no such endpoint.
        WebhookEndpointDisabled: it is disabled.
    """
    endpoint = get_for_update(endpoint_id)
    if endpoint.disabled_at is not None:
        raise WebhookEndpointDisabled
    return endpoint


def resume(endpoint_id: UUID) -> JobRef:
    """End the back-off of an endpoint of the caller's brand, and enqueue its delivery in a job of its own."""
    _update(endpoint_id, {"failures": 0, "failing_since": None, "retry_at": None})
    return enqueue("webhook.deliver", endpoint_id)


def rotate_secret(endpoint_id: UUID) -> str:
    """Replace the secret of an endpoint and return the new one. The old one signs as well for `OVERLAP`.

    Raises:
        NotFound: the caller's brand has no such endpoint.
    """
    secret = signatures.new_secret()
    encrypted = signatures.encrypt(secret, endpoint_id)
    value("SELECT app.rotate_webhook_secret(%s, %s, %s)", (endpoint_id, encrypted, OVERLAP))
    return secret


def delete(endpoint_id: UUID) -> None:
    """Delete an endpoint. Its events are not delivered any more; they and its attempts are deleted by their age.

    Raises:
        NotFound: the caller's brand has no such endpoint.
    """
    if not execute("DELETE FROM app.webhook_endpoints WHERE id = %s", (endpoint_id,)):
        raise NotFound


def _update(endpoint_id: UUID, changes: dict[str, Any]) -> None:
    Endpoint.update(**changes).where(Endpoint.id == endpoint_id).execute()
