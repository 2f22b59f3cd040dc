-- Claim jobs and hold them: worker numbers, claims, releases and progress.

-- A worker's number: the key of the advisory lock that it holds while it lives.
create sequence app.worker_ids as int cycle;
grant usage on sequence app.worker_ids to app_definer;

-- Return the class of the workers' liveness locks. The second key of such a lock is the worker's number.
create function app.liveness_class() returns int
language sql immutable set search_path = pg_catalog, pg_temp as $$ select 7061 $$;
grant execute on function app.liveness_class() to app_worker, app_definer;

create function app.register_worker() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return nextval('app.worker_ids')::int;
end
$$;
call app.grant_definer('app.register_worker()', array['app_worker']);

-- Claim published jobs for a worker, in one statement. Leave out jobs that are claimed or over. A quarantined job is
-- claimed alone, so that it can take no other job down with it: a worker has died while it held the job.
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
call app.grant_definer('app.claim(uuid[],int)', array['app_worker']);

-- Of these jobs, return the quarantined ones that can be claimed.
create function app.quarantined_jobs(p_ids uuid[]) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select j.id from app.jobs j where j.id = any (p_ids) and j.state = 'published' and j.crashes > 0;
end
$$;
call app.grant_definer('app.quarantined_jobs(uuid[])', array['app_worker']);

-- Release claimed jobs that a worker has not started, has interrupted, or has no actor for. No attempt is charged.
-- Return the number of released jobs.
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
call app.grant_definer('app.release(uuid[],int,interval)', array['app_worker']);

-- Release the running jobs of a worker that it does not hold: a crash of PostgreSQL has undone their ends. The jobs
-- keep their due time. Return the number of released jobs.
create function app.release_except(p_worker_id int, p_actors text[], p_held uuid[]) returns int
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
call app.grant_definer('app.release_except(int,text[],uuid[])', array['app_worker']);

-- Record a job's progress. Return whether the job is to be cancelled.
create function app.report_progress(p_id uuid, p_fence bigint, p_done int, p_total int, p_message text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    is_requested boolean;
begin
    update app.jobs set progress_done = p_done, progress_total = p_total, progress_message = p_message
    where jobs.id = p_id and jobs.fence = p_fence and jobs.state = 'running'
    returning jobs.cancel_requested_at is not null into is_requested;
    return coalesce(is_requested, false);
end
$$;
call app.grant_definer('app.report_progress(uuid,bigint,int,int,text)', array['app_worker']);

create function app.is_cancel_requested(p_id uuid, p_fence bigint) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (
        select from app.jobs j where j.id = p_id and j.fence = p_fence and j.cancel_requested_at is not null);
end
$$;
call app.grant_definer('app.is_cancel_requested(uuid,bigint)', array['app_worker']);
