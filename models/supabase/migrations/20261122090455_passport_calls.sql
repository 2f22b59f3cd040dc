-- Calls of downstream services, and the answers of their local implementations by idempotency key.

create table public.passport_calls (
    id uuid primary key,
    brand_id uuid references public.brands (id),
    service text not null check (service ~ '^[a-z]{2,20}$'),
    operation text not null check (operation ~ '^[a-z_]{2,40}$'),
    transport text not null check (transport in ('local', 'http')),
    job_id uuid not null,
    attempt int not null,
    outcome text not null check (outcome in ('ok', 'refused', 'failed', 'denied')),
    error_code text check (length(error_code) <= 100),  -- code of a refusal, or cause of a failure
    duration_ms int not null,
    request_bytes int not null,
    answer_bytes int not null,
    request jsonb not null check (octet_length(request::text) <= 8192),  -- without personal data and secrets
    created_at timestamptz not null default now()
);
create index passport_calls_newest on public.passport_calls (created_at desc, id desc);
create index passport_calls_not_ok on public.passport_calls (outcome, created_at desc, id desc) where outcome <> 'ok';
create index passport_calls_service on public.passport_calls (service, created_at desc, id desc);
create index passport_calls_brand on public.passport_calls (brand_id, created_at desc);
call app.secure('public.passport_calls', p_admin => 'select', p_system => 'select,insert,delete');

-- Answers of local implementations, stored in the transaction of the effect.
create table app.passport_answers (
    service text not null,
    key text not null check (length(key) <= 200),
    digest bytea not null,                 -- hash of operation and request
    answer jsonb,                          -- null until the transaction of the effect stores it
    created_at timestamptz not null default now(),
    primary key (service, key)
);
create index passport_answers_created on app.passport_answers (created_at);
call app.secure('app.passport_answers', p_system => 'select,delete');

-- Claim a key and return null, or return the digest and the answer of a key that was claimed before. A concurrent call
-- with the same key waits in the INSERT until the first transaction ends.
create function app.claim_service_key(p_service text, p_key text, p_digest bytea) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    kept app.passport_answers;
begin
    insert into app.passport_answers (service, key, digest) values (p_service, p_key, p_digest) on conflict do nothing;
    if found then
        return null;
    end if;
    select * into strict kept from app.passport_answers where service = p_service and key = p_key;
    return jsonb_build_object('digest', encode(kept.digest, 'hex'), 'answer', kept.answer);
end
$$;
call app.grant_definer('app.claim_service_key(text,text,bytea)', array['app_job', 'app_fan', 'app_system']);

-- Store the answer of a key that this transaction has claimed.
create function app.store_service_answer(p_service text, p_key text, p_answer jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.passport_answers set answer = p_answer where service = p_service and key = p_key and answer is null;
end
$$;
call app.grant_definer('app.store_service_answer(text,text,jsonb)', array['app_job', 'app_fan', 'app_system']);

-- Return the outcomes and times of the calls of each service since p_since; duration percentiles in milliseconds.
create function app.passport_gauges(p_since timestamptz) returns table (
    service text, calls bigint, failed bigint, refused bigint, denied bigint, p50_ms float8, p95_ms float8,
    last_success_at timestamptz, last_failure_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select c.service, count(*), count(*) filter (where c.outcome = 'failed'),
        count(*) filter (where c.outcome = 'refused'), count(*) filter (where c.outcome = 'denied'),
        percentile_cont(0.5) within group (order by c.duration_ms) filter (where c.outcome <> 'denied'),
        percentile_cont(0.95) within group (order by c.duration_ms) filter (where c.outcome <> 'denied'),
        max(c.created_at) filter (where c.outcome in ('ok', 'refused')),
        max(c.created_at) filter (where c.outcome = 'failed')
    from public.passport_calls c where c.created_at >= p_since group by c.service;
end
$$;
call app.grant_definer('app.passport_gauges(timestamptz)', array['app_public', 'app_admin', 'app_system']);
