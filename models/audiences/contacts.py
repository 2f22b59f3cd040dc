"""Contacts of a brand: people with an accepted scan, and people whom the brand has added."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.audiences import profile, properties
from models.core import context, locks
from models.core.database import Row, db, execute, new_id, now, sqlstate
from models.core.enumerations import enumeration
from models.core.errors import Conflict, FieldError, Invalid, Members, NotFound, check_all
from models.core.messages import Message

UNIQUE_VIOLATION = "23505"
"""SQLSTATE of a key that another row has."""
FROM_SCANS = "scan"
"""`source` of contacts whom the brand knows by their scans."""


ContactKey = Annotated[
    Literal["email", "external_id"],
    enumeration("ContactKey", "Field whose value belongs to one contact of a brand."),
]


class ContactKeyTakenMembers(Members):
    """The field, and the contact that has the value."""

    field: Annotated[ContactKey, msgspec.Meta(description="Field with the value.", examples=["email"])]
    contact_id: Annotated[UUID, msgspec.Meta(description="Id of the contact that has it. Merge the two, or change it.")]


class ContactKeyTaken(Conflict):
    """Another contact of the brand has this `email` or `external_id`; nothing was changed."""

    code = "contact_key_taken"
    members = ContactKeyTakenMembers


class ContactMergedMembers(Members):
    """The contact to use instead."""

    contact_id: Annotated[UUID, msgspec.Meta(description="Id of the contact that has taken this one in.")]


class ContactMerged(Conflict):
    """Another contact has taken this one in: read and change that one, or undo the merge."""

    code = "contact_merged"
    members = ContactMergedMembers


class Contact(Row):
    """A contact of a brand. `merged_into` is set for a contact that another one has taken in.

    `profile.FIELDS` describes the profile, and `properties` holds the brand's own ones only.
    """

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    user_id = peewee.UUIDField(null=True)
    external_id = peewee.TextField(null=True)
    email = peewee.TextField(null=True)
    phone = peewee.TextField(null=True)
    name = peewee.TextField(null=True)
    locale = peewee.TextField(null=True)
    country = peewee.TextField(null=True)
    city = peewee.TextField(null=True)
    birth_date = peewee.DateField(null=True)
    lat = peewee.DoubleField(null=True)
    lon = peewee.DoubleField(null=True)
    tags = ArrayField(peewee.TextField, index=False)  # type: ignore[no-untyped-call]
    source = peewee.TextField(null=True)
    properties = peewee.JSONField()
    opted_out_at = DateTimeTZField(null=True)
    merged_into = peewee.UUIDField(null=True)
    version = peewee.IntegerField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    first_seen_at = DateTimeTZField(null=True)
    last_seen_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "contacts"


# The last condition avoids a new row version if nothing has changed.
_UPSERT = """
INSERT INTO public.contacts AS known (id, brand_id, user_id, source, first_seen_at, last_seen_at)
SELECT %s, s.brand_id, s.user_id, %s, min(s.scan_time), max(s.scan_time)
FROM app.real_scans s
WHERE s.brand_id = (SELECT app.job_brand()) AND s.user_id = %s AND s.decision = 'accepted'
GROUP BY s.brand_id, s.user_id
ON CONFLICT (brand_id, user_id) DO UPDATE SET
    first_seen_at = excluded.first_seen_at, last_seen_at = excluded.last_seen_at, updated_at = now()
WHERE (known.first_seen_at, known.last_seen_at) IS DISTINCT FROM (excluded.first_seen_at, excluded.last_seen_at)
"""
# A contact that has taken in others was seen when any of them was.
_SEEN = """
UPDATE public.contacts c SET first_seen_at = seen.first, last_seen_at = seen.last, updated_at = now()
FROM (
    SELECT m.merged_into AS id, least(min(m.first_seen_at), min(t.first_seen_at)) AS first,
        greatest(max(m.last_seen_at), max(t.last_seen_at)) AS last
    FROM public.contacts f
    JOIN public.contacts t ON t.brand_id = f.brand_id AND t.id = f.merged_into
    JOIN public.contacts m ON m.brand_id = f.brand_id AND m.merged_into = f.merged_into
    WHERE f.brand_id = (SELECT app.job_brand()) AND f.user_id = %s
    GROUP BY m.merged_into
) seen
WHERE c.id = seen.id AND (c.first_seen_at, c.last_seen_at) IS DISTINCT FROM (seen.first, seen.last)
"""


def upsert(user_id: UUID) -> None:
    """Create or update the contact of a person for the brand of the job, from the person's accepted scans.

    A person without an accepted scan gets no contact. The profile of a contact stays as it is.
    """
    # Serialise: without the lock, an older time could be written after a newer one.
    locks.acquire("contact", user_id)
    execute(_UPSERT, (new_id(), FROM_SCANS, user_id))
    execute(_SEEN, (user_id,))


def create(values: Mapping[str, Any], *, opted_out: bool = False) -> Contact:
    """Create a contact of the caller's brand that has no account.

    Args:
        values: values of writable profile fields by name, and `properties`.
        opted_out: whether the person told the brand to send no marketing.

    Raises:
        Invalid: names each value that does not fit; or none of the values names the person.
        ContactKeyTaken: another contact has the address or the external id.
    """
    brand_id = _brand()
    found = _checked(values, {}, brand_id)
    if not any(found.get(name) for name in ("email", "phone", "external_id", "name")):
        raise Invalid("email", "must be set if `phone`, `external_id` and `name` are not")
    at = now()
    with keys_free(found, None):
        contact: Contact = next(
            iter(
                Contact.insert(id=new_id(), brand_id=brand_id, opted_out_at=at if opted_out else None, **found)
                .returning(Contact)
                .execute()
            )
        )
    return contact


def get(contact_id: UUID) -> Contact:
    """Return a contact of the caller's brand, also one that was merged.

    Raises:
        NotFound: the brand has no such contact.
    """
    return _first(Contact.select().where(Contact.id == contact_id))


def get_for_update(contact_id: UUID) -> Contact:
    """Lock a contact of the caller's brand until the transaction ends and return it.

    Raises:
        NotFound: the brand has no such contact, or the caller may not change it.
        ContactMerged: another contact has taken it in.
    """
    locking: Any = "FOR NO KEY UPDATE"
    contact = _first(Contact.select().where(Contact.id == contact_id).for_update(locking))
    if contact.merged_into is not None:
        raise ContactMerged(contact_id=contact.merged_into)
    return contact


def change(contact: Contact, values: Mapping[str, Any], *, opted_out: bool = False) -> Contact:
    """Change a contact that `get_for_update` has locked.

    Args:
        contact: the contact before the change.
        values: values of writable profile fields by name, and `properties` to change; None removes a value.
        opted_out: whether the person told the brand to send no marketing. An opt-out is never removed here.

    Raises:
        Invalid: names each value that does not fit.
        ContactKeyTaken: another contact has the address or the external id.
    """
    found = _checked(values, contact.properties, contact.brand_id)
    if opted_out and contact.opted_out_at is None:
        found["opted_out_at"] = now()
    if all(getattr(contact, name) == value for name, value in found.items()):
        return contact
    return store(contact.id, found)


def store(contact_id: UUID, values: Mapping[str, Any]) -> Contact:
    """Write checked values of a contact and return it.

    Raises:
        ContactKeyTaken: another contact has the address or the external id.
    """
    with keys_free(values, contact_id):
        query = Contact.update(**values, updated_at=now()).where(Contact.id == contact_id)
        return _first(query.returning(Contact).execute())


def delete(contact_id: UUID) -> None:
    """Delete a contact of the caller's brand, with its notes, merges and the contacts that it has taken in.

    The person's account, scans, rewards and consents are the person's and stay. A later accepted scan of the person
    creates a new contact.

    Raises:
        NotFound: the brand has no such contact.
    """
    if not Contact.delete().where(Contact.id == contact_id).execute():
        raise NotFound


def values_of(contact: Contact) -> dict[str, Any]:
    """Return the writable profile fields and the properties of a contact."""
    names = [name for name, field in profile.FIELDS.items() if field.writable]
    return {name: getattr(contact, name) for name in names} | {"properties": contact.properties}


def _brand() -> UUID:
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    return identity.brand_id


def _first(query: Any) -> Contact:
    found: Contact | None = next(iter(query), None)
    if found is None:
        raise NotFound
    return found


_TOGETHER = "must be changed together with `{other}`"


def _checked(values: Mapping[str, Any], present: Mapping[str, Any], brand_id: UUID) -> dict[str, Any]:
    """Return the columns that values give. Properties are those that the contact has then."""
    found: dict[str, Any] = {}
    given = values.get("properties") or {}
    changed: dict[str, Any] = {}
    check_all(
        lambda: found.update(profile.check({name: one for name, one in values.items() if name != "properties"})),
        lambda: changed.update(properties.check(given, properties.declared(brand_id)) if given else {}),
    )
    if changed:
        merged = {**present, **changed}
        found["properties"] = {key: one for key, one in merged.items() if one is not None}
    if (found.get("lat") is None) != (found.get("lon") is None):
        both = (("lat", "lon"), ("lon", "lat"))
        raise Invalid(errors=[FieldError(name, Message(_TOGETHER, other=other)) for name, other in both])
    return found


@contextmanager
def keys_free(values: Mapping[str, Any], contact_id: UUID | None) -> Iterator[None]:
    """Refuse an address and an external id of another contact of the brand.

    Raises:
        ContactKeyTaken: names the field and the other contact.
    """
    try:
        with db.atomic():
            yield
    except peewee.IntegrityError as error:
        if sqlstate(error) != UNIQUE_VIOLATION:
            raise
        for name in filter(values.get, ("external_id", "email")):
            other = Contact.merged_into.is_null() & (getattr(Contact, name) == values.get(name))
            owner = Contact.select().where(other & (Contact.id != contact_id) if contact_id else other).first()
            if owner is not None:
                raise ContactKeyTaken(field=name, contact_id=owner.id) from None
        raise
