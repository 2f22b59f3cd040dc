-- The ledger of jobs: what must happen, written with the decision that it must.
--
-- waiting --publish--> published --claim--> running --finish--> (history) done
--    ^                     |                   |--retry, release, lost worker--> waiting
--    +--forgotten by Redis-+                   +--bury--> (dead letters) dead --replay--> waiting
--
-- Any of them may be cancelled: at once while it waits or is published, by its own body once it runs.
-- Only work that is not over lies in app.jobs, so it stays small; what is over moves to app.job_history or app.dead_jobs.

create table app.jobs (
    id uuid primary key,
    actor text not null,
    args jsonb not null default '[]',
    version int not null default 1,                -- of the arguments; the actor brings older ones up to date
    state text not null default 'waiting' check (state in ('waiting', 'published', 'running')),
    priority smallint not null default 1 check (priority between 0 and 3),  -- 0 goes first
    due_at timestamptz not null default now(),
    attempts int not null default 0,
    crashes int not null default 0,                -- workers that died while they held it
    fence bigint not null default 0,               -- counts claims; every later write has to name the newest
    worker_id int,
    published_at timestamptz,
    claimed_at timestamptz,
    cancel_requested_at timestamptz,
    brand_id uuid,
    lane uuid not null default '00000000-0000-0000-0000-000000000000',  -- the brand; nil: the platform and fans
    user_id uuid,
    subject_type text,
    subject_id text,
    parent_id uuid,
    group_id uuid,
    request_id text,
    correlation_id text,
    traceparent text,
    unique_key text,                               -- holds a row of app.job_keys
    coalesce_key text,                             -- waiting ones of one key run as one
    progress_done int,
    progress_total int,
    progress_message text,
    error jsonb,
    created_at timestamptz not null default now(),
    constraint jobs_published_unless_waiting check ((state = 'waiting') = (published_at is null)),
    constraint jobs_held_while_running check ((state = 'running') = (worker_id is not null))
) with (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- Their predicates name published_at and not state, so that a claim changes no indexed column (and no index).
create index jobs_due on app.jobs (actor, lane, priority, due_at) where published_at is null;
create index jobs_taken on app.jobs (actor, lane) where published_at is not null;
-- For people's questions; what recurs was asked for by nobody, and few requests have ids that their callers brought along.
create index jobs_request on app.jobs (request_id) where request_id <> '';
create index jobs_correlation on app.jobs (correlation_id) where correlation_id is distinct from request_id;
create index jobs_trace on app.jobs (split_part(traceparent, '-', 2))
    where split_part(traceparent, '-', 2) <> ''
        and split_part(traceparent, '-', 2) is distinct from replace(request_id, '-', '');

-- Keys that a job is unique by: until it is over, or (expires_at) for a window of time whatever becomes of it.
create table app.job_keys (
    key text primary key,
    job_id uuid not null,
    expires_at timestamptz
);

-- Finished and cancelled jobs, in partitions of a day that are dropped as a whole.
create table app.job_history (
    id uuid not null,
    actor text not null,
    args jsonb not null,
    version int not null,
    state text not null check (state in ('done', 'cancelled')),
    attempts int not null,
    crashes int not null,
    brand_id uuid,
    user_id uuid,
    subject_type text,
    subject_id text,
    parent_id uuid,
    group_id uuid,
    request_id text,
    correlation_id text,
    traceparent text,
    progress_done int,
    progress_total int,
    progress_message text,
    error jsonb,
    created_at timestamptz not null,
    claimed_at timestamptz,
    finished_at timestamptz not null default now(),
    primary key (id, finished_at)
) partition by range (finished_at);
create index job_history_request on app.job_history (request_id) where request_id <> '';
create index job_history_correlation on app.job_history (correlation_id)
    where correlation_id is distinct from request_id;
create index job_history_trace on app.job_history (split_part(traceparent, '-', 2))
    where split_part(traceparent, '-', 2) <> ''
        and split_part(traceparent, '-', 2) is distinct from replace(request_id, '-', '');

-- Dead letters stay until somebody has dealt with them.
create table app.dead_jobs (
    like app.job_history including defaults,
    fingerprint text not null,                     -- alike for jobs that died of the same
    -- what it needs to become a job again
    priority smallint not null default 1,
    fence bigint not null default 0,
    unique_key text,
    coalesce_key text,
    primary key (id),
    check (state = 'dead')
);
create index dead_jobs_fingerprint on app.dead_jobs (fingerprint, finished_at);
create index dead_jobs_request on app.dead_jobs (request_id) where request_id <> '';
create index dead_jobs_correlation on app.dead_jobs (correlation_id) where correlation_id is distinct from request_id;
create index dead_jobs_trace on app.dead_jobs (split_part(traceparent, '-', 2))
    where split_part(traceparent, '-', 2) <> ''
        and split_part(traceparent, '-', 2) is distinct from replace(request_id, '-', '');

-- Locked as a whole by app.take_due, so that one relay takes jobs at a time; holds no rows. A table lock writes
-- nothing, and no login can take it. Advisory locks are open to every login where their functions can't be revoked.
create table app.relay_lock (id uuid primary key);
call app.secure('app.relay_lock');

-- A worker's number: the key of the advisory lock that it holds while it lives.
create sequence app.worker_ids as int cycle;

call app.secure('app.jobs', p_fan => 'select', p_admin => 'select', p_job => 'select', p_system => 'select',
    p_member => '{"select": "jobs:read"}');
call app.secure('app.job_keys', p_system => 'select,delete');
call app.secure('app.job_history', p_fan => 'select', p_admin => 'select', p_job => 'select', p_system => 'select',
    p_member => '{"select": "jobs:read"}');
call app.secure('app.dead_jobs', p_fan => 'select', p_admin => 'select', p_job => 'select', p_system => 'select,delete',
    p_member => '{"select": "jobs:read"}');

-- Partitions are made and dropped by a definer function, in a schema that holds nothing else: app_definer may create
-- nothing beside the functions and tables of schema app.
create schema app_partitions;
grant usage, create on schema app_partitions to app_definer;
grant create on schema app to app_definer;
alter table app.job_history owner to app_definer;
revoke create on schema app from app_definer;

-- Create the partition of one day (in UTC) and move the day's rows from the default partition into it. The caller holds
-- the default partition's lock: a row that arrived there in between would refuse the new partition.
create function app.add_job_history_day(p_day date) returns void
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    partition constant text := format('app_partitions.job_history_%s', to_char(p_day, 'YYYYMMDD'));
begin
    execute format('create table %s (like app.job_history including defaults including constraints)', partition);
    -- The day has no partition, so its rows are in the default one. Row security of the new table would hide it from us.
    execute format(
        'with moved as (delete from app.job_history where finished_at >= %L and finished_at < %L returning *)'
        ' insert into %s select * from moved', p_day, p_day + 1, partition);
    execute format('alter table %s enable row level security, force row level security', partition);
    execute format('alter table app.job_history attach partition %s for values from (%L) to (%L)',
        partition, p_day, p_day + 1);
end
$$;
call app.grant_definer('app.add_job_history_day(date)', '{}');

-- Create the missing partitions from today (in UTC) for p_days. Drop those that ended p_keep ago, and rows of that age
-- in the default partition. Return the names of the dropped partitions. Rows without a partition of their day go to the
-- default partition, so a pause of this job loses nothing.
create function app.rotate_job_history(p_days int, p_keep interval) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    missing date[] := array(
        select day::date from generate_series(current_date, current_date + p_days, '1 day') day
        where to_regclass(format('app_partitions.job_history_%s', to_char(day, 'YYYYMMDD'))) is null);
    day date;
    partition record;
begin
    if missing <> '{}' then
        lock table app_partitions.job_history_default in access exclusive mode;
    end if;
    foreach day in array missing loop
        perform app.add_job_history_day(day);
    end loop;
    delete from app.job_history
    where tableoid = 'app_partitions.job_history_default'::regclass and finished_at < now() - p_keep;
    for partition in
        select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'app.job_history'::regclass and c.relname ~ '_[0-9]{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 < current_date - p_keep
    loop
        execute format('drop table app_partitions.%I', partition.relname);
        return next partition.relname;
    end loop;
end
$$;
call app.grant_definer('app.rotate_job_history(int,interval)', array['app_system']);
create table app_partitions.job_history_default partition of app.job_history default;
alter table app_partitions.job_history_default owner to app_definer;
alter table app_partitions.job_history_default enable row level security, force row level security;
select app.rotate_job_history(14, '30 days');

-- One view of a job's life, under the caller's own row policies.
create view app.job_status with (security_invoker = true) as
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, progress_done, progress_total, progress_message, error, created_at, claimed_at,
        null::timestamptz as finished_at, cancel_requested_at
    from app.jobs
    union all
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, progress_done, progress_total, progress_message, error, created_at, claimed_at, finished_at, null
    from app.job_history
    union all
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, progress_done, progress_total, progress_message, error, created_at, claimed_at, finished_at, null
    from app.dead_jobs;
grant select on app.job_status to authenticated, app_fan, app_admin, app_job, app_system;

-- Claims a key for a job. Returns null if it has it now, or the job that holds it. With p_replace a job that still
-- waits is given the new arguments and starts its delay anew, and one that doesn't makes room.
create function app.hold_job_key(
    p_key text, p_job_id uuid, p_window interval, p_replace boolean, p_args jsonb, p_delay interval
) returns uuid language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    holder uuid;
begin
    if not p_replace then
        -- A key that is held is not waited for.
        select k.job_id into holder from app.job_keys k
        where k.key = p_key and (k.expires_at is null or k.expires_at >= now());
        if found then
            return holder;
        end if;
    end if;
    insert into app.job_keys as k (key, job_id, expires_at) values (p_key, p_job_id, now() + p_window)
    on conflict (key) do update set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
        expires_at = case when k.expires_at < now() then excluded.expires_at else k.expires_at end
    returning nullif(k.job_id, p_job_id) into holder;
    if holder is null or not p_replace then
        return holder;
    end if;
    update app.jobs j set args = p_args, due_at = now() + p_delay where j.id = holder and j.published_at is null;
    if found then
        return holder;
    end if;
    update app.job_keys k set job_id = p_job_id where k.key = p_key;
    return null;
end
$$;
call app.grant_definer('app.hold_job_key(text,uuid,interval,boolean,jsonb,interval)', '{}');

-- Puts a job into the ledger, or returns the one that already holds its unique key.
-- For other definer functions; everybody else goes through app.enqueue.
create function app.add_job(
    p_id uuid, p_actor text, p_args jsonb,
    p_delay interval default '0', p_priority int default 1,
    p_unique_key text default null, p_coalesce_key text default null,
    p_subject_type text default null, p_subject_id text default null,
    p_brand_id uuid default null, p_user_id uuid default null, p_parent_id uuid default null,
    p_request_id text default null, p_correlation_id text default null, p_traceparent text default null,
    p_window interval default null, p_replace boolean default false, p_version int default 1,
    p_group_id uuid default null,
    out id uuid, out created boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_unique_key is not null then
        add_job.id := app.hold_job_key(p_unique_key, p_id, p_window, p_replace, p_args, p_delay);
        if add_job.id is not null then
            created := false;
            return;
        end if;
    end if;
    insert into app.jobs (id, actor, args, version, due_at, priority, unique_key, coalesce_key, subject_type, subject_id,
        brand_id, lane, user_id, parent_id, group_id, request_id, correlation_id, traceparent)
    values (p_id, p_actor, p_args, p_version, now() + p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type,
        p_subject_id, p_brand_id, coalesce(p_brand_id, '00000000-0000-0000-0000-000000000000'), p_user_id, p_parent_id,
        p_group_id, p_request_id, p_correlation_id, p_traceparent);
    add_job.id := p_id;
    created := true;
end
$$;
call app.grant_definer('app.add_job(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,uuid,text,text,text,'
    'interval,boolean,int,uuid)', '{}');

-- Enqueue as whoever asks: a member's job is the brand's, a fan's job the fan's. p_id becomes that of the job which holds
-- the unique key already, if there is one.
--
-- A procedure, since calling one needs no plan; most who call it wait for no answer.
create procedure app.enqueue(
    inout p_id uuid, p_actor text, p_args jsonb, p_delay interval, p_priority int, p_unique_key text, p_coalesce_key text,
    p_subject_type text, p_subject_id text, p_brand_id uuid, p_user_id uuid,
    p_request_id text, p_correlation_id text, p_traceparent text, p_window interval, p_replace boolean, p_version int,
    out p_created boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    asking text := current_setting('role');
begin
    if asking in ('authenticated', 'app_job') then
        if p_brand_id is distinct from (claims #>> '{app_metadata,brand_id}')::uuid then
            perform app.refuse(403, 'forbidden', 'A job belongs to the brand that asks for it.');
        end if;
        -- Whoever is named sees the job: only people who have to do with the brand can be.
        if p_user_id is not null and not app.is_known_to(p_brand_id, p_user_id) then
            perform app.refuse(403, 'forbidden', 'A job is about a person whom the brand knows.');
        end if;
    elsif asking = 'app_fan' and (p_user_id is distinct from (claims ->> 'sub')::uuid or p_brand_id is not null) then
        perform app.refuse(403, 'forbidden', 'A job belongs to the fan who asks for it.');
    end if;
    if p_unique_key is not null then
        select j.id, j.created into p_id, p_created from app.add_job(
            p_id, p_actor, p_args, p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type, p_subject_id,
            p_brand_id, p_user_id, (claims ->> 'job_id')::uuid, p_request_id, p_correlation_id, p_traceparent, p_window,
            p_replace, p_version) as j;
        return;
    end if;
    -- What app.add_job does without a key, spared another change of owner and path: every request that asks pays for it.
    insert into app.jobs (id, actor, args, version, due_at, priority, coalesce_key, subject_type, subject_id, brand_id,
        lane, user_id, parent_id, request_id, correlation_id, traceparent)
    values (p_id, p_actor, p_args, p_version, now() + p_delay, p_priority, p_coalesce_key, p_subject_type, p_subject_id,
        p_brand_id, coalesce(p_brand_id, '00000000-0000-0000-0000-000000000000'), p_user_id,
        (claims ->> 'job_id')::uuid, p_request_id, p_correlation_id, p_traceparent);
    p_created := true;
end
$$;
call app.grant_definer(
    'app.enqueue(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,text,text,text,interval,boolean,int)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);

-- What brands are worth to each other, and how much of the system each may use at once. Those without a row have weight
-- 1 and no limit of their own.
create table app.brand_shares (
    brand_id uuid primary key references public.brands (id),
    weight int not null default 1 check (weight between 1 and 100),
    max_running int check (max_running >= 0)
);
call app.secure('app.brand_shares', p_admin => 'select,insert,update,delete');

-- Actors whose jobs wait until somebody lets them go on.
create table app.paused_actors (
    actor text primary key,
    paused_by uuid,
    reason text,
    paused_at timestamptz not null default now()
);
call app.secure('app.paused_actors', p_admin => 'select');

-- When an actor with a rate limit would have used up what it has taken: GCRA's theoretical arrival time.
create table app.actor_rates (
    actor text primary key,
    arrival timestamptz not null
);
call app.secure('app.actor_rates', p_admin => 'select');

-- How many jobs of an actor its rate lets start now (Generic Cell Rate Algorithm: `burst` at once, `rate` a second).
create function app.rate_allows(p_actor text, p_rate float8, p_burst int) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    ahead float8;  -- seconds by which the arrival time is ahead of now
begin
    select greatest(0, extract(epoch from a.arrival - clock_timestamp())) into ahead
    from app.actor_rates a where a.actor = p_actor;
    return floor((p_burst / p_rate - coalesce(ahead, 0)) * p_rate + 0.000001);
end
$$;
call app.grant_definer('app.rate_allows(text,float8,int)', '{}');

create function app.rate_takes(p_actor text, p_rate float8, p_count int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.actor_rates as a (actor, arrival)
    values (p_actor, clock_timestamp() + make_interval(secs => p_count / p_rate))
    on conflict (actor) do update
        set arrival = greatest(a.arrival, clock_timestamp()) + make_interval(secs => p_count / p_rate);
end
$$;
call app.grant_definer('app.rate_takes(text,float8,int)', '{}');

-- What the limits of an actor are: {"max_running", "max_per_brand", "rate", "burst"}, each null where there is none.
create type app.actor_limits as (actor text, max_running int, max_per_brand int, rate float8, burst int);

-- The relay: takes due jobs of the actors that it knows, by state and never by position, and marks them published.
--
-- Brands take turns: the n-th job of each brand (n-th `weight` jobs) goes before the next of any. What is published or
-- running of a brand's are turns that it has had: otherwise each look, which may have room for one or two, would begin
-- with whoever has waited for longest, and that is always the brand with the most jobs. So are those that the relay
-- remembers (p_turns, of p_lanes), where they are more. Within a turn the more urgent
-- goes first, then whose brand was served longest ago, then the older; within a brand the more urgent, then the older.
-- Limits count what is published or running now, so nothing can leak; one relay takes at a time, so nothing is taken
-- twice over.
--
-- Of waiting jobs with one coalesce_key one goes and the others are dropped: they all had committed by now, so the
-- one that goes sees what each of them was about.
--
-- Of many brands each look asks some, beginning after p_after: a row without an id tells after whom the next one goes on.
create function app.take_due(
    p_actors text[], p_room int, p_limits app.actor_limits[], p_after uuid,
    p_lanes uuid[] default '{}', p_turns float8[] default '{}'
) returns table (id uuid, lane uuid) language plpgsql security definer
-- Planning it anew would cost more than the look, and there is one every few milliseconds. The plan may be made while the
-- table is empty, and must do when it no longer is.
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
    chosen uuid[];
    asked_last uuid;
begin
    lock table app.relay_lock in exclusive mode;
    select t.ids, t.asked_last into chosen, asked_last
    from app.whose_turn(p_actors, p_room, p_limits, p_after, p_lanes, p_turns) as t;
    if asked_last is not null then
        return query select null::uuid, asked_last;
    end if;
    if chosen is null then
        return;
    end if;
    return query
    -- To a planner that was told of an empty table, going through an index costs no more than looking up 32 rows in it,
    -- and a join no more with any. So no condition here fits any index but the primary key's, and nothing is joined.
    with locked as materialized (
        select j.id, j.coalesce_key, j.due_at from app.jobs j
        where j.id = any (chosen) and j.state = 'waiting'
        for update skip locked
    ),
    ranked as (
        select l.id, l.coalesce_key is not null
            and row_number() over (partition by l.coalesce_key order by l.due_at, l.id) > 1 as repeated
        from locked l
    ),
    dropped as (
        delete from app.jobs j where j.id = any (array(select r.id from ranked r where r.repeated))
    ),
    published as (
        update app.jobs j set state = 'published', published_at = now()
        where j.id = any (array(select r.id from ranked r where not r.repeated))
        returning j.id, j.lane, j.actor
    ),
    rated as (
        select app.rate_takes(l.actor, l.rate, count(*)::int) from published p join unnest(p_limits) l on l.actor = p.actor
        where l.rate is not null group by l.actor, l.rate
    )
    select p.id, p.lane from published p where (select count(*) from rated) >= 0;
end
$$;

-- Which due jobs go next, at most p_room; and the last lane that was asked, if not all were.
create function app.whose_turn(
    p_actors text[], p_room int, p_limits app.actor_limits[], p_after uuid, p_lanes uuid[], p_turns float8[],
    out ids uuid[], out asked_last uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    pairs constant int := 32;  -- of actor and lane that are asked, about
    few constant int := 4;     -- jobs that each of them is asked for at the least
    most_lanes int;
    waiting text[] := array(
        -- One probe of the index for each: what most looks at most queues find is that nothing waits.
        select a.actor from unnest(p_actors) as a (actor)
        cross join lateral (
            select j.lane from app.jobs j where j.published_at is null and j.actor = a.actor order by j.lane limit 1
        ) as first
    );
begin
    if waiting = '{}' then
        return;
    end if;
    most_lanes := greatest(4, pairs / cardinality(waiting));
    select t.ids, t.asked_last into whose_turn.ids, whose_turn.asked_last
    from app.choose_jobs(p_actors, waiting, p_room, p_limits, p_after, p_lanes, p_turns, most_lanes, few) as t;
    if cardinality(ids) between few and p_room - 1 then
        -- That does where many have some. Where few have many, there may be more to be had of these.
        select t.ids into whose_turn.ids
        from app.choose_jobs(p_actors, waiting, p_room, p_limits, p_after, p_lanes, p_turns, most_lanes, p_room) as t;
    end if;
end
$$;
call app.grant_definer('app.whose_turn(text[],int,app.actor_limits[],uuid,uuid[],float8[])', '{}');

-- Likewise, of the actors that have jobs waiting. Looks at no more than p_most_lanes lanes of each, and in each of these at
-- p_few jobs or twice its share of the room, times its weight.
create function app.choose_jobs(
    p_actors text[], p_waiting text[], p_room int, p_limits app.actor_limits[], p_after uuid, p_lanes uuid[],
    p_turns float8[], p_most_lanes int, p_few int, out ids uuid[], out asked_last uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    last_lane constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
begin
    with recursive taken as materialized (
        select j.actor, j.lane, count(*) as jobs, max(j.published_at) as last_at
        from app.jobs j where j.published_at is not null group by 1, 2
    ),
    of_actor as materialized (select t.actor, sum(t.jobs) as jobs from taken t group by t.actor),
    of_lane as materialized (
        select t.lane, sum(t.jobs) as jobs, sum(t.jobs) filter (where t.actor = any (p_actors)) as turns_had,
            max(t.last_at) filter (where t.actor = any (p_actors)) as last_at
        from taken t group by t.lane
    ),
    known as materialized (
        select a.n, a.actor, l.max_per_brand,
            least(l.max_running - coalesce(o.jobs, 0),
                case when l.rate is not null then app.rate_allows(a.actor, l.rate, l.burst) end) as room_of_actor
        from unnest(p_waiting) with ordinality as a (actor, n)
        left join unnest(p_limits) as l on l.actor = a.actor
        left join of_actor o on o.actor = a.actor
        where not exists (select from app.paused_actors p where p.actor = a.actor)
    ),
    -- From one lane of an actor to its next in the index, however many jobs wait in each: from p_after on, and around.
    walk (n, actor, lane, place, has_turned) as (
        select k.n, k.actor, p_after, 0, false from known k where k.room_of_actor is null or k.room_of_actor > 0
        union all
        select w.n, w.actor, coalesce(up.lane, first.lane), w.place + 1, w.has_turned or up.lane is null
        from walk w
        left join lateral (
            select j.lane from app.jobs j
            where j.published_at is null and j.actor = w.actor and j.lane > w.lane
                and j.lane <= case when w.has_turned then p_after else last_lane end
            order by j.lane limit 1
        ) as up on true
        left join lateral (
            select j.lane from app.jobs j
            where up.lane is null and not w.has_turned
                and j.published_at is null and j.actor = w.actor and j.lane <= p_after
            order by j.lane limit 1
        ) as first on true
        where w.place < p_most_lanes and coalesce(up.lane, first.lane) is not null
    ),
    lanes as materialized (
        select k.n, k.actor, w.lane, w.place, coalesce(b.weight, 1) as weight, k.room_of_actor,
            k.max_per_brand - coalesce(t.jobs, 0) as room_of_both,
            b.max_running - coalesce(h.jobs, 0) as room_of_brand,
            greatest(h.turns_had, r.turns, 0) as turns_had, h.last_at,
            greatest(p_few, ceil(2.0 * p_room / count(*) over ())) * coalesce(b.weight, 1) as most
        from walk w join known k on k.n = w.n
        left join of_lane h on h.lane = w.lane
        left join unnest(p_lanes, p_turns) as r (lane, turns) on r.lane = w.lane
        left join taken t on t.actor = k.actor and t.lane = w.lane
        left join app.brand_shares b on b.brand_id = w.lane
        where w.place > 0
    ),
    candidates as (
        select c.*, l.weight, l.n, l.lane, l.turns_had, l.last_at, l.room_of_actor, l.room_of_brand
        from lanes l
        cross join lateral (
            -- The next priority is asked only while there are not enough.
            select j.* from generate_series(0, 3) as p (priority)
            cross join lateral (
                select j.id, j.priority, j.due_at from app.jobs j
                where j.published_at is null and j.actor = l.actor and j.lane = l.lane and j.priority = p.priority
                    and j.due_at <= now()
                order by j.due_at limit l.most
            ) as j
            limit greatest(0, least(l.most, l.room_of_both, l.room_of_brand, l.room_of_actor))
        ) as c
    ),
    in_turn as (
        select c.*, ceil((c.turns_had
            + row_number() over (partition by c.lane order by c.priority, c.due_at, c.id))::float8 / c.weight) as turn
        from candidates c
    ),
    limited as (
        select t.id, t.turn, t.priority, t.last_at, t.due_at, t.room_of_actor, t.room_of_brand,
            row_number() over (
                partition by t.n order by t.turn, t.priority, t.last_at nulls first, t.due_at) as of_actor,
            row_number() over (partition by t.lane order by t.turn, t.priority, t.due_at) as of_brand
        from in_turn t
    ),
    chosen as (
        select l.id from limited l
        where (l.room_of_actor is null or l.of_actor <= l.room_of_actor)
            and (l.room_of_brand is null or l.of_brand <= l.room_of_brand)
        order by l.turn, l.priority, l.last_at nulls first, l.due_at
        limit p_room
    )
    select (select array_agg(c.id) from chosen c), (
        -- The nearest, going round, of the lanes at which the asking broke off.
        select l.lane from lanes l where l.place = p_most_lanes order by l.lane <= p_after, l.lane limit 1
    ) into ids, asked_last;
end
$$;
call app.grant_definer('app.choose_jobs(text[],text[],int,app.actor_limits[],uuid,uuid[],float8[],int,int)', '{}');

-- A worker claims what it fetched, all of it in one statement. What another worker has taken, or what is over, is left
-- out. A job that was held by a worker that died is claimed alone, so that it can take only itself down.
create function app.claim(p_ids uuid[], p_worker_id int) returns setof app.jobs
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    update app.jobs j set state = 'running', worker_id = p_worker_id, claimed_at = now(),
        fence = j.fence + 1, attempts = j.attempts + 1
    where j.id = any (p_ids) and j.state = 'published' and (j.crashes = 0 or cardinality(p_ids) = 1)
    returning j.*;
end
$$;

-- Moves a job out of the ledger: into its history, or among the dead letters. Raises unless the caller's claim is the
-- newest one. A cancelled job need not be running: it may have been given back meanwhile, or never been claimed.
create function app.close_job(p_id uuid, p_fence bigint, p_state text, p_error jsonb default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j app.jobs;
begin
    delete from app.jobs where jobs.id = p_id and jobs.fence = p_fence
        and (jobs.state = 'running' or p_state = 'cancelled') returning * into j;
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
    if p_state = 'dead' then
        insert into app.dead_jobs (id, actor, args, version, state, attempts, crashes, brand_id, user_id, subject_type,
            subject_id, parent_id, group_id, request_id, correlation_id, traceparent, progress_done, progress_total,
            progress_message, error, created_at, claimed_at, fingerprint, priority, fence, unique_key, coalesce_key)
        values (j.id, j.actor, j.args, j.version, p_state, j.attempts, j.crashes, j.brand_id, j.user_id, j.subject_type,
            j.subject_id, j.parent_id, j.group_id, j.request_id, j.correlation_id, j.traceparent, j.progress_done,
            j.progress_total, j.progress_message, p_error, j.created_at, j.claimed_at,
            app.error_fingerprint(j.actor, p_error), j.priority, j.fence, j.unique_key, j.coalesce_key);
    else
        insert into app.job_history (id, actor, args, version, state, attempts, crashes, brand_id, user_id, subject_type,
            subject_id, parent_id, group_id, request_id, correlation_id, traceparent, progress_done, progress_total,
            progress_message, error, created_at, claimed_at)
        values (j.id, j.actor, j.args, j.version, p_state, j.attempts, j.crashes, j.brand_id, j.user_id, j.subject_type,
            j.subject_id, j.parent_id, j.group_id, j.request_id, j.correlation_id, j.traceparent, j.progress_done,
            j.progress_total, j.progress_message, p_error, j.created_at, j.claimed_at);
    end if;
    if j.unique_key is not null then
        delete from app.job_keys k where k.key = j.unique_key and k.job_id = j.id and k.expires_at is null;
    end if;
end
$$;

-- What jobs died of, without what differs from job to job: actor, kind of error, and the place in the code; where
-- there is none, the message with its numbers and ids taken out.
create function app.error_fingerprint(p_actor text, p_error jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return left(encode(sha256(convert_to(concat_ws('|', p_actor, p_error ->> 'kind',
        coalesce(nullif(p_error #>> '{where,-1}', ''),
            regexp_replace(p_error ->> 'message', '[0-9a-f-]{8,}|[0-9]+', '#', 'g'))), 'UTF8')), 'hex'), 12);
end
$$;
call app.grant_definer('app.error_fingerprint(text,jsonb)', '{}');

-- A procedure, since calling one needs no plan.
create procedure app.finish(p_id uuid, p_fence bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j record;
begin
    -- What app.close_job does for this state: by far the commonest end is spared a second change of owner and path, and
    -- what the history doesn't keep.
    delete from app.jobs where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running'
    returning jobs.id, jobs.actor, jobs.args, jobs.version, jobs.attempts, jobs.crashes, jobs.brand_id, jobs.user_id,
        jobs.subject_type, jobs.subject_id, jobs.parent_id, jobs.group_id, jobs.request_id, jobs.correlation_id,
        jobs.traceparent, jobs.progress_done, jobs.progress_total, jobs.progress_message, jobs.created_at,
        jobs.claimed_at, jobs.unique_key into j;
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
    insert into app.job_history (id, actor, args, version, state, attempts, crashes, brand_id, user_id, subject_type,
        subject_id, parent_id, group_id, request_id, correlation_id, traceparent, progress_done, progress_total,
        progress_message, created_at, claimed_at)
    values (j.id, j.actor, j.args, j.version, 'done', j.attempts, j.crashes, j.brand_id, j.user_id, j.subject_type,
        j.subject_id, j.parent_id, j.group_id, j.request_id, j.correlation_id, j.traceparent, j.progress_done,
        j.progress_total, j.progress_message, j.created_at, j.claimed_at);
    if j.unique_key is not null then
        delete from app.job_keys k where k.key = j.unique_key and k.job_id = j.id and k.expires_at is null;
    end if;
end
$$;

create function app.bury(p_id uuid, p_fence bigint, p_error jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.close_job(p_id, p_fence, 'dead', p_error);
end
$$;

create function app.retry(p_id uuid, p_fence bigint, p_delay interval, p_error jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.jobs set state = 'waiting', due_at = clock_timestamp() + p_delay, worker_id = null, published_at = null,
        error = p_error
    where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running';
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
end
$$;

-- Gives back what a worker claimed and did not start, was told to stop, or does not know: no attempt is charged.
create function app.release(p_ids uuid[], p_worker_id int, p_delay interval default '0') returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    released int;
begin
    update app.jobs set state = 'waiting', due_at = now() + p_delay, attempts = attempts - 1, worker_id = null,
        published_at = null
    where jobs.id = any (p_ids) and jobs.worker_id = p_worker_id and jobs.state = 'running';
    get diagnostics released = row_count;
    return released;
end
$$;

-- Gives back what a worker is said to hold and does not: a crash of PostgreSQL has taken back what it said of it. It keeps
-- its place.
create function app.release_unknown(p_worker_id int, p_actors text[], p_held uuid[]) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    released int;
begin
    update app.jobs set state = 'waiting', attempts = attempts - 1, worker_id = null, published_at = null
    where jobs.published_at is not null and jobs.state = 'running' and jobs.worker_id = p_worker_id
        and jobs.actor = any (p_actors) and jobs.id <> all (p_held);
    get diagnostics released = row_count;
    return released;
end
$$;

-- Whether somebody wants the job to stop.
create function app.report_progress(p_id uuid, p_fence bigint, p_done int, p_total int, p_message text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    is_unwanted boolean;
begin
    update app.jobs set progress_done = p_done, progress_total = p_total, progress_message = p_message
    where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running'
    returning jobs.cancel_requested_at is not null into is_unwanted;
    return coalesce(is_unwanted, false);
end
$$;

-- What became of a job whose COMMIT was not answered: 'done' or 'dead' if it is over, 'running' if this claim is still
-- the newest, 'lost' if somebody else has it.
create function app.outcome(p_id uuid, p_fence bigint) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    outcome text;
begin
    select h.state into outcome from app.job_history h where h.id = p_id;
    if not found then
        select d.state into outcome from app.dead_jobs d where d.id = p_id;
    end if;
    if not found then
        select case when j.fence = p_fence and j.state = 'running' then 'running' else 'lost' end
        into outcome from app.jobs j where j.id = p_id;
    end if;
    return coalesce(outcome, 'lost');
end
$$;

-- The class of the advisory locks by which workers show that they live; the second key is the worker's number.
create function app.liveness_class() returns int
language sql immutable set search_path = pg_catalog, pg_temp as $$ select 7061 $$;

create function app.register_worker() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return nextval('app.worker_ids')::int;
end
$$;
grant usage on sequence app.worker_ids to app_definer;

-- Takes jobs back from whoever was found not to be running them any more, if they still are under that fence. A job that
-- this happens to p_max_crashes times is buried: it kills its workers, or never ends.
create function app.take_back(p_ids uuid[], p_fences bigint[], p_max_crashes int, p_reason text)
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    with held as (
        select j.id, j.crashes from app.jobs j
        where j.state = 'running' and (j.id, j.fence) in (select * from unnest(p_ids, p_fences))
        for update skip locked
    ),
    closed as (
        select h.id, app.bury_crashed(h.id, p_reason) from held h where h.crashes + 1 >= p_max_crashes
    ),
    returned as (
        -- It keeps its place: whoever was unlucky is not put behind everything that has come since.
        update app.jobs j set state = 'waiting', worker_id = null, published_at = null,
            crashes = j.crashes + 1, attempts = j.attempts - 1
        from held h where j.id = h.id and h.crashes + 1 < p_max_crashes
        returning j.id
    )
    select c.id, 'dead' from closed c
    union all
    select r.id, 'waiting' from returned r;
end
$$;

create function app.bury_crashed(p_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.jobs set crashes = crashes + 1 where jobs.id = p_id;
    perform app.close_job(j.id, j.fence, 'dead', jsonb_build_object('kind', 'crash', 'message', p_reason))
    from app.jobs j where j.id = p_id;
end
$$;

-- Workers that hold jobs and not their lock. That is how a dead one looks, and one whose connection has just been lost.
create function app.missing_workers() returns setof int
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select distinct j.worker_id from app.jobs j
    where j.published_at is not null and j.state = 'running' and j.claimed_at < clock_timestamp() - interval '1 second'
        and not exists (
            select from pg_catalog.pg_locks l
            where l.locktype = 'advisory' and l.objsubid = 2  -- a lock of two keys
                and l.classid = app.liveness_class()::oid and l.objid = j.worker_id::oid
                and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
        );
end
$$;

-- Takes jobs back from workers that no longer hold their lock: of p_workers, who have been missing for a while, or of
-- all. After a restart of PostgreSQL everybody gets p_grace to lock again.
create function app.sweep_lost(p_grace interval, p_max_crashes int, p_workers int[])
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if pg_postmaster_start_time() > clock_timestamp() - p_grace then
        return;
    end if;
    return query
    select taken.* from (
        select array_agg(j.id) as ids, array_agg(j.fence) as fences from app.jobs j
        where j.published_at is not null and j.state = 'running' and j.worker_id in (select app.missing_workers())
            and (p_workers is null or j.worker_id = any (p_workers))
    ) as lost
    cross join lateral app.take_back(lost.ids, lost.fences, p_max_crashes, 'Its workers died while they held it.') taken;
end
$$;

-- Takes jobs back that have been held for longer than their actor allows (p_limits: seconds, by actor), whoever holds
-- them: a process that was stopped keeps its lock. Should it go on, its fence refuses what it did.
create function app.sweep_overdue(p_actors text[], p_limits float8[], p_max_crashes int)
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select taken.* from (
        select array_agg(j.id) as ids, array_agg(j.fence) as fences
        from app.jobs j join unnest(p_actors, p_limits) as a (actor, seconds) on a.actor = j.actor
        where j.published_at is not null and j.state = 'running'
            and j.claimed_at < clock_timestamp() - make_interval(secs => a.seconds)
    ) as overdue
    cross join lateral app.take_back(
        overdue.ids, overdue.fences, p_max_crashes, 'It did not end in time, and nothing could stop it.') taken;
end
$$;

-- Published a while ago, not claimed, and not among those that Redis still holds: it has been forgotten. (To publish a
-- job twice does no harm; the second claim finds nothing.)
create function app.sweep_forgotten(p_after interval, p_present uuid[]) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    forgotten int;
begin
    update app.jobs set state = 'waiting', published_at = null where jobs.id in (
        select j.id from app.jobs j
        where j.published_at is not null and j.state = 'published'
            and j.published_at < clock_timestamp() - p_after and j.id <> all (p_present)
        for update skip locked);
    get diagnostics forgotten = row_count;
    return forgotten;
end
$$;

call app.grant_definer('app.take_due(text[],int,app.actor_limits[],uuid,uuid[],float8[])', array['app_worker']);
call app.grant_definer('app.claim(uuid[],int)', array['app_worker']);
call app.grant_definer('app.close_job(uuid,bigint,text,jsonb)', '{}');
call app.grant_definer('app.finish(uuid,bigint)', array['app_worker', 'app_job', 'app_system']);  -- not people's roles
call app.grant_definer('app.bury(uuid,bigint,jsonb)', array['app_worker']);
call app.grant_definer('app.retry(uuid,bigint,interval,jsonb)', array['app_worker']);
call app.grant_definer('app.release(uuid[],int,interval)', array['app_worker']);
call app.grant_definer('app.release_unknown(int,text[],uuid[])', array['app_worker']);
call app.grant_definer('app.report_progress(uuid,bigint,int,int,text)', array['app_worker']);
call app.grant_definer('app.outcome(uuid,bigint)', array['app_worker']);
call app.grant_definer('app.register_worker()', array['app_worker']);
call app.grant_definer('app.take_back(uuid[],bigint[],int,text)', '{}');
call app.grant_definer('app.bury_crashed(uuid,text)', '{}');
call app.grant_definer('app.missing_workers()', array['app_worker']);
call app.grant_definer('app.sweep_lost(interval,int,int[])', array['app_worker']);
call app.grant_definer('app.sweep_overdue(text[],float8[],int)', array['app_worker']);
call app.grant_definer('app.sweep_forgotten(interval,uuid[])', array['app_worker']);
grant execute on function app.liveness_class() to app_worker, app_definer;

-- The clock: an occurrence of a schedule is one row, so two clocks are as good as one.
create table app.schedule_occurrences (
    schedule text not null,
    due_at timestamptz not null,
    job_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (schedule, due_at)
);
call app.secure('app.schedule_occurrences', p_admin => 'select', p_system => 'select,delete');

create function app.enqueue_occurrence(p_schedule text, p_due_at timestamptz, p_job_id uuid, p_actor text)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.schedule_occurrences (schedule, due_at, job_id) values (p_schedule, p_due_at, p_job_id)
    on conflict do nothing;
    if found then
        perform app.add_job(p_job_id, p_actor, '[]', p_subject_type => 'schedule', p_subject_id => p_schedule);
        return true;
    end if;
    return false;
end
$$;
call app.grant_definer('app.enqueue_occurrence(text,timestamptz,uuid,text)', array['app_worker']);

create function app.last_occurrence(p_schedule text) returns timestamptz
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select max(due_at) from app.schedule_occurrences where schedule = p_schedule);
end
$$;
call app.grant_definer('app.last_occurrence(text)', array['app_worker']);
