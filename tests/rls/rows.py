"""Rows of any table, generated from the catalogue.

Rows are written with triggers and foreign keys off, so only column types, NOT NULL and CHECK limit them. `FITTING`
holds values that satisfy the checks. A new table with a check needs an entry there.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import sql
from psycopg2.extensions import cursor

FITTING: dict[str, Any] = {
    "public.assets.purpose": "media",
    "public.assets.state": "pending",
    "app.jobs.state": "waiting",
    "app.job_history.state": "done",
    "app.job_history.finished_at": "2026-01-01T00:00:00Z",  # Differs from the time of jobs that finish in a test.
    "app.dead_jobs.state": "dead",
    "app.limit_counters.scope": "user",
    "app.heartbeats.kind": "relay",
    "app.invitations.role_id": 2,
    "app.api_keys.scopes": ["campaigns:read"],
    "app.sessions.expires_at": "2100-01-01T00:00:00Z",
    "app.totp_factors.confirmed_at": "2026-01-01T00:00:00Z",
    "app.job_groups.kind": "batch",
    "app.job_groups.parent_id": None,  # Not its own child.
    "app.invitations.sent_at": "2026-01-01T00:00:00Z",  # Long enough ago to be sent again.
    "public.contacts.merged_into": None,
    "public.contact_merges.undone_at": None,
    "public.contact_properties.key": "loyalty",
    "public.contact_properties.type": "text",
    "public.conversions.contact_id": None,
    "public.coliseum_events.n": 1,
    "public.engagement_events.kind": "scan",
    "public.engagement_events.reversal_of": None,
    "public.campaign_versions.type": "QR",
    "public.concierto_events.admission": "open",
    "public.mediaid_subjects.kind": "anonymous",
    "public.check_ins.state": "accepted",
    "public.guests.state": "listed",
    "public.tickets.state": "issued",
    "public.venue_lookups.country": "ES",
    "public.locker_reservations.state": "granted",
    "public.locker_reservations.expires_at": None,
    "public.rewards.state": "granted",
    "public.campaigns.type": "QR",
    "public.campaigns.status": "Draft",
    "public.contact_exports.format": "csv",
    "public.contact_exports.state": "waiting",
    "public.contact_imports.format": "csv",
    "public.contact_imports.state": "waiting",
    "public.contact_imports.encoding": None,
    "public.contact_imports.unreadable": None,
    "public.contact_imports.overwrite": "all",
    "public.contact_imports.row_number": 0,
    "public.consents.consent_tier": "essential",
    "public.consent_events.action": "grant",
    "public.consent_uses.purpose": "contact",
    "public.qr_scans.geofence_status": "none",
    "public.qr_scans.decision": "accepted",
    "public.notification_preferences.kind": "limit_near",
    "public.notifications.kind": "limit_near",
    "public.notifications.permission": "campaigns:read",
    "public.passport_calls.service": "locker",
    "public.passport_calls.operation": "reserve",
    "public.passport_calls.transport": "local",
    "public.passport_calls.outcome": "failed",
    "public.payments.currency": "eur",
    "public.coupons.discount_percent": 10,
    "public.scan_rollups.kind": "decision",
    "public.users.locale": "en",
    "public.users.role_id": 1,
    "public.users.identity_provider": "test",
    "public.audit_logs.outcome": "ok",
}
OF_TYPE: dict[str, Any] = {
    "int4": 1,
    "int2": 1,
    "float4": 0.5,
    "float8": 0.5,
    "bool": False,
    "jsonb": "{}",
    "timestamptz": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "_text": [],
    "interval": "1 day",
}
REFERENCE = ("public.roles", "public.permissions", "public.role_permissions", "public.consent_notices")
"""Tables whose rows come with the migrations."""


@dataclass(frozen=True)
class Party:
    """A brand, a user of it, and the id of all their rows. The platform's rows have no brand and no user."""

    brand_id: UUID | None
    user_id: UUID | None
    thing_id: UUID


@dataclass(frozen=True)
class Table:
    """A relation and its columns: name → (type, required)."""

    schema: str
    name: str
    columns: dict[str, tuple[str, bool]]
    kind: str
    is_partition: bool

    @property
    def full_name(self) -> str:
        """Name with schema: `schema.table`."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Quoted name for statements."""
        return sql.Identifier(self.schema, self.name)

    @property
    def takes_rows(self) -> bool:
        """True if rows are written to it: not for views, partitions and reference tables."""
        return self.kind in "rp" and not self.is_partition and self.full_name not in REFERENCE


def tables(cur: cursor) -> list[Table]:
    """Return all tables, partitions and views of the application."""
    cur.execute(
        """
        select n.nspname, c.relname, c.relkind, c.relispartition,
            json_object_agg(a.attname, json_build_array(t.typname,
                a.attnotnull and not a.atthasdef and a.attgenerated = '') order by a.attnum)
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        join pg_type t on t.oid = a.atttypid
        where n.nspname in ('public', 'app', 'app_partitions') and c.relkind in ('r', 'p', 'v', 'm', 'f')
        group by 1, 2, 3, 4 order by 1, 2
        """
    )
    return [
        Table(s, n, {k: (v[0], v[1]) for k, v in columns.items()}, kind, part)
        for s, n, kind, part, columns in cur.fetchall()
    ]


def values(table: Table, party: Party) -> dict[str, Any]:
    """Return the values of a party's row: its owner, fitting values, and any value for other required columns."""
    row = {column: _value(table, column, party) for column in table.columns}
    if table.full_name == "public.users":
        row |= {"email": f"{party.thing_id}@example.org", "role_id": 1 if party.brand_id else 5}
    return {column: value for column, value in row.items() if value is not None}


def _value(table: Table, column: str, party: Party) -> Any:
    kind, required = table.columns[column]
    owned = owner_columns(table, party)
    if column in owned:
        return owned[column] or (uuid4() if required else None)
    if f"{table.full_name}.{column}" in FITTING:
        return FITTING[f"{table.full_name}.{column}"]
    if kind == "uuid":
        return party.thing_id
    if not required:
        return None
    of_theirs = {"text": f"of {party.thing_id}", "bytea": party.thing_id.bytes, "int8": party.thing_id.int % 2**31}
    return of_theirs[kind] if kind in of_theirs else OF_TYPE[kind]


def owner_columns(table: Table, party: Party) -> dict[str, UUID | None]:
    """Return the owner columns of a table and the party's values."""
    if table.full_name == "public.brands":
        return {"id": party.brand_id}
    if table.full_name == "public.users":
        return {"id": party.user_id, "brand_id": party.brand_id}
    owners = {"brand_id": party.brand_id, "user_id": party.user_id}
    return {column: owner for column, owner in owners.items() if column in table.columns}


def insert(cur: cursor, table: Table, row: dict[str, Any]) -> None:
    """Insert a row."""
    cur.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )
