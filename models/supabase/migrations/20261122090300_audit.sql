-- The audit trail. An entry commits with the act that it describes; the seal process seals it into its
-- tenant's chain soon after.

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
    -- Salted hashes of the personal values, by path (see app.audit_personal_values): the chain covers these.
    personal_hashes jsonb not null default '{}',
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
create unique index audit_logs_chain
    on public.audit_logs (coalesce(brand_id, '00000000-0000-0000-0000-000000000000'), seq)
    where seq is not null;
create index audit_logs_brand on public.audit_logs (brand_id, timestamp, id) where seq is not null;
create index audit_logs_time on public.audit_logs (timestamp, id) where seq is not null;
create index audit_logs_user on public.audit_logs (user_id, timestamp, id) where seq is not null;
create index audit_logs_record on public.audit_logs (record_id, timestamp, id) where seq is not null;
create index audit_logs_shown on public.audit_logs using gin ((details -> 'shown'))
    where seq is not null and details ? 'shown';

-- The personal values of an entry, by path: {"address": {"salt": …, "value": …}, "before.email": …}. A value can be
-- erased here without breaking the chain, which covers its salted hash only. Readers are those of the entry.
create table app.audit_personal_values (
    id uuid primary key,                   -- of the entry
    brand_id uuid,                         -- of the entry
    contents jsonb not null
);

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

call app.secure('public.audit_logs', p_admin => 'select', p_system => 'select', p_sealer => 'select',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_personal_values', p_admin => 'select', p_system => 'select',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_chains', p_system => 'select', p_sealer => 'select');
call app.secure('app.audit_starts', p_system => 'select', p_sealer => 'select');
-- Ordinary definer functions write entries, and nothing else of the trail. Those of app_audit_definer do the rest
-- (…_audit_sealing.sql).
revoke update, delete on public.audit_logs, app.audit_personal_values from app_definer;
revoke insert, update, delete on app.audit_chains, app.audit_starts from app_definer;

-- Return an entry's personal values by path: where the request came from, a reason that a person typed, and the
-- personal values in `before` and `after`. There, keyed hashes of names, addresses and phone numbers begin with
-- `hmac:`.
create function app.personal_values(p_entry public.audit_logs, p_address text, p_user_agent text) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    found_values jsonb := jsonb_strip_nulls(jsonb_build_object(
        'address', nullif(p_address, ''), 'user_agent', nullif(p_user_agent, ''),
        'reason', case p_entry.outcome when 'ok' then p_entry.reason end));
begin
    if p_entry.details::text ~ '"hmac:|"(address|email|phone|user_agent)":' then
        select found_values || coalesce(jsonb_object_agg(part.key || '.' || member.key, member.value), '{}')
        into found_values
        from jsonb_each(p_entry.details) as part,
            jsonb_each(case jsonb_typeof(part.value) when 'object' then part.value else '{}' end) as member
        where part.key in ('before', 'after') and jsonb_typeof(member.value) = 'string'
            and (starts_with(member.value #>> '{}', 'hmac:')
                or member.key in ('address', 'email', 'phone', 'user_agent'));
    end if;
    return found_values;
end
$$;
revoke all on function app.personal_values(public.audit_logs, text, text) from public;
grant execute on function app.personal_values(public.audit_logs, text, text) to app_definer;

-- Insert an entry. Its personal values go to app.audit_personal_values, each with a salt of its own; the entry keeps
-- SHA-256 of `<salt>:<path>=<value>`, and null in place of the value.
create function app.insert_audit(p_entry public.audit_logs, p_address text, p_user_agent text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    found_values jsonb := app.personal_values(p_entry, p_address, p_user_agent);
    contents jsonb := '{}';
    path text;
    content text;
    salt text;
begin
    p_entry.id := coalesce(p_entry.id, gen_random_uuid());
    p_entry.timestamp := clock_timestamp();
    p_entry.details := coalesce(p_entry.details, '{}');
    p_entry.outcome := coalesce(p_entry.outcome, 'ok');
    p_entry.personal_hashes := '{}';
    for path, content in select * from jsonb_each_text(found_values) loop
        salt := gen_random_uuid()::text;
        contents := contents || jsonb_build_object(path, jsonb_build_object('salt', salt, 'value', content));
        p_entry.personal_hashes := p_entry.personal_hashes || jsonb_build_object(
            path, encode(sha256(convert_to(salt || ':' || path || '=' || content, 'UTF8')), 'hex'));
        if path = 'reason' then
            p_entry.reason := null;
        elsif starts_with(path, 'before.') or starts_with(path, 'after.') then
            p_entry.details := jsonb_set(p_entry.details,
                array[split_part(path, '.', 1), substr(path, strpos(path, '.') + 1)], 'null');
        end if;
    end loop;
    insert into public.audit_logs select (p_entry).*;
    if contents <> '{}' then
        insert into app.audit_personal_values (id, brand_id, contents)
        values (p_entry.id, p_entry.brand_id, contents);
    end if;
end
$$;
call app.grant_definer('app.insert_audit(public.audit_logs,text,text)', '{}');

-- Record an entry as the caller; a brand's or a fan's goes only into its own chain. The seal process polls for it, so
-- an entry costs its transaction nothing else.
-- A job writes as a job, never as a person. While it runs, it writes only into the chain of its brand. Every entry of
-- the workers' login is a job's.
create function app.record_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb, p_outcome text,
    p_reason text, p_brand_id uuid, p_request_id text, p_address text, p_user_agent text
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;  -- app.claims(), for less
    asking text := current_setting('role');
    entry public.audit_logs;
begin
    entry.id := p_id;
    entry.action := p_action;
    entry.table_name := p_table;
    entry.record_id := p_record_id;
    entry.record_key := p_record_key;
    entry.details := p_details;
    entry.outcome := p_outcome;
    entry.reason := p_reason;
    entry.request_id := p_request_id;
    entry.job_id := (claims ->> 'job_id')::uuid;
    if asking in ('app_job', 'app_system', 'app_sealer') or session_user = 'app_worker' then
        entry.actor_role := asking;
        entry.brand_id := app.audit_brand_of_job(asking, claims, p_brand_id);
    else
        entry.actor_role := coalesce(claims #>> '{app_metadata,user_role}', nullif(asking, 'none'));
        entry.brand_id := case asking when 'app_admin' then p_brand_id
            else (claims #>> '{app_metadata,brand_id}')::uuid end;
        entry.user_id := (claims ->> 'sub')::uuid;
        entry.session_id := (claims ->> 'session_id')::uuid;
    end if;
    perform app.insert_audit(entry, p_address, p_user_agent);
end
$$;
call app.grant_definer(
    'app.record_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,text,text,text)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system', 'app_credentials',
        'app_sealer']);

-- Return the brand that a job's entry belongs to; refuse any other. The seal process writes into every chain.
create function app.audit_brand_of_job(p_role text, p_claims jsonb, p_brand_id uuid) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    job_id uuid := (p_claims ->> 'job_id')::uuid;
    job_brand uuid;
    job_user uuid;
    is_running boolean := false;
    claimed uuid := (p_claims #>> '{app_metadata,brand_id}')::uuid;
begin
    if p_role = 'app_sealer' then
        return p_brand_id;
    end if;
    if job_id is not null then
        select true, j.brand_id, j.user_id into is_running, job_brand, job_user
        from app.jobs j where j.id = job_id and j.state = 'running';
    end if;
    case p_role
        when 'app_job' then
            if claimed is not null and (job_id is null or is_running and job_brand = claimed) then
                return claimed;
            end if;
        when 'app_fan' then
            if is_running and job_user = (p_claims ->> 'sub')::uuid then
                return null;
            end if;
        when 'app_system' then
            if p_brand_id is null or is_running and p_brand_id = job_brand then
                return p_brand_id;
            end if;
        else null;
    end case;
    perform app.refuse(403, 'forbidden', 'A job records only its own acts, in the chain of its brand.');
end
$$;
call app.grant_definer('app.audit_brand_of_job(text,jsonb,uuid)', '{}');

-- Record an entry for another definer function, which passes the person and the brand.
create function app.add_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb,
    p_outcome text default 'ok', p_reason text default null, p_brand_id uuid default null, p_user_id uuid default null,
    p_request_id text default null, p_address text default null, p_user_agent text default null
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := app.claims();
    entry public.audit_logs;
begin
    entry.id := p_id;
    entry.user_id := coalesce(p_user_id, (claims ->> 'sub')::uuid);
    entry.action := p_action;
    entry.table_name := p_table;
    entry.record_id := p_record_id;
    entry.record_key := p_record_key;
    entry.details := p_details;
    entry.outcome := p_outcome;
    entry.reason := p_reason;
    entry.brand_id := p_brand_id;
    entry.actor_role := coalesce(claims #>> '{app_metadata,user_role}', nullif(current_setting('role'), 'none'));
    entry.session_id := (claims ->> 'session_id')::uuid;
    entry.job_id := (claims ->> 'job_id')::uuid;
    entry.request_id := p_request_id;
    perform app.insert_audit(entry, p_address, p_user_agent);
end
$$;
call app.grant_definer(
    'app.add_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,uuid,text,text,text)', '{}');
