-- The job ledger: tables, row policies and the view of all jobs.
--
-- waiting --publish--> published --claim--> running --finish--> (history) done
--    ^                     |                   |--retry, release, reclaim--> waiting
--    +--lost by the broker-+                   +--dead_letter--> (dead letters) dead --replay--> waiting
--
-- A waiting or published job is cancelled immediately. The cancellation of a running job is requested; its body ends.
-- app.jobs holds only live jobs, so it stays small. An ended job is in app.job_history or app.dead_jobs.

create table app.jobs (
    id uuid primary key,
    actor text not null,
    args jsonb not null default '[]',
    version int not null default 1,                -- of the arguments; the actor upgrades older ones
    state text not null default 'waiting' check (state in ('waiting', 'published', 'running')),
    priority smallint not null default 1 check (priority between 0 and 3),  -- 0 is the most urgent
    due_at timestamptz not null default now(),
    attempts int not null default 0,
    crashes int not null default 0,                -- workers that died while they held the job
    fence bigint not null default 0,               -- number of claims; later writes must name the newest
    worker_id int,
    published_at timestamptz,
    claimed_at timestamptz,
    cancel_requested_at timestamptz,
    brand_id uuid,
    -- For fair scheduling: the brand, or nil for jobs of the platform and of fans.
    tenant_key uuid not null generated always as (coalesce(brand_id, '00000000-0000-0000-0000-000000000000')) stored,
    user_id uuid,
    subject_type text,
    subject_id text,
    parent_id uuid,
    group_id uuid,
    request_id text,
    correlation_id text,
    traceparent text,
    unique_key text,                               -- key of the job's row in app.job_keys
    coalesce_key text,                             -- waiting jobs with one key run as one job
    progress_done int,
    progress_total int,
    progress_message text,
    error jsonb,
    created_at timestamptz not null default now(),
    constraint jobs_published_unless_waiting check ((state = 'waiting') = (published_at is null)),
    constraint jobs_worker_while_running check ((state = 'running') = (worker_id is not null))
) with (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
-- The predicates name published_at instead of state: a claim then changes no indexed column and no index.
create index jobs_due on app.jobs (actor, tenant_key, priority, due_at) where published_at is null;
create index jobs_published on app.jobs (actor, tenant_key) where published_at is not null;
-- For the trail of a request. Scheduled jobs have no request, and few requests bring a correlation id along.
create index jobs_request on app.jobs (request_id) where request_id <> '';
create index jobs_correlation on app.jobs (correlation_id) where correlation_id is distinct from request_id;
create index jobs_trace on app.jobs (split_part(traceparent, '-', 2))
    where split_part(traceparent, '-', 2) <> ''
        and split_part(traceparent, '-', 2) is distinct from replace(request_id, '-', '');

-- Unique keys. A key is held until its job ends, or until expires_at even if its job has ended.
create table app.job_keys (
    key text primary key,
    job_id uuid not null,
    expires_at timestamptz
);

-- Finished and cancelled jobs. Partitioned by day, so that old days are dropped as a whole.
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

-- Dead letters. They stay until an admin replays or deletes them. The columns of app.job_history come first, in its
-- order: app.close_job relies on it.
create table app.dead_jobs (
    like app.job_history including defaults,
    fingerprint text not null,                     -- the same for jobs that failed for the same reason
    -- For the replay.
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

-- Let these roles see a table of jobs: members of the job's brand with jobs:read, the job's fan, jobs of the same
-- brand, system admins and system jobs.
create procedure app.secure_jobs(p_table regclass, p_system text default 'select')
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    call app.secure(p_table, p_member => '{"select": "jobs:read"}', p_fan => 'select', p_job => 'select',
        p_admin => 'select', p_system => p_system);
end
$$;
call app.secure_jobs('app.jobs');
call app.secure_jobs('app.job_history');
call app.secure_jobs('app.dead_jobs', p_system => 'select,delete');
call app.secure('app.job_keys', p_system => 'select,delete');

-- All jobs, live and ended, under the caller's own row policies.
create view app.job_status with (security_invoker = true) as
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, correlation_id, traceparent, progress_done, progress_total, progress_message, error, created_at,
        claimed_at, null::timestamptz as finished_at, cancel_requested_at
    from app.jobs
    union all
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, correlation_id, traceparent, progress_done, progress_total, progress_message, error, created_at,
        claimed_at, finished_at, null
    from app.job_history
    union all
    select id, actor, state, attempts, crashes, brand_id, user_id, subject_type, subject_id, parent_id, group_id,
        request_id, correlation_id, traceparent, progress_done, progress_total, progress_message, error, created_at,
        claimed_at, finished_at, null
    from app.dead_jobs;
grant select on app.job_status to authenticated, app_fan, app_admin, app_job, app_system, app_definer;
