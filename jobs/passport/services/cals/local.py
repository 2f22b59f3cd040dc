"""Local implementation of CALS, on PostgreSQL. A job's brand is the brand of its requests."""

from uuid import UUID

from jobs.engine import own_transaction
from jobs.passport.local import once
from jobs.passport.services.cals.contract import (
    SERVICE,
    Activities,
    Added,
    Changes,
    ChangesSince,
    Contact,
    Contacts,
    Field,
    Stored,
)
from models.passport import cals
from models.passport import contact_merge as merging
from models.passport.contact_merge import Copy


class LocalCals:
    """CALS over the rules in `models/passport/cals.py`."""

    def push_contacts(self, request: Contacts, *, key: str) -> Stored:
        """Merge copies of contacts."""
        return once(SERVICE.name, _push_contacts, request, Stored, key=key)

    def pull_contacts(self, request: ChangesSince, *, key: str) -> Changes:
        """Return changed contacts. A question has no effect, so its key is not kept."""
        with own_transaction():
            found = cals.changes(int(request.cursor or 0), request.limit + 1)
        page = found[: request.limit]
        cursor = str(page[-1][0]) if page else request.cursor
        return Changes([to_contact(id, copy) for _, id, copy in page], cursor, len(found) > request.limit)

    def push_activities(self, request: Activities, *, key: str) -> Added:
        """Store activities."""
        return once(SERVICE.name, _push_activities, request, Added, key=key)


def _push_contacts(request: Contacts) -> Stored:
    return Stored(cals.put_contacts({contact.contact: to_copy(contact) for contact in request.contacts}))


def _push_activities(request: Activities) -> Added:
    asked = [cals.Activity(one.id, one.contact, one.kind, one.occurred_at) for one in request.activities]
    added = cals.add_activities(asked)
    return Added(added, len(asked) - added)


def to_copy(contact: Contact) -> Copy:
    """Return a contact of a message as a copy to merge."""
    fields = {one.name: merging.Field(one.value, one.at, one.source) for one in contact.fields}
    return Copy(fields, contact.opted_out_at, contact.deleted_at)


def to_contact(contact_id: UUID, copy: Copy) -> Contact:
    """Return a copy as a contact of a message."""
    fields = [Field(name, kept.value, kept.at, kept.source) for name, kept in sorted(copy.fields.items())]
    return Contact(contact_id, fields, copy.opted_out_at, copy.deleted_at)
