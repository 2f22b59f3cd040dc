-- The audit trail. An entry commits with the act that it describes; a job seals it into its tenant's chain soon after.

create table public.audit_logs (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    action text not null,
    table_name text,
    record_id uuid,
    record_key text,                       -- for records whose key is not a UUID
    timestamp timestamptz not null default clock_timestamp(),
    details jsonb not null default '{}',   -- before, after, what else matters
    brand_id uuid,                         -- the tenant; null: the platform itself
    actor_role text,
    session_id uuid,
    job_id uuid,
    outcome text not null default 'ok' check (outcome in ('ok', 'refused', 'failed')),
    reason text,
    request_id text,
    address text,
    user_agent text,
    -- the seal
    seq bigint,
    key_version int,
    mac bytea,
    sealed_at timestamptz,
    -- What can't be sealed would keep all that comes after it from being sealed, and nobody could take it away.
    constraint audit_logs_details_bounded check (
        pg_column_size(details) <= 4194304 and not jsonb_path_exists(details, '$.**{64}')),
    constraint audit_logs_sealed_whole check ((seq is null) = (mac is null) and (mac is null) = (key_version is null))
);
-- What is searched is indexed once it has its seal, by whoever seals it: the act itself keeps the key and one index up.
create index audit_logs_unsealed on public.audit_logs (brand_id, timestamp, id) where seq is null;
create unique index audit_logs_chain on public.audit_logs (coalesce(brand_id, '00000000-0000-0000-0000-000000000000'), seq)
    where seq is not null;
create index audit_logs_brand on public.audit_logs (brand_id, timestamp, id) where seq is not null;
create index audit_logs_time on public.audit_logs (timestamp, id) where seq is not null;
create index audit_logs_user on public.audit_logs (user_id, timestamp, id) where seq is not null;
create index audit_logs_record on public.audit_logs (record_id, timestamp, id) where seq is not null;
create index audit_logs_shown on public.audit_logs using gin ((details -> 'shown'))
    where seq is not null and details ? 'shown';

-- The head of each tenant's chain; the nil UUID is the platform's.
create table app.audit_chains (
    chain_id uuid primary key,
    seq bigint not null default 0,
    mac bytea not null default '\x'
);

-- What each chain is held after, where its oldest entries have been dropped.
create table app.audit_starts (
    chain_id uuid primary key,
    seq bigint not null,
    mac bytea not null,
    checkpoint bigint not null             -- the stored checkpoint that says so
);

-- Append-only, whoever asks. These decide what may still be done to a row; the triggers fire for the owner too, and
-- always: not even a session that poses as a replica is spared.
create function app.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- The named columns may be filled in once, and nothing else may ever change.
create function app.fill_in_once() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    was jsonb := to_jsonb(old);
    now_is jsonb := to_jsonb(new);
begin
    if was ->> tg_argv[0] is null and now_is ->> tg_argv[0] is not null and was - tg_argv = now_is - tg_argv then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- A chain's row only ever moves forward.
create function app.move_forward() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.chain_id = old.chain_id and new.seq > old.seq then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- An entry may go that is years old, and that a stored checkpoint says the chain is held without.
create function app.drop_outdated() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if old.timestamp < now() - interval '1 year' and old.seq <= (
        select s.seq from app.audit_starts s
        where s.chain_id = coalesce(old.brand_id, '00000000-0000-0000-0000-000000000000'))
    then
        return old;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

create procedure app.append_only(
    p_table regclass, p_update text default 'app.refuse_change()', p_delete text default 'app.refuse_change()'
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    rule record;
begin
    for rule in
        select * from (values
            ('update', 'row', p_update), ('delete', 'row', p_delete), ('truncate', 'statement', 'app.refuse_change()')
        ) as rules (event, level, decides)
    loop
        execute format('create trigger append_only_%s before %1$s on %s for each %s execute function %s',
            rule.event, p_table, rule.level, rule.decides);
        execute format('alter table %s enable always trigger append_only_%s', p_table, rule.event);
    end loop;
end
$$;

call app.append_only('public.audit_logs', p_delete => 'app.drop_outdated()',
    p_update => $$app.fill_in_once('seq', 'key_version', 'mac', 'sealed_at')$$);
call app.append_only('app.audit_chains', p_update => 'app.move_forward()');
call app.append_only('app.audit_starts', p_update => 'app.move_forward()');

call app.secure('public.audit_logs', p_admin => 'select', p_system => 'select,update,delete',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_chains', p_system => 'select,insert,update');
call app.secure('app.audit_starts', p_system => 'select,insert,update');
-- Definer functions write entries, and nothing else of the trail. The sealer puts the seal on, and nothing else.
revoke update, delete on public.audit_logs, app.audit_chains from app_definer;
revoke insert, update, delete on app.audit_starts from app_definer;
revoke update on public.audit_logs from app_system;
grant update (seq, key_version, mac, sealed_at) on public.audit_logs to app_system;

-- Writes an entry as whoever asks; a brand's or a fan's into no chain but its own. Nobody is asked to seal it: it is
-- found as it is (app.enqueue_seals), so an entry costs its transaction one insert.
create function app.record_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb, p_outcome text,
    p_reason text, p_brand_id uuid, p_request_id text, p_address text, p_user_agent text
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;  -- app.claims(), for less
    asking text := current_setting('role');
begin
    insert into public.audit_logs (id, user_id, action, table_name, record_id, record_key, details, brand_id, actor_role,
        session_id, job_id, outcome, reason, request_id, address, user_agent)
    values (p_id, (claims ->> 'sub')::uuid, p_action, p_table, p_record_id, p_record_key, p_details,
        case when asking in ('app_admin', 'app_system') then p_brand_id
            else (claims #>> '{app_metadata,brand_id}')::uuid end,
        coalesce(claims #>> '{app_metadata,user_role}', nullif(asking, 'none')), (claims ->> 'session_id')::uuid,
        (claims ->> 'job_id')::uuid, p_outcome, p_reason, p_request_id, p_address, p_user_agent);
end
$$;
call app.grant_definer(
    'app.record_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,text,text,text)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system', 'app_credentials']);

-- The same for other definer functions, which know whose act it is and whose trail it belongs into.
create function app.add_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb,
    p_outcome text default 'ok', p_reason text default null, p_brand_id uuid default null, p_user_id uuid default null,
    p_request_id text default null, p_address text default null, p_user_agent text default null
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := app.claims();
begin
    insert into public.audit_logs (id, user_id, action, table_name, record_id, record_key, details, brand_id, actor_role,
        session_id, job_id, outcome, reason, request_id, address, user_agent)
    values (p_id, coalesce(p_user_id, (claims ->> 'sub')::uuid), p_action, p_table, p_record_id, p_record_key, p_details,
        p_brand_id, coalesce(claims #>> '{app_metadata,user_role}', nullif(current_setting('role'), 'none')),
        (claims ->> 'session_id')::uuid, (claims ->> 'job_id')::uuid, p_outcome, p_reason, p_request_id, p_address,
        p_user_agent);
end
$$;
call app.grant_definer(
    'app.add_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,uuid,text,text,text)', '{}');

-- A job for each tenant that has unsealed entries and no job under way that seals them; how many. Whoever asks sees what
-- has committed, and asks again soon: so no entry is forgotten, however late its transaction ends.
create function app.enqueue_seals() returns int language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    tenants text[] := array(
        -- One probe of the index for each tenant, however many entries wait.
        with recursive waiting as (
            (select l.brand_id from public.audit_logs l where l.seq is null and l.brand_id is not null
            order by l.brand_id limit 1)
            union all
            select (select l.brand_id from public.audit_logs l where l.seq is null and l.brand_id > w.brand_id
                order by l.brand_id limit 1)
            from waiting w where w.brand_id is not null
        )
        select w.brand_id::text from waiting w where w.brand_id is not null
        union all
        (select 'platform' from public.audit_logs l where l.seq is null and l.brand_id is null limit 1)
    );
    tenant text;
    enqueued int := 0;
begin
    if tenants = '{}' then
        return 0;
    end if;
    foreach tenant in array tenants loop
        continue when exists (select from app.jobs j
                where j.published_at is null and j.actor = 'audit.seal' and j.subject_id = tenant)
            or exists (select from app.jobs j
                where j.published_at is not null and j.actor = 'audit.seal' and j.subject_id = tenant);
        perform app.add_job(gen_random_uuid(), 'audit.seal',
            jsonb_build_array(nullif(tenant, 'platform')), p_coalesce_key => 'audit.seal:' || tenant,
            p_subject_type => 'audit', p_subject_id => tenant);
        enqueued := enqueued + 1;
    end loop;
    return enqueued;
end
$$;
call app.grant_definer('app.enqueue_seals()', array['app_worker', 'app_system']);
