"""Contacts of a brand: people with an accepted scan."""

from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core import locks
from models.core.database import Row, execute, new_id


class Contact(Row):
    """A contact of a brand. The application writes `properties.scans`; the brand owns all other properties."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    user_id = peewee.UUIDField(null=True)
    properties = peewee.JSONField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()
    first_seen_at = DateTimeTZField(null=True)
    last_seen_at = DateTimeTZField(null=True)
    merged_into = peewee.UUIDField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "contacts"


# The last condition avoids a new row version if nothing has changed.
_UPSERT = """
INSERT INTO public.contacts AS known (id, brand_id, user_id, properties, first_seen_at, last_seen_at)
SELECT %s, s.brand_id, s.user_id,
    jsonb_build_object('scans', jsonb_build_object(
        'accepted', count(*), 'flagged', count(*) FILTER (WHERE s.flagged),
        'campaigns', count(DISTINCT s.campaign_id))),
    min(s.scan_time), max(s.scan_time)
FROM public.qr_scans s
WHERE s.brand_id = (SELECT app.job_brand()) AND s.user_id = %s AND s.decision = 'accepted'
GROUP BY s.brand_id, s.user_id
ON CONFLICT (brand_id, user_id) DO UPDATE SET
    properties = known.properties || excluded.properties, first_seen_at = excluded.first_seen_at,
    last_seen_at = excluded.last_seen_at, updated_at = now()
WHERE (known.properties -> 'scans', known.first_seen_at, known.last_seen_at)
    IS DISTINCT FROM (excluded.properties -> 'scans', excluded.first_seen_at, excluded.last_seen_at)
"""


def upsert(user_id: UUID) -> None:
    """Create or update the contact of a person for the brand of the job, from the person's accepted scans.

    A person without an accepted scan gets no contact. Other properties of the contact stay.
    """
    # Serialise: without the lock, an older count could be written after a newer one.
    locks.acquire("contact", user_id)
    execute(_UPSERT, (new_id(), user_id))
