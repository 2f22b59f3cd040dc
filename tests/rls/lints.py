"""Rules that the catalogue must not break: those of Supabase's splinter and our own.

Each lint is a query for the names of offenders. `allowed` lists the exceptions with their reasons. `broken` creates an
offender, which the lint must find.
"""

from dataclasses import dataclass, field

from psycopg2.extensions import cursor

OURS = "('public', 'app', 'app_partitions')"
NARROWS = "narrows the policy of the brand to media, for roles that see only campaigns"
TENANTS = "'{authenticated,app_fan,app_job,app_public}'"
"""Roles that see only some rows of a table."""
OPEN = "array(select oid from pg_roles where rolname in ('anon', 'service_role', 'authenticator'))"
"""Supabase's roles for holders of the project's public or secret key."""

RELATIONS = f"""
    relations as (
        select c.oid, n.nspname || '.' || c.relname as name, c.relkind as kind, c.relrowsecurity, c.relforcerowsecurity,
            c.relispartition, c.relacl, c.relowner, c.reloptions
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in {OURS} and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
    ),
    functions as (
        select p.oid, p.oid::regprocedure::text as name, n.nspname as schema, p.prosecdef, p.proowner, p.proname,
            p.prosrc || coalesce(pg_get_function_sqlbody(p.oid), '') as prosrc,
            coalesce(p.proacl, acldefault('f', p.proowner)) as acl, p.prolang,
            coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false) as is_pinned,
            p.prosqlbody is not null as is_bound
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in {OURS} and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    ),
    policies as (
        select schemaname || '.' || tablename as relation, schemaname || '.' || tablename || '.' || policyname as name,
            permissive, roles, cmd, coalesce(qual, with_check) as visible, coalesce(with_check, qual) as written,
            concat_ws(' ', qual, with_check) as text
        from pg_policies where schemaname in {OURS}
    ),
    grants as (
        select name, (aclexplode(relacl)).* from relations
        union all
        select name || '.' || a.attname, (aclexplode(a.attacl)).*
        from relations join pg_attribute a on a.attrelid = relations.oid and a.attnum > 0 where a.attacl is not null
    ),
    tenants as (
        select r.* from relations r join pg_attribute a on a.attrelid = r.oid and a.attname = 'brand_id'
        where r.kind in ('r', 'p') and not r.relispartition
    )
"""


@dataclass(frozen=True)
class Lint:
    """A rule: its name, the query for offenders, an offender, and the exceptions."""

    name: str
    finds: str
    broken: str
    allowed: dict[str, str] = field(default_factory=dict)

    def offenders(self, cur: cursor) -> set[str]:
        """Return the names of objects that break the rule."""
        cur.execute(f"with recursive {RELATIONS} {self.finds}")
        return {row[0] for row in cur.fetchall()} - set(self.allowed)

    def unused_exceptions(self, cur: cursor) -> set[str]:
        """Return the exceptions that the query no longer finds."""
        cur.execute(f"with recursive {RELATIONS} {self.finds}")
        return set(self.allowed) - {row[0] for row in cur.fetchall()}


PINNED = "set search_path = pg_catalog, pg_temp"
"""The setting of every function. A search path without `pg_temp` searches it first for types and tables."""

CALL = r"\( SELECT (auth|app)\.\w+\((''[^'']*''::text)?\) AS \w+\)"
"""A helper in a policy: a subquery without arguments from the row, so that it is evaluated once."""

OWN_CAMPAIGNS = r"\( SELECT app\.own_campaigns\(\) AS own_campaigns\)::uuid\[\]"
OWN_CAMPAIGN = rf"COALESCE\(\((id|campaign_id) = ANY \({OWN_CAMPAIGNS}\)\), true\)"
PREDICATE = rf"(\(\w+ = {CALL}\)|\(\(\w+ = {CALL}\) AND {OWN_CAMPAIGN}\))"
"""One column compared with one helper and, for tables with a campaign, the check of the member's campaigns."""

TABLE = """
    create table public.broken (id uuid primary key, brand_id uuid not null, other_id uuid);
    call app.secure('public.broken', p_member => '{"select": "brand:read"}');
    create index on public.broken (brand_id);
"""

RLS = [
    Lint(
        "row level security is off",
        "select name from relations where kind in ('r', 'p') and not relrowsecurity",
        "alter table public.campaigns disable row level security",
    ),
    Lint(
        "row level security is not forced on the owner",
        "select name from relations where kind in ('r', 'p') and not relforcerowsecurity",
        "alter table public.campaigns no force row level security",
    ),
    Lint(
        "a table has policies that are not in force",
        "select p.relation from policies p join relations r on r.name = p.relation where not r.relrowsecurity",
        "alter table app.job_history disable row level security",
    ),
    Lint(
        "a table has no policy",
        """select name from relations where kind in ('r', 'p') and not relispartition
            and name not in (select relation from policies)""",
        "create table app.broken (id int primary key); alter table app.broken enable row level security",
    ),
    Lint(
        "a partition has policies or grants of its own, past its table's",
        """select name from relations where relispartition and kind = 'r'
            and (name in (select relation from policies)
                or exists (select from grants g where g.name = relations.name and g.grantee <> relowner))""",
        "grant select on app_partitions.job_history_default to authenticated",
    ),
    Lint(
        "several permissive policies for a role and a command",
        """select relation || ': ' || role || ' ' || command
        from policies, unnest(roles) as role,
            unnest(case cmd when 'ALL' then '{SELECT,INSERT,UPDATE,DELETE}'::text[] else array[cmd] end) as command
        where permissive = 'PERMISSIVE' group by relation, role, command having count(*) > 1""",
        "create policy second on public.campaigns for select to authenticated using (true)",
    ),
    Lint(
        "a policy for PUBLIC, for all commands, or restrictive",
        "select name from policies where roles && '{public,anon}' or cmd = 'ALL' or permissive <> 'PERMISSIVE'",
        "create policy everybody on public.campaigns for select to public using (false)",
        {"public.assets.authenticated_private": NARROWS},
    ),
    Lint(
        "a policy of tenants is more than one column compared with one helper",
        rf"""select name from policies where roles && {TENANTS} and not (
            visible ~ '^{PREDICATE}$' and written ~ '^{PREDICATE}$')""",
        "alter policy authenticated_select on public.campaigns using (brand_id = app.brand_for('a:b') or id is null)",
        {
            "public.assets.authenticated_private": NARROWS,
            **{
                f"public.consent_notices.{role}_select": "public before consent is given"
                for role in ("authenticated", "app_fan", "app_public", "app_job")
            },
        },
    ),
    Lint(
        "a policy of members does not check that the campaign is theirs",
        """select p.name from policies p join relations r on r.name = p.relation
        join pg_attribute a on a.attrelid = r.oid
            and (a.attname = 'campaign_id' or r.name = 'public.campaigns' and a.attname = 'id')
        where p.roles && '{authenticated}' and p.text !~ 'own_campaigns'""",
        "alter policy authenticated_select on public.campaigns using (brand_id = (select app.brand_for('a:b')))",
        {
            f"public.{table}.authenticated_select": "for roles that see all campaigns"
            for table in ("campaign_assignments", "campaign_members", "contact_activity")
        },
    ),
    Lint(
        "a policy of tenants is always true",
        f"select name from policies where roles && {TENANTS} and 'true' in (visible, written)",
        "alter policy authenticated_update on public.users with check (true)",
        {
            f"public.consent_notices.{role}_select": "public before consent is given"
            for role in ("authenticated", "app_fan", "app_public", "app_job")
        },
    ),
    Lint(
        "a policy calls a function for every row",
        rf"""select name from policies where
            regexp_replace(text, '{CALL}', '', 'g') ~ '\w+\.\w+\(|current_setting\(|EXISTS|\( SELECT'""",
        """
        create function app.owns(p_brand uuid) returns uuid language plpgsql stable as 'begin return p_brand; end';
        alter policy app_admin_select on public.consents using (user_id = (select app.owns(user_id)));
        """,
    ),
    Lint(
        "a policy or function trusts user_metadata, which users write themselves",
        """select name from policies where text ~ 'user_metadata|raw_user_meta_data'
        union select name from functions where prosrc ~ 'user_metadata|raw_user_meta_data'""",
        """alter policy app_admin_select on public.consents using (
            (select auth.jwt() -> 'user_metadata' ->> 'is_admin') = 'true')""",
    ),
    Lint(
        "a tenant's policy compares a column that no index begins with",
        rf"""select distinct p.relation || '.' || a.attname from policies p join relations r on r.name = p.relation
        join pg_attribute a on a.attrelid = r.oid and a.attname = substring(p.visible from '^\(+(\w+) = ')
        where p.roles && {TENANTS} and not exists (
            select from pg_index i where i.indrelid = r.oid and i.indkey[0] = a.attnum
            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%s IS NOT NULL)', a.attname)))""",
        TABLE + "drop index public.broken_brand_id_idx",
        {
            **{
                f"app.{table}.{column}": "read by id or request; another index would slow down every job"
                for table in ("jobs", "job_history", "dead_jobs", "job_groups")
                for column in ("brand_id", "user_id")
            },
            "app.audit_personal_values.brand_id": "read by entry",
            "public.assets.purpose": NARROWS,
            "app.limit_counters.brand_id": "read by campaign",
            "public.audit_logs.brand_id": "two partial indexes begin with it: sealed and unsealed entries",
        },
    ),
]

FUNCTIONS = [
    Lint(
        "a function's search path is not pinned",
        "select name from functions where not is_pinned and not is_bound",
        "create function app.broken() returns int language plpgsql as 'begin return 1; end'",
    ),
    Lint(
        "a definer function belongs to neither app_definer nor app_audit_definer",
        """select name from functions
        where prosecdef and proowner not in ('app_definer'::regrole, 'app_audit_definer'::regrole)""",
        f"""create function app.broken() returns int language plpgsql security definer {PINNED}
            as 'begin end'""",
    ),
    Lint(
        "a definer function is planned for every statement",
        """select name from functions
        where prosecdef and prolang <> (select oid from pg_language where lanname = 'plpgsql')""",
        f"create function app.broken() returns int language sql security definer {PINNED} as 'select 1'",
    ),
    Lint(
        "a function may be called by PUBLIC",
        "select name from functions where exists (select from aclexplode(acl) a where a.grantee = 0)",
        f"""
        create function app.broken() returns int language plpgsql {PINNED} as 'begin return 1; end';
        grant execute on function app.broken() to public;
        """,
        {
            "app.claims()": "reads the claims that the caller set",
            "app.refuse(integer,text,text)": "raises the error that the caller names",
        },
    ),
    Lint(
        "a function may be called by a role of Supabase's API that we don't use",
        f"select name from functions where exists (select from aclexplode(acl) a where a.grantee = any ({OPEN}))",
        "grant execute on function app.claims() to anon",
    ),
    Lint(
        "a function is in the schema that Supabase's API serves",
        "select name from functions where schema = 'public'",
        "create function public.broken() returns int language sql as 'select 1'",
    ),
]

RELATIONS_LINTS = [
    Lint(
        "a view has more rights than its caller",
        """select name from relations where kind = 'v'
            and not coalesce(reloptions @> array['security_invoker=true'], false)""",
        "create view app.broken as select id from public.users",
    ),
    Lint(
        "a materialized view or foreign table has no row level security",
        "select name from relations where kind in ('m', 'f')",
        "create materialized view app.broken as select id from public.users",
    ),
    Lint(
        "a relation reaches into Supabase's schemas",
        """select distinct r.name from relations r
        join pg_depend d on d.refclassid = 'pg_class'::regclass and (
            d.objid in (select w.oid from pg_rewrite w where w.ev_class = r.oid)
            or d.objid in (select f.oid from pg_constraint f where f.conrelid = r.oid and f.contype = 'f'))
        join pg_class c on c.oid = d.refobjid
        where c.relnamespace::regnamespace::text in ('auth', 'storage', 'realtime', 'vault')""",
        """
        create table auth.people (id uuid primary key);
        create view app.broken with (security_invoker = true) as select id from auth.people;
        """,
    ),
    Lint(
        "something is granted to PUBLIC, or to a role of Supabase's API that we don't use",
        f"""select name || ' ' || privilege_type from grants where grantee = 0 or grantee = any ({OPEN})
        union all
        select nspname || ' ' || a.privilege_type from pg_namespace, aclexplode(nspacl) a
        where nspname = 'app' and (a.grantee = 0 or a.grantee = any ({OPEN}))
        union all
        select nspname || ' CREATE' from pg_namespace, aclexplode(nspacl) a
        where nspname = 'public' and a.privilege_type = 'CREATE'
            and a.grantee not in (nspowner, 'postgres'::regrole)""",
        "grant select (name) on public.campaigns to anon",
    ),
    Lint(
        "default privileges grant new objects",
        f"""select d.defaclnamespace::regnamespace || ' ' || a.grantee::regrole || ' ' || a.privilege_type
        from pg_default_acl d, aclexplode(d.defaclacl) a
        where d.defaclrole = (select relowner from relations where name = 'public.campaigns')
            and a.grantee = any ({OPEN} || 'authenticated'::regrole::oid)""",
        "alter default privileges for role postgres in schema public grant select on tables to anon",
    ),
    Lint(
        "more than rows is granted: truncate, trigger, references",
        """select g.name || ': ' || g.grantee::regrole || ' ' || g.privilege_type from grants g
        left join relations r using (name)
        where g.privilege_type in ('TRUNCATE', 'TRIGGER', 'REFERENCES') and g.grantee is distinct from r.relowner""",
        "grant truncate on public.campaigns to app_definer",
    ),
    Lint(
        "a table is broadcast to subscribers",
        f"select schemaname || '.' || tablename from pg_publication_tables where schemaname in {OURS}",
        "create publication broken for table public.campaigns",
    ),
    Lint(
        "an extension is in one of our schemas",
        f"""select extname from pg_extension where extnamespace::regnamespace::text in {OURS}""",
        "create extension btree_gist with schema public",
    ),
    Lint(
        "a schema that no lint covers",
        """select nspname from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'public',
            'app', 'app_partitions', 'supabase_migrations', 'extensions', 'auth', 'storage', 'realtime', 'vault',
            'graphql_public')""",
        "create schema broken",
    ),
]

ROLES = [
    Lint(
        "a role bypasses row level security",
        """select rolname::text from pg_roles where (rolbypassrls or rolsuper) and rolname !~ '^pg_'""",
        "create role broken bypassrls",
        {
            "postgres": "owner of the database; not a login of requests",
            "service_role": "Supabase's; has no grants on our objects",
            "supabase_admin": "the platform's superuser",
            "supabase_read_only_user": "the platform's, for its dashboard",
        },
    ),
    Lint(
        "a login has rights by itself, or is more than a login",
        r"""select rolname::text from pg_roles where rolname ~ '^app_' and
            (rolcanlogin and rolinherit or rolbypassrls or rolsuper or rolcreaterole or rolcreatedb
                or rolreplication)""",
        "alter role app_web inherit",
    ),
    Lint(
        "a login may become more than it is for",
        """select m.member::regrole || ' → ' || m.roleid::regrole from pg_auth_members m
        where m.member::regrole::text ~ '^app_' or m.roleid::regrole::text ~ '^app_'
            and m.member not in ('postgres'::regrole, 'supabase_admin'::regrole)""",
        "grant app_system to app_web",
        {
            **dict.fromkeys(("app_web → app_public", "app_web → authenticated", "app_web → app_fan"), "requests"),
            "app_account → app_admin": "system admins' requests",
            "app_account → app_credentials": "requests that read or change credentials or sessions",
            "app_seal → app_sealer": "the seal process",
            **dict.fromkeys(("app_worker → app_job", "app_worker → app_fan", "app_worker → app_system"), "jobs"),
        },
    ),
]
