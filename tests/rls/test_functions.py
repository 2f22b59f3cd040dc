"""Functions that tenants may call neither return nor change rows of other tenants, for any ids."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2 import sql

from tests.rls.rows import Party, Table, owner_columns
from tests.rls.shapes import Shape
from tests.rls.world import ADMIN, ANONYMOUS, CREDENTIALS, FAN, JOB, MEMBER, PERSONAL, Caller, World

ARGUMENTS: dict[str, Any] = {
    "p_actor": "scan.score",
    "p_currency": "EUR",
    "p_email": "new@example.org",
    "p_engagement": "conversion",
    "p_external_id": "order-1",
    "p_from": None,
    "p_kind": "batch",
    "p_locale": "en",
    "p_outcome": "ok",
    "p_permission": "campaigns:read",
    "p_priority": 1,
    "p_status": 409,
    "p_role": "Creator",
    "p_scope": "others",
    "p_scopes": "{campaigns:read}",
    "p_tier": "essential",
    "p_tiers": "{essential}",
    "p_to": None,
    "p_value_minor": 1990,
    "p_groups": "[]",
    "p_instant": "2026-01-01T00:00:00Z",
    "p_jobs": "[]",
}
"""Values of arguments that functions validate. Other arguments get a value of their type."""
OF_TYPE = {
    "text": "x",
    "jsonb": "{}",
    "interval": "1 hour",
    "integer": 5,
    "bigint": 1,
    "boolean": False,
    "bytea": b"x",
    "text[]": "{}",
    "uuid[]": "{}",
    "timestamp with time zone": "2026-01-01T00:00:00Z",
    "double precision": 1.0,
}


CREATING = {"app.enqueue", "app.record_audit", "app.record_refusal", "app.invite", "app.grant_consent"}
"""Functions whose `p_id` is the id of a new row."""
OPTIONAL_USER = {"app.enqueue"}
"""Functions whose user is optional. Without it, a rule about users can't hide a missing rule about brands."""
PUBLIC = {"app.describe_code"}
"""Functions that return public data to every caller."""
UNIQUE_VIOLATION = "23505"
"""SQLSTATE of a violated unique key."""


@dataclass(frozen=True)
class Function:
    """A function and its arguments: name → type."""

    name: str
    arguments: dict[str, str]
    outputs: int | None
    """Number of OUT arguments of a procedure; None for a function."""

    def call(self, world: World, caller: Caller, theirs: set[str]) -> tuple[sql.Composable, list[Any]]:
        """Return a call with the other party's ids for the arguments in `theirs` and the caller's own for the rest."""
        marks = [sql.SQL("%s::{}").format(sql.SQL(kind)) for kind in self.arguments.values()]
        values = [
            (self._theirs(world, name) if name in theirs else self._own(world, caller, name))
            if kind == "uuid"
            else ARGUMENTS.get(name, OF_TYPE.get(kind))
            for name, kind in self.arguments.items()
        ]
        schema, _, name = self.name.partition(".")
        target = sql.Identifier(schema, name)
        if self.outputs is not None:
            marks += [sql.NULL] * self.outputs
            return sql.SQL("call {}({})").format(target, sql.SQL(", ").join(marks)), values
        return sql.SQL("select f::text from {}({}) as f").format(target, sql.SQL(", ").join(marks)), values

    def _theirs(self, world: World, argument: str) -> str:
        ids = {"p_brand_id": world.theirs.brand_id, "p_user_id": world.theirs.user_id}
        return str(ids.get(argument, world.theirs.thing_id))

    def _own(self, world: World, caller: Caller, argument: str) -> str | None:
        if argument == "p_notice_id":
            return str(world.value("select id from public.consent_notices limit 1"))
        if argument == "p_id" and self.name in CREATING:
            return str(uuid4())
        ids = {"p_brand_id": world.mine.brand_id if caller is not FAN else None, "p_user_id": world.mine.user_id}
        if argument == "p_user_id" and self.name in OPTIONAL_USER and caller is not FAN:
            return None
        own = ids.get(argument, world.mine.thing_id)
        return str(own) if own else None

    @property
    def ids(self) -> list[set[str]]:
        """Sets of arguments that get the other party's ids: each id alone, and all."""
        named = [name for name, kind in self.arguments.items() if kind == "uuid"]
        return [*({name} for name in named), *([set(named)] if len(named) > 1 else [])] or [set()]


@pytest.fixture
def world(bare: Shape) -> Iterator[World]:
    with bare.undone() as cur:
        yield World(cur).populate()


def functions(world: World, role: str) -> list[Function]:
    """Return the functions and procedures that a role may call."""
    world.cur.execute(
        """
        select n.nspname || '.' || p.proname,
            coalesce((p.proargnames::text[])[1:p.pronargs], array[]::text[]),
            array(select t::regtype::text from unnest(p.proargtypes) with ordinality as a (t, ord) order by ord),
            case p.prokind when 'p' then coalesce(cardinality(array_positions(p.proargmodes, 'o')), 0) end
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('public', 'app') and p.prokind in ('f', 'p') and p.prorettype <> 'trigger'::regtype
            and has_function_privilege(%s, p.oid, 'execute')
        """,
        (role,),
    )
    return [
        Function(name, dict(zip(names, types, strict=True)), outputs)
        for name, names, types, outputs in world.cur.fetchall()
    ]


def owned_by(world: World, party: Party) -> dict[str, list[str]]:
    """Return all rows of a party by table."""
    found: dict[str, list[str]] = {}
    for table in world.tables:
        columns = _owners(table, party)
        if table.takes_rows and columns:
            where = sql.SQL(" or ").join(sql.SQL("t.{} = %s").format(sql.Identifier(column)) for column in columns)
            world.cur.execute(
                sql.SQL("select t::text from {} t where {} order by 1").format(table.identifier, where),
                list(columns.values()),
            )
            found[table.full_name] = [row[0] for row in world.cur.fetchall()]
    return found


def _owners(table: Table, party: Party) -> dict[str, Any]:
    columns = owner_columns(table, party)
    return {"user_id": columns["user_id"]} if table.full_name in PERSONAL else columns


def findings(world: World, caller: Caller, function: Function, theirs: set[str]) -> list[str]:
    """Return the leaks and changes of a call with the other party's ids."""
    statement, values = function.call(world, caller, theirs)
    before, said = owned_by(world, world.theirs), ""
    with world.acting_as(caller):
        try:
            world.cur.execute(statement, values)
            said = " ".join(map(str, world.cur.fetchall())) if world.cur.description else ""
            world.cur.execute("select set_config('role', 'none', true)")
            after = owned_by(world, world.theirs)
        except psycopg2.Error:
            after = before
    call = f"{caller.name}: {function.name}({', '.join(sorted(theirs))})"
    changed = [f"{call} changes {table}" for table in before if before[table] != after[table]]
    given = {str(value) for value in values}
    secrets = [
        f"of {world.theirs.thing_id}",
        f"{world.theirs.thing_id}@",
        *map(str, (world.theirs.brand_id, world.theirs.user_id)),
    ]
    return [*changed, *(f"{call} returns {secret}" for secret in secrets if secret in said and secret not in given)]


@pytest.mark.parametrize("caller", [MEMBER, FAN, JOB], ids=lambda caller: caller.name)
def test_functions_neither_return_nor_change_rows_of_others(caller: Caller, world: World) -> None:
    called = functions(world, caller.role)
    assert len(called) >= 5
    calls = [(function, theirs) for function in called if function.name not in PUBLIC for theirs in function.ids]
    found = chain.from_iterable(findings(world, caller, function, theirs) for function, theirs in calls)
    assert set(found) == set()


@pytest.mark.parametrize("caller", [MEMBER, FAN, JOB], ids=lambda caller: caller.name)
def test_functions_with_own_ids_succeed_or_refuse_by_rule(caller: Caller, world: World) -> None:
    ends = {function.name: _end(world, caller, function) for function in functions(world, caller.role)}
    assert {name: end for name, end in ends.items() if not end.startswith(("done", "PT", UNIQUE_VIOLATION))} == {}


def _end(world: World, caller: Caller, function: Function) -> str:
    statement, values = function.call(world, caller, set())
    with world.acting_as(caller):
        try:
            world.cur.execute(statement, values)
        except psycopg2.Error as error:
            return f"{error.pgcode} {error}"
    return "done"


REVEALING = {
    ("app.grant_consent", "p_brand_id"): "a consent requires an existing brand",
    ("app.describe_code", "p_code_id"): "a code is public",
    ("app.own_rewards", "p_after"): "a page begins after any id, known or not",
    ("app.own_tickets", "p_after"): "a page begins after any id, known or not",
}
"""Functions and arguments that reveal whether an id exists, with the reason."""


def answer(world: World, caller: Caller, function: Function, theirs: set[str], said: dict[str, str]) -> str:
    """Return the result of a call with the other party's ids, or their replacements in `said`, with ids masked."""
    statement, values = function.call(world, caller, theirs)
    values = [said.get(value, value) if isinstance(value, str) else value for value in values]
    with world.acting_as(caller):
        try:
            world.cur.execute(statement, values)
            answered = str(world.cur.fetchall()) if world.cur.description else ""
        except psycopg2.Error as error:
            answered = f"{error.pgcode} {error.diag.message_primary} {error.diag.message_detail}"
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", answered)


@pytest.mark.parametrize("caller", [MEMBER, FAN, JOB], ids=lambda caller: caller.name)
def test_functions_answer_same_for_foreign_and_unknown_ids(caller: Caller, world: World) -> None:
    party = world.theirs
    unknown = {str(id): str(uuid4()) for id in (party.brand_id, party.user_id, party.thing_id)}
    for function in functions(world, caller.role):
        for theirs in filter(None, function.ids):
            answers = [answer(world, caller, function, theirs, said) for said in ({}, unknown)]
            # The id of a new row, which callers can't choose.
            if not answers[0].startswith(UNIQUE_VIOLATION) and (function.name, *theirs) not in REVEALING:
                assert answers[0] == answers[1], f"{function.name}({', '.join(theirs)})"


@pytest.mark.parametrize("caller", [MEMBER, FAN, ADMIN, ANONYMOUS, CREDENTIALS], ids=lambda caller: caller.name)
def test_idempotent_response_is_refused_to_other_callers(caller: Caller, world: World) -> None:
    theirs = f"user:{world.theirs.user_id}"
    world.cur.execute(
        "insert into app.idempotency_keys (scope, key, digest, body) values (%s, 'one', '', 'secret')", (theirs,)
    )
    for statement in (
        "select app.claim_idempotency_key(%s, 'one', '')",
        "select app.store_idempotent_response(%s, 'one', 200, '{}', '', null)",
    ):
        with world.acting_as(caller), pytest.raises(psycopg2.Error, match="forbidden"):
            world.cur.execute(statement, (theirs,))


LEAKY = {
    "reads": "return query select email from public.users where brand_id = p_brand_id;",
    "changes": "delete from public.campaigns where brand_id = p_brand_id;",
    "adds": "insert into public.audit_logs (action, brand_id) values ('x', p_brand_id);",
}


@pytest.mark.parametrize("body", LEAKY.values(), ids=LEAKY)
def test_function_without_owner_check_is_found(body: str, world: World) -> None:
    world.cur.execute(
        f"""
        create function app.leaky(p_brand_id uuid) returns setof text language plpgsql security definer
            set search_path = pg_catalog, pg_temp as $$ begin {body} end $$;
        call app.grant_definer('app.leaky(uuid)', array['authenticated']);
        """
    )
    (leaky,) = [function for function in functions(world, "authenticated") if function.name == "app.leaky"]
    assert findings(world, MEMBER, leaky, {"p_brand_id"})
