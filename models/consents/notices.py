"""Consent notices: the texts that consents are given under."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
import peewee
from msgspec import UNSET, UnsetType
from playhouse.postgres_ext import ArrayField, DateTimeTZField, IntervalField

from models.core.database import Row, value
from models.core.errors import Conflict, Invalid, Members, NotFound

DEFAULT_KEY = "default"
"""Key of the notices of campaigns that name no other key."""


class UnknownNotice(Invalid):
    """There is no such notice, or no notice of its key is in force."""

    code = "unknown_notice"


class NoticeInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The notice to show: `GET /api/v1/consent-notices/{id}` has its text."""

    id: Annotated[UUID, msgspec.Meta(description="Id of the notice. Send it as `notice_id` with the consent.")]
    key: Annotated[str, msgspec.Meta(description="Key of the notice.", examples=["default"])]
    version: Annotated[int, msgspec.Meta(description="Number of the version, from 1 on.")]
    locale: Annotated[str, msgspec.Meta(description="Language of the notice (BCP 47).", examples=["es"])]


class NoticeNotInForceMembers(Members):
    """The notice that is in force."""

    notice: (
        Annotated[NoticeInForce, msgspec.Meta(description="The notice to show instead. Absent after a race.")]
        | UnsetType
    ) = UNSET


class NoticeNotInForce(Conflict):
    """Another notice of the same key and language is in force; `notice` describes it."""

    code = "notice_not_in_force"
    members = NoticeNotInForceMembers


class Notice(Row):
    """A version of a notice in one language. A published notice never changes.

    `body_sha256` is the SHA-256 of the body in UTF-8.
    """

    id = peewee.UUIDField(primary_key=True)
    key = peewee.TextField()
    version = peewee.IntegerField()
    locale = peewee.TextField()
    title = peewee.TextField()
    body = peewee.TextField()
    body_sha256 = peewee.TextField()
    tiers = ArrayField(peewee.TextField, index=False)  # type: ignore[no-untyped-call]
    valid_for = IntervalField()
    published_at = DateTimeTZField()
    retired_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "consent_notices"


def default(locale: str) -> Notice:
    """Return the default notice in this language, or in the nearest one available.

    Raises:
        NotFound: no default notice is in force.
    """
    found = in_force(DEFAULT_KEY, [locale])
    if found is None:
        raise NotFound
    return found


def in_force(key: str, locales: Sequence[str]) -> Notice | None:
    """Return the key's notice in force, in the first of these languages that it has; None if none is in force."""
    found: UUID | None = value("SELECT app.notice_in_force(%s, %s)", (key, list(locales)))
    return None if found is None else Notice.get_by_id(found)


def require_in_force(notice_id: UUID) -> None:
    """Refuse a notice that is not in force.

    Raises:
        UnknownNotice: there is no such notice, or no notice of its key is in force.
        NoticeNotInForce: another notice is in force; the error describes it, so that a client can show it.
    """
    asked: Notice | None = Notice.get_or_none(Notice.id == notice_id)
    current = asked and in_force(asked.key, [asked.locale])
    if current is None:
        raise UnknownNotice("notice_id", "must be the id of a notice in force")
    if current != asked:
        shown = NoticeInForce(id=current.id, key=current.key, version=current.version, locale=current.locale)
        raise NoticeNotInForce("Show the notice in force and ask for consent again.", notice=shown)
