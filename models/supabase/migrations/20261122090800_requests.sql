-- Responses stored by Idempotency-Key. A key is claimed, and its response stored, in the transaction of the effect.

create table app.idempotency_keys (
    scope text not null,
    key text not null,
    digest bytea not null,
    status int,
    headers jsonb,
    body text,                  -- encrypted by the web tier if the response contains a secret
    secret_until timestamptz,   -- end of the retention of a body with a secret; null for other bodies
    created_at timestamptz not null default now(),
    primary key (scope, key)
);
create index idempotency_keys_created on app.idempotency_keys (created_at);
create index idempotency_keys_secrets on app.idempotency_keys (secret_until) where secret_until is not null;
call app.secure('app.idempotency_keys', p_system => 'select,update,delete');

-- Refuse a scope that is not the caller's: a response may be replayed to its first recipient only.
create function app.require_own_scope(p_scope text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller text := app.claims() ->> 'sub';
begin
    if caller is null and current_setting('role') in ('app_public', 'app_credentials')
        and starts_with(p_scope, 'address:')
        or current_setting('role') <> 'app_public' and p_scope in ('user:' || caller, 'api-key:' || caller)
    then
        return;
    end if;
    perform app.refuse(403, 'forbidden', 'The Idempotency-Key belongs to another caller.');
end
$$;
call app.grant_definer('app.require_own_scope(text)', '{}');

-- Claim a key and return null, or return the stored request digest and response of a key that was claimed before.
-- A concurrent request with the same key waits in the INSERT until the first transaction ends. `is_over`: the body held
-- a secret and its retention is over.
create function app.claim_idempotency_key(p_scope text, p_key text, p_digest bytea) returns jsonb
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
        'body', case when kept.secret_until <= now() then null else kept.body end,
        'is_secret', kept.secret_until is not null, 'is_over', coalesce(kept.secret_until <= now(), false));
end
$$;

-- Store the response of a claimed key. p_secret_for: retention of a body with a secret; null for other bodies.
create function app.store_idempotent_response(
    p_scope text, p_key text, p_status int, p_headers jsonb, p_body text, p_secret_for interval
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_own_scope(p_scope);
    update app.idempotency_keys
    set status = p_status, headers = p_headers, body = p_body, secret_until = now() + p_secret_for
    where scope = p_scope and key = p_key;
end
$$;
call app.grant_definer('app.claim_idempotency_key(text,text,bytea)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_credentials']);
call app.grant_definer('app.store_idempotent_response(text,text,int,jsonb,text,interval)',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_credentials']);
