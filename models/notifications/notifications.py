"""Notify people of events, list their notifications, and keep their preferences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import context
from models.core.database import Row, execute, new_id, now, row, rows
from models.core.errors import NotFound
from models.identity.permissions import PermissionName
from models.identity.users import User
from models.jobs.ledger import enqueue
from models.notifications.kinds import KINDS, WORDINGS, Kind

COALESCED = timedelta(hours=1)
"""Period in which further events of one kind and subject change the first notification and send no mail."""
RETENTION = timedelta(days=90)
"""Time for which a notification is kept."""

Subject = tuple[str, UUID | str]
"""Type and id of the object that an event is about, e.g. `("campaign", campaign_id)`."""


class Notification(Row):
    """A notification of one person."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField(null=True)
    user_id = peewee.UUIDField()
    kind = peewee.TextField()
    subject_type = peewee.TextField()
    subject_id = peewee.TextField()
    details = peewee.JSONField()
    permission = peewee.TextField()
    in_app = peewee.BooleanField()
    occurrences = peewee.IntegerField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    read_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "notifications"


class NotificationPreference(Row):
    """The choice of a person for one kind."""

    user_id = peewee.UUIDField()
    kind = peewee.TextField()
    in_app = peewee.BooleanField()
    mail = peewee.BooleanField()

    class Meta:
        """Name and key of the table."""

        table_name = "notification_preferences"
        primary_key = peewee.CompositeKey("user_id", "kind")


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether events of a kind are listed for a person, and mailed."""

    kind: Kind
    in_app: bool
    mail: bool


def notify(
    kind: Kind,
    *,
    brand_id: UUID | None,
    subject: Subject,
    values: Mapping[str, str | int],
    permission: PermissionName,
) -> None:
    """Notify all members of a brand whose role has a permission of an event, in the caller's transaction.

    A job creates the notifications and the mails. The caller is a member or a job of the brand; fans' requests can't
    notify. A Creator is notified of assigned campaigns only. Further events of the kind and subject within `COALESCED`
    change the notification, which is unread again, and send no further mail.

    Args:
        kind: selects the texts and the people's preferences.
        brand_id: the brand; None notifies system admins, from a system job.
        subject: type and id of the object that the event is about.
        values: the values of the texts, by the names in `WORDINGS`. No personal data.
        permission: the permission that a reader needs.

    Raises:
        ValueError: `values` has other names than the texts of the kind.
    """
    if values.keys() != WORDINGS[kind].names():
        raise ValueError(f"{kind} needs the values {', '.join(sorted(WORDINGS[kind].names()))}")
    kind_of_subject, subject_id = subject[0], str(subject[1])
    if brand_id is None:
        enqueue("notification.create_for_admins", kind, kind_of_subject, subject_id, dict(values), permission)
        return
    enqueue("notification.create", kind, kind_of_subject, subject_id, dict(values), permission, brand_id=brand_id)


def create(kind: Kind, subject: Subject, values: Mapping[str, str | int], permission: str) -> None:
    """Create the notifications of an event for the job's brand, or for system admins, and enqueue their mails."""
    subject_type, subject_id = subject[0], str(subject[1])
    people = rows(
        "SELECT user_id, in_app, mail FROM app.notification_recipients(%s, %s, %s, %s)",
        (kind, permission, subject_type, subject_id),
    )
    informed = _add_to_recent(kind, subject_id, values)
    identity = context.current()
    for person in people:
        in_app = person["in_app"] is not False
        mail = WORDINGS[kind].mail if person["mail"] is None else person["mail"]
        if person["user_id"] in informed or not (in_app or mail):
            continue
        made = Notification.create(
            id=new_id(),
            brand_id=identity.brand_id if identity else None,
            user_id=person["user_id"],
            kind=kind,
            subject_type=subject_type,
            subject_id=subject_id,
            details=dict(values),
            permission=permission,
            in_app=in_app,
            occurrences=1,
            created_at=now(),
            updated_at=now(),
        )
        if mail:
            enqueue("mail.notification", made.id)


def _add_to_recent(kind: Kind, subject_id: str, values: Mapping[str, str | int]) -> set[UUID]:
    """Add an event to the notifications of the last `COALESCED` and return their people."""
    identity = context.current()
    of_brand = Notification.brand_id.is_null()
    if identity and identity.brand_id:
        of_brand = Notification.brand_id == identity.brand_id
    changed = (
        Notification.update(
            details=dict(values), occurrences=Notification.occurrences + 1, updated_at=now(), read_at=None
        )
        .where(
            of_brand,
            Notification.kind == kind,
            Notification.subject_id == subject_id,
            Notification.created_at > now() - COALESCED,
        )
        .returning(Notification.user_id)
    )
    return {notification.user_id for notification in changed.execute()}


def mail(notification_id: UUID) -> dict[str, Any] | None:
    """Return the contents of the mail of a notification: `email`, `locale`, `kind`, `details`.

    None if it has been read, if the person has turned mails of its kind off, or if the person has left the brand, is
    suspended or has lost the permission.
    """
    return row("SELECT email, locale, kind, details FROM app.notification_mail(%s)", (notification_id,))


def find(*, limit: int, after: UUID | None = None, unread: bool = False) -> list[Notification]:
    """Return up to `limit` notifications of the caller, newest first, that follow the one with the id `after`."""
    query = Notification.select().where(_own()).order_by(Notification.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Notification.id < after)
    if unread:
        query = query.where(Notification.read_at.is_null())
    return list(query)


def count_unread() -> int:
    """Return the number of the caller's unread notifications."""
    return int(Notification.select().where(_own(), Notification.read_at.is_null()).count())


def get(notification_id: UUID) -> Notification:
    """Return a notification of the caller.

    Raises:
        NotFound: the caller has no such notification.
    """
    found = Notification.select().where(_own(), Notification.id == notification_id).first()
    if found is None:
        raise NotFound
    return cast(Notification, found)


def mark_read(notification_id: UUID) -> Notification:
    """Mark a notification of the caller as read, and return it. The time of the first reading stays.

    Raises:
        NotFound: the caller has no such notification.
    """
    _mark(Notification.id == notification_id)
    return get(notification_id)


def mark_all_read(up_to: UUID) -> int:
    """Mark the caller's notifications up to an id, which is included, as read. Return their number."""
    return _mark(Notification.id <= up_to)


def _mark(which: Any) -> int:
    update = Notification.update(read_at=now()).where(_own(), which, Notification.read_at.is_null())
    return int(update.execute())


def _own() -> Any:
    # Row policies show own rows only. The comparison makes the planner use the index of the person.
    return (Notification.user_id == _caller()) & Notification.in_app


def preferences() -> list[Preference]:
    """Return the caller's preference for each kind; the default where the caller has not chosen."""
    query = NotificationPreference.select().where(NotificationPreference.user_id == _caller())
    chosen = {choice.kind: choice for choice in query}
    return [
        Preference(kind, chosen[kind].in_app, chosen[kind].mail)
        if kind in chosen
        else Preference(kind, True, WORDINGS[kind].mail)
        for kind in KINDS
    ]


def preferences_for_update() -> list[Preference]:
    """Lock the caller's account until the transaction ends and return `preferences`."""
    list(User.select(User.id).where(User.id == _caller()).for_update())
    return preferences()


def choose(choices: Sequence[Preference]) -> None:
    """Replace the caller's preferences. Kinds that are left out have their defaults."""
    caller = _caller()
    NotificationPreference.delete().where(NotificationPreference.user_id == caller).execute()
    chosen = [{"user_id": caller, "kind": one.kind, "in_app": one.in_app, "mail": one.mail} for one in choices]
    if chosen:
        NotificationPreference.insert_many(chosen).execute()


def _caller() -> UUID:
    identity = context.current()
    assert identity is not None
    assert identity.user_id is not None
    return identity.user_id


def expire() -> int:
    """Delete the notifications that are older than `RETENTION`. Return their number."""
    return execute("DELETE FROM public.notifications WHERE created_at < %s", (now() - RETENTION,))
