"""Contacts of a brand: people with an accepted scan, and people whom the brand has added."""

from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from models.core import locks
from models.core.database import Row, execute, new_id

FROM_SCANS = "scan"
"""`source` of contacts whom the brand knows by their scans."""


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
