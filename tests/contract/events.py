"""An event of a brand for the contract tests, with a ticket, a guest, a check-in and a look-up of its venue."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg2.extensions import connection

from models.campaigns import campaigns, codes, guests, launch, venues
from models.campaigns.config import Config
from models.campaigns.guests import Invitation
from models.campaigns.venues import Question
from models.core import context
from models.core.context import Identity
from models.core.database import new_id, now, transaction
from models.tenants import assignments

_TICKET = """
    insert into public.tickets (id, brand_id, campaign_id, user_id, key_version, state, job_id)
    values (%(id)s, %(brand)s, %(event)s, %(fan)s, 1, 'issued', %(id)s)
"""
_CHECK_IN = """
    insert into public.check_ins (id, brand_id, campaign_id, user_id, scan_id, scanned_at, state, job_id)
    values (%(id)s, %(brand)s, %(event)s, %(fan)s, %(scan)s, now(), 'accepted', %(id)s)
"""
_SCAN = """
    with device as (
        insert into public.device_fingerprints (id, fingerprint_hash, brand_id, key_version)
        select %(id)s, %(hash)s, brand_id, 1 from public.campaigns where id = %(event)s returning id)
    insert into public.qr_scans (id, brand_id, campaign_id, code_id, user_id, device_fp_id, client_scan_id,
        request_digest, scan_time, geofence_status, decision, evidence)
    select %(id)s, c.brand_id, c.campaign_id, c.id, %(fan)s, d.id, %(id)s, '\\x00', now(), 'none', 'accepted', '[]'
    from public.qr_codes c, device d where c.campaign_id = %(event)s limit 1
"""


def things(superuser: connection, manager: Identity, creator: UUID, fan: UUID, other: UUID) -> dict[str, UUID]:
    """Create an active event, and a ticket of the campaign `other`: the fan can request one of the event."""
    event = _event(manager)
    with transaction(manager):
        assignments.assign(event, creator)
        (guest,), _ = guests.add(event, [Invitation("Ana", 4, None, None)])
        lookup, _ = venues.look_up(Question("Plaza Mayor, Madrid", None, "en"))
    made = {"event_id": event, "guest_id": guest.id, "lookup_id": lookup.id}
    for name, sql in {"ticket_id": _TICKET, "check_in_id": _CHECK_IN}.items():
        made[name] = new_id()
        values = {"id": made[name], "brand": manager.brand_id, "fan": fan, "scan": new_id()}
        values["event"] = other if name == "ticket_id" else event
        with superuser.cursor() as cursor:
            cursor.execute(sql, values)
    return made


def scan(superuser: connection, event_id: UUID, fan: UUID) -> dict[str, Any]:
    """Create a fresh accepted scan of a fan at an event. Return the body of a check-in by it."""
    id = new_id()
    with superuser.cursor() as cursor:
        cursor.execute(_SCAN, {"id": id, "hash": id.hex, "event": event_id, "fan": fan})
    return {"campaign_id": str(event_id), "scan_id": str(id)}


def _event(manager: Identity) -> UUID:
    config = {"ends_at": (now() + timedelta(days=1)).isoformat()}
    with transaction(manager):
        event = campaigns.create(name="Night", kind="Event", config=msgspec.convert(config, Config))
    with transaction(context.for_brand_job(event.brand_id)):
        launch.pin_fingerprint_key(event.id)
        codes.ensure_first(event.id)
        launch.activate(event.id)
    return event.id
