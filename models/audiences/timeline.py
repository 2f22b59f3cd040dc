"""Timeline of a contact: everything that a brand knows of what happened with a person, latest first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from models.audiences import contacts
from models.core.database import rows
from models.core.enumerations import enumeration

TimelineKind = Annotated[
    Literal[
        "scan", "survey", "reward_granted", "reward_claimed", "reward_redeemed", "check_in", "conversion", "campaign",
        "ticket", "guest", "consent", "created", "opt_out", "note", "merge", "merge_undone", "segment_entered",
        "segment_left",
    ],
    enumeration(
        "TimelineKind",
        "What happened. `scan`, `survey`, `reward_granted`, `reward_claimed`, `reward_redeemed`, `check_in`, "
        "`conversion`: an engagement event. `campaign`: the first part in a campaign. `ticket`: a ticket of an event. "
        "`guest`: a place on a guest list. `consent`: a consent given, withdrawn or expired. `created`: the brand knows"
        " the contact from here on. `opt_out`: the person told the brand to send no marketing. `note`: a member's note."
        " `merge`, `merge_undone`: another contact was taken in, or given back. `segment_entered`, `segment_left`: a "
        "change of membership.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a timeline. `detail` depends on the kind; `campaign_id` None: it belongs to no campaign."""

    id: UUID
    kind: TimelineKind
    at: datetime
    campaign_id: UUID | None
    detail: Mapping[str, Any]


Key = tuple[datetime, UUID, str]
"""Time, id and kind of an entry."""


def find(
    contact_id: UUID,
    *,
    limit: int,
    after: Key | None = None,
    kinds: Sequence[TimelineKind] = (),
    campaign_id: UUID | None = None,
) -> list[Entry]:
    """Return up to `limit` entries of a contact and of those that it has taken in, latest first.

    Args:
        contact_id: the contact.
        limit: maximum number of entries.
        after: key of the last entry of the previous page.
        kinds: only these kinds; empty: all.
        campaign_id: only entries of this campaign.

    Raises:
        NotFound: the brand has no such contact.
    """
    contacts.get(contact_id)
    found = rows(
        "SELECT * FROM app.contact_timeline(%s, %s::text[], %s, %s, %s, %s, %s)",
        (contact_id, list(kinds) or None, campaign_id, *(after or (None, None, None)), limit),
    )
    return [Entry(**one) for one in found]
