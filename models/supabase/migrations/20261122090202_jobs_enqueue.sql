-- Enqueue a job: unique keys, ownership, and the only INSERT of a single job.

-- Acquire a unique key for a job. Return null if the job holds the key now, else the id of the job that holds it.
-- With p_replace a holder that is still waiting gets the new arguments and a new delay (debounce). A holder that is no
-- longer waiting loses the key.
create function app.acquire_job_key(
    p_key text, p_job_id uuid, p_window interval, p_replace boolean, p_args jsonb, p_delay interval
) returns uuid language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    holder uuid;
begin
    -- Read a held key without a row lock: callers of one key would wait for each other otherwise.
    if not p_replace then
        select k.job_id into holder from app.job_keys k
        where k.key = p_key and (k.expires_at is null or k.expires_at >= now());
        if found then
            return holder;
        end if;
    end if;
    -- Insert the key, or take over one whose window is over. A concurrent insert of the key waits here for our commit.
    insert into app.job_keys as k (key, job_id, expires_at) values (p_key, p_job_id, now() + p_window)
    on conflict (key) do update set job_id = case when k.expires_at < now() then excluded.job_id else k.job_id end,
        expires_at = case when k.expires_at < now() then excluded.expires_at else k.expires_at end
    returning nullif(k.job_id, p_job_id) into holder;
    if holder is null or not p_replace then
        return holder;
    end if;
    -- Replace the arguments of a waiting holder, or take the key from a holder that is not waiting.
    update app.jobs j set args = p_args, due_at = now() + p_delay where j.id = holder and j.published_at is null;
    if found then
        return holder;
    end if;
    update app.job_keys k set job_id = p_job_id where k.key = p_key;
    return null;
end
$$;
call app.grant_definer('app.acquire_job_key(text,uuid,interval,boolean,jsonb,interval)', '{}');

-- Insert a job, unless another job holds its unique key. Return the id of the job that exists now: p_id, or the
-- holder's. For definer functions only. Other callers use app.enqueue, which checks the owner.
create function app.add_job(
    p_id uuid, p_actor text, p_args jsonb,
    p_delay interval default '0', p_priority int default 1,
    p_unique_key text default null, p_coalesce_key text default null,
    p_subject_type text default null, p_subject_id text default null,
    p_brand_id uuid default null, p_user_id uuid default null, p_parent_id uuid default null,
    p_request_id text default null, p_correlation_id text default null, p_traceparent text default null,
    p_window interval default null, p_replace boolean default false, p_version int default 1
) returns uuid language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    holder uuid;
begin
    if p_unique_key is not null then
        holder := app.acquire_job_key(p_unique_key, p_id, p_window, p_replace, p_args, p_delay);
        if holder is not null then
            return holder;
        end if;
    end if;
    insert into app.jobs (id, actor, args, version, due_at, priority, unique_key, coalesce_key, subject_type,
        subject_id, brand_id, user_id, parent_id, request_id, correlation_id, traceparent)
    values (p_id, p_actor, p_args, p_version, now() + p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type,
        p_subject_id, p_brand_id, p_user_id, p_parent_id, p_request_id, p_correlation_id, p_traceparent);
    return p_id;
end
$$;
call app.grant_definer('app.add_job(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,uuid,text,text,text,'
    'interval,boolean,int)', '{}');

-- Enqueue a job under the caller's identity. p_id becomes the id of the job that holds the unique key, if there is one.
-- A procedure, because a CALL needs no plan, and most callers do not wait for the result.
create procedure app.enqueue(
    inout p_id uuid, p_actor text, p_args jsonb, p_delay interval, p_priority int, p_unique_key text,
    p_coalesce_key text, p_subject_type text, p_subject_id text, p_brand_id uuid, p_user_id uuid,
    p_request_id text, p_correlation_id text, p_traceparent text, p_window interval, p_replace boolean, p_version int,
    out p_created boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
    caller text := current_setting('role');
    refusal text := app.job_owner_refusal(claims, caller, p_brand_id, p_user_id);
    job_id uuid;
begin
    if refusal is not null then
        perform app.refuse(403, 'forbidden', refusal);
    end if;
    job_id := app.add_job(
        p_id, p_actor, p_args, p_delay, p_priority, p_unique_key, p_coalesce_key, p_subject_type, p_subject_id,
        p_brand_id, p_user_id, (claims ->> 'job_id')::uuid, p_request_id, p_correlation_id, p_traceparent,
        p_window, p_replace, p_version);
    p_created := job_id = p_id;
    p_id := job_id;
end
$$;
call app.grant_definer(
    'app.enqueue(uuid,text,jsonb,interval,int,text,text,text,text,uuid,uuid,text,text,text,interval,boolean,int)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);
