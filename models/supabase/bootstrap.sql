-- Give a plain PostgreSQL database the roles, schemas and functions of a Supabase database. Needs a superuser.
-- Run it once per database, before the migrations; running it again is safe. A Supabase project does not need it.

do $$
begin
    if not exists (select from pg_roles where rolname = 'postgres') then
        create role postgres login nosuperuser createdb createrole replication bypassrls;
    end if;
    if not exists (select from pg_roles where rolname = 'anon') then
        create role anon nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'authenticated') then
        create role authenticated nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'service_role') then
        create role service_role nologin bypassrls;
    end if;
    grant anon, authenticated, service_role to postgres;
    execute format('alter database %I owner to postgres', current_database());
end
$$;

-- Let `postgres` limit the server log of the application's logins: their statements contain personal values.
grant set on parameter log_min_messages, log_min_error_statement, log_statement, log_min_duration_statement,
    log_min_duration_sample, log_parameter_max_length to postgres;

-- Revoke default rights of every role that the application's logins do not need.
-- Temporary objects: they shadow types and functions in a function that sets no search path.
-- Advisory locks: one role could block another. Large objects: they have no row policies.
-- `postgres` grants single roles the functions that they use (migrations/…_tenancy.sql).
do $$
declare
    denied regprocedure;
begin
    execute format('revoke temporary on database %I from public', current_database());
    for denied in
        select p.oid from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace
            and p.proname ~ '^(pg_(try_)?advisory_|lo_|loread$|lowrite$)'
    loop
        execute format('revoke execute on function %s from public', denied);
        execute format('grant execute on function %s to postgres with grant option', denied);
    end loop;
end
$$;

alter schema public owner to postgres;
grant usage on schema public to anon, authenticated, service_role;
revoke create on schema public from public;

create schema if not exists extensions;
alter schema extensions owner to postgres;
revoke usage on schema extensions from public;
grant usage on schema extensions to anon, authenticated, service_role;
create extension if not exists postgis with schema extensions;
create extension if not exists pgcrypto with schema extensions;

create schema if not exists auth;
revoke usage on schema auth from public;
grant usage on schema auth to postgres, anon, authenticated, service_role;

-- Policies inline these functions. SQL-standard bodies resolve names now, so the caller's search path has no effect.
create or replace function auth.jwt() returns jsonb language sql stable
    return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
create or replace function auth.uid() returns uuid language sql stable
    return nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid;
create or replace function auth.role() returns text language sql stable
    return nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role', '');
grant execute on function auth.jwt(), auth.uid(), auth.role() to public;
