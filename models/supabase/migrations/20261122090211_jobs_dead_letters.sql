-- Dead letters: search and replay.

-- Return the dead letters that meet all conditions. A null is no condition. The function is inlined into its caller: a
-- search path of its own would prevent that.
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

-- Return the other job that holds a key, or null. While another job holds it, a dead letter with this key cannot be
-- replayed.
create function app.other_key_holder(p_key text, p_job_id uuid) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select k.job_id from app.job_keys k
        where k.key = p_key and k.job_id <> p_job_id and (k.expires_at is null or k.expires_at >= now()));
end
$$;
call app.grant_definer('app.other_key_holder(text,uuid)', array['app_admin']);

-- Make a dead letter a waiting job with the same id. Its fence continues, attempts and crashes begin at 0, and it keeps
-- its error until it is over. If another job holds its unique key, change nothing and return that job's id.
create function app.revive_job(p_dead app.dead_jobs, p_args jsonb, p_due_at timestamptz) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    holder uuid;
begin
    if p_dead.unique_key is not null then
        holder := app.acquire_job_key(p_dead.unique_key, p_dead.id, null, false, null, null);
        if holder <> p_dead.id then
            return holder;
        end if;
    end if;
    delete from app.dead_jobs d where d.id = p_dead.id;
    insert into app.jobs (id, actor, args, version, priority, due_at, fence, brand_id, user_id, subject_type,
        subject_id, parent_id, group_id, request_id, correlation_id, traceparent, unique_key, coalesce_key, error,
        created_at)
    values (p_dead.id, p_dead.actor, coalesce(p_args, p_dead.args), p_dead.version, p_dead.priority, p_due_at,
        p_dead.fence, p_dead.brand_id, p_dead.user_id, p_dead.subject_type, p_dead.subject_id, p_dead.parent_id,
        p_dead.group_id, p_dead.request_id, p_dead.correlation_id, p_dead.traceparent, p_dead.unique_key,
        p_dead.coalesce_key, p_dead.error, p_dead.created_at);
    return null;
end
$$;
call app.grant_definer('app.revive_job(app.dead_jobs,jsonb,timestamptz)', '{}');

-- Return the details of a replay for the audit trail. They contain the arguments only if those were changed.
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

-- Replay dead letters in the given order: the first is due at p_first_at, each other p_spacing after the one before.
-- Write an entry for each to the audit trail of its brand. Ids that are not dead letters are left out.
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
