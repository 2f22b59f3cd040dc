-- Control of jobs by system admins: known actors, pause and resume, cancellation, and the jobs of a request.

-- The actors of the releases that run or ran. The web tier cannot import them.
create table app.actors (
    name text primary key,
    queue text not null,
    seen_at timestamptz not null default now()
);
call app.secure('app.actors', p_admin => 'select');

-- Record the actors of a release. Sorted by name: two relays that start together would deadlock otherwise.
create function app.register_actors(p_names text[], p_queues text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.actors as a (name, queue)
    select n.name, n.queue from unnest(p_names, p_queues) as n (name, queue) order by n.name
    on conflict (name) do update set queue = excluded.queue, seen_at = now();
end
$$;
call app.grant_definer('app.register_actors(text[],text[])', array['app_worker']);

create function app.pause_actors(p_names text[], p_reason text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.paused_actors as p (actor, paused_by, reason)
    select distinct n.name, (app.claims() ->> 'sub')::uuid, p_reason from unnest(p_names) as n (name) order by 1
    on conflict (actor) do update set paused_by = excluded.paused_by, reason = excluded.reason, paused_at = now();
end
$$;
call app.grant_definer('app.pause_actors(text[],text)', array['app_admin']);

create function app.resume_actors(p_names text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from app.paused_actors p where p.actor = any (p_names);
end
$$;
call app.grant_definer('app.resume_actors(text[])', array['app_admin']);

-- Cancel a waiting or published job (returns 'cancelled'), or request that a running one stops (returns 'running').
create function app.cancel_job(p_id uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j app.jobs;
begin
    select * into j from app.jobs where jobs.id = p_id for update;
    if not found then
        if exists (select from app.job_history h where h.id = p_id)
            or exists (select from app.dead_jobs d where d.id = p_id) then
            perform app.refuse(409, 'job_is_over', 'Only a waiting or running job can be cancelled.');
        end if;
        perform app.refuse(404, 'not_found');
    end if;
    if j.state = 'running' then
        update app.jobs set cancel_requested_at = coalesce(jobs.cancel_requested_at, now()) where jobs.id = p_id;
        return 'running';
    end if;
    perform app.close_job(p_id, j.fence, 'cancelled');
    return 'cancelled';
end
$$;
call app.grant_definer('app.cancel_job(uuid)', array['app_admin']);

-- Return up to p_limit jobs that a request caused, in the order in which they were enqueued. p_id is the id of the
-- request, else a correlation id or a trace id that its caller sent. A trace that began here has the request's id.
--
-- The history has a partition for each day, so planning takes longer than the search: plan once for each connection.
create function app.jobs_of_request(p_id text, p_limit int) returns setof app.job_status
language plpgsql stable set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    own_trace text := case when p_id ~ '^[0-9a-f]{32}$' then p_id::uuid end;
begin
    -- By request id.
    return query
    select s.* from app.job_status s where s.request_id = p_id and s.request_id <> ''
    order by s.created_at, s.id limit p_limit;
    if found then
        return;
    end if;
    -- By trace id or correlation id. The conditions repeat the predicates of the partial indexes.
    return query
    select s.* from app.job_status s
    where s.request_id = own_trace and s.request_id <> ''
        or s.correlation_id = p_id and s.correlation_id is distinct from s.request_id
        or split_part(s.traceparent, '-', 2) = p_id and split_part(s.traceparent, '-', 2) <> ''
            and split_part(s.traceparent, '-', 2) is distinct from replace(s.request_id, '-', '')
    order by s.created_at, s.id limit p_limit;
end
$$;
grant execute on function app.jobs_of_request(text,int) to app_admin;
