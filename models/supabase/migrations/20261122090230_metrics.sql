-- Measurements of jobs, read from the ledger, and heartbeats of the processes that move jobs.

-- A BRIN index finds the last minutes of the history. A B-tree over all of it would be far larger.
create index job_history_finished on app.job_history using brin (finished_at) with (pages_per_range = 8);

create table app.heartbeats (
    kind text not null check (kind in ('relay', 'worker', 'clock', 'seal')),
    process text not null,                 -- host and process number
    queue text not null default '',        -- of a worker: a process has a row for each of its queues
    at timestamptz not null default now(),
    primary key (kind, process, queue)
);
call app.secure('app.heartbeats', p_admin => 'select', p_system => 'select,delete');

-- Record the heartbeat of a process; of a worker, for one of its queues.
create function app.record_heartbeat(p_kind text, p_process text, p_queue text default '') returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.heartbeats as h (kind, process, queue) values (p_kind, p_process, p_queue)
    on conflict (kind, process, queue) do update set at = clock_timestamp();
end
$$;
call app.grant_definer('app.record_heartbeat(text,text,text)', array['app_worker', 'app_sealer']);

-- Return the seconds since the newest heartbeat of each kind of process, and of the workers of each queue (`worker-`
-- and its name); null without a heartbeat.
create function app.heartbeat_ages() returns table (kind text, seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select k.name, extract(epoch from clock_timestamp() - max(h.at))::float8
    from (
        select p.kind as name, p.kind, null as queue from unnest(array['relay', 'worker', 'clock', 'seal']) as p (kind)
        -- The actors of the present release; during a deployment also of the one before.
        union all select distinct 'worker-' || a.queue, 'worker', a.queue from app.actors a
        where a.seen_at > (select max(x.seen_at) from app.actors x) - interval '1 hour'
    ) k
    left join app.heartbeats h on h.kind = k.kind and (k.queue is null or h.queue = k.queue)
    group by k.name;
end
$$;
call app.grant_definer('app.heartbeat_ages()', array['app_public', 'app_worker']);

-- Return the numbers of waiting (due or not), due, published and running jobs of each actor, and the seconds since its
-- oldest due job became due.
create function app.job_gauges() returns table (
    actor text, waiting bigint, due bigint, published bigint, running bigint, oldest_due_seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Read only columns of the index jobs_due: a million jobs may be waiting.
    return query
    with waiting as (
        select j.actor, count(*) as jobs, count(*) filter (where j.due_at <= now()) as due,
            extract(epoch from now() - min(j.due_at) filter (where j.due_at <= now()))::float8 as seconds
        from app.jobs j where j.published_at is null group by j.actor
    ),
    taken as (
        select j.actor, count(*) filter (where j.state = 'published') as published,
            count(*) filter (where j.state = 'running') as running
        from app.jobs j where j.published_at is not null group by j.actor
    )
    select coalesce(w.actor, t.actor), coalesce(w.jobs, 0), coalesce(w.due, 0), coalesce(t.published, 0),
        coalesce(t.running, 0), coalesce(w.seconds, 0)
    from waiting w full join taken t on t.actor = w.actor;
end
$$;
call app.grant_definer('app.job_gauges()', '{}');

-- Return the number of mails of each actor that wait for another attempt after one has failed.
create function app.failing_mails() returns table (actor text, mails bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- By equality with each actor, which the index jobs_due finds: a million other jobs may be waiting.
    return query
    select a.name, count(j.id)
    from app.actors a left join app.jobs j on j.actor = a.name and j.published_at is null and j.attempts > 0
    where a.name like 'mail.%' group by a.name;
end
$$;
call app.grant_definer('app.failing_mails()', '{}');

-- Return the number of dead letters of each actor.
create function app.dead_letter_gauges() returns table (actor text, dead bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select d.actor, count(*) from app.dead_jobs d group by d.actor;
end
$$;
call app.grant_definer('app.dead_letter_gauges()', array['app_public']);

-- Summarise the jobs that finished within the last p_window, by actor: their number, their attempts, and the 50th and
-- 95th percentiles of two times in seconds. `start` is from creation to the last claim, `run` from there to the end.
create function app.job_summaries(p_window interval) returns table (
    actor text, ended bigint, attempts bigint, start_p50 float8, start_p95 float8, run_p50 float8, run_p95 float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select h.actor, count(*), sum(h.attempts)::bigint,
        percentile_cont(0.5) within group (order by extract(epoch from h.claimed_at - h.created_at)::float8),
        percentile_cont(0.95) within group (order by extract(epoch from h.claimed_at - h.created_at)::float8),
        percentile_cont(0.5) within group (order by extract(epoch from h.finished_at - h.claimed_at)::float8),
        percentile_cont(0.95) within group (order by extract(epoch from h.finished_at - h.claimed_at)::float8)
    from app.job_history h
    where h.finished_at > now() - p_window and h.state = 'done'
    group by h.actor;
end
$$;
call app.grant_definer('app.job_summaries(interval)', '{}');

-- Return the p_most brands whose oldest due job has waited longest: seconds since it became due, and the due jobs.
create function app.brand_lags(p_most int) returns table (brand_id uuid, seconds float8, due bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select j.tenant_key, extract(epoch from now() - min(j.due_at))::float8, count(*)
    from app.jobs j where j.published_at is null and j.due_at <= now()
    group by j.tenant_key order by min(j.due_at) limit p_most;
end
$$;
call app.grant_definer('app.brand_lags(int)', '{}');

-- The newest counts that the clock made. Counting 100,000 waiting jobs takes too long for a request.
create table app.job_counts (
    kind text primary key,                 -- 'all'; there is one row
    counts jsonb not null,                 -- the results of four functions, see app.count_jobs_now
    counted_at timestamptz not null,
    took interval not null
);
call app.secure('app.job_counts', p_admin => 'select', p_system => 'select');

-- Count the jobs now.
create function app.count_jobs_now(p_window interval, p_brands int) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object(
        'gauges', (select jsonb_agg(g) from app.job_gauges() as g),
        'failing_mails', (select jsonb_agg(m) from app.failing_mails() as m),
        'summaries', (select jsonb_agg(s) from app.job_summaries(p_window) as s),
        'brand_lags', (select jsonb_agg(l) from app.brand_lags(p_brands) as l));
end
$$;
call app.grant_definer('app.count_jobs_now(interval,int)', '{}');

-- Refresh app.job_counts if the last counts are older than p_every and than 20 times the time that they took. So
-- counting takes a twentieth of the time at most. Return whether this call counted. Of several clocks one does it.
create function app.refresh_job_counts(p_every interval, p_window interval, p_brands int) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    started_at timestamptz := clock_timestamp();
    new_counts jsonb;
begin
    -- Use a table lock: any login could hold an advisory lock and so stop the counts. It does not block readers.
    begin
        lock table app.job_counts in exclusive mode nowait;
    exception when lock_not_available then
        return false;
    end;
    if exists (select from app.job_counts c where c.counted_at + greatest(p_every, 20 * c.took) > started_at) then
        return false;
    end if;
    new_counts := app.count_jobs_now(p_window, p_brands);
    insert into app.job_counts as c (kind, counts, counted_at, took)
    values ('all', new_counts, started_at, clock_timestamp() - started_at)
    on conflict (kind) do update set counts = excluded.counts, counted_at = excluded.counted_at, took = excluded.took;
    return true;
end
$$;
call app.grant_definer('app.refresh_job_counts(interval,interval,int)', array['app_worker']);

-- Return the newest counts and their age in seconds. Count now if they are older than p_within and than 40 times the
-- time that they took.
create function app.job_counts(p_within interval, p_window interval, p_brands int, out counts jsonb, out age float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select c.counts, extract(epoch from clock_timestamp() - c.counted_at) into counts, age
    from app.job_counts c where c.counted_at + greatest(p_within, 40 * c.took) > clock_timestamp();
    if not found then
        counts := app.count_jobs_now(p_window, p_brands);
        age := 0;
    end if;
end
$$;
call app.grant_definer('app.job_counts(interval,interval,int)', array['app_public']);
