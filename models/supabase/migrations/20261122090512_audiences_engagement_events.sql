-- Engagement events: what fans do in campaigns, append-only, and the engagements that are folded from them.
--
-- record ──▶ engagement_events (kept)
--       └──▶ engagement_outbox ──engagements.fold──▶ engagements ──coliseum.deliver──▶ (row deleted)

insert into public.permissions (name, meaning, for_machines) values
    ('conversions:write', 'record conversions of campaigns', true);
insert into public.role_permissions (role, permission)
select role, 'conversions:write' from unnest(array['Brand Admin', 'Campaign Manager']) as role;

-- The rows of one source (a scan, a reward …) have revisions 1, 2, 3 …: an odd revision is the event, an even one the
-- reversal of the row before it. `occurred_at` is a fixed property of the source, so all its rows are in one partition,
-- and the primary key makes recording idempotent. No foreign keys: attaching a partition would lock public.users and
-- public.campaigns against writes.
create table public.engagement_events (
    id uuid not null,
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid,
    contact_id uuid,                        -- a contact without an account
    kind text not null check (kind in
        ('scan', 'survey', 'reward_granted', 'reward_claimed', 'reward_redeemed', 'check_in', 'conversion')),
    source_id uuid not null,
    occurred_at timestamptz not null,
    revision int not null check (revision > 0),
    reversal_of uuid,
    received_at timestamptz not null default clock_timestamp(),
    primary key (brand_id, kind, source_id, occurred_at, revision),
    constraint engagement_events_reversal_if_even check ((revision % 2 = 0) = (reversal_of is not null)),
    constraint engagement_events_person check (user_id is not null or contact_id is not null)
) partition by range (occurred_at);
create index engagement_events_user on public.engagement_events (user_id, campaign_id);
create index engagement_events_person on public.engagement_events (brand_id, user_id, occurred_at, id);
create index engagement_events_contact on public.engagement_events (contact_id, occurred_at, id)
    where contact_id is not null;
create index engagement_events_brand on public.engagement_events (brand_id, occurred_at, id);
create index engagement_events_campaign on public.engagement_events (campaign_id, occurred_at, id);

-- Events that are not folded or not delivered yet. Consumers delete or mark rows instead of remembering a position: an
-- event of a transaction that commits late is never behind a cursor. Folding removes the person.
create table app.engagement_outbox (
    brand_id uuid not null,
    event_id uuid not null,
    campaign_id uuid not null,
    user_id uuid,
    kind text not null,
    occurred_at timestamptz not null,
    reversal_of uuid,
    folded boolean not null default false,
    recorded_at timestamptz not null default now(),
    primary key (brand_id, event_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index engagement_outbox_unfolded on app.engagement_outbox (campaign_id, event_id) where not folded;

call app.secure('public.engagement_events', p_job => 'select', p_campaign_column => 'campaign_id',
    p_member => '{"select": "analytics:read"}');
call app.secure('app.engagement_outbox', p_job => 'select,update,delete', p_system => 'select');

-- Events that CALS has not received as activities of contacts.
create table app.activity_outbox (
    brand_id uuid not null,
    event_id uuid not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null default now(),
    primary key (brand_id, event_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
call app.secure('app.activity_outbox', p_job => 'select,delete', p_system => 'select');

-- Record an event of a source, or its reversal, for the caller's brand. Return whether a row was added: an event that
-- is in force and a reversal without an event in force add none. The caller holds the source's row locked, so the
-- revisions of one source are never decided at the same time. Members record conversions only.
create function app.record_engagement(
    p_id uuid, p_engagement text, p_brand_id uuid, p_campaign_id uuid, p_user_id uuid, p_contact_id uuid,
    p_source_id uuid, p_occurred_at timestamptz, p_reverses boolean
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_last uuid;
    v_revision int := 0;
begin
    if p_brand_id is distinct from (case
        when current_setting('role') = 'app_job' then app.job_brand()
        when p_engagement = 'conversion' then app.brand_for('conversions:write')
    end) then
        perform app.refuse(403, 'forbidden');
    end if;
    perform from public.campaigns c where c.id = p_campaign_id and c.brand_id = p_brand_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    select e.id, e.revision into v_last, v_revision from public.engagement_events e
    where e.brand_id = p_brand_id and e.kind = p_engagement and e.source_id = p_source_id
        and e.occurred_at = p_occurred_at
    order by e.revision desc limit 1;
    v_revision := coalesce(v_revision, 0);
    if p_reverses = (v_revision % 2 = 0) then
        return false;
    end if;
    insert into public.engagement_events (id, brand_id, campaign_id, user_id, contact_id, kind, source_id, occurred_at,
        revision, reversal_of)
    values (p_id, p_brand_id, p_campaign_id, p_user_id, p_contact_id, p_engagement, p_source_id, p_occurred_at,
        v_revision + 1, case when p_reverses then v_last end)
    on conflict do nothing;
    if found then
        insert into app.engagement_outbox (event_id, brand_id, campaign_id, user_id, kind, occurred_at, reversal_of)
        values (p_id, p_brand_id, p_campaign_id, p_user_id, p_engagement, p_occurred_at,
            case when p_reverses then v_last end);
        insert into app.activity_outbox (brand_id, event_id, occurred_at)
        select p_brand_id, p_id, p_occurred_at where not p_reverses;
        perform app.mark_engagement(p_brand_id, p_user_id, p_contact_id, p_engagement);
        return true;
    end if;
    return false;
end
$$;
call app.grant_definer('app.record_engagement(uuid,text,uuid,uuid,uuid,uuid,uuid,timestamptz,boolean)',
    array['app_job', 'authenticated']);

-- Recompute the engagements of these people with a campaign from all their events. Callers hold the campaign's lock, so
-- the last recomputation to write is also the last one to read. Not SECURITY DEFINER: the caller's row policies apply.
create function app.recount_engagements(p_campaign_id uuid, p_users uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    with sources as (
        -- The newest row of a source decides whether the source counts.
        select distinct on (e.user_id, e.kind, e.source_id, e.occurred_at)
            e.brand_id, e.user_id, e.kind, e.occurred_at, e.revision
        from public.engagement_events e
        where e.campaign_id = p_campaign_id and e.user_id = any (p_users)
        order by e.user_id, e.kind, e.source_id, e.occurred_at, e.revision desc
    ),
    counted as materialized (
        select s.brand_id, s.user_id, min(s.occurred_at) as first_at, max(s.occurred_at) as last_at,
            count(*) filter (where s.kind = 'scan') as scans,
            count(*) filter (where s.kind = 'survey') as surveys,
            count(*) filter (where s.kind = 'reward_granted') as rewards_granted,
            count(*) filter (where s.kind = 'reward_claimed') as rewards_claimed,
            count(*) filter (where s.kind = 'reward_redeemed') as rewards_redeemed,
            count(*) filter (where s.kind = 'check_in') as check_ins,
            count(*) filter (where s.kind = 'conversion') as conversions
        from sources s where s.revision % 2 = 1 group by s.brand_id, s.user_id
    ),
    -- Delete the engagements of people without an event in force.
    gone as (
        delete from public.engagements g
        where g.campaign_id = p_campaign_id and g.user_id = any (p_users)
            and not exists (select from counted c where c.user_id = g.user_id)
    )
    insert into public.engagements as e (brand_id, campaign_id, user_id, first_at, last_at, scans, surveys,
        rewards_granted, rewards_claimed, rewards_redeemed, check_ins, conversions)
    select c.brand_id, p_campaign_id, c.user_id, c.first_at, c.last_at, c.scans, c.surveys, c.rewards_granted,
        c.rewards_claimed, c.rewards_redeemed, c.check_ins, c.conversions
    from counted c
    on conflict (campaign_id, user_id) do update set first_at = excluded.first_at, last_at = excluded.last_at,
        scans = excluded.scans, surveys = excluded.surveys, rewards_granted = excluded.rewards_granted,
        rewards_claimed = excluded.rewards_claimed, rewards_redeemed = excluded.rewards_redeemed,
        check_ins = excluded.check_ins, conversions = excluded.conversions;
end
$$;
call app.grant_definer('app.recount_engagements(uuid,uuid[])', array['app_job']);

-- Create the partition of one month (UTC) and move the month's rows from the default partition into it. The caller
-- holds the default partition's lock: a row inserted there meanwhile would make the new partition fail.
create function app.create_engagement_month(p_month date) returns void
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    partition constant text := format('app_partitions.engagement_events_%s', to_char(p_month, 'YYYYMM'));
    v_end constant date := p_month + interval '1 month';
begin
    execute format('create table %s (like public.engagement_events including defaults including constraints)',
        partition);
    -- Row security is enabled after this insert: it would hide the rows from us.
    execute format(
        'with moved as (delete from public.engagement_events where occurred_at >= %L and occurred_at < %L returning *)'
        ' insert into %s select * from moved', p_month, v_end, partition);
    execute format('alter table %s enable row level security, force row level security', partition);
    execute format('alter table public.engagement_events attach partition %s for values from (%L) to (%L)',
        partition, p_month, v_end);
end
$$;
call app.grant_definer('app.create_engagement_month(date)', '{}');

-- Create the missing partitions from the last month to p_months months ahead. Drop the months that ended p_keep ago,
-- and recompute the engagements that counted their events. Return the names of the dropped partitions. An event whose
-- month has no partition goes to the default partition.
create function app.rotate_engagement_events(p_months int, p_keep interval) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    v_kept constant date := date_trunc('month', now() - p_keep);
    missing date[] := array(
        select month::date from generate_series(date_trunc('month', now()) - interval '1 month',
            date_trunc('month', now()) + make_interval(months => p_months), '1 month') month
        where to_regclass(format('app_partitions.engagement_events_%s', to_char(month, 'YYYYMM'))) is null);
    month date;
    partition record;
    outdated record;
begin
    if missing <> '{}' then
        lock table app_partitions.engagement_events_default in access exclusive mode;
    end if;
    foreach month in array missing loop
        perform app.create_engagement_month(month);
    end loop;
    delete from public.engagement_events
    where tableoid = 'app_partitions.engagement_events_default'::regclass and occurred_at < v_kept;
    delete from app.engagement_outbox where occurred_at < v_kept;
    for partition in
        select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'public.engagement_events'::regclass and c.relname ~ '_[0-9]{6}$'
            and to_date(right(c.relname, 6), 'YYYYMM') < v_kept
    loop
        execute format('drop table app_partitions.%I', partition.relname);
        return next partition.relname;
    end loop;
    for outdated in
        select e.campaign_id, array_agg(e.user_id) as people from public.engagements e
        where e.first_at < v_kept group by e.campaign_id order by e.campaign_id
    loop
        -- The lock of models/audiences/engagements.py: a fold of the campaign would write between reading and writing.
        perform pg_advisory_xact_lock(hashtextextended('engagements:' || outdated.campaign_id, 0));
        perform app.recount_engagements(outdated.campaign_id, outdated.people);
    end loop;
    perform app.mark_activity_before(v_kept);
end
$$;
call app.grant_definer('app.rotate_engagement_events(int,interval)', array['app_system']);

-- The owner of a partitioned table attaches and drops its partitions.
grant create on schema public to app_definer;
alter table public.engagement_events owner to app_definer;
revoke create on schema public from app_definer;
create table app_partitions.engagement_events_default partition of public.engagement_events default;
alter table app_partitions.engagement_events_default owner to app_definer;
alter table app_partitions.engagement_events_default enable row level security, force row level security;
