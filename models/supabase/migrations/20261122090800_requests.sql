-- Answers kept for Idempotency-Key: claimed and stored in the transaction of the effect itself.

create table app.idempotency_keys (
    scope text not null,
    key text not null,
    digest bytea not null,
    status int,
    headers jsonb,
    body text,
    created_at timestamptz not null default now(),
    primary key (scope, key)
);
create index idempotency_keys_created on app.idempotency_keys (created_at);
call app.secure('app.idempotency_keys', p_system => 'select,delete');

-- Refuses whoever names another's keys: answers are for whom they were given to, whatever the statement says.
create function app.require_own_scope(p_scope text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller text := app.claims() ->> 'sub';
begin
    if current_setting('role') = 'app_public' and starts_with(p_scope, 'address:')
        or current_setting('role') <> 'app_public' and p_scope in ('user:' || caller, 'api-key:' || caller)
    then
        return;
    end if;
    perform app.refuse(403, 'forbidden', 'These keys are somebody else''s.');
end
$$;
call app.grant_definer('app.require_own_scope(text)', '{}');

-- Claims a key, or returns the answer that it already has. A second request with it waits here for the first to end.
create function app.idempotency_begin(p_scope text, p_key text, p_digest bytea) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    kept app.idempotency_keys;
begin
    perform app.require_own_scope(p_scope);
    insert into app.idempotency_keys (scope, key, digest) values (p_scope, p_key, p_digest) on conflict do nothing;
    if found then
        return null;
    end if;
    select * into strict kept from app.idempotency_keys where scope = p_scope and key = p_key;
    return jsonb_build_object('digest', encode(kept.digest, 'hex'), 'status', kept.status, 'headers', kept.headers,
        'body', kept.body);
end
$$;

create function app.idempotency_store(p_scope text, p_key text, p_status int, p_headers jsonb, p_body text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_own_scope(p_scope);
    update app.idempotency_keys set status = p_status, headers = p_headers, body = p_body
    where scope = p_scope and key = p_key;
end
$$;
call app.grant_definer('app.idempotency_begin(text,text,bytea)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin']);
call app.grant_definer('app.idempotency_store(text,text,int,jsonb,text)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin']);
