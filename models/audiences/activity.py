"""Activity of contacts: events in force by kind, campaign and day of the brand's time zone.

Segments read `public.contact_activity` instead of the engagement events. A fold recomputes the activity of a contact
from all its events, so it doesn't matter in which order events arrive, and how often they are folded.
"""

from collections import defaultdict
from collections.abc import Collection
from uuid import UUID

from models.audiences import changes
from models.core.database import rows

PAGE = 2_000
"""Number of contacts whose activity one step of `recompute` folds."""


def fold(contact_ids: Collection[UUID]) -> dict[UUID, set[str]]:
    """Fold the events of contacts of the job's brand. Return the kinds of change of contacts with another activity.

    The caller holds `changes.lock`.
    """
    found = rows("SELECT contact_id, event FROM app.fold_contact_activity(%s::uuid[])", (sorted(contact_ids),))
    changed: defaultdict[UUID, set[str]] = defaultdict(set)
    for one in found:
        changed[one["contact_id"]].add(changes.EVENT + one["event"])
    return dict(changed)


_PAGE = "SELECT id FROM public.contacts WHERE brand_id = %s AND id > %s ORDER BY id LIMIT %s"
_FIRST = UUID(int=0)


def recompute(brand_id: UUID, after: UUID | None = None) -> UUID | None:
    """Fold the activity of the next contacts of the job's brand after its time zone has changed, and mark the changes.

    Returns:
        The last contact of the step, from which the next one continues; None after the last step.
    """
    changes.lock(brand_id)
    found = [one["id"] for one in rows(_PAGE, (brand_id, after or _FIRST, PAGE))]
    for contact_id, kinds in fold(found).items() if found else ():
        changes.mark(brand_id, [contact_id], *sorted(kinds))
    return found[-1] if len(found) == PAGE else None
