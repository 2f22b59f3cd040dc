"""Lints of logins beyond rows: credentials through functions, temporary objects, locks, large objects, limits."""

from tests.rls.lints import PINNED, Lint

ACCOUNT = "('app_credentials', 'app_admin')"
"""Roles that only the account login can take."""
LOGIN = "rolcanlogin and rolname ~ '^app_'"
CREDENTIAL_TABLES = (
    "app.sessions",
    "app.active_users",
    "app.live_sessions",
    "app.refresh_tokens",
    "app.totp_factors",
    "app.recovery_codes",
    "app.password_resets",
    "app.email_changes",
    "app.signups",
)
_NAMES = "|".join(table.removeprefix("app.") for table in CREDENTIAL_TABLES)

_ENDS = "ends sessions and voids links of a member whom the caller may change; returns no credential"
_MEMBER = "returns addresses of the brand's own members and invitations"
_MAIL = "returns the address of one mail, by the id of the link or account"
MAY_TOUCH = {
    **{
        f"app.{name} → {role}": "only refuses"
        for name in ("require_session()", "require_recent(interval)")
        for role in ("authenticated", "app_fan")
    },
    "app.members(uuid) → authenticated": _MEMBER,
    "app.assignments(uuid) → authenticated": _MEMBER,
    "app.members_to_enrol(uuid) → app_job": _MEMBER,
    "app.invite(uuid,uuid,text,text,interval,integer,integer) → authenticated": _MEMBER,
    "app.renew_invitation(uuid,uuid,interval,integer) → authenticated": _MEMBER,
    "app.change_member_role(uuid,uuid,text) → authenticated": _ENDS,
    "app.remove_member(uuid,uuid) → authenticated": _ENDS,
    "app.find_contacts(integer,boolean,text,uuid,integer,text,text[],jsonb,uuid,text,text,text) → authenticated": (
        "addresses of a brand's contacts, not of accounts"
    ),
    "app.record_scans(jsonb) → app_scan": "checks that the session is live",
    "app.signup_mail(uuid) → app_system": _MAIL,
    "app.reset_mail(uuid) → app_system": _MAIL,
    "app.change_mail(uuid) → app_system": _MAIL,
    "app.account_mail(uuid) → app_system": _MAIL,
    "app.invitation_mail(uuid) → app_job": _MAIL,
    "app.notification_mail(uuid) → app_system": _MAIL,
    **{
        f"app.notification_recipients(text,text,text,text) → {role}": "returns ids of active members only"
        for role in ("app_job", "app_system")
    },
    "app.delete_expired(text,interval) → app_system": "deletes rows that have expired",
    "app.begin_link(text,uuid,interval) → app_job": "only shortens the life of a link",
    "app.begin_link(text,uuid,interval) → app_system": "only shortens the life of a link",
}
"""Functions that touch credentials and are granted to roles of other logins, with the reason."""

LOGINS = [
    Lint(
        "a function that touches credentials is granted to others than the account login",
        rf""", touching as (
            select f.oid, f.name, f.proname, f.acl, f.proowner from functions f
            where f.prosrc ~ '\mpassword_hash\M|\mapp\.({_NAMES})\M|\.email\M'
            union
            select f.oid, f.name, f.proname, f.acl, f.proowner
            from functions f join touching t on f.prosrc ~ ('\mapp\.' || t.proname || '\(')
        )
        select t.name || ' → ' || coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC')
        from touching t, aclexplode(t.acl) a where a.grantee <> t.proowner
            and coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') not in {ACCOUNT}""",
        f"""
        create function app.broken() returns int language plpgsql security definer {PINNED}
            as 'begin return app.end_sessions(auth.uid()); end';
        call app.grant_definer('app.broken()', array['app_fan']);
        """,
        MAY_TOUCH,
    ),
    Lint(
        "a table of credentials is granted to a role",
        f"""select g.name || ' → ' || g.grantee::regrole from grants g join relations r
            on g.name = r.name or starts_with(g.name, r.name || '.')
        where r.name in {CREDENTIAL_TABLES} and g.grantee not in ('app_definer'::regrole, r.relowner)""",
        "grant select (id) on app.sessions to app_fan",
    ),
    Lint(
        "a role may read or write a password hash, or write an address",
        """select a.attname || ' ' || p.privilege || ' ' || r.rolname
        from pg_attribute a, pg_roles r, unnest(array['SELECT', 'INSERT', 'UPDATE']) as p (privilege)
        where a.attrelid = 'public.users'::regclass and a.attname in ('password_hash', 'email')
            and r.rolname ~ '^(app_|authenticated)' and r.rolname <> 'app_definer'
            and has_column_privilege(r.oid, a.attrelid, a.attnum, p.privilege)""",
        "grant update (email) on public.users to app_fan",
        {
            "email SELECT authenticated": "the own profile",
            "email SELECT app_fan": "the own profile",
            "email SELECT app_credentials": "the own account",
            "email SELECT app_admin": "system admins search accounts by address",
        },
    ),
    Lint(
        "a role of ours may create objects in a schema",
        """select nspname || ' ' || rolname from pg_namespace, pg_roles
        where rolname ~ '^app_' and has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'CREATE')
            and nspname !~ '^pg_(toast_)?temp_'""",
        "grant create on schema app to app_definer",
        {"app_partitions app_definer": "partitions of the job history and the engagement events only"},
    ),
    Lint(
        "a login may make temporary objects",
        f"""select rolname::text from pg_roles
        where {LOGIN} and has_database_privilege(oid, current_database(), 'TEMPORARY')""",
        "do $$ begin execute format('grant temporary on database %I to app_scan', current_database()); end $$",
    ),
    Lint(
        "a login has no timeout of statements or idle transactions",
        f"""select rolname || ' ' || s.setting from pg_roles,
            unnest(array['statement_timeout', 'idle_in_transaction_session_timeout']) as s (setting)
        where {LOGIN} and not exists (
            select from unnest(rolconfig) c where starts_with(c, s.setting || '=') and c <> s.setting || '=0')""",
        "alter role app_web reset statement_timeout",
    ),
    Lint(
        "a function has an unpinned body and a language of SQL or PL/pgSQL in schema auth",
        """select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = 'auth'::regnamespace and p.prosqlbody is null and p.proconfig is null
            and p.proowner not in (select oid from pg_roles where rolname = 'supabase_auth_admin')""",
        "create function auth.broken() returns uuid language sql stable as 'select null::uuid'",
    ),
]

LOCKS = {
    "pg_advisory_xact_lock(bigint) app_definer": "addresses, mirrored people, keys of scan limits",
    "pg_try_advisory_xact_lock(bigint) app_definer": "keys of scan limits",
    "pg_advisory_xact_lock_shared(bigint) app_definer": "previews of segments at the same time",
    "pg_advisory_xact_lock(bigint) app_job": "contacts, engagements, overviews",
    "pg_advisory_lock(integer,integer) app_worker": "liveness of a worker",
}
BOOTSTRAPPED = Lint(
    "a role may take advisory locks or write large objects",
    """select p.oid::regprocedure || ' ' || rolname from pg_proc p, pg_roles
    where p.pronamespace = 'pg_catalog'::regnamespace and p.proname ~ '^(pg_(try_)?advisory_|lo_|loread$|lowrite$)'
        and rolname ~ '^(app_|anon$|authenticated$)' and has_function_privilege(pg_roles.oid, p.oid, 'EXECUTE')""",
    "grant execute on function pg_catalog.pg_advisory_lock(bigint) to app_scan",
    LOCKS,
)
"""Holds for bootstrapped databases. Elsewhere only the platform's superuser could revoke these."""
