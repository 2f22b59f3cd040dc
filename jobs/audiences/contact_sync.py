"""Actors of the synchronisation with CALS: send own changes and activities, receive changes of CALS."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from jobs.passport.services.cals import cals
from jobs.passport.services.cals.contract import (
    MAX_ACTIVITIES,
    MAX_CONTACTS,
    Activities,
    Activity,
    ChangesSince,
    Contacts,
)
from jobs.passport.services.cals.local import to_contact, to_copy
from models.audiences import activity_outbox, contact_sync
from models.audiences.contact_sync import Change
from models.core.database import rows
from models.jobs.ledger import enqueue
from models.passport import services

MAX_PAGES = 20
"""Messages that one job sends or receives at most. A further job continues."""


@actor("cals.sync", runs_as="system", time_limit=120.0)
def sync_contacts() -> None:
    """Enqueue the synchronisation of each brand with changes or activities, and of all brands with another system.

    The local CALS has no changes of its own, so there is nothing to pull from it.
    """
    for found in rows("SELECT brand_id FROM app.brands_to_sync() AS brand_id"):
        enqueue("cals.push", unique="while_waiting", brand_id=found["brand_id"])
    for brand_id in activity_outbox.brands():
        enqueue("cals.push_activities", unique="while_waiting", brand_id=brand_id)
    if services.route("cals") is not None:
        for found in rows("SELECT brand_id FROM public.contact_sync_state"):
            enqueue("cals.pull", unique="while_waiting", brand_id=found["brand_id"])


@actor("cals.push", queue="outward", outward=True, time_limit=300.0, max_per_brand=1)
def push_contacts() -> None:
    """Send the brand's changed contacts to CALS."""
    brand_id = _brand()
    for _ in range(MAX_PAGES):
        with own_transaction():
            more = contact_sync.compare(brand_id)
            changes = contact_sync.unsent(MAX_CONTACTS)
        if changes:
            cals().push_contacts(
                Contacts(brand_id, [to_contact(one.contact_id, one.copy) for one in changes]), key=_key(changes)
            )
            with own_transaction():
                contact_sync.mark_sent(changes)
        if not more and len(changes) < MAX_CONTACTS:
            return
    with own_transaction():
        enqueue("cals.push", unique="while_waiting")


@actor("cals.push_activities", queue="outward", outward=True, time_limit=300.0, max_per_brand=1)
def push_activities() -> None:
    """Send what the brand's contacts did to CALS. An activity that is sent twice is stored once, by its id."""
    brand_id = _brand()
    for _ in range(MAX_PAGES):
        with own_transaction():
            found = activity_outbox.waiting(MAX_ACTIVITIES)
        activities = [
            Activity(one.event_id, one.contact_id, one.kind, one.occurred_at)
            for one in found
            if one.contact_id is not None and one.kind is not None
        ]
        if activities:
            digest = hashlib.sha256(b"".join(one.id.bytes + one.contact.bytes for one in activities))
            cals().push_activities(Activities(brand_id, activities), key=f"activities-{digest.hexdigest()}")
        with own_transaction():
            activity_outbox.remove(found)
        if len(found) < MAX_ACTIVITIES:
            return
    with own_transaction():
        enqueue("cals.push_activities", unique="while_waiting")


@actor("cals.pull", queue="outward", outward=True, time_limit=300.0, max_per_brand=1, give_up_after=timedelta(hours=1))
def pull_contacts() -> None:
    """Receive changes of CALS and merge them into the brand's contacts."""
    brand_id, job = _brand(), current_job()
    for page in range(MAX_PAGES):
        with own_transaction():
            while contact_sync.compare(brand_id):
                pass
            cursor = contact_sync.cursor()
        answer = cals().pull_contacts(ChangesSince(brand_id, cursor), key=f"{job.idempotency_key}-{job.attempt}-{page}")
        with own_transaction():
            received = {contact.contact: to_copy(contact) for contact in answer.contacts}
            contact_sync.apply(brand_id, received, answer.cursor)
        if not answer.more:
            return
    with own_transaction():
        enqueue("cals.pull", unique="while_waiting")


def _brand() -> UUID:
    brand_id = current_job().claim.brand_id
    assert brand_id is not None
    return brand_id


def _key(changes: Sequence[Change]) -> str:
    """Return the key of a message. It depends on the changes: the next attempt of a job may send others."""
    digest = hashlib.sha256()
    for change in changes:
        digest.update(change.contact_id.bytes + change.version.to_bytes(8, "big"))
    return f"contacts-{digest.hexdigest()}"
