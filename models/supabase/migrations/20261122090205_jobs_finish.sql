-- End a claim: finish, dead-letter, cancel or retry the job. Every end names its fence, and only the newest is
-- accepted.

-- Return what failed jobs have in common, without the parts that differ from job to job: a hash of the actor, the kind
-- of error and the place in the code. An error without a place counts by its message, without numbers and ids.
create function app.error_fingerprint(p_actor text, p_error jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return left(encode(sha256(convert_to(concat_ws('|', p_actor, p_error ->> 'kind',
        coalesce(nullif(p_error #>> '{where,-1}', ''),
            regexp_replace(p_error ->> 'message', '[0-9a-f-]{8,}|[0-9]+', '#', 'g'))), 'UTF8')), 'hex'), 12);
end
$$;
call app.grant_definer('app.error_fingerprint(text,jsonb)', '{}');

-- Move a job from the ledger to its history (done, cancelled) or to the dead letters (dead), and release its unique
-- key. Raise stale_fence unless the caller's claim is the newest and still running. A cancelled job need not be
-- running: it may have been released meanwhile, or never claimed. Return the new state.
create function app.close_job(p_id uuid, p_fence bigint, p_state text, p_error jsonb default null) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    j app.jobs;
    ended app.job_history;
begin
    delete from app.jobs where jobs.id = p_id and jobs.fence = p_fence
        and (jobs.state = 'running' or p_state = 'cancelled') returning * into j;
    if not found then
        perform app.refuse(409, 'stale_fence', p_id::text);
    end if;
    -- In the order of the columns of app.job_history, with which those of app.dead_jobs begin.
    ended := row(j.id, j.actor, j.args, j.version, p_state, j.attempts, j.crashes, j.brand_id, j.user_id,
        j.subject_type, j.subject_id, j.parent_id, j.group_id, j.request_id, j.correlation_id, j.traceparent,
        j.progress_done, j.progress_total, j.progress_message, p_error, j.created_at, j.claimed_at, now());
    if p_state = 'dead' then
        insert into app.dead_jobs values (ended.*, app.error_fingerprint(j.actor, p_error), j.priority, j.fence,
            j.unique_key, j.coalesce_key);
    else
        insert into app.job_history values (ended.*);
    end if;
    -- A key with a window outlives its job.
    if j.unique_key is not null then
        delete from app.job_keys k where k.key = j.unique_key and k.job_id = j.id and k.expires_at is null;
    end if;
    return p_state;
end
$$;
call app.grant_definer('app.close_job(uuid,bigint,text,jsonb)', '{}');

-- End a job as done. A procedure, because a CALL needs no plan. Granted to the roles that only jobs have: app_fan is
-- the role of fans' requests, too.
create procedure app.finish(p_id uuid, p_fence bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- An IF evaluates the call as an expression, which is faster than PERFORM.
    if app.close_job(p_id, p_fence, 'done') is null then
        return;
    end if;
end
$$;
call app.grant_definer('app.finish(uuid,bigint)', array['app_worker', 'app_job', 'app_system']);

create function app.dead_letter(p_id uuid, p_fence bigint, p_error jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.close_job(p_id, p_fence, 'dead', p_error);
end
$$;
call app.grant_definer('app.dead_letter(uuid,bigint,jsonb)', array['app_worker']);

create function app.finish_cancelled(p_id uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.close_job(p_id, p_fence, 'cancelled');
end
$$;
call app.grant_definer('app.finish_cancelled(uuid,bigint)', array['app_worker']);

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
call app.grant_definer('app.retry(uuid,bigint,interval,jsonb)', array['app_worker']);

-- Return the outcome of a claim whose COMMIT was not answered: the job's state if it is over, 'running' if this claim
-- is still the newest, 'lost' if the job was released or claimed by another worker.
create function app.claim_outcome(p_id uuid, p_fence bigint) returns text
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
call app.grant_definer('app.claim_outcome(uuid,bigint)', array['app_worker']);

-- Return the ids that belong to no live job. A request polls it while it waits for the end of its job.
create function app.ended_jobs(p_ids uuid[]) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select a.id from unnest(p_ids) as a (id) where not exists (select from app.jobs j where j.id = a.id);
end
$$;
call app.grant_definer('app.ended_jobs(uuid[])', array['app_public']);

-- Return a job that a request of the caller has enqueued: it belongs to the caller's brand, or names the caller.
-- Callers need no permission to read jobs; system admins read all. Partitions of the history outside p_from and p_to
-- are not read.
create function app.awaited_job(p_id uuid, p_from timestamptz, p_to timestamptz) returns setof app.job_status
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select s.* from app.job_status s
    where s.id = p_id and (s.finished_at is null or s.finished_at >= p_from and s.finished_at < p_to)
        and (current_setting('role') = 'app_admin' or s.brand_id = app.job_brand()
            or s.user_id = (app.claims() ->> 'sub')::uuid);
end
$$;
call app.grant_definer('app.awaited_job(uuid,timestamptz,timestamptz)', array['authenticated', 'app_fan', 'app_admin']);
