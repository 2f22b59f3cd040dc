-- The audit trail. An entry commits with the act that it describes. The seal process appends it to the chain of its
-- tenant within a second.

create table public.audit_logs (
    id uuid primary key default gen_random_uuid(),
    user_id uuid,
    action text not null,
    table_name text,
    record_id uuid,
    record_key text,                       -- for records whose key is not a UUID
    timestamp timestamptz not null default clock_timestamp(),
    details jsonb not null default '{}',   -- {"before", "after", "shown", …}
    brand_id uuid,                         -- the tenant; null: the platform itself
    actor_role text,
    session_id uuid,
    job_id uuid,
    outcome text not null default 'ok' check (outcome in ('ok', 'refused', 'failed')),
    reason text,
    request_id text,
    -- Salted hashes of the personal values by path (see app.audit_personal_values). The chain covers these.
    personal_hashes jsonb not null default '{}',
    -- The position in the chain, set by the seal process.
    seq bigint,
    key_version int,
    mac bytea,
    sealed_at timestamptz,
    -- Bound the details: an entry that the seal process can't read would block all later entries of its chain.
    constraint audit_logs_details_bounded check (
        pg_column_size(details) <= 4194304 and not jsonb_path_exists(details, '$.**{64}')),
    constraint audit_logs_seal_complete check ((seq is null) = (mac is null) and (mac is null) = (key_version is null))
);
-- Indexes for searches hold sealed entries only. The seal process maintains them, so that an act's own insert
-- maintains no more than the primary key and the index of unsealed entries.
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
-- erased here without breaking the chain, which covers its salted hash only. Readers of the entry may read it.
create table app.audit_personal_values (
    id uuid primary key,                   -- of the entry
    brand_id uuid,                         -- of the entry
    contents jsonb not null
);

-- The head of each tenant's chain. The nil UUID names the platform's chain.
create table app.audit_chains (
    chain_id uuid primary key,
    seq bigint not null default 0,
    mac bytea not null default '\x'
);

-- The last deleted entry of each chain whose oldest entries have been deleted. The chain starts after it.
create table app.audit_starts (
    chain_id uuid primary key,
    seq bigint not null,
    mac bytea not null,
    checkpoint bigint not null             -- the stored checkpoint that names this start
);

-- Refuse every change. The triggers of append-only tables fire for every role, the owner included, and in sessions
-- with session_replication_role = replica.
create function app.refuse_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- Allow the named columns to be filled once, from null. Refuse every other change.
create function app.fill_in_once() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    before jsonb := to_jsonb(old);
    after jsonb := to_jsonb(new);
begin
    if before ->> tg_argv[0] is null and after ->> tg_argv[0] is not null and before - tg_argv = after - tg_argv then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- Refuse a head or start whose number does not increase.
create function app.require_higher_seq() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.chain_id = old.chain_id and new.seq > old.seq then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;

-- Allow the deletion of an entry that is older than a year and not after the start of its chain. Refuse any other.
create function app.require_expired_entry() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- Make a table append-only. p_update and p_delete name the trigger functions that decide on a change of one row.
create procedure app.append_only(
    p_table regclass, p_update text default 'app.refuse_change()', p_delete text default 'app.refuse_change()'
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    rule record;
begin
    for rule in
        select * from (values
            ('update', 'row', p_update), ('delete', 'row', p_delete), ('truncate', 'statement', 'app.refuse_change()')
        ) as rules (event, level, trigger_function)
    loop
        execute format('create trigger append_only_%s before %1$s on %s for each %s execute function %s',
            rule.event, p_table, rule.level, rule.trigger_function);
        execute format('alter table %s enable always trigger append_only_%s', p_table, rule.event);
    end loop;
end
$$;

call app.append_only('public.audit_logs', p_delete => 'app.require_expired_entry()',
    p_update => $$app.fill_in_once('seq', 'key_version', 'mac', 'sealed_at')$$);
call app.append_only('app.audit_chains', p_update => 'app.require_higher_seq()');
call app.append_only('app.audit_starts', p_update => 'app.require_higher_seq()');

call app.secure('public.audit_logs', p_admin => 'select', p_system => 'select', p_sealer => 'select',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_personal_values', p_admin => 'select', p_system => 'select',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_chains', p_system => 'select', p_sealer => 'select');
call app.secure('app.audit_starts', p_system => 'select', p_sealer => 'select');
-- Functions of app_definer insert entries and change nothing else of the trail. Functions of app_audit_definer do the
-- rest (…_audit_sealing.sql).
revoke update, delete on public.audit_logs, app.audit_personal_values from app_definer;
revoke insert, update, delete on app.audit_chains, app.audit_starts from app_definer;

-- Return an entry's personal values by path: the request's address and user agent, a reason that a person typed, and
-- the personal values in `before` and `after`. Keyed hashes of names, addresses and phone numbers begin with `hmac:`.
create function app.personal_audit_values(p_entry public.audit_logs, p_address text, p_user_agent text) returns jsonb
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
revoke all on function app.personal_audit_values(public.audit_logs, text, text) from public;
grant execute on function app.personal_audit_values(public.audit_logs, text, text) to app_definer;

-- Insert an entry and set its time. Move its personal values to app.audit_personal_values, each with its own salt. The
-- entry keeps SHA-256 of `<salt>:<path>=<value>`, and null in place of the value.
create function app.insert_audit_entry(p_entry public.audit_logs, p_address text, p_user_agent text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    found_values jsonb := app.personal_audit_values(p_entry, p_address, p_user_agent);
    contents jsonb := '{}';
    path text;
    content text;
    salt text;
begin
    p_entry.timestamp := clock_timestamp();
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
call app.grant_definer('app.insert_audit_entry(public.audit_logs,text,text)', '{}');

-- Return a new entry about an act on a record. The caller sets the actor and the tenant.
create function app.new_audit_entry(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb, p_outcome text,
    p_reason text, p_request_id text
) returns public.audit_logs language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    entry public.audit_logs;
begin
    entry.id := coalesce(p_id, gen_random_uuid());
    entry.action := p_action;
    entry.table_name := p_table;
    entry.record_id := p_record_id;
    entry.record_key := p_record_key;
    entry.details := coalesce(p_details, '{}');
    entry.outcome := coalesce(p_outcome, 'ok');
    entry.reason := p_reason;
    entry.request_id := p_request_id;
    return entry;
end
$$;
call app.grant_definer('app.new_audit_entry(uuid,text,text,uuid,text,jsonb,text,text,text)', '{}');

-- Record an entry of the caller's act. The seal process polls for entries, so an entry adds no notification to its
-- transaction.
-- A member or fan writes only into the chain of the own tenant. A job writes as a job and never as a person, and while
-- it runs, only into the chain of its brand. Every entry of the workers' login belongs to a job.
create function app.record_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb, p_outcome text,
    p_reason text, p_brand_id uuid, p_request_id text, p_address text, p_user_agent text
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- app.claims() reads the same setting, but its call would cost more than the rest of this block.
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    caller text := current_setting('role');
    entry public.audit_logs := app.new_audit_entry(
        p_id, p_action, p_table, p_record_id, p_record_key, p_details, p_outcome, p_reason, p_request_id);
begin
    entry.job_id := (claims ->> 'job_id')::uuid;
    if caller in ('app_job', 'app_system', 'app_sealer') or session_user = 'app_worker' then
        entry.actor_role := caller;
        entry.brand_id := app.audit_brand_of_job(caller, claims, p_brand_id);
    else
        entry.actor_role := coalesce(claims #>> '{app_metadata,user_role}', nullif(caller, 'none'));
        entry.brand_id := case caller when 'app_admin' then p_brand_id
            else (claims #>> '{app_metadata,brand_id}')::uuid end;
        entry.user_id := (claims ->> 'sub')::uuid;
        entry.session_id := (claims ->> 'session_id')::uuid;
    end if;
    perform app.insert_audit_entry(entry, p_address, p_user_agent);
end
$$;
call app.grant_definer(
    'app.record_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,text,text,text)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system', 'app_credentials',
        'app_sealer']);

-- Return the brand that a job's entry belongs to. Refuse any other brand. The seal process writes into every chain.
create function app.audit_brand_of_job(p_role text, p_claims jsonb, p_brand_id uuid) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    job_id uuid := (p_claims ->> 'job_id')::uuid;
    job_brand uuid;
    job_user uuid;
    claimed_brand uuid := (p_claims #>> '{app_metadata,brand_id}')::uuid;
begin
    if p_role = 'app_sealer' then
        return p_brand_id;
    end if;
    if job_id is not null then
        -- Both stay null for a job that is not running, so no comparison below is true.
        select j.brand_id, j.user_id into job_brand, job_user
        from app.jobs j where j.id = job_id and j.state = 'running';
    end if;
    case p_role
        when 'app_job' then
            if claimed_brand is not null and (job_id is null or job_brand = claimed_brand) then
                return claimed_brand;
            end if;
        when 'app_fan' then
            if job_user = (p_claims ->> 'sub')::uuid then
                return null;
            end if;
        when 'app_system' then
            if p_brand_id is null or p_brand_id = job_brand then
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
    entry public.audit_logs := app.new_audit_entry(
        p_id, p_action, p_table, p_record_id, p_record_key, p_details, p_outcome, p_reason, p_request_id);
begin
    entry.user_id := coalesce(p_user_id, (claims ->> 'sub')::uuid);
    entry.brand_id := p_brand_id;
    entry.actor_role := coalesce(claims #>> '{app_metadata,user_role}', nullif(current_setting('role'), 'none'));
    entry.session_id := (claims ->> 'session_id')::uuid;
    entry.job_id := (claims ->> 'job_id')::uuid;
    perform app.insert_audit_entry(entry, p_address, p_user_agent);
end
$$;
call app.grant_definer(
    'app.add_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,uuid,text,text,text)', '{}');
