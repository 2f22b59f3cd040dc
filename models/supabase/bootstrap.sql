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

create or replace function auth.jwt() returns jsonb language sql stable as $$
    select nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;
create or replace function auth.uid() returns uuid language sql stable as $$
    select nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub', '')::uuid
$$;
create or replace function auth.role() returns text language sql stable as $$
    select nullif(nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role', '')
$$;
grant execute on function auth.jwt(), auth.uid(), auth.role() to public;
