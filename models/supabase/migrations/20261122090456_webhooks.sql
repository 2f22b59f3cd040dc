-- Webhooks: endpoints of brands, the events that wait for delivery, and the attempts to deliver them.

insert into public.permissions (name, meaning, for_machines) values
    ('webhooks:manage', 'manage webhook endpoints, see and repeat their deliveries', false);
insert into public.role_permissions (role, permission) values ('Brand Admin', 'webhooks:manage');

create table app.webhook_endpoints (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    url text not null check (length(url) between 1 and 2000),
    description text check (length(description) between 1 and 200),
    event_types text[],                    -- null: every type, also those that later releases add
    secret bytea not null,                 -- encrypted; the first byte is the version of the key
    previous_secret bytea,                 -- signs as well until previous_secret_until
    previous_secret_until timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    version int not null default 1,        -- of what members change
    disabled_at timestamptz,
    disabled_reason text check (disabled_reason in ('member', 'gone', 'failing')),
    failures int not null default 0,       -- failed attempts since the last success
    failing_since timestamptz,
    retry_at timestamptz,                  -- no attempt before this time; a job is due then
    last_success_at timestamptz,
    dropped bigint not null default 0,     -- events that were deleted before they were delivered
    lease_job uuid,                        -- the job that delivers, and the fence of its claim
    lease_fence bigint,
    leased_until timestamptz,
    unique (brand_id, id),
    constraint webhook_endpoints_disabled_reason check ((disabled_at is null) = (disabled_reason is null))
) with (fillfactor = 70);
call app.secure('app.webhook_endpoints', p_job => 'select,update', p_system => 'select',
    p_member => '{"select": "webhooks:manage", "update": "webhooks:manage", "delete": "webhooks:manage"}');
-- Members never read a secret, and write one only by the functions below.
revoke select, update on app.webhook_endpoints from authenticated;
grant select (id, brand_id, url, description, event_types, previous_secret_until, created_at, updated_at, version,
        disabled_at, disabled_reason, failures, failing_since, retry_at, last_success_at, dropped),
    update (url, description, event_types, updated_at, version, disabled_at, disabled_reason, failures, failing_since,
        retry_at)
    on app.webhook_endpoints to authenticated;

-- Events for an endpoint, one row for each pair: an endpoint that stands still delays no other, and a late commit is
-- never passed over. Delivered rows stay for a replay. No foreign key to the endpoint: its check would lock the
-- endpoint's row in each transaction that publishes. Rows of a deleted endpoint are deleted by their age.
create table app.webhook_outbox (
    brand_id uuid not null references public.brands (id),
    endpoint_id uuid not null,
    event_id uuid not null,                -- UUID v7: the order of delivery
    type text not null,
    payload text not null,                 -- the body as it is signed and sent
    occurred_at timestamptz not null default now(),
    delivered_at timestamptz,
    primary key (brand_id, endpoint_id, event_id)
);
create index webhook_outbox_pending on app.webhook_outbox (brand_id, endpoint_id, event_id) where delivered_at is null;
create index webhook_outbox_age on app.webhook_outbox (occurred_at);
call app.secure('app.webhook_outbox', p_job => 'select,insert,update', p_system => 'select',
    p_member => '{"select": "webhooks:manage", "insert": "webhooks:manage", "update": "webhooks:manage"}');

create table app.webhook_attempts (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    endpoint_id uuid not null,
    event_id uuid not null,
    type text not null,
    attempted_at timestamptz not null default now(),
    duration_ms int not null,
    status int,                            -- of the response; null: there was none
    error text,                            -- why the attempt failed; null: it succeeded
    response text not null default '',     -- beginning of the response's body
    unique (brand_id, id)
);
create index webhook_attempts_endpoint on app.webhook_attempts (brand_id, endpoint_id, id desc);
create index webhook_attempts_age on app.webhook_attempts (attempted_at);
call app.secure('app.webhook_attempts', p_job => 'insert', p_system => 'select',
    p_member => '{"select": "webhooks:manage"}');

-- Insert an endpoint of the caller's brand, which may have p_most.
create function app.create_webhook_endpoint(
    p_id uuid, p_url text, p_description text, p_event_types text[], p_secret bytea, p_most int
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('webhooks:manage');
begin
    if brand is null then
        perform app.refuse(403, 'forbidden', 'Needs the permission `webhooks:manage`.');
    end if;
    -- One request of a brand at a time: concurrent ones could exceed the limit together.
    perform from public.brands b where b.id = brand for no key update;
    if (select count(*) from app.webhook_endpoints e where e.brand_id = brand) >= p_most then
        perform app.refuse(409, 'too_many_webhook_endpoints', 'Delete an unused endpoint first.');
    end if;
    insert into app.webhook_endpoints (id, brand_id, url, description, event_types, secret)
    values (p_id, brand, p_url, p_description, p_event_types, p_secret);
end
$$;
call app.grant_definer('app.create_webhook_endpoint(uuid,text,text,text[],bytea,int)', array['authenticated']);

-- Replace the secret of an endpoint. The old one signs as well for p_overlap.
create function app.rotate_webhook_secret(p_id uuid, p_secret bytea, p_overlap interval) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.webhook_endpoints e
    set previous_secret = e.secret, previous_secret_until = now() + p_overlap, secret = p_secret,
        version = e.version + 1, updated_at = now()
    where e.id = p_id and e.brand_id = app.brand_for('webhooks:manage');
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
end
$$;
call app.grant_definer('app.rotate_webhook_secret(uuid,bytea,interval)', array['authenticated']);

-- Store an event for each enabled endpoint of the brand that selects its type, and enqueue the deliveries. An endpoint
-- in back-off has a job for its next attempt, and gets no other. Endpoints are read without a lock.
create procedure app.publish_webhook_event(
    p_event_id uuid, p_brand_id uuid, p_type text, p_payload text, p_occurred_at timestamptz, p_request_id text,
    p_correlation_id text, p_traceparent text
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := app.claims();
    caller text := current_setting('role');
    endpoint record;
begin
    -- A fan may cause events of the brands whose campaigns they take part in.
    if caller in ('authenticated', 'app_job')
        and p_brand_id is distinct from (claims #>> '{app_metadata,brand_id}')::uuid
        or caller = 'app_fan' and not app.is_known_to(p_brand_id, (claims ->> 'sub')::uuid)
    then
        perform app.refuse(403, 'forbidden', 'An event must belong to the brand of its cause.');
    end if;
    for endpoint in
        select e.id, e.retry_at from app.webhook_endpoints e
        where e.brand_id = p_brand_id and e.disabled_at is null
            and (e.event_types is null or p_type = any (e.event_types))
    loop
        insert into app.webhook_outbox (brand_id, endpoint_id, event_id, type, payload, occurred_at)
        values (p_brand_id, endpoint.id, p_event_id, p_type, p_payload, p_occurred_at);
        continue when endpoint.retry_at > now();
        perform app.add_job(gen_random_uuid(), 'webhook.deliver', jsonb_build_array(endpoint.id),
            p_coalesce_key => 'webhook:' || endpoint.id, p_subject_type => 'webhook',
            p_subject_id => endpoint.id::text, p_brand_id => p_brand_id, p_parent_id => (claims ->> 'job_id')::uuid,
            p_request_id => p_request_id, p_correlation_id => p_correlation_id, p_traceparent => p_traceparent);
    end loop;
end
$$;
call app.grant_definer('app.publish_webhook_event(uuid,uuid,text,text,timestamptz,text,text,text)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);

-- Delete events older than p_retention and beyond the newest p_most of each endpoint. Its row counts the undelivered.
create function app.expire_webhook_outbox(p_retention interval, p_most int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    endpoint record;
    cut uuid;
    lost bigint;
begin
    for endpoint in select e.id, e.brand_id from app.webhook_endpoints e loop
        select o.event_id into cut from app.webhook_outbox o
        where o.brand_id = endpoint.brand_id and o.endpoint_id = endpoint.id
        order by o.event_id desc offset p_most limit 1;
        continue when cut is null and not exists (
            select from app.webhook_outbox o
            where o.brand_id = endpoint.brand_id and o.endpoint_id = endpoint.id
                and o.occurred_at < now() - p_retention);
        -- Lock the endpoint first, as deliveries do: they would deadlock with this deletion otherwise.
        perform from app.webhook_endpoints e where e.id = endpoint.id for no key update;
        with deleted as (
            delete from app.webhook_outbox o
            where o.brand_id = endpoint.brand_id and o.endpoint_id = endpoint.id
                and (o.event_id <= cut or o.occurred_at < now() - p_retention)
            returning o.delivered_at
        )
        select count(*) filter (where d.delivered_at is null) into lost from deleted d;
        update app.webhook_endpoints e set dropped = e.dropped + lost where e.id = endpoint.id and lost > 0;
    end loop;
    -- The rest belongs to deleted endpoints.
    delete from app.webhook_outbox o where o.occurred_at < now() - p_retention;
end
$$;
call app.grant_definer('app.expire_webhook_outbox(interval,int)', array['app_system']);

-- Delete attempts older than p_retention and beyond the newest p_most of each endpoint.
create function app.expire_webhook_attempts(p_retention interval, p_most int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from app.webhook_attempts a where a.attempted_at < now() - p_retention;
    delete from app.webhook_attempts a
    using app.webhook_endpoints e
    cross join lateral (
        select n.id from app.webhook_attempts n
        where n.brand_id = e.brand_id and n.endpoint_id = e.id
        order by n.id desc offset p_most limit 1
    ) as cut
    where a.brand_id = e.brand_id and a.endpoint_id = e.id and a.id <= cut.id;
end
$$;
call app.grant_definer('app.expire_webhook_attempts(interval,int)', array['app_system']);

-- Return the enabled endpoints with events that have been due for p_stalled while no job delivered.
create function app.stalled_webhook_endpoints(p_stalled interval) returns table (id uuid, brand_id uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select e.id, e.brand_id from app.webhook_endpoints e
    where e.disabled_at is null
        and coalesce(e.retry_at, '-infinity') < now() - p_stalled
        and coalesce(e.leased_until, '-infinity') < now() - p_stalled
        and exists (
            select from app.webhook_outbox o
            where o.brand_id = e.brand_id and o.endpoint_id = e.id and o.delivered_at is null
                and o.occurred_at < now() - p_stalled);
end
$$;
call app.grant_definer('app.stalled_webhook_endpoints(interval)', array['app_system']);
