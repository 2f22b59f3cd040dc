"""Notifications: events that need the attention of a member or a system admin.

Each person has a list, and chooses for each kind of event whether it is listed and whether it is mailed.
"""

from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.errors import FieldError, Invalid, PreconditionFailed
from models.notifications import kinds, notifications
from models.notifications.kinds import KINDS, LANGUAGES, Kind
from models.notifications.notifications import Preference
from web.http import locales
from web.http.datetimes import Instant
from web.http.endpoint import PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import CreatedAt, Id
from web.http.pagination import NextCursor

KindField = Annotated[Kind, Meta(description="Kind of the event.", examples=["limit_near"])]
InApp = Annotated[bool, Meta(description="Whether events of the kind are listed.")]
Mail = Annotated[bool, Meta(description="Whether events of the kind are mailed to the person.")]


class NotificationFilter(PageQuery, kw_only=True):
    """Filter of the list of notifications."""

    unread: Annotated[bool, Meta(description="Whether to list unread notifications only. Default: false.")] = False


class NotificationOut(msgspec.Struct):
    """A notification of the caller."""

    id: Id
    kind: KindField
    subject_type: Annotated[str, Meta(description="Type of the object of the event.", examples=["campaign"])]
    subject_id: Annotated[
        str,
        Meta(
            description="Id of the object of the event, for the endpoints of its type.",
            examples=["01941f2b-1a40-7c52-8e0f-94b7d3a6c1f8"],
        ),
    ]
    title: Annotated[
        str,
        Meta(
            description="Title in the language of `Accept-Language`, else in English.",
            examples=["Plaza Mayor is near its limit"],
        ),
    ]
    text: Annotated[
        str,
        Meta(
            description="Sentence in the language of `Accept-Language`, else in English.",
            examples=["The campaign Plaza Mayor has used 4500 of 5000 scans."],
        ),
    ]
    occurrences: Annotated[
        int,
        Meta(description="Number of events: those of one kind and subject within an hour are one notification."),
    ]
    created_at: CreatedAt
    updated_at: Annotated[Instant, Meta(description="Time of the latest event, in UTC.")]
    read_at: Annotated[Instant | None, Meta(description="Time at which it was marked as read, in UTC; null before.")]

    @classmethod
    def of(cls, notification: notifications.Notification, language: str) -> "NotificationOut":
        """Build the response for a notification, in a language."""
        kind = cast(Kind, notification.kind)
        text = kinds.render(kind, language, notification.details)
        return cls(
            id=notification.id,
            kind=kind,
            subject_type=notification.subject_type,
            subject_id=notification.subject_id,
            title=text.title,
            text=text.body,
            occurrences=notification.occurrences,
            created_at=notification.created_at,
            updated_at=notification.updated_at,
            read_at=notification.read_at,
        )


class NotificationsOut(msgspec.Struct):
    """One page of notifications, and the number of all unread ones."""

    items: Annotated[list[NotificationOut], Meta(description="Items of this page, newest first.")]
    unread: Annotated[int, Meta(description="Number of unread notifications on all pages.", examples=[3])]
    next_cursor: NextCursor = None


class ReadIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The newest notification that the person has seen."""

    up_to: Annotated[
        UUID,
        Meta(
            description="Id of the newest notification that the person has seen. Later ones stay unread.",
            examples=["01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f"],
        ),
    ]


class ReadOut(msgspec.Struct):
    """The number of notifications that were marked as read."""

    marked: Annotated[int, Meta(description="Number of notifications that were unread before.", examples=[3])]


class PreferenceBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Choice for one kind of event."""

    kind: KindField
    in_app: InApp
    mail: Mail


class PreferencesBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The caller's preferences."""

    preferences: Annotated[
        list[PreferenceBody],
        Meta(max_length=len(KINDS), description="One entry for each kind of event. A kind left out has its default."),
    ]


class Notifications:
    """`/api/v1/notifications`: the caller's notifications."""

    @endpoint(query=NotificationFilter, response=NotificationsOut, permission="notifications:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's notifications, newest first.

        They are deleted after 90 days, and when a member leaves the brand.
        """
        query: NotificationFilter = req.context.query
        scope = f"notifications:{query.unread}"
        found = notifications.find(
            limit=query.limit + 1, after=decode_cursor(query.cursor, UUID, scope=scope), unread=query.unread
        )
        language = _language(req, resp)
        items = [NotificationOut.of(notification, language) for notification in found]
        page = page_of(items, query.limit, lambda item: item.id, scope=scope)
        resp.media = NotificationsOut(page.items, notifications.count_unread(), page.next_cursor)


class NotificationRead:
    """`/api/v1/notifications/{notification_id}/read`: whether a notification has been read."""

    @endpoint(
        operation_id="markNotificationRead",
        response=NotificationOut,
        permission="notifications:read",
        problems=(PreconditionFailed,),
    )
    def on_put(self, req: Request, resp: Response, notification_id: UUID) -> None:
        """Mark a notification as read. One that was read before keeps its time."""
        require_match(req, notifications.get(notification_id).updated_at)
        marked = notifications.mark_read(notification_id)
        etag(resp, marked.updated_at)
        resp.media = NotificationOut.of(marked, _language(req, resp))


class NotificationsRead:
    """`/api/v1/notifications/read`: the notifications that have been read."""

    @endpoint(
        operation_id="markNotificationsRead",
        body=ReadIn,
        response=ReadOut,
        permission="notifications:read",
        example={"up_to": "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f"},
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Mark all notifications up to one as read. Notifications that arrived later stay unread."""
        resp.media = ReadOut(notifications.mark_all_read(req.context.body.up_to))


class NotificationPreferences:
    """`/api/v1/notifications/preferences`: the caller's preferences."""

    @endpoint(response=PreferencesBody, permission="notifications:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """Read the caller's preferences, with the default of each kind that the caller has not chosen."""
        _answer(resp)

    @endpoint(
        body=PreferencesBody,
        response=PreferencesBody,
        permission="notifications:read",
        audit="notification.choose",
        problems=(PreconditionFailed,),
        example={"preferences": [{"kind": "limit_near", "in_app": True, "mail": False}]},
    )
    def on_put(self, req: Request, resp: Response) -> None:
        """Replace the caller's preferences. Kinds that are left out have their defaults.

        They apply to later events, and to mails that have not been sent.
        """
        body: PreferencesBody = req.context.body
        chosen = {one.kind: Preference(one.kind, one.in_app, one.mail) for one in body.preferences}
        if len(chosen) < len(body.preferences):
            raise Invalid(errors=[FieldError("preferences", "must name each kind once")])
        require_match(req, _version(notifications.preferences_for_update()))
        notifications.choose(list(chosen.values()))
        after: dict[str, Any] = {one.kind: {"in_app": one.in_app, "mail": one.mail} for one in body.preferences}
        audited(req, table="notification_preferences", record_id=req.context.identity.user_id, after=after)
        _answer(resp)


def _answer(resp: Response) -> None:
    chosen = notifications.preferences()
    etag(resp, _version(chosen))
    resp.media = PreferencesBody(
        preferences=[PreferenceBody(kind=one.kind, in_app=one.in_app, mail=one.mail) for one in chosen]
    )


def _version(chosen: list[Preference]) -> str:
    """Return a text that differs for other preferences: one digit for each kind."""
    return "".join(str(2 * one.in_app + one.mail) for one in chosen)


def _language(req: Request, resp: Response) -> str:
    """Return the language of the texts, and label the answer with it."""
    language = locales.best(req.get_header("Accept-Language"), LANGUAGES)
    resp.set_header("Content-Language", language)
    resp.append_header("Vary", "Accept-Language")
    return language


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/notifications", Notifications()),
    ("/api/v1/notifications/read", NotificationsRead()),
    ("/api/v1/notifications/preferences", NotificationPreferences()),
    ("/api/v1/notifications/{notification_id:uuid}/read", NotificationRead()),
]
