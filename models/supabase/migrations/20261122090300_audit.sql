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
    constraint audit_logs_sealed_whole check ((seq is null) = (mac is null) and (mac is null) = (key_version is null))
);
create unique index audit_logs_chain on public.audit_logs (coalesce(brand_id, '00000000-0000-0000-0000-000000000000'), seq)
    where seq is not null;
create index audit_logs_unsealed on public.audit_logs (brand_id, timestamp, id) where seq is null;
create index audit_logs_brand on public.audit_logs (brand_id, timestamp);

-- The head of each tenant's chain; the nil UUID is the platform's.
create table app.audit_chains (
    chain_id uuid primary key,
    seq bigint not null default 0,
    mac bytea not null default '\x'
);

-- Append-only, the owner included: a seal may be put on once, and nothing else may ever change.
create function app.keep_audit() returns trigger language plpgsql set search_path = '' as $$
begin
    if tg_op = 'UPDATE' and old.seq is null and new.seq is not null
        and to_jsonb(new) - array['seq', 'key_version', 'mac', 'sealed_at']
          = to_jsonb(old) - array['seq', 'key_version', 'mac', 'sealed_at'] then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;
create trigger audit_logs_append_only before update or delete on public.audit_logs
    for each row execute function app.keep_audit();
create trigger audit_logs_no_truncate before truncate on public.audit_logs
    for each statement execute function app.keep_audit();

call app.secure('public.audit_logs', p_admin => 'select', p_system => 'select,update',
    p_member => '{"select": "audit:read"}');
call app.secure('app.audit_chains', p_system => 'select,insert,update');

-- Writes an entry as whoever asks, and asks for it to be sealed. For other definer functions.
create function app.add_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb,
    p_outcome text default 'ok', p_reason text default null, p_brand_id uuid default null, p_user_id uuid default null,
    p_request_id text default null, p_address text default null, p_user_agent text default null,
    p_correlation_id text default null, p_job_id uuid default gen_random_uuid()
) returns void language plpgsql security definer set search_path = '' as $$
declare
    claims jsonb := app.claims();
begin
    insert into public.audit_logs (id, user_id, action, table_name, record_id, record_key, details, brand_id, actor_role,
        session_id, job_id, outcome, reason, request_id, address, user_agent)
    values (p_id, coalesce(p_user_id, (claims ->> 'sub')::uuid), p_action, p_table, p_record_id, p_record_key, p_details,
        p_brand_id, coalesce(claims #>> '{app_metadata,user_role}', nullif(current_setting('role'), 'none')),
        (claims ->> 'session_id')::uuid, (claims ->> 'job_id')::uuid, p_outcome, p_reason, p_request_id, p_address,
        p_user_agent);
    perform app.add_job(p_job_id, 'audit.seal', jsonb_build_array(p_brand_id), '200 ms',
        p_coalesce_key => 'audit.seal:' || coalesce(p_brand_id::text, 'platform'),
        p_subject_type => 'audit', p_subject_id => coalesce(p_brand_id::text, 'platform'),
        p_request_id => p_request_id, p_correlation_id => p_correlation_id);
end
$$;
call app.grant_definer(
    'app.add_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,uuid,text,text,text,text,uuid)', '{}');

create function app.record_audit(
    p_id uuid, p_action text, p_table text, p_record_id uuid, p_record_key text, p_details jsonb, p_outcome text,
    p_reason text, p_brand_id uuid, p_request_id text, p_address text, p_user_agent text, p_correlation_id text,
    p_job_id uuid
) returns void language plpgsql security definer set search_path = '' as $$
declare
    own_brand uuid := (app.claims() #>> '{app_metadata,brand_id}')::uuid;
begin
    if current_setting('role') not in ('app_admin', 'app_system') then
        p_brand_id := own_brand;
    end if;
    perform app.add_audit(p_id, p_action, p_table, p_record_id, p_record_key, p_details, p_outcome, p_reason, p_brand_id,
        null, p_request_id, p_address, p_user_agent, p_correlation_id, p_job_id);
end
$$;
call app.grant_definer(
    'app.record_audit(uuid,text,text,uuid,text,jsonb,text,text,uuid,text,text,text,text,uuid)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);
