"""Static checks of every PL/pgSQL function by plpgsql_check, with the tables and transition tables of each trigger."""

from contextlib import closing

from scripts.devstack import database

INSTALL = "create schema plpgsql_check; create extension plpgsql_check schema plpgsql_check;"
CHECK = """
select p.oid::regprocedure::text, r.lineno, r.level, r.message, coalesce(r.detail, r.query)
from pg_proc p
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    left join lateral (
        select distinct t.tgrelid, t.tgoldtable, t.tgnewtable from pg_trigger t
        where t.tgfoid = p.oid and t.tgparentid = 0
    ) t on true
    cross join lateral plpgsql_check.plpgsql_check_function_tb(
        p.oid, coalesce(t.tgrelid, 0), oldtable => t.tgoldtable, newtable => t.tgnewtable, fatal_errors => false,
        security_warnings => true
    ) r
where p.pronamespace in ('app'::regnamespace, 'public'::regnamespace)
    and (t.tgrelid is not null or p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype))
    -- Implicit casts of literals, as in `found uuid[] := '{}'`.
    and r.sqlstate is distinct from '42804'
    -- app.refuse() always raises, which the check can't see.
    and r.message <> 'control reached end of function without RETURN'
    -- A composite is one of several OUT parameters where a function returns a person beside other columns.
    and r.message not like 'composite OUT variable %% is not single argument'
    and not (r.level = 'security' and p.proname = any (%s))
order by 1, 2
"""
CALLED_BY_MIGRATIONS = ["append_only", "secure"]
"""Procedures that put text into statements; only migrations may call them."""


BROKEN = """
create function app.broken() returns void language plpgsql as $$ begin
    perform u.no_such_column from public.users u;
end $$
"""


def test_plpgsql_check_finds_only_function_broken_on_purpose(throwaway):
    throwaway.fresh_database("checked")
    with closing(database.superuser(throwaway.postgres, "checked")) as db, db.cursor() as cursor:
        cursor.execute(INSTALL + BROKEN)

        cursor.execute(CHECK, [CALLED_BY_MIGRATIONS])

        assert [row[:4] for row in cursor.fetchall()] == [
            ("app.broken()", 2, "error", "column u.no_such_column does not exist")
        ]
    throwaway.drop_database("checked")
