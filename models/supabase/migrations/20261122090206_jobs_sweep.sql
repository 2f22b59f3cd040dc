-- Sweep: reclaim jobs from dead or stuck workers, and republish jobs that the broker has lost.

-- Reclaim running jobs from their workers, if they are still under these fences. A job that was reclaimed p_max_crashes
-- times becomes a dead letter: it kills its workers, or never ends. Return each job's new state.
create function app.reclaim_jobs(p_ids uuid[], p_fences bigint[], p_max_crashes int, p_reason text)
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    with held as (
        select j.id, j.crashes from app.jobs j
        where j.state = 'running' and (j.id, j.fence) in (select * from unnest(p_ids, p_fences))
        for update skip locked
    ),
    dead as (
        select h.id, app.dead_letter_crashed(h.id, p_reason) from held h where h.crashes + 1 >= p_max_crashes
    ),
    waiting as (
        -- The due time is kept: the job does not go behind all jobs that were enqueued since.
        update app.jobs j set state = 'waiting', worker_id = null, published_at = null,
            crashes = j.crashes + 1, attempts = j.attempts - 1
        from held h where j.id = h.id and h.crashes + 1 < p_max_crashes
        returning j.id
    )
    select d.id, 'dead' from dead d
    union all
    select w.id, 'waiting' from waiting w;
end
$$;
call app.grant_definer('app.reclaim_jobs(uuid[],bigint[],int,text)', '{}');

create function app.dead_letter_crashed(p_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.jobs set crashes = crashes + 1 where jobs.id = p_id;
    perform app.close_job(j.id, j.fence, 'dead', jsonb_build_object('kind', 'crash', 'message', p_reason))
    from app.jobs j where j.id = p_id;
end
$$;
call app.grant_definer('app.dead_letter_crashed(uuid,text)', '{}');

-- Return the workers that hold jobs but not their liveness lock: dead ones, and those whose connection was just lost.
-- A claim of the last second is left out: its worker may be in the middle of locking again.
create function app.missing_workers() returns setof int
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select distinct j.worker_id from app.jobs j
    where j.published_at is not null and j.state = 'running' and j.claimed_at < clock_timestamp() - interval '1 second'
        and not exists (
            select from pg_catalog.pg_locks l
            where l.locktype = 'advisory' and l.objsubid = 2  -- a lock with two keys
                and l.classid = app.liveness_class()::oid and l.objid = j.worker_id::oid
                and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
        );
end
$$;
call app.grant_definer('app.missing_workers()', array['app_worker']);

-- Reclaim the jobs of missing workers: of those in p_workers, or of all if it is null. After a restart of PostgreSQL
-- all workers have p_grace to lock again.
create function app.sweep_missing(p_grace interval, p_max_crashes int, p_workers int[])
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if pg_postmaster_start_time() > clock_timestamp() - p_grace then
        return;
    end if;
    return query
    select reclaimed.* from (
        select array_agg(j.id) as ids, array_agg(j.fence) as fences from app.jobs j
        where j.published_at is not null and j.state = 'running' and j.worker_id in (select app.missing_workers())
            and (p_workers is null or j.worker_id = any (p_workers))
    ) as lost
    cross join lateral app.reclaim_jobs(
        lost.ids, lost.fences, p_max_crashes, 'Its worker died while it held the job.') reclaimed;
end
$$;
call app.grant_definer('app.sweep_missing(interval,int,int[])', array['app_worker']);

-- Reclaim jobs that have run longer than their actor allows (p_limits: seconds, by actor), even from a live worker: a
-- stopped process keeps its lock. If it continues, its fence is refused.
create function app.sweep_overdue(p_actors text[], p_limits float8[], p_max_crashes int)
returns table (id uuid, state text) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select reclaimed.* from (
        select array_agg(j.id) as ids, array_agg(j.fence) as fences
        from app.jobs j join unnest(p_actors, p_limits) as a (actor, seconds) on a.actor = j.actor
        where j.published_at is not null and j.state = 'running'
            and j.claimed_at < clock_timestamp() - make_interval(secs => a.seconds)
    ) as overdue
    cross join lateral app.reclaim_jobs(
        overdue.ids, overdue.fences, p_max_crashes, 'It exceeded its time limit and could not be stopped.') reclaimed;
end
$$;
call app.grant_definer('app.sweep_overdue(text[],float8[],int)', array['app_worker']);

-- Let jobs wait again that were published before p_after and are neither claimed nor among p_present, the ids at the
-- broker: the broker has lost them. Return their number. Publishing a job twice is harmless: the second claim finds
-- nothing.
create function app.sweep_unclaimed(p_after interval, p_present uuid[]) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    swept int;
begin
    update app.jobs set state = 'waiting', published_at = null where jobs.id in (
        select j.id from app.jobs j
        where j.published_at is not null and j.state = 'published'
            and j.published_at < clock_timestamp() - p_after and j.id <> all (p_present)
        for update skip locked);
    get diagnostics swept = row_count;
    return swept;
end
$$;
call app.grant_definer('app.sweep_unclaimed(interval,uuid[])', array['app_worker']);
