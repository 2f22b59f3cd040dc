"""Membership of segments, kept up to date from the changes of contacts."""

from uuid import UUID

from models.audiences import activity, changes


def apply(brand_id: UUID) -> bool:
    """Apply the next changes of the job's brand. Return whether there may be more."""
    changes.lock(brand_id)
    changed, has_more = changes.take(brand_id)
    folded = {
        contact_id
        for contact_id, kinds in changed.items()
        if changes.CONTACT in kinds or any(kind.startswith(changes.EVENT) for kind in kinds)
    }
    if folded:
        activity.fold(folded)
    return has_more
