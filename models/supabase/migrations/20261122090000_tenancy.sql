-- Roles, logins and their limits; functions that row policies use; the procedure that secures a table.

alter default privileges revoke execute on functions from public;
alter default privileges in schema public revoke all on tables from anon, authenticated, service_role;
alter default privileges in schema public revoke all on sequences from anon, authenticated, service_role;
alter default privileges in schema public revoke all on functions from anon, authenticated, service_role;

create schema app;

-- Supabase has these extensions. On a plain PostgreSQL, bootstrap.sql creates them.
create extension if not exists postgis with schema extensions;
create extension if not exists pgcrypto with schema extensions;

do $$
declare
    spec record;
begin
    for spec in
        select * from (values
            -- Roles that a transaction takes with SET ROLE
            ('app_public', 'nologin'),          -- anonymous request: may call a short list of functions
            ('app_fan', 'nologin'),             -- fan: rows with user_id = auth.uid()
            ('app_admin', 'nologin'),           -- system admin
            ('app_job', 'nologin'),             -- job of a brand: rows with brand_id = app.job_brand()
            ('app_system', 'nologin'),          -- named system job
            ('app_credentials', 'nologin'),     -- password hashes, addresses, factors, sessions, links: functions only
            ('app_sealer', 'nologin'),          -- adds entries to the audit chain
            ('app_definer', 'nologin'),         -- owns the definer functions; needs no BYPASSRLS
            ('app_audit_definer', 'nologin'),   -- owns the definer functions that seal and prune the audit trail
            -- Logins
            ('app_web', 'login noinherit'),
            ('app_account', 'login noinherit'),
            ('app_scan', 'login noinherit'),
            ('app_worker', 'login noinherit'),
            ('app_seal', 'login noinherit')
        ) as roles (name, attributes)
    loop
        if not exists (select from pg_roles where rolname = spec.name) then
            execute format('create role %I %s', spec.name, spec.attributes);
        end if;
    end loop;
end
$$;

-- Keep statements and error messages of the logins out of the server log: they contain personal values. This needs the
-- right to set the parameters (docs/security.md). The application's log has the errors, redacted.
do $$
declare
    login text;
    setting record;
begin
    foreach login in array array['app_web', 'app_account', 'app_scan', 'app_worker', 'app_seal'] loop
        for setting in
            select * from (values
                ('log_min_messages', 'log'),          -- in a server's order LOG is above ERROR: lock waits and worse
                ('log_min_error_statement', 'panic'),
                ('log_statement', 'none'),
                ('log_min_duration_statement', '-1'),
                ('log_min_duration_sample', '-1'),
                ('log_parameter_max_length', '0')
            ) as settings (name, value)
            where has_parameter_privilege(settings.name, 'SET')
        loop
            execute format('alter role %I set %s = %L', login, setting.name, setting.value);
        end loop;
    end loop;
end
$$;

-- Limit the time for which a hung or hostile client can hold a connection or locks. models/core/database.py sets a
-- shorter statement_timeout for each transaction.
-- Jobs may compute for ten minutes between two statements (`time_limit`).
do $$
declare
    spec record;
begin
    for spec in
        select * from (values
            ('app_web', '60s', '60s'),
            ('app_account', '60s', '60s'),
            ('app_scan', '10s', '30s'),
            ('app_worker', '15min', '15min'),
            ('app_seal', '5min', '5min')
        ) as limits (login, idle, statement)
    loop
        execute format('alter role %I set idle_in_transaction_session_timeout = %L', spec.login, spec.idle);
        execute format('alter role %I set statement_timeout = %L', spec.login, spec.statement);
    end loop;
end
$$;

-- Deny temporary objects: a caller could shadow a name that a function uses. If the migrating role does not own the
-- database, the revoke has no effect, and only the search paths of the functions protect them.
do $$
begin
    execute format('revoke temporary on database %I from public', current_database());
    if has_database_privilege('app_web', current_database(), 'TEMPORARY') then
        raise warning 'every login may create temporary objects in this database: its owner must revoke TEMPORARY';
    end if;
end
$$;

-- Grant the advisory locks that are used. bootstrap.sql revokes all from PUBLIC; without it every login has them.
--   app_definer  email addresses, mirrored accounts, keys of scan limits, notifications
--   app_job      contacts, engagements and overviews (models/core/locks.py)
--   app_worker   liveness lock of a worker (jobs/engine/worker/liveness.py)
grant execute on function pg_catalog.pg_advisory_xact_lock(bigint) to app_definer, app_job;
grant execute on function pg_catalog.pg_try_advisory_xact_lock(bigint) to app_definer;
grant execute on function pg_catalog.pg_advisory_xact_lock_shared(bigint) to app_definer;
grant execute on function pg_catalog.pg_advisory_lock(int, int) to app_worker;

grant app_public, authenticated, app_fan to app_web;
grant app_credentials, app_admin to app_account;
grant app_job, app_fan, app_system to app_worker;
grant app_sealer to app_seal;
grant app_definer to current_user;

grant usage on schema app to app_public, authenticated, app_fan, app_admin, app_job, app_system, app_credentials,
    app_sealer, app_definer, app_audit_definer, app_web, app_account, app_scan, app_worker, app_seal;
grant usage on schema public to app_public, app_fan, app_admin, app_job, app_system, app_credentials, app_sealer,
    app_definer, app_audit_definer;
-- Functions and columns use the types of PostGIS and pgcrypto. Supabase grants this schema to its own roles only.
grant usage on schema extensions to app_fan, app_admin, app_job, app_system, app_definer;

-- Make app_definer (or p_owner) the owner of a function or procedure, and grant it to the roles p_to. Then it sees the
-- same rows whichever role ran the migrations.
create procedure app.grant_definer(p_function regprocedure, p_to text[], p_owner text default 'app_definer')
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    grantee text;
begin
    -- PostgreSQL requires CREATE on the schema of the new owner.
    execute format('grant create on schema app to %I', p_owner);
    execute format('alter routine %s owner to %I', p_function, p_owner);
    execute format('revoke create on schema app from %I', p_owner);
    execute format('revoke all on routine %s from public', p_function);
    foreach grantee in array p_to loop
        execute format('grant execute on routine %s to %I', p_function, grantee);
    end loop;
end
$$;

-- Refuse useless rights of app.secure: no role at all, or an unknown permission.
create procedure app.check_rights(p_table regclass, p_member jsonb, p_others text, p_definer_only boolean)
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    unknown text;
begin
    if (p_member = '{}' and p_others = '') <> p_definer_only then
        raise exception 'app.secure(%): %', quote_literal(p_table), case
            when p_definer_only then 'p_definer_only => true contradicts the named roles'
            else 'no role may read or change the table: name roles (p_member, p_own, p_fan, p_job, p_admin, p_system),'
                ' or set p_definer_only => true if only definer functions use it (docs/tenancy.md)'
        end;
    end if;
    if p_member <> '{}' then
        select m.value into unknown from jsonb_each_text(p_member) m
        where not exists (select from public.permissions p where p.name = m.value) limit 1;
        if unknown is not null then
            raise exception 'app.secure(%): the permission % does not exist: insert it into public.permissions first',
                quote_literal(p_table), quote_literal(unknown);
        end if;
    end if;
end
$$;

-- Enable row security on a table, with one permissive policy and one grant for each pair of role and command.
-- Arguments name the commands of a role:
--   p_member  {"select": "campaigns:read", "insert": "campaigns:write"}: members of a brand, by permission
--   p_fan     'select,insert': rows of the fan
--   p_own     rows of the member or system admin who signed in
--   p_job     rows of the job's brand
--   p_admin, p_system, p_sealer: every row
--   p_campaign_column  column with the row's campaign: members who may not see all campaigns see rows of their own
--   p_definer_only     true: no role has a right; only definer functions read and change the table
create procedure app.secure(
    p_table regclass,
    p_member jsonb default '{}',
    p_fan text default '',
    p_job text default '',
    p_admin text default '',
    p_system text default '',
    p_sealer text default '',
    p_brand_column text default 'brand_id',
    p_fan_column text default 'user_id',
    p_campaign_column text default null,
    p_definer_only boolean default false,
    p_own text default ''
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    rule record;
    predicate text;
begin
    call app.check_rights(p_table, p_member, concat(p_own, p_fan, p_job, p_admin, p_system, p_sealer), p_definer_only);
    execute format('alter table %s enable row level security', p_table);
    execute format('alter table %s force row level security', p_table);
    execute format('revoke all on table %s from public, anon, authenticated, service_role', p_table);
    -- One row per policy: role, command and predicate.
    for rule in
        select 'authenticated' as role, key as command,
            format('%I = (select app.brand_for(%L))', p_brand_column, value) || case
                when p_campaign_column is null then ''
                else format(' and coalesce(%I = any ((select app.own_campaigns())::uuid[]), true)', p_campaign_column)
            end as predicate
        from jsonb_each_text(p_member)
        union all
        select 'app_fan', trim(command), format('%I = (select auth.uid())', p_fan_column)
        from string_to_table(nullif(p_fan, ''), ',') as command
        union all
        select own.role, trim(command), format('%I = (select auth.uid())', p_fan_column)
        from string_to_table(nullif(p_own, ''), ',') as command,
            unnest(array['authenticated', 'app_admin']) as own (role)
        union all
        select 'app_job', trim(command), format('%I = (select app.job_brand())', p_brand_column)
        from string_to_table(nullif(p_job, ''), ',') as command
        union all
        select 'app_admin', trim(command), 'true' from string_to_table(nullif(p_admin, ''), ',') as command
        union all
        select 'app_system', trim(command), 'true' from string_to_table(nullif(p_system, ''), ',') as command
        union all
        select 'app_sealer', trim(command), 'true' from string_to_table(nullif(p_sealer, ''), ',') as command
        union all
        select 'app_definer', command, 'true' from unnest(array['select', 'insert', 'update', 'delete']) as command
    loop
        -- INSERT has only a check of new rows, SELECT and DELETE only a condition on old rows, UPDATE has both.
        predicate := case rule.command
            when 'insert' then format('with check (%s)', rule.predicate)
            when 'update' then format('using (%1$s) with check (%1$s)', rule.predicate)
            else format('using (%s)', rule.predicate)
        end;
        execute format('create policy %I on %s for %s to %I %s',
            rule.role || '_' || rule.command, p_table, rule.command, rule.role, predicate);
        execute format('grant %s on table %s to %I', rule.command, p_table, rule.role);
    end loop;
end
$$;

-- Return the claims of this transaction; null for an anonymous request.
create function app.claims() returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return nullif(current_setting('request.jwt.claims', true), '')::jsonb;
end
$$;
grant execute on function app.claims() to public;

-- Return the brand of the job that this transaction runs.
create function app.job_brand() returns uuid language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (app.claims() #>> '{app_metadata,brand_id}')::uuid;
end
$$;
grant execute on function app.job_brand() to app_job, app_definer;

-- Raise an error that clients get as an HTTP problem: SQLSTATE PTnnn is the status, the message is the error code.
-- Every code is registered in models/core/errors.py.
create function app.refuse(p_status int, p_code text, p_detail text default '') returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception using errcode = 'PT' || p_status, message = p_code, detail = p_detail;
end
$$;
grant execute on function app.refuse(int, text, text) to public;
