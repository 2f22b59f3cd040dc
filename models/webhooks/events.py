"""Types of the events that brands may receive."""

from typing import Annotated, Literal, get_args

from models.core.enumerations import enumeration

EventType = Annotated[
    Literal[
        "campaign.launched",
        "campaign.paused",
        "campaign.resumed",
        "campaign.completed",
        "campaign.archived",
        "reward.granted",
        "reward.claimed",
        "reward.redeemed",
        "check_in.recorded",
        "engagement.recorded",
        "asset.ready",
        "import.finished",
        "segment.entered",
        "segment.left",
        "webhook.test",
    ],
    enumeration(
        "WebhookEventType",
        "Type of an event, as `subject.what_happened`. `docs/webhooks.md` lists the members of `data` for each. "
        "`webhook.test`: sent on request only, to any endpoint.",
    ),
]
TEST: EventType = "webhook.test"

EVENT_TYPES: tuple[EventType, ...] = get_args(get_args(EventType)[0])
