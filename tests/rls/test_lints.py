"""What has to hold for every table, policy and function of ours, whoever adds one."""

from collections.abc import Callable
from typing import Any

import pytest
from psycopg2.extensions import connection

Query = Callable[[str], list[Any]]
OURS = (
    "n.nspname in ('public', 'app') and not exists (select from pg_depend d where d.objid = {oid} and d.deptype = 'e')"
)


@pytest.fixture
def names(database: str, superuser: connection) -> Query:
    def run(sql: str) -> list[Any]:
        with superuser.cursor() as cursor:
            cursor.execute(sql)
            return [row[0] if len(row) == 1 else row for row in cursor.fetchall()]

    return run


def test_row_level_security_is_on_and_forced_everywhere(names: Query) -> None:
    assert not names(
        f"""select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and {OURS.format(oid="c.oid")}
            and not (c.relrowsecurity and c.relforcerowsecurity)"""
    )


def test_there_is_one_permissive_policy_for_a_role_and_a_command(names: Query) -> None:
    assert not names(
        """select schemaname || '.' || tablename || ': ' || role || ' ' || cmd
        from pg_policies, unnest(roles) as role where schemaname in ('public', 'app')
        group by schemaname, tablename, role, cmd having count(*) > 1"""
    )


def test_no_policy_is_for_everybody_or_for_all_commands(names: Query) -> None:
    assert not names(
        """select tablename || '.' || policyname from pg_policies
        where schemaname in ('public', 'app')
            and (roles && '{public,anon}' or cmd = 'ALL' or permissive <> 'PERMISSIVE')"""
    )


def test_policies_of_members_are_one_predicate_over_one_helper_evaluated_once(names: Query) -> None:
    brand = r"\((brand_id|id) = \( SELECT app\.brand_for\(''[a-z_:]+''::text\) AS brand_for\)\)"
    own = r"COALESCE\(\((id|campaign_id) = ANY \(\( SELECT app\.own_campaigns\(\) AS own_campaigns\)::uuid\[\]\)\),"
    own += r" true\)"
    allowed = (
        rf"^({brand}|\({brand} AND {own}\))$"
        r"|^\((user_id|id) = \( SELECT auth\.uid\(\) AS uid\)\)$"
    )
    public = "'consent_notices'"  # what everybody may read before they agree to it
    assert not names(
        f"""select tablename || '.' || policyname || ' ' || coalesce(qual, with_check) from pg_policies
        where schemaname in ('public', 'app') and roles && '{{authenticated,app_fan}}' and tablename not in ({public})
            and not (coalesce(qual, with_check) ~ '{allowed}' and coalesce(with_check, qual) ~ '{allowed}')"""
    )


def test_policies_of_members_ask_whether_the_campaign_is_theirs_wherever_there_is_one(names: Query) -> None:
    assert not names(
        """select p.tablename || '.' || p.policyname from pg_policies p
        join pg_attribute a on a.attrelid = format('%I.%I', p.schemaname, p.tablename)::regclass
            and (a.attname = 'campaign_id' or p.tablename = 'campaigns' and a.attname = 'id')
        where p.schemaname in ('public', 'app') and p.roles && '{authenticated}'
            and p.tablename <> 'campaign_assignments'  -- of those who see all campaigns
            and coalesce(p.qual, p.with_check) !~ 'own_campaigns'"""
    )


def test_views_run_with_their_caller_s_rights(names: Query) -> None:
    assert not names(
        f"""select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('v', 'm') and {OURS.format(oid="c.oid")}
            and not coalesce(c.reloptions @> array['security_invoker=true'], false)"""
    )


def test_definer_functions_belong_to_the_definer_and_pin_their_search_path(names: Query) -> None:
    assert not names(
        f"""select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.prosecdef and {OURS.format(oid="p.oid")}
            and (p.proowner <> 'app_definer'::regrole or not coalesce(p.proconfig @> array['search_path=""'], false))"""
    )


def test_no_definer_function_may_be_called_by_everybody(names: Query) -> None:
    assert not names(
        f"""select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.prosecdef and {OURS.format(oid="p.oid")}
            and (p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0))"""
    )


def test_members_and_fans_never_get_truncate_trigger_or_references(names: Query) -> None:
    assert not names(
        """select table_name || ': ' || grantee || ' ' || privilege_type from information_schema.role_table_grants
        where table_schema in ('public', 'app') and privilege_type in ('TRUNCATE', 'TRIGGER', 'REFERENCES')
            and grantee not in ('postgres', 'supabase_admin', 'app_definer')"""
    )


def test_nothing_is_granted_to_supabase_s_open_roles(names: Query) -> None:
    assert not names(
        """select table_name || ': ' || grantee from information_schema.role_table_grants
        where table_schema in ('public', 'app') and grantee in ('PUBLIC', 'anon', 'service_role')"""
    )


def test_only_the_owner_may_step_over_row_level_security(names: Query) -> None:
    assert sorted(names("select rolname from pg_roles where (rolbypassrls or rolsuper) and rolname !~ '^pg_'")) == [
        "postgres",
        "service_role",
        "supabase_admin",
    ]


def test_logins_inherit_nothing(names: Query) -> None:
    assert not names(
        "select rolname from pg_roles where rolname like 'app\\_%' and rolcanlogin and (rolinherit or rolbypassrls)"
    )


def test_foreign_keys_between_tenants_tables_carry_the_tenant(names: Query) -> None:
    assert not names(
        """select c.conname from pg_constraint c
        where c.contype = 'f' and c.connamespace::regnamespace::text in ('public', 'app')
            and c.confrelid not in ('public.brands'::regclass, 'public.users'::regclass, 'public.roles'::regclass)
            and exists (select from pg_attribute a where a.attrelid = c.conrelid and a.attname = 'brand_id')
            and exists (select from pg_attribute a where a.attrelid = c.confrelid and a.attname = 'brand_id')
            and not exists (select from pg_attribute a where a.attrelid = c.conrelid and a.attnum = any (c.conkey)
                and a.attname = 'brand_id')
            and c.conname <> 'consent_events_consent_id_fkey'"""
    )


def test_every_foreign_key_has_an_index_that_begins_with_it(names: Query) -> None:
    reasoned = {
        # Never searched by, and what they point to is never deleted.
        "app.invitations.invited_by",
        "app.invitations.role_id",
        "app.invitations.brand_id",
        "public.campaign_assignments.assigned_by",
        "app.signups.upgrades_user_id",
        "public.campaigns.created_by",
        "public.users.role_id",
        "public.consents.notice_id",
        "public.consents.brand_id",
        "public.consent_events.notice_id",
        "public.consent_events.brand_id",
        "public.consent_events.consent_id",
        "public.device_fingerprints.brand_id",
        "public.qr_scans.user_id",
        "public.contacts.user_id",
        "public.engagements.user_id",
        "public.qr_scans.code_id",
    }
    found = names(
        """select c.conrelid::regclass::text, (select array_agg(a.attname::text order by k.ord)
            from unnest(c.conkey) with ordinality k (attnum, ord)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum)
        from pg_constraint c
        where c.contype = 'f' and c.connamespace::regnamespace::text in ('public', 'app')
            and not exists (select from pg_index i where i.indrelid = c.conrelid
                and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
            and not exists (select from pg_index i where i.indrelid = c.conrelid
                and (i.indkey::int2[])[0] in (select a.attnum from pg_attribute a where a.attrelid = c.conrelid
                    and a.attname in ('campaign_id', 'device_fp_id', 'segment_id') and a.attnum = any (c.conkey)))"""
    )
    names_of = {f"{table if '.' in table else 'public.' + table}.{columns[-1]}" for table, columns in found}
    assert names_of - reasoned == set()


def test_values_that_are_filtered_under_policies_have_leakproof_types(names: Query) -> None:
    assert not names(
        """select c.relname || '.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
        join pg_type t on t.oid = a.atttypid
        where c.relnamespace::regnamespace::text in ('public', 'app') and c.relkind in ('r', 'p') and a.attnum > 0
            and (t.typtype = 'e' or t.typname = 'numeric')"""
    )
