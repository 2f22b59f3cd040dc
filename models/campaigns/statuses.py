"""Types and statuses of campaigns, their transitions, and the fields that may change in each status. Pure data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from models.core.enumerations import enumeration, values_of
from models.core.errors import Conflict, Members
from models.core.messages import Message
from models.webhooks.events import EventType

CampaignType = Annotated[
    Literal["Locker", "Event", "QR"],
    enumeration(
        "CampaignType",
        "Type of a campaign. `Locker`: a Locker Drop. `Event`: an Event Partnership, which must have an end. `QR`: a "
        "QR activation.",
    ),
]
CampaignStatus = Annotated[
    Literal["Draft", "Active", "Paused", "Completed"],
    enumeration(
        "CampaignStatus",
        "Status of a campaign. `Draft`: not launched; codes can be created, scans are refused. `Active`: scans are "
        "decided. `Paused`: scans are refused with `campaign_not_active`; archiving the brand does this. `Completed`: "
        "ended for ever, by a person or at `ends_at`; it can't be changed.",
    ),
]
"""CHECK constraints list the values of both types; a test compares them."""

TransitionName = Annotated[
    Literal["launch", "pause", "resume", "complete"],
    enumeration(
        "CampaignTransition",
        "Change of a campaign's status. `launch`: from `Draft` to `Active`. `pause`: from `Active` to `Paused`. "
        "`resume`: from `Paused` to `Active`. `complete`: from `Active` or `Paused` to `Completed`.",
    ),
]


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of status: allowed from each of `sources`, ends in `target`, announced to the brand as `event`."""

    sources: tuple[CampaignStatus, ...]
    target: CampaignStatus
    event: EventType


TRANSITIONS: dict[TransitionName, Transition] = {
    "launch": Transition(sources=("Draft",), target="Active", event="campaign.launched"),
    "pause": Transition(sources=("Active",), target="Paused", event="campaign.paused"),
    "resume": Transition(sources=("Paused",), target="Active", event="campaign.resumed"),
    "complete": Transition(sources=("Active", "Paused"), target="Completed", event="campaign.completed"),
}
"""All transitions. `app.archive_brand` and `app.restore_brand` apply `pause` and `resume` in SQL; a test compares."""


class IllegalTransitionMembers(Members):
    """The status of the campaign and the transitions that it allows."""

    current: Annotated[CampaignStatus, msgspec.Meta(description="Present status of the campaign.")]
    allowed: Annotated[
        list[TransitionName], msgspec.Meta(description="Transitions that this status allows; may be empty.")
    ]


class IllegalTransition(Conflict):
    """The campaign's status does not allow the act. `allowed` names the transitions that it allows."""

    code = "illegal_transition"
    members = IllegalTransitionMembers

    def __init__(self, *, transition: str, current: str) -> None:
        self.current = current
        self.allowed = [other for other, rule in TRANSITIONS.items() if current in rule.sources]
        detail = Message("{transition}: the campaign is {status}.", transition=transition, status=current)
        super().__init__(detail, current=current, allowed=self.allowed)


_UNTIL_LAUNCH: tuple[CampaignStatus, ...] = ("Draft",)
_UNTIL_END: tuple[CampaignStatus, ...] = ("Draft", "Active", "Paused")

CHANGEABLE: dict[str, tuple[CampaignStatus, ...]] = {
    "type": _UNTIL_LAUNCH,
    "name": _UNTIL_END,
    # Limits count by calendar days of the time zone: another zone would count the same scans in other days.
    "config.timezone": _UNTIL_LAUNCH,
    "config.geofence": _UNTIL_END,
    "config.scan_limit": _UNTIL_END,
    "config.scan_windows": _UNTIL_END,
    "config.consent_tiers": _UNTIL_END,
    "config.starts_at": _UNTIL_END,
    "config.ends_at": _UNTIL_END,
    "config.max_accuracy_m": _UNTIL_END,
    "config.max_location_age_s": _UNTIL_END,
    "config.max_lateness_s": _UNTIL_END,
    "config.requires_account": _UNTIL_END,
    # After the launch it can only be switched off (`campaigns.replace`): scans of fans would be lost.
    "config.test_mode": _UNTIL_END,
    "config.notice_key": _UNTIL_END,
    "config.venue": _UNTIL_END,
    "config.survey": _UNTIL_END,
    "config.budget": _UNTIL_END,
    "config.goals": _UNTIL_END,
    "config.segment_ids": _UNTIL_END,
    "config.rewards": _UNTIL_END,
    "config.event": _UNTIL_END,
}
"""The statuses in which each field of a campaign may change. PUT, PATCH and revert obey it, and it is documented."""


def refused_changes(changed: Iterable[str], status: str) -> list[str]:
    """Return the changed fields that may not change in this status."""
    return [field for field in changed if status not in CHANGEABLE[field]]


def table_of_fields() -> str:
    """Return the table of fields and statuses in Markdown, for the documentation."""
    statuses = values_of(CampaignStatus)
    head = ["| field | " + " | ".join(statuses) + " |", "| --- |" + " :-: |" * len(statuses)]
    lines = [
        f"| `{field}` | " + " | ".join("✓" if status in allowed else " " for status in statuses) + " |"
        for field, allowed in CHANGEABLE.items()
    ]
    return "\n".join([*head, *lines])


def fields_fixed_by_launch() -> str:
    """Return the fields that only a draft may change, as a list for a sentence."""
    return ", ".join(f"`{field}`" for field, allowed in CHANGEABLE.items() if allowed == _UNTIL_LAUNCH)
