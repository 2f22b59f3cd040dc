-- The parts of a new Supabase project that migrations depend on: roles with attributes and memberships, owners of
-- schemas, grants, and default privileges. The platform's superuser runs it on each empty database of a cluster.
-- Sources: supabase/postgres, migrations/db; supabase/auth, migrations.

do $$
declare
    spec record;
begin
    for spec in
        select * from (values
            ('postgres', 'login nosuperuser createdb createrole replication bypassrls'),
            ('anon', 'nologin'),
            ('authenticated', 'nologin'),
            ('service_role', 'nologin bypassrls'),
            ('authenticator', 'login noinherit'),
            ('supabase_auth_admin', 'login noinherit createrole'),
            ('supabase_storage_admin', 'login noinherit createrole'),
            ('supabase_realtime_admin', 'nologin noinherit'),
            ('supabase_replication_admin', 'login replication'),
            ('supabase_etl_admin', 'login replication'),
            ('supabase_read_only_user', 'login bypassrls'),
            ('dashboard_user', 'nologin createdb createrole replication')
        ) as roles (name, attributes)
    loop
        if not exists (select from pg_roles where rolname = spec.name) then
            execute format('create role %I %s', spec.name, spec.attributes);
        end if;
    end loop;
    grant anon, authenticated, service_role to authenticator, postgres;
    grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
    grant pg_read_all_data to supabase_read_only_user, supabase_etl_admin;
    execute format('alter database %I owner to postgres', current_database());
    execute format('alter database %I set search_path = "$user", public, extensions', current_database());
end
$$;

create publication supabase_realtime;

-- Everything that is made in `public` is open to the API by itself, unless somebody says otherwise.
grant usage on schema public to postgres, anon, authenticated, service_role;
revoke create on schema public from public;
alter schema public owner to postgres;
alter default privileges for role postgres in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
    grant all on sequences to postgres, anon, authenticated, service_role;

create schema extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;
grant all on schema extensions to dashboard_user;
create extension "uuid-ossp" with schema extensions;
create extension pgcrypto with schema extensions;
-- Installed from the dashboard, which the platform's superuser does on the project's behalf.
create extension postgis with schema extensions;

create schema auth authorization supabase_admin;
grant all on schema auth to supabase_auth_admin, dashboard_user;
grant usage on schema auth to anon, authenticated, service_role, postgres;
create table auth.users (
    instance_id uuid,
    id uuid primary key,
    aud varchar(255),
    role varchar(255),
    email varchar(255),
    encrypted_password varchar(255),
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    created_at timestamptz,
    updated_at timestamptz
);
alter table auth.users enable row level security;
alter table auth.users owner to supabase_auth_admin;
grant all on auth.users to postgres, dashboard_user;

create function auth.uid() returns uuid language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
    )::uuid
$$;
create function auth.role() returns text language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
    )::text
$$;
create function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
    )::jsonb
$$;
alter function auth.uid() owner to supabase_auth_admin;
alter function auth.role() owner to supabase_auth_admin;
alter function auth.jwt() owner to supabase_auth_admin;
grant execute on function auth.uid(), auth.role() to dashboard_user;
grant execute on function auth.jwt() to postgres, dashboard_user;

create schema storage authorization supabase_admin;
grant usage on schema storage to postgres, anon, authenticated, service_role;
grant all on schema storage to supabase_storage_admin;
create schema realtime authorization supabase_admin;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
create schema vault authorization supabase_admin;
create schema graphql_public authorization supabase_admin;
grant usage on schema graphql_public to postgres, anon, authenticated, service_role;
