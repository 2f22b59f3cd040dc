-- What people do about jobs: look at dead letters and replay them, cancel, pause and resume, follow a request.

-- The actors of the releases that run, or ran: who asks about them need not be able to import them.
create table app.actors (
    name text primary key,
    queue text not null,
    seen_at timestamptz not null default now()
);
call app.secure('app.actors', p_admin => 'select');

-- In order, so that relays that start together don't wait for each other in a circle.
create function app.announce_actors(p_names text[], p_queues text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.actors as a (name, queue)
    select n.name, n.queue from unnest(p_names, p_queues) as n (name, queue) order by n.name
    on conflict (name) do update set queue = excluded.queue, seen_at = now();
end
$$;
call app.grant_definer('app.announce_actors(text[],text[])', array['app_worker']);

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

-- Cancels a job that waits or is published ('cancelled'), or asks the one that runs to stop ('running').
create function app.cancel_job(p_id uuid) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    j app.jobs;
begin
    select * into j from app.jobs where jobs.id = p_id for update;
    if not found then
        if exists (select from app.job_history h where h.id = p_id)
            or exists (select from app.dead_jobs d where d.id = p_id) then
            perform app.refuse(409, 'job_is_over', 'Only a job that waits or runs can be cancelled.');
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

create function app.close_cancelled(p_id uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.close_job(p_id, p_fence, 'cancelled');
end
$$;
call app.grant_definer('app.close_cancelled(uuid,bigint)', array['app_worker']);

create function app.is_unwanted(p_id uuid, p_fence bigint) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from app.jobs j where j.id = p_id and j.fence = p_fence and j.cancel_requested_at is not null);
end
$$;
call app.grant_definer('app.is_unwanted(uuid,bigint)', array['app_worker']);

-- Dead letters by what they have in common; null is no condition. Without a search path of its own, so that it becomes
-- a part of the query that it stands in.
create function app.matching_dead_jobs(
    p_ids uuid[], p_fingerprint text, p_brand_id uuid, p_actor text, p_from timestamptz, p_until timestamptz
) returns setof app.dead_jobs language sql stable begin atomic
    select d.* from app.dead_jobs d
    where (p_ids is null or d.id = any (p_ids))
        and (p_fingerprint is null or d.fingerprint = p_fingerprint)
        and (p_brand_id is null or d.brand_id = p_brand_id)
        and (p_actor is null or d.actor = p_actor)
        and (p_from is null or d.finished_at >= p_from)
        and (p_until is null or d.finished_at < p_until);
end;
grant execute on function app.matching_dead_jobs(uuid[],text,uuid,text,timestamptz,timestamptz) to app_admin;

-- Whether another job has the key: then a job of this key can't become one again.
create function app.key_holder(p_key text, p_job_id uuid) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select k.job_id from app.job_keys k
        where k.key = p_key and k.job_id <> p_job_id and (k.expires_at is null or k.expires_at >= now()));
end
$$;
call app.grant_definer('app.key_holder(text,uuid)', array['app_admin']);

-- A dead letter becomes a job again, under its id and with a fence that goes on counting; returns who holds its key
-- instead, if somebody does. Attempts and crashes start anew, and its error stays with it until it is over.
create function app.revive_job(p_dead app.dead_jobs, p_args jsonb, p_due_at timestamptz) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    holder uuid;
begin
    if p_dead.unique_key is not null then
        holder := app.hold_job_key(p_dead.unique_key, p_dead.id, null, false, null, null);
        if holder <> p_dead.id then
            return holder;
        end if;
    end if;
    delete from app.dead_jobs d where d.id = p_dead.id;
    insert into app.jobs (id, actor, args, version, priority, due_at, fence, brand_id, lane, user_id, subject_type,
        subject_id, parent_id, group_id, request_id, correlation_id, traceparent, unique_key, coalesce_key, error,
        created_at)
    values (p_dead.id, p_dead.actor, coalesce(p_args, p_dead.args), p_dead.version, p_dead.priority, p_due_at,
        p_dead.fence, p_dead.brand_id, coalesce(p_dead.brand_id, '00000000-0000-0000-0000-000000000000'),
        p_dead.user_id, p_dead.subject_type, p_dead.subject_id, p_dead.parent_id, p_dead.group_id, p_dead.request_id,
        p_dead.correlation_id, p_dead.traceparent, p_dead.unique_key, p_dead.coalesce_key, p_dead.error,
        p_dead.created_at);
    return null;
end
$$;
call app.grant_definer('app.revive_job(app.dead_jobs,jsonb,timestamptz)', '{}');

-- Replays dead letters in the order given, the first due at p_first_at and each p_spacing after the one before, with an
-- entry each in the audit trail of its brand. What is no dead letter any more is left out.
create function app.replay_jobs(
    p_ids uuid[], p_args jsonb, p_first_at timestamptz, p_spacing interval,
    p_request_id text, p_address text, p_user_agent text
) returns table (id uuid, due_at timestamptz, held_by uuid)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    dead app.dead_jobs;
    revived int := 0;
begin
    foreach id in array p_ids loop
        select * into dead from app.dead_jobs d where d.id = replay_jobs.id for update;
        continue when not found;
        due_at := p_first_at + revived * p_spacing;
        held_by := app.revive_job(dead, p_args, due_at);
        if held_by is null then
            revived := revived + 1;
            perform app.add_audit(gen_random_uuid(), 'job.replay', 'jobs', id, null,
                app.replay_details(dead, p_args, due_at), p_brand_id => dead.brand_id, p_request_id => p_request_id,
                p_address => p_address, p_user_agent => p_user_agent);
        else
            due_at := null;
        end if;
        return next;
    end loop;
end
$$;
call app.grant_definer('app.replay_jobs(uuid[],jsonb,timestamptz,interval,text,text,text)', array['app_admin']);

-- What the audit trail keeps of a replay: the arguments only where they were changed.
create function app.replay_details(p_dead app.dead_jobs, p_args jsonb, p_due_at timestamptz) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    before jsonb := jsonb_build_object('state', 'dead', 'fingerprint', p_dead.fingerprint);
    after jsonb := jsonb_build_object('state', 'waiting', 'due_at', p_due_at);
begin
    if p_args is not null then
        before := before || jsonb_build_object('args', p_dead.args);
        after := after || jsonb_build_object('args', p_args);
    end if;
    return jsonb_build_object('before', before, 'after', after);
end
$$;
call app.grant_definer('app.replay_details(app.dead_jobs,jsonb,timestamptz)', '{}');

-- Every job with what ties it to others, wherever it is, under the caller's own row policies.
create view app.job_links with (security_invoker = true) as
    select id, actor, state, attempts, brand_id, subject_type, subject_id, parent_id, request_id, correlation_id,
        split_part(traceparent, '-', 2) as trace_id, error, created_at, claimed_at, null::timestamptz as finished_at
    from app.jobs
    union all
    select id, actor, state, attempts, brand_id, subject_type, subject_id, parent_id, request_id, correlation_id,
        split_part(traceparent, '-', 2), error, created_at, claimed_at, finished_at
    from app.job_history
    union all
    select id, actor, state, attempts, brand_id, subject_type, subject_id, parent_id, request_id, correlation_id,
        split_part(traceparent, '-', 2), error, created_at, claimed_at, finished_at
    from app.dead_jobs;
grant select on app.job_links to app_admin;

-- The jobs that there are because of a request, at most p_most, in the order they were asked for: by its id, or else by what
-- its caller gave it, a correlation id or a trace id. A trace that began here is called what its request is.
--
-- What is searched has a partition for each day, so to plan it takes longer than to do it: once for each connection.
create function app.trail(p_id text, p_most int) returns setof app.job_links
language plpgsql stable set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    of_own_trace text := case when p_id ~ '^[0-9a-f]{32}$' then p_id::uuid end;
begin
    return query
    select l.* from app.job_links l where l.request_id = p_id and l.request_id <> ''
    order by l.created_at, l.id limit p_most;
    if found then
        return;
    end if;
    return query
    select l.* from app.job_links l
    where l.request_id = of_own_trace and l.request_id <> ''
        or l.correlation_id = p_id and l.correlation_id is distinct from l.request_id
        or l.trace_id = p_id and l.trace_id <> '' and l.trace_id is distinct from replace(l.request_id, '-', '')
    order by l.created_at, l.id limit p_most;
end
$$;
grant execute on function app.trail(text,int) to app_admin;
