"""Webhooks of a brand: the endpoints that receive events, their secrets, and the log of deliveries.

Requests to the endpoints follow the Standard Webhooks specification (docs/webhooks.md).
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.core.errors import PreconditionFailed
from models.core.messages import REASON
from models.webhooks import attempts, endpoints, outbox, targets
from models.webhooks.endpoints import (
    Definition,
    DisabledReason,
    TooManyWebhookEndpoints,
    WebhookEndpointDisabled,
)
from models.webhooks.events import EventType
from models.webhooks.targets import TargetRefused
from web.http.accepted import JobOut
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import (
    Page,
    PageQuery,
    accept,
    audited,
    changes,
    decode_cursor,
    endpoint,
    etag,
    page_of,
    require_match,
)
from web.http.fields import BrandId, CreatedAt, Id, Text200, UpdatedAt, UriText, Version, exactly_one_of

_CHANGES_RATE = "30/minute"
"""Rate limit of changes that look a name up."""

TargetUrl = Annotated[
    UriText,
    Meta(
        min_length=1,
        max_length=2000,
        pattern=r"^https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?([/?][!-\x22$-~]*)?$(?!\n)",
        extra={REASON: targets.MALFORMED},
        description="URL that receives events by `POST`: https, port 443 or 8443, a public DNS name. Addresses, user"
        " names, passwords and fragments are refused, also names that resolve to a private or special network.",
        examples=["https://hooks.aurora.example/companon"],
    ),
]
Description = Annotated[Text200 | None, Meta(description="Note for the members of the brand.", examples=["Till"])]
EventTypes = Annotated[
    Annotated[list[EventType], Meta(min_length=1, max_length=50)] | None,
    Meta(
        description="Types of events that the endpoint receives; null: all types, also those that are added later.",
        examples=[["campaign.launched", "reward.granted"]],
    ),
]
Secret = Annotated[
    str,
    Meta(
        description="Key of the signatures: `whsec_` and 32 bytes in base64. Store it now: no other response contains"
        " it.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwO6c1Wq0C3wA="],
    ),
]


class EndpointIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new webhook endpoint."""

    url: TargetUrl
    description: Description = None
    event_types: EventTypes = None
    enabled: Annotated[bool, Meta(description="Whether events are delivered. Default: true.")] = True

    def definition(self) -> Definition:
        """Return what the endpoint is created with."""
        return Definition(
            url=self.url, description=self.description, event_types=self.event_types, enabled=self.enabled
        )


class EndpointChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a webhook endpoint. A field that is left out stays as it is."""

    url: TargetUrl | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    enabled: Annotated[
        bool | UnsetType,
        Meta(description="Whether events are delivered. True also enables an endpoint that was disabled by itself."),
    ] = UNSET

    def apply_to(self, found: endpoints.Endpoint) -> Definition:
        """Return the endpoint's definition with these changes."""
        return Definition(
            url=found.url if self.url is UNSET else self.url,
            description=found.description if self.description is UNSET else self.description,
            event_types=found.event_types if self.event_types is UNSET else self.event_types,
            enabled=found.disabled_at is None if self.enabled is UNSET else self.enabled,
        )


class EndpointOut(msgspec.Struct, kw_only=True):
    """A webhook endpoint, without its secret."""

    id: Id
    brand_id: BrandId
    url: TargetUrl
    description: Description
    event_types: EventTypes
    enabled: Annotated[bool, Meta(description="Whether events are delivered.")]
    disabled_at: Annotated[Instant | None, Meta(description="Time since which it is disabled; null if it is not.")]
    disabled_reason: Annotated[DisabledReason | None, Meta(description="Why it is disabled; null if it is not.")]
    failures: Annotated[int, Meta(description="Failed attempts since the last success.", examples=[0])]
    failing_since: Annotated[Instant | None, Meta(description="Time of the first of them; null without one.")]
    retry_at: Annotated[
        Instant | None, Meta(description="Time of the next attempt after a failure; null without a failure.")
    ]
    last_success_at: Annotated[Instant | None, Meta(description="Time of the last success; null if there was none.")]
    pending: Annotated[int, Meta(description="Events that wait for delivery.", examples=[0])]
    dropped: Annotated[
        int,
        Meta(
            description="Events that were deleted before they were delivered: older than three days, or beyond the"
            " newest 100,000.",
            examples=[0],
        ),
    ]
    previous_secret_until: Annotated[
        Instant | None,
        Meta(description="Time until which the previous secret signs as well; null if the secret was never replaced."),
    ]
    created_at: CreatedAt
    updated_at: UpdatedAt
    version: Version

    @classmethod
    def of(cls, found: endpoints.Endpoint, pending: int) -> "EndpointOut":
        """Build the response for an endpoint and the number of its pending events."""
        names = [name for name in cls.__struct_fields__ if name not in ("enabled", "pending")]
        values: dict[str, Any] = {name: getattr(found, name) for name in names}
        return cls(**values, enabled=found.disabled_at is None, pending=pending)


class NewEndpointOut(EndpointOut):
    """A new webhook endpoint, with its secret."""

    secret: Secret


class EndpointsOut(msgspec.Struct):
    """All webhook endpoints of a brand."""

    items: Annotated[list[EndpointOut], Meta(description="Newest first. All of them: there are no pages.")]


class SecretOut(msgspec.Struct):
    """The new secret of a webhook endpoint."""

    secret: Secret
    previous_secret_until: Annotated[
        Instant | None, Meta(description="Time until which requests are signed with the previous secret as well.")
    ]


class ReplayIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The events to deliver again: one, or all since a time."""

    event_id: Annotated[
        UUID | None,
        Meta(
            description="Id of the event: the `webhook-id` of its requests.",
            examples=["01941f2d-3c10-7b64-9d21-8f0e5a6c7b13"],
        ),
    ] = None
    since: Annotated[
        Instant | None,
        Meta(description="All stored events that happened then or later.", examples=["2026-11-22T18:30:00Z"]),
    ] = None


class DeliveryFilter(PageQuery, kw_only=True):
    """Filter of the log of deliveries. Both conditions are combined with "and"."""

    event_id: Annotated[UUID | None, Meta(description="Only attempts to deliver this event.")] = None
    failed: Annotated[bool | None, Meta(description="Only failed attempts, or only successful ones.")] = None


class DeliveryOut(msgspec.Struct, kw_only=True):
    """An attempt to deliver an event."""

    id: Id
    event_id: Annotated[UUID, Meta(description="Id of the event: the `webhook-id` of the request.")]
    type: Annotated[EventType, Meta(description="Type of the event.", examples=["reward.granted"])]
    attempted_at: Annotated[Instant, Meta(description="Time of the attempt, in UTC.")]
    duration_ms: Annotated[int, Meta(description="Duration of the request in milliseconds.", examples=[87])]
    status: Annotated[int | None, Meta(description="Status of the response; null if there was none.", examples=[200])]
    error: Annotated[
        str | None,
        Meta(
            description="Why the attempt failed: `status_` and the status, `timeout`, `name_unknown`,"
            " `address_refused`, `url_refused`, `connection_failed`, `tls_failed`, `no_http` or"
            " `secret_unreadable`; null if it succeeded.",
            examples=["timeout"],
        ),
    ]
    response: Annotated[str, Meta(description="Beginning of the response's body, up to 4,096 bytes.", examples=["ok"])]


class WebhookEndpoints:
    """`/api/v1/webhooks/endpoints`: the webhook endpoints of a brand."""

    @endpoint(response=EndpointsOut, permission="webhooks:manage")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the webhook endpoints of the caller's brand with the state of their deliveries."""
        found = endpoints.find()
        pending = outbox.count_pending([one.id for one in found])
        resp.media = EndpointsOut([EndpointOut.of(one, pending.get(one.id, 0)) for one in found])

    @endpoint(
        body=EndpointIn,
        example={
            "url": "https://hooks.aurora.example/companon",
            "description": "Till",
            "event_types": ["campaign.launched", "reward.granted"],
            "enabled": True,
        },
        response=NewEndpointOut,
        status=201,
        permission="webhooks:manage",
        audit="webhook.create",
        idempotent=True,
        secret=True,
        rate=_CHANGES_RATE,
        problems=(TargetRefused, TooManyWebhookEndpoints),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a webhook endpoint.

        It receives the events that happen from now on. The response is the only one that contains `secret`. A brand has
        at most ten endpoints. A retry with the same `Idempotency-Key` gets the same secret for five minutes.
        """
        body: EndpointIn = req.context.body
        made, secret = endpoints.create(body.definition())
        audited(req, table="webhook_endpoints", record_id=made.id, after=_content(made))
        resp.location = f"/api/v1/webhooks/endpoints/{made.id}"
        etag(resp, made.version)
        resp.media = NewEndpointOut(**msgspec.structs.asdict(EndpointOut.of(made, 0)), secret=secret)


class WebhookEndpoint:
    """`/api/v1/webhooks/endpoints/{endpoint_id}`: one webhook endpoint."""

    @endpoint(response=EndpointOut, permission="webhooks:manage")
    def on_get(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Read a webhook endpoint and the state of its deliveries."""
        _respond(resp, endpoints.get(endpoint_id))

    @endpoint(
        body=EndpointChange,
        example={
            "url": "https://hooks.aurora.example/companon",
            "description": "Till",
            "event_types": ["campaign.launched", "reward.granted"],
            "enabled": True,
        },
        response=EndpointOut,
        permission="webhooks:manage",
        audit="webhook.update",
        rate=_CHANGES_RATE,
        problems=(PreconditionFailed, TargetRefused),
    )
    def on_patch(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Change a webhook endpoint.

        While it is disabled, new events are not stored for it. Enabling it, or another URL, ends its back-off: the
        events that are still stored are delivered at once.
        """
        body: EndpointChange = req.context.body
        found = endpoints.get_for_update(endpoint_id)
        require_match(req, found.version)
        changed = endpoints.change(found, body.apply_to(found))
        before, now = changes(_content(found), _content(changed))
        audited(req, table="webhook_endpoints", record_id=endpoint_id, before=before, after=now)
        _respond(resp, changed)

    @endpoint(status=204, permission="webhooks:manage", audit="webhook.delete")
    def on_delete(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Delete a webhook endpoint. Events that wait for delivery are not delivered any more."""
        found = endpoints.get_for_update(endpoint_id)
        endpoints.delete(endpoint_id)
        audited(req, table="webhook_endpoints", record_id=endpoint_id, before=_content(found))


class WebhookSecret:
    """`/api/v1/webhooks/endpoints/{endpoint_id}/secret`: the secret of an endpoint."""

    @endpoint(
        operation_id="rotateWebhookSecret",
        response=SecretOut,
        permission="webhooks:manage",
        audit="webhook.rotate_secret",
        idempotent=True,
        secret=True,
    )
    def on_post(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Replace the secret of a webhook endpoint.

        For 24 hours requests are signed with both secrets, in one header. A second replacement within this time ends
        the validity of the older secret at once.
        """
        secret = endpoints.rotate_secret(endpoint_id)
        until = endpoints.get(endpoint_id).previous_secret_until
        audited(req, table="webhook_endpoints", record_id=endpoint_id, after={"previous_secret_until": until})
        resp.media = SecretOut(secret, until)


class WebhookTest:
    """`/api/v1/webhooks/endpoints/{endpoint_id}/test`: a test event."""

    @endpoint(
        operation_id="testWebhookEndpoint",
        response=JobOut,
        status=202,
        permission="webhooks:manage",
        audit="webhook.test",
        idempotent=True,
        problems=(WebhookEndpointDisabled,),
    )
    def on_post(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Send a `webhook.test` event to an endpoint, after the events that wait for delivery.

        An attempt is made at once, also during back-off. `GET` of its deliveries shows the result.
        """
        found = endpoints.require_enabled(endpoint_id)
        event_id = outbox.add_test(endpoint_id, found.brand_id)
        audited(req, table="webhook_endpoints", record_id=endpoint_id, after={"event_id": event_id})
        accept(resp, endpoints.resume(endpoint_id))


class WebhookReplay:
    """`/api/v1/webhooks/endpoints/{endpoint_id}/replay`: deliver events again."""

    @endpoint(
        operation_id="replayWebhookEvents",
        body=ReplayIn,
        example={"since": "2026-11-22T18:30:00Z"},
        response=JobOut,
        status=202,
        permission="webhooks:manage",
        audit="webhook.replay",
        idempotent=True,
        problems=(WebhookEndpointDisabled,),
    )
    def on_post(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """Deliver an event again, or all events since a time.

        Events are stored for three days, at most the newest 100,000. A repeated event has the same `webhook-id`. Events
        are delivered in the order of their time, the repeated ones before newer ones that wait.
        """
        body: ReplayIn = req.context.body
        if (body.event_id is None) == (body.since is None):
            raise exactly_one_of("event_id", "since")
        endpoints.require_enabled(endpoint_id)
        if body.since is not None:
            count = outbox.replay_since(endpoint_id, in_utc("since", body.since) or body.since)
        else:
            assert body.event_id is not None
            count = outbox.replay(endpoint_id, body.event_id)
        asked = {"event_id": body.event_id, "since": body.since, "events": count}
        audited(req, table="webhook_endpoints", record_id=endpoint_id, after=asked)
        accept(resp, endpoints.resume(endpoint_id))


class WebhookDeliveries:
    """`/api/v1/webhooks/endpoints/{endpoint_id}/deliveries`: the log of deliveries."""

    @endpoint(query=DeliveryFilter, response=Page[DeliveryOut], permission="webhooks:manage")
    def on_get(self, req: Request, resp: Response, endpoint_id: UUID) -> None:
        """List the attempts to deliver events to an endpoint, newest first.

        Attempts are kept for seven days, at most the newest 10,000.
        """
        query: DeliveryFilter = req.context.query
        endpoints.get(endpoint_id)
        scope = f"webhook_deliveries:{endpoint_id}:{query.event_id}:{query.failed}"
        found = attempts.find(
            endpoint_id,
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, UUID, scope=scope),
            event_id=query.event_id,
            failed=query.failed,
        )
        items = [msgspec.convert(one, DeliveryOut, from_attributes=True) for one in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)


def _respond(resp: Response, found: endpoints.Endpoint) -> None:
    etag(resp, found.version)
    resp.media = EndpointOut.of(found, outbox.count_pending([found.id]).get(found.id, 0))


def _content(found: endpoints.Endpoint) -> dict[str, Any]:
    """Return the fields that members change, for the audit trail."""
    return {
        "url": found.url,
        "description": found.description,
        "event_types": found.event_types,
        "enabled": found.disabled_at is None,
    }


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/webhooks/endpoints", WebhookEndpoints()),
    ("/api/v1/webhooks/endpoints/{endpoint_id:uuid}", WebhookEndpoint()),
    ("/api/v1/webhooks/endpoints/{endpoint_id:uuid}/secret", WebhookSecret()),
    ("/api/v1/webhooks/endpoints/{endpoint_id:uuid}/test", WebhookTest()),
    ("/api/v1/webhooks/endpoints/{endpoint_id:uuid}/replay", WebhookReplay()),
    ("/api/v1/webhooks/endpoints/{endpoint_id:uuid}/deliveries", WebhookDeliveries()),
]
