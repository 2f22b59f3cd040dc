"""Three parties with a row in each table, and the callers that try to reach rows of others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import sql
from psycopg2.extensions import cursor

from tests.rls import rows
from tests.rls.rows import Party, Table

SHARED = {"public.consent_notices"}
"""Tables that every caller may read."""
PERSONAL = {"public.consents", "public.consent_events", "public.notifications", "public.notification_preferences"}
"""Tables whose rows belong to a person although they have a brand."""


SCOPES = ("brand:read", "campaigns:read", "campaigns:write", "audiences:write", "scans:read", "jobs:read", "users:read")
"""Scopes claimed by an API key, more than its permissions."""


@dataclass(frozen=True)
class Caller:
    """A database role with claims. `owns_by` is the column of ownership: `brand_id`, `user_id` or none."""

    name: str
    role: str
    user_role: str | None = None
    owns_by: str | None = None
    is_known: bool = True
    sees_all: bool = False
    scopes: tuple[str, ...] = ()

    def column(self, table: Table) -> str | None:
        """Return the owner column of a table for this caller."""
        if not self.is_known or self.owns_by is None:
            return None
        if table.full_name == "public.users":
            return "brand_id" if self.role == "app_job" else "id"
        if table.full_name == "public.brands":
            return "id" if self.owns_by == "brand_id" else None
        if self.role != "app_job" and table.full_name in PERSONAL:
            return "user_id"
        return self.owns_by if self.owns_by in table.columns else None

    def is_limited(self, table: Table) -> bool:
        """Return whether this caller may not see all rows of the table."""
        return not self.sees_all or table.full_name in PERSONAL

    def owner(self, table: Table, party: Party) -> UUID | None:
        """Return the value of the owner column in the party's rows."""
        column = self.column(table)
        return rows.owner_columns(table, party).get(column) if column else None

    def claims(self, party: Party) -> dict[str, Any]:
        """Return the claims of the party's token."""
        if not self.is_known:
            return {}
        metadata: dict[str, Any] = {"user_role": self.user_role, "brand_id": str(party.brand_id)}
        if self.owns_by == "user_id" and not self.sees_all:
            del metadata["brand_id"]
        if self.scopes:
            metadata["scopes"] = list(self.scopes)
        return {"sub": str(party.user_id), "app_metadata": metadata}


MEMBER = Caller("Brand Admin", "authenticated", "Brand Admin", "brand_id")
FAN = Caller("a fan", "app_fan", "Fan", "user_id")
JOB = Caller("a brand's job", "app_job", None, "brand_id")
ADMIN = Caller("a system admin", "app_admin", "System Admin", "user_id", sees_all=True)
ANONYMOUS = Caller("an anonymous caller", "app_public", is_known=False)
CREDENTIALS = Caller("a request about credentials", "app_credentials", "Fan", "user_id")
CALLERS = [
    MEMBER,
    FAN,
    JOB,
    ADMIN,
    ANONYMOUS,
    CREDENTIALS,
    *(Caller(role, "authenticated", role, "brand_id") for role in ("Campaign Manager", "Creator")),
    Caller("an API key", "authenticated", "API Key", "brand_id", scopes=SCOPES),
    Caller("a member who claims scopes", "authenticated", "Creator", "brand_id", scopes=SCOPES),
    Caller("a fan's job", "app_fan", None, "user_id"),
    *(
        Caller(f"a member with the role {role}", "authenticated", role, "brand_id")
        for role in ("Fan", "System Admin", "?")
    ),
    *(Caller(f"{role} without claims", role, is_known=False) for role in ("authenticated", "app_fan", "app_job")),
    *(Caller(role, role, "Brand Admin") for role in ("anon", "service_role")),
    *(
        Caller(login, login, "Brand Admin")
        for login in ("app_web", "app_account", "app_scan", "app_worker", "app_seal")
    ),
]
OF_ROLE = {caller.role: caller for caller in (MEMBER, FAN, JOB, ADMIN, ANONYMOUS, CREDENTIALS)}
"""The caller that represents a role."""


@dataclass(frozen=True)
class World:
    """Rows of the parties within one transaction of the superuser."""

    cur: cursor

    @cached_property
    def tables(self) -> list[Table]:
        """All tables, partitions and views."""
        return rows.tables(self.cur)

    @cached_property
    def mine(self) -> Party:
        """The party of the callers."""
        return self._seeded(Party(uuid4(), uuid4(), uuid4()))

    @cached_property
    def theirs(self) -> Party:
        """Another brand and another person."""
        return self._seeded(Party(uuid4(), uuid4(), uuid4()))

    @cached_property
    def platform(self) -> Party:
        """Rows without an owner."""
        return self._seeded(Party(None, None, uuid4()))

    def _seeded(self, party: Party) -> Party:
        # This trigger requires a checkpoint and fires for replicas too.
        self.cur.execute("alter table app.audit_starts disable trigger stored_checkpoint")
        for table in self.tables:
            if table.takes_rows:
                rows.insert(self.cur, table, rows.values(table, party))
        return party

    def populate(self) -> "World":
        """Write the rows of all parties."""
        assert self.mine
        assert self.theirs
        assert self.platform
        return self

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Roll back the block's changes, also when it fails."""
        self.cur.execute("savepoint undone")
        try:
            yield
        finally:
            self.cur.execute("rollback to savepoint undone")

    @contextmanager
    def acting_as(self, caller: Caller) -> Iterator[None]:
        """Act as the caller, of the party `mine`, within the block, and roll its changes back."""
        with self.undone():
            self.cur.execute(
                "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
                (json.dumps(self._claims(caller)), caller.role),
            )
            yield

    def _claims(self, caller: Caller) -> dict[str, Any]:
        return caller.claims(self.mine)

    def value(self, statement: sql.Composable | str, params: Any = ()) -> Any:
        """Return the first column of the first row, read by the superuser."""
        self.cur.execute(statement, params)
        return (self.cur.fetchone() or (None,))[0]

    def own_count(self, caller: Caller, table: Table) -> int:
        """Return the number of the caller's own rows in the table."""
        column = caller.column(table)
        if column is None:
            return 0
        count = sql.SQL("select count(*) from {} where {} = %s").format(table.identifier, sql.Identifier(column))
        return int(self.value(count, (caller.owner(table, self.mine),)))

    def columns_for(self, caller: Caller, table: Table, privilege: str) -> list[str]:
        """Return the columns on which the caller has a privilege."""
        self.cur.execute(
            "select c from unnest(%s) as c where has_column_privilege(%s, %s, c, %s)",
            (list(table.columns), caller.role, table.full_name, privilege),
        )
        return [row[0] for row in self.cur.fetchall()]
