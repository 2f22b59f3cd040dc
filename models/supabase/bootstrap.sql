-- What only a superuser may do on a bare PostgreSQL, so that it looks to us like a Supabase database.
-- Run once per database, before the migrations; may be run again. A Supabase project never needs it.

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

-- What the server writes down of our logins is theirs to limit: their statements hold people's values.
grant set on parameter log_min_messages, log_min_error_statement, log_statement, log_min_duration_statement,
    log_min_duration_sample, log_parameter_max_length to postgres;

-- What every role may do by default and no login of ours needs. Temporary objects shadow the types and functions of a
-- function that forgets its search path. Advisory locks can be held against others. Large objects have no policies.
-- `postgres` grants to single roles what they use (migrations/…_tenancy.sql).
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

-- Policies inline these. Standard bodies: their names are resolved here, whatever the caller's search path says.
create or replace function auth.jwt() returns jsonb language sql stable
    return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
create or replace function auth.uid() returns uuid language sql stable
    return nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid;
create or replace function auth.role() returns text language sql stable
    return nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role', '');
grant execute on function auth.jwt(), auth.uid(), auth.role() to public;
