-- What can be measured of the jobs, from the ledger itself, and the signs of life of the processes that move it.

-- The last minutes of the history are found without an index of all of it.
create index job_history_finished on app.job_history using brin (finished_at) with (pages_per_range = 8);

create table app.heartbeats (
    kind text not null check (kind in ('relay', 'worker', 'clock', 'seal')),
    process text not null,                 -- host and process number
    at timestamptz not null default now(),
    primary key (kind, process)
);
call app.secure('app.heartbeats', p_admin => 'select', p_system => 'select,delete');

create function app.beat(p_kind text, p_process text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.heartbeats as h (kind, process) values (p_kind, p_process)
    on conflict (kind, process) do update set at = clock_timestamp();
end
$$;
call app.grant_definer('app.beat(text,text)', array['app_worker', 'app_sealer']);

-- Seconds since the freshest sign of life of each kind of process; null where there never was one.
create function app.heartbeat_ages() returns table (kind text, seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select k.kind, extract(epoch from clock_timestamp() - max(h.at))::float8
    from unnest(array['relay', 'worker', 'clock', 'seal']) as k (kind) left join app.heartbeats h on h.kind = k.kind
    group by k.kind;
end
$$;
call app.grant_definer('app.heartbeat_ages()', array['app_public', 'app_worker']);

-- How many jobs of each actor wait (due or not), are published and run, and for how many seconds the oldest that is due
-- has been waiting.
create function app.job_gauges() returns table (actor text, waiting bigint, due bigint, published bigint, running bigint,
    oldest_due_seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Of those that wait there may be many, so only what their index holds is asked for.
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

create function app.dead_gauges() returns table (actor text, dead bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select d.actor, count(*) from app.dead_jobs d group by d.actor;
end
$$;
call app.grant_definer('app.dead_gauges()', array['app_public']);

-- Of the jobs that ended within the last p_window: how many, their attempts, and the 50th and 95th percentile of the time
-- from when they were asked for to their last claim, and from there to their end, in seconds.
create function app.job_summaries(p_window interval) returns table (actor text, ended bigint, attempts bigint,
    start_p50 float8, start_p95 float8, run_p50 float8, run_p95 float8)
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

-- The brands that wait longest: seconds since the oldest job of each was due.
create function app.brand_lags(p_most int) returns table (brand_id uuid, seconds float8, due bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select j.lane, extract(epoch from now() - min(j.due_at))::float8, count(*)
    from app.jobs j where j.published_at is null and j.due_at <= now()
    group by j.lane order by min(j.due_at) limit p_most;
end
$$;
call app.grant_definer('app.brand_lags(int)', '{}');

-- What the clock has counted last: where 100,000 jobs wait, counting takes too long for whoever asks.
create table app.job_counts (
    kind text primary key,                 -- 'all'; there is one row
    counts jsonb not null,                 -- {"gauges": [...], "summaries": [...], "brand_lags": [...]}
    counted_at timestamptz not null,
    took interval not null
);
call app.secure('app.job_counts', p_admin => 'select', p_system => 'select');

create function app.counts_now(p_window interval, p_brands int) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object(
        'gauges', (select jsonb_agg(g) from app.job_gauges() as g),
        'summaries', (select jsonb_agg(s) from app.job_summaries(p_window) as s),
        'brand_lags', (select jsonb_agg(l) from app.brand_lags(p_brands) as l));
end
$$;
call app.grant_definer('app.counts_now(interval,int)', '{}');

-- Counts anew if that was last done p_every ago, or if that is longer, 20 times as long ago as it took: a twentieth of the
-- time is spent on it at the most. Whether it has been; of several clocks one does it.
create function app.count_jobs(p_every interval, p_window interval, p_brands int) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    began timestamptz := clock_timestamp();
    found_now jsonb;
begin
    -- A table lock, because every login could hold an advisory lock. It does not block readers.
    begin
        lock table app.job_counts in exclusive mode nowait;
    exception when lock_not_available then
        return false;
    end;
    if exists (select from app.job_counts c where c.counted_at + greatest(p_every, 20 * c.took) > began) then
        return false;
    end if;
    found_now := app.counts_now(p_window, p_brands);
    insert into app.job_counts as c (kind, counts, counted_at, took)
    values ('all', found_now, began, clock_timestamp() - began)
    on conflict (kind) do update set counts = excluded.counts, counted_at = excluded.counted_at, took = excluded.took;
    return true;
end
$$;
call app.grant_definer('app.count_jobs(interval,interval,int)', array['app_worker']);

-- What was counted last, if that is not too long ago, and else what is there to be counted now.
create function app.job_counts(p_within interval, p_window interval, p_brands int, out counts jsonb, out age float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select c.counts, extract(epoch from clock_timestamp() - c.counted_at) into counts, age
    from app.job_counts c where c.counted_at + greatest(p_within, 40 * c.took) > clock_timestamp();
    if not found then
        counts := app.counts_now(p_window, p_brands);
        age := 0;
    end if;
end
$$;
call app.grant_definer('app.job_counts(interval,interval,int)', array['app_public']);
