-- The ledger of jobs: what must happen, written with the decision that it must.
--
-- waiting --publish--> published --claim--> running --finish--> (history) done
--    ^                     |                   |--retry, release, lost worker--> waiting
--    +--forgotten by Redis-+                   |--bury--> (history) dead
--
-- Only work that is not over lies in app.jobs, so it stays small; what is over moves to app.job_history.

create table app.jobs (
    id uuid primary key,
    actor text not null,
    args jsonb not null default '[]',
    state text not null default 'waiting' check (state in ('waiting', 'published', 'running')),
    priority smallint not null default 1 check (priority between 0 and 3),  -- 0 goes first
    due_at timestamptz not null default now(),
    attempts int not null default 0,
    crashes int not null default 0,                -- workers that died while they held it
    fence bigint not null default 0,               -- counts claims; every later write has to name the newest
    worker_id int,
    published_at timestamptz,
    claimed_at timestamptz,
    brand_id uuid,
    user_id uuid,
    subject_type text,
    subject_id text,
    parent_id uuid,
    request_id text,
    correlation_id text,
    traceparent text,
    unique_key text,                               -- at most one job that is not over
    coalesce_key text,                             -- waiting ones of one key run as one
    progress_done int,
    progress_total int,
    progress_message text,
    error jsonb,
    created_at timestamptz not null default now()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index jobs_due on app.jobs (actor, priority, due_at) where state = 'waiting';
create unique index jobs_unique on app.jobs (unique_key) where unique_key is not null;

create table app.job_history (
    id uuid primary key,
    actor text not null,
    args jsonb not null,
    state text not null check (state in ('done', 'dead', 'cancelled')),
    attempts int not null,
    crashes int not null,
    brand_id uuid,
    user_id uuid,
    subject_type text,
    subject_id text,
    parent_id uuid,
    request_id text,
    correlation_id text,
    traceparent text,
    progress_done int,
    progress_total int,
    progress_message text,
    error jsonb,
    created_at timestamptz not null,
    claimed_at timestamptz,
    finished_at timestamptz not null default now()
);
create index job_history_finished on app.job_history using brin (finished_at);
create index job_history_request on app.job_history (request_id);
create index job_history_dead on app.job_history (actor, finished_at) where state = 'dead';

-- A worker's number: the key of the advisory lock that it holds while it lives.
create sequence app.worker_ids as int cycle;

call app.secure('app.jobs', p_fan => 'select', p_admin => 'select', p_job => 'select', p_system => 'select',
    p_member => '{"select": "jobs:read"}');
call app.secure('app.job_history', p_fan => 'select', p_admin => 'select', p_job => 'select', p_system => 'select,delete',
    p_member => '{"select": "jobs:read"}');

-- One view of a job's life, under the caller's own row policies.
create view app.job_status with (security_invoker = true) as
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, request_id,
        progress_done, progress_total, progress_message, error, created_at, claimed_at, null::timestamptz as finished_at
    from app.jobs
    union all
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, request_id,
        progress_done, progress_total, progress_message, error, created_at, claimed_at, finished_at
    from app.job_history;
grant select on app.job_status to authenticated, app_fan, app_admin, app_job, app_system;

-- Puts a job into the ledger, or returns the one that already holds its unique key.
-- For other definer functions; everybody else goes through app.enqueue.
create function app.add_job(
    p_id uuid, p_actor text, p_args jsonb,
    p_delay interval default '0', p_priority int default 1,
    p_unique_key text default null, p_coalesce_key text default null,
    p_subject_type text default null, p_subject_id text default null,
    p_brand_id uuid default null, p_user_id uuid default null, p_parent_id uuid default null,
    p_request_id text default null, p_correlation_id text default null, p_traceparent text default null,
    out id uuid, out created boolean
) language plpgsql security definer set search_path = '' as $$
begin
    loop
        insert into app.jobs (id, actor, args, due_at, priority, unique_key, coalesce_key, subject_type, subject_id,
            brand_id, user_id, parent_id, request_id, correlation_id, traceparent)
        values (p_id, p_actor, p_args, now() + p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type,
            p_subject_id, p_brand_id, p_user_id, p_parent_id, p_request_id, p_correlation_id, p_traceparent)
        on conflict (unique_key) where unique_key is not null do nothing
        returning jobs.id, true into add_job.id, created;
        if found then
            return;
        end if;
        select j.id, false into add_job.id, created from app.jobs j where j.unique_key = p_unique_key;
        if found then
            return;
        end if;
        -- It was finished between the two statements: now ours goes in.
    end loop;
end
$$;
call app.grant_definer(
    'app.add_job(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,uuid,text,text,text)', '{}');

-- Enqueue as whoever asks: a member's job is the brand's, a fan's job the fan's.
create function app.enqueue(
    p_id uuid, p_actor text, p_args jsonb, p_delay interval, p_priority int, p_unique_key text, p_coalesce_key text,
    p_subject_type text, p_subject_id text, p_brand_id uuid, p_user_id uuid,
    p_request_id text, p_correlation_id text, p_traceparent text,
    out id uuid, out created boolean
) language plpgsql security definer set search_path = '' as $$
declare
    claims jsonb := app.claims();
    asking text := current_setting('role');
begin
    if asking in ('authenticated', 'app_job') then
        if p_brand_id is distinct from (claims #>> '{app_metadata,brand_id}')::uuid then
            perform app.refuse(403, 'forbidden', 'A job belongs to the brand that asks for it.');
        end if;
    elsif asking = 'app_fan' and (p_user_id is distinct from (claims ->> 'sub')::uuid or p_brand_id is not null) then
        perform app.refuse(403, 'forbidden', 'A job belongs to the fan who asks for it.');
    end if;
    select j.id, j.created into enqueue.id, enqueue.created from app.add_job(
        p_id, p_actor, p_args, p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type, p_subject_id,
        p_brand_id, p_user_id, (claims ->> 'job_id')::uuid, p_request_id, p_correlation_id, p_traceparent) as j;
end
$$;
call app.grant_definer(
    'app.enqueue(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,text,text,text)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);

-- The relay: takes due jobs of the actors that it knows, by state and never by position, and marks them published.
-- Of waiting jobs with one coalesce_key one goes and the others are dropped: they all had committed by now, so the
-- one that goes sees what each of them was about. One index range per actor and priority, merged.
create function app.take_due(p_actors text[], p_limit int) returns table (id uuid, actor text)
language plpgsql security definer set search_path = '' as $$
begin
    return query
    with candidates as materialized (
        select c.id
        from unnest(p_actors) as known (actor)
        cross join generate_series(0, 3) as p (priority)
        cross join lateral (
            select j.id, j.priority, j.due_at from app.jobs j
            where j.state = 'waiting' and j.actor = known.actor and j.priority = p.priority and j.due_at <= now()
            order by j.due_at limit p_limit
        ) as c
        order by c.priority, c.due_at
        limit p_limit
    ),
    locked as materialized (
        select j.id, j.coalesce_key, j.priority, j.due_at from app.jobs j
        where j.id in (select candidates.id from candidates) and j.state = 'waiting'
        for update skip locked
    ),
    ranked as (
        select l.id, l.coalesce_key is not null
            and row_number() over (partition by l.coalesce_key order by l.due_at, l.id) > 1 as repeated
        from locked l
    ),
    dropped as (
        delete from app.jobs j using ranked r where j.id = r.id and r.repeated
    )
    update app.jobs j set state = 'published', published_at = now()
    from ranked r where j.id = r.id and not r.repeated
    returning j.id, j.actor;
end
$$;

-- A worker claims what it fetched, all of it in one statement. What another worker has taken, or what is over, is left
-- out. A job that was held by a worker that died is claimed alone, so that it can take only itself down.
create function app.claim(p_ids uuid[], p_worker_id int) returns setof app.jobs
language plpgsql security definer set search_path = '' as $$
begin
    return query
    update app.jobs j set state = 'running', worker_id = p_worker_id, claimed_at = now(),
        fence = j.fence + 1, attempts = j.attempts + 1
    where j.id = any (p_ids) and j.state = 'published' and (j.crashes = 0 or cardinality(p_ids) = 1)
    returning j.*;
end
$$;

-- Moves a job out of the ledger into its history. Raises unless the caller's claim is the newest one.
create function app.close_job(p_id uuid, p_fence bigint, p_state text, p_error jsonb default null) returns void
language plpgsql security definer set search_path = '' as $$
begin
    with closed as (
        delete from app.jobs j where j.id = p_id and j.fence = p_fence and j.state = 'running' returning j.*
    )
    insert into app.job_history (id, actor, args, state, attempts, crashes, brand_id, user_id, subject_type, subject_id,
        parent_id, request_id, correlation_id, traceparent, progress_done, progress_total, progress_message, error,
        created_at, claimed_at)
    select c.id, c.actor, c.args, p_state, c.attempts, c.crashes, c.brand_id, c.user_id, c.subject_type, c.subject_id,
        c.parent_id, c.request_id, c.correlation_id, c.traceparent, c.progress_done, c.progress_total,
        c.progress_message, p_error, c.created_at, c.claimed_at
    from closed c;
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
end
$$;

create function app.finish(p_id uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = '' as $$
begin
    perform app.close_job(p_id, p_fence, 'done');
end
$$;

create function app.bury(p_id uuid, p_fence bigint, p_error jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
    perform app.close_job(p_id, p_fence, 'dead', p_error);
end
$$;

create function app.retry(p_id uuid, p_fence bigint, p_delay interval, p_error jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
    update app.jobs set state = 'waiting', due_at = clock_timestamp() + p_delay, worker_id = null, error = p_error
    where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running';
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
end
$$;

-- Gives back what a worker claimed and did not start, was told to stop, or does not know: no attempt is charged.
create function app.release(p_ids uuid[], p_worker_id int, p_delay interval default '0') returns int
language plpgsql security definer set search_path = '' as $$
declare
    released int;
begin
    update app.jobs set state = 'waiting', due_at = now() + p_delay, attempts = attempts - 1, worker_id = null
    where jobs.id = any (p_ids) and jobs.worker_id = p_worker_id and jobs.state = 'running';
    get diagnostics released = row_count;
    return released;
end
$$;

create function app.report_progress(p_id uuid, p_fence bigint, p_done int, p_total int, p_message text) returns void
language plpgsql security definer set search_path = '' as $$
begin
    update app.jobs set progress_done = p_done, progress_total = p_total, progress_message = p_message
    where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running';
end
$$;

-- What became of a job whose COMMIT was not answered: 'done' or 'dead' if it is over, 'running' if this claim is still
-- the newest, 'lost' if somebody else has it.
create function app.outcome(p_id uuid, p_fence bigint) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
    outcome text;
begin
    select h.state into outcome from app.job_history h where h.id = p_id;
    if not found then
        select case when j.fence = p_fence and j.state = 'running' then 'running' else 'lost' end
        into outcome from app.jobs j where j.id = p_id;
    end if;
    return coalesce(outcome, 'lost');
end
$$;

-- The class of the advisory locks by which workers show that they live; the second key is the worker's number.
create function app.liveness_class() returns int language sql immutable set search_path = '' as $$ select 7061 $$;

create function app.register_worker() returns int
language plpgsql security definer set search_path = '' as $$
begin
    return nextval('app.worker_ids')::int;
end
$$;
grant usage on sequence app.worker_ids to app_definer;

-- Takes jobs back from workers that no longer hold their lock. After a restart of PostgreSQL everybody gets p_grace to
-- lock again. A job that has been held by p_max_crashes dead workers is buried: it kills them.
create function app.sweep_lost(p_grace interval, p_max_crashes int) returns table (id uuid, state text)
language plpgsql security definer set search_path = '' as $$
begin
    if pg_postmaster_start_time() > clock_timestamp() - p_grace then
        return;
    end if;
    return query
    with lost as (
        select j.id, j.fence, j.crashes from app.jobs j
        where j.state = 'running' and j.claimed_at < clock_timestamp() - interval '1 second'
            and not exists (
                select from pg_catalog.pg_locks l
                where l.locktype = 'advisory' and l.objsubid = 2  -- a lock of two keys
                    and l.classid = app.liveness_class()::oid and l.objid = j.worker_id::oid
                    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
            )
        for update skip locked
    ),
    buried as (
        select l.id from lost l where l.crashes + 1 >= p_max_crashes
    ),
    closed as (
        select b.id, app.bury_crashed(b.id) from buried b
    ),
    returned as (
        update app.jobs j set state = 'waiting', due_at = clock_timestamp(), worker_id = null,
            crashes = j.crashes + 1, attempts = j.attempts - 1
        from lost l where j.id = l.id and l.crashes + 1 < p_max_crashes
        returning j.id
    )
    select c.id, 'dead' from closed c
    union all
    select r.id, 'waiting' from returned r;
end
$$;

create function app.bury_crashed(p_id uuid) returns void
language plpgsql security definer set search_path = '' as $$
begin
    update app.jobs set crashes = crashes + 1 where jobs.id = p_id;
    perform app.close_job(j.id, j.fence, 'dead', '{"kind": "crash", "message": "Its workers died while they held it."}')
    from app.jobs j where j.id = p_id;
end
$$;

-- Published a while ago, not claimed, and not among those that Redis still holds: it has been forgotten. (To publish a
-- job twice does no harm; the second claim finds nothing.)
create function app.sweep_forgotten(p_after interval, p_present uuid[]) returns int
language plpgsql security definer set search_path = '' as $$
declare
    forgotten int;
begin
    update app.jobs set state = 'waiting' where jobs.id in (
        select j.id from app.jobs j
        where j.state = 'published' and j.published_at < clock_timestamp() - p_after and j.id <> all (p_present)
        for update skip locked);
    get diagnostics forgotten = row_count;
    return forgotten;
end
$$;

call app.grant_definer('app.take_due(text[],int)', array['app_worker']);
call app.grant_definer('app.claim(uuid[],int)', array['app_worker']);
call app.grant_definer('app.close_job(uuid,bigint,text,jsonb)', '{}');
call app.grant_definer('app.finish(uuid,bigint)', array['app_worker']);
call app.grant_definer('app.bury(uuid,bigint,jsonb)', array['app_worker']);
call app.grant_definer('app.retry(uuid,bigint,interval,jsonb)', array['app_worker']);
call app.grant_definer('app.release(uuid[],int,interval)', array['app_worker']);
call app.grant_definer('app.report_progress(uuid,bigint,int,int,text)', array['app_worker']);
call app.grant_definer('app.outcome(uuid,bigint)', array['app_worker']);
call app.grant_definer('app.register_worker()', array['app_worker']);
call app.grant_definer('app.sweep_lost(interval,int)', array['app_worker']);
call app.grant_definer('app.bury_crashed(uuid)', '{}');
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
returns boolean language plpgsql security definer set search_path = '' as $$
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
language plpgsql stable security definer set search_path = '' as $$
begin
    return (select max(due_at) from app.schedule_occurrences where schedule = p_schedule);
end
$$;
call app.grant_definer('app.last_occurrence(text)', array['app_worker']);
