"""Actors of the domain notifications."""

from jobs.engine import actor
from models.notifications import notifications
from models.notifications.kinds import Kind


@actor("notification.create", runs_as="brand")
def create_notifications(
    kind: Kind, subject_type: str, subject_id: str, values: dict[str, str | int], permission: str
) -> None:
    """Create the notifications of an event for the members of the brand."""
    notifications.create(kind, (subject_type, subject_id), values, permission)


@actor("notification.create_for_admins", runs_as="system")
def create_for_admins(
    kind: Kind, subject_type: str, subject_id: str, values: dict[str, str | int], permission: str
) -> None:
    """Create the notifications of an event for the system admins."""
    notifications.create(kind, (subject_type, subject_id), values, permission)


@actor("notifications.expire", runs_as="system", time_limit=300.0)
def expire_notifications() -> None:
    """Delete old notifications."""
    notifications.expire()
