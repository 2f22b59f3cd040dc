"""Contract of CALS: requests and answers of each operation. `docs/services/cals.md` explains them."""

from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

from msgspec import Meta, Struct

from jobs.passport.contract import Operation, Service

MAX_CONTACTS = 200
"""Maximum number of contacts in one message."""
MAX_ACTIVITIES = 500
"""Maximum number of activities in one message."""

ContactId = Annotated[UUID, Meta(description="Id of the contact, chosen by the system that has created it.")]
Brand = Annotated[UUID, Meta(description="Id of the brand. Contacts of different brands never meet.")]
Instant = Annotated[datetime, Meta(tz=True)]


class Field(Struct, frozen=True):
    """The newest version of a field of a contact."""

    name: Annotated[str, Meta(min_length=1, max_length=100, description="Name of the field, unique in the contact.")]
    value: Annotated[str | int | float | bool | None, Meta(description="Value; null: the field was removed.")]
    at: Annotated[Instant, Meta(description="Time of the change.")]
    source: Annotated[Literal["cals", "companon"], Meta(description="System in which it was changed.")]


class Contact(Struct, frozen=True):
    """A copy of a contact."""

    contact: ContactId
    fields: Annotated[list[Field], Meta(max_length=200, description="Known fields; a deleted contact has none.")]
    opted_out_at: Annotated[
        Instant | None, Meta(description="Time at which the person withdrew consent. No change removes it.")
    ] = None
    deleted_at: Annotated[Instant | None, Meta(description="Time of the deletion, which is final.")] = None


class Contacts(Struct, frozen=True):
    """Copies to merge into the stored contacts, by the conflict rule."""

    brand: Brand
    contacts: Annotated[list[Contact], Meta(min_length=1, max_length=MAX_CONTACTS, description="Different contacts.")]


class Stored(Struct, frozen=True):
    """The number of contacts that a push has changed."""

    changed: Annotated[int, Meta(ge=0, description="Contacts that differ from before.")]


class ChangesSince(Struct, frozen=True):
    """A position in the changes of a brand."""

    brand: Brand
    cursor: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="`cursor` of the last answer; null: all contacts."),
    ]
    limit: Annotated[int, Meta(ge=1, le=MAX_CONTACTS, description="Maximum number of contacts.")] = MAX_CONTACTS


class Changes(Struct, frozen=True):
    """Contacts that were changed after a position, by any system, each once and in the order of their last change."""

    contacts: Annotated[list[Contact], Meta(description="Copies after the change.")]
    cursor: Annotated[str | None, Meta(description="Position after these; that of the request if there are none.")]
    more: Annotated[bool, Meta(description="Whether there are more contacts.")]


class Activity(Struct, frozen=True):
    """Activity of a contact in a campaign."""

    id: Annotated[UUID, Meta(description="Id of the activity. It is stored once.")]
    contact: ContactId
    kind: Annotated[str, Meta(min_length=1, max_length=50, description="What the person did, such as `scan`.")]
    occurred_at: Annotated[Instant, Meta(description="Time at which the person did it.")]


class Activities(Struct, frozen=True):
    """Activities to store. Known ones change nothing."""

    brand: Brand
    activities: Annotated[list[Activity], Meta(min_length=1, max_length=MAX_ACTIVITIES, description="Activities.")]


class Added(Struct, frozen=True):
    """The numbers of a push of activities."""

    added: Annotated[int, Meta(ge=0, description="Activities that were new.")]
    known: Annotated[int, Meta(ge=0, description="Activities that were stored before.")]


class Cals(Protocol):
    """Contacts and activities of brands. The structs of the requests describe the operations."""

    def push_contacts(self, request: Contacts, *, key: str) -> Stored:
        """Merge copies of contacts."""

    def pull_contacts(self, request: ChangesSince, *, key: str) -> Changes:
        """Return changed contacts."""

    def push_activities(self, request: Activities, *, key: str) -> Added:
        """Store activities."""


SERVICE = Service(
    "cals",
    operations=(
        Operation("push_contacts", Contacts, Stored, timeout=10.0, redacted=("fields",)),
        Operation("pull_contacts", ChangesSince, Changes, timeout=10.0),
        Operation("push_activities", Activities, Added, timeout=10.0),
    ),
)
