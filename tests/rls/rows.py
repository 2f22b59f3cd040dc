"""A row of any table, made from what the catalogue says about it.

Triggers and foreign keys are off while they are written, so a row needs only what its columns and checks demand; what
a check demands is said in `FITTING`. A new table with a check of its own fails here until it says what fits.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import sql
from psycopg2.extensions import connection, cursor

FITTING: dict[str, Any] = {
    "app.jobs.state": "waiting",
    "app.job_history.state": "done",
    "app.dead_jobs.state": "dead",
    "app.scan_counters.scope": "user",
    "app.heartbeats.kind": "relay",
    "app.invitations.role_id": 2,
    "app.job_groups.kind": "batch",
    "public.campaigns.type": "QR",
    "public.campaigns.status": "Draft",
    "public.consents.consent_tier": "essential",
    "public.consent_events.action": "grant",
    "public.qr_scans.geofence_status": "none",
    "public.qr_scans.decision": "accepted",
    "public.payments.currency": "eur",
    "public.scan_rollups.kind": "decision",
    "public.users.locale": "en",
    "public.users.role_id": 1,
    "public.users.identity_provider": "test",
    "public.audit_logs.outcome": "ok",
}
OF_TYPE: dict[str, Any] = {
    "int4": 1,
    "int8": 1,
    "int2": 1,
    "float4": 0.5,
    "bool": False,
    "jsonb": "{}",
    "timestamptz": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "bytea": b"x",
    "_text": [],
    "interval": "1 day",
}


@dataclass(frozen=True)
class Table:
    """A relation, and its columns: name → (type, required)."""

    schema: str
    name: str
    columns: dict[str, tuple[str, bool]]
    is_view: bool

    @property
    def full_name(self) -> str:
        """`schema.table`."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """For composing statements."""
        return sql.Identifier(self.schema, self.name)


def tables(connected: connection) -> list[Table]:
    """Every table and view of ours."""
    with connected.cursor() as cur:
        cur.execute(
            """
            select n.nspname, c.relname, c.relkind = 'v',
                json_object_agg(a.attname, json_build_array(t.typname,
                    a.attnotnull and not a.atthasdef and a.attgenerated = ''))
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
            join pg_type t on t.oid = a.atttypid
            where n.nspname in ('public', 'app') and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
            group by 1, 2, 3 order by 1, 2
            """
        )
        return [
            Table(s, n, {k: (v[0], v[1]) for k, v in cols.items()}, is_view) for s, n, is_view, cols in cur.fetchall()
        ]


def values(table: Table, **given: Any) -> dict[str, Any]:
    """What a row has to say: what is given, what fits, and anything for the rest that is required."""
    row: dict[str, Any] = {}
    for column, (kind, required) in table.columns.items():
        name = f"{table.full_name}.{column}"
        if column in given:
            row[column] = given[column]
        elif name in FITTING:
            row[column] = FITTING[name]
        elif kind == "uuid" and (required or column == "id"):
            row[column] = uuid4()
        elif required:
            row[column] = uuid4().hex if kind == "text" else OF_TYPE[kind]
    return row


def insert(cur: cursor, table: Table, row: dict[str, Any]) -> None:
    """Write a row."""
    cur.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        ),
        list(row.values()),
    )


def seed(connected: connection, every: list[Table], brand_id: UUID, user_id: UUID) -> None:
    """One row in every table for this brand and this person."""
    with connected.cursor() as cur:
        cur.execute("set session_replication_role = replica")
        for table in every:
            if not table.is_view and (owned := owned_by(table, brand_id, user_id)):
                insert(cur, table, values(table, **owned))
        cur.execute("set session_replication_role = origin")


def owned_by(table: Table, brand_id: UUID, user_id: UUID) -> dict[str, Any]:
    """The columns that say whose a row is."""
    if table.full_name == "public.brands":
        return {"id": brand_id}
    if table.full_name == "public.users":
        return {"id": user_id, "brand_id": brand_id, "email": f"{user_id}@example.org"}
    owners = {"brand_id": brand_id, "user_id": user_id}
    return {column: owner for column, owner in owners.items() if column in table.columns}
