-- Groups of jobs. A batch runs its children in parallel, a chain one after the other. Then the group calls back.
--
-- open --no child is live--> calling --its callbacks are over--> finished
--   ^                           |                                   |
--   +--a dead letter is replayed or deleted------------------------+
--
-- Nothing is counted, and the end of a child writes nothing for its group: live children are in app.jobs, ended ones in
-- app.job_history and app.dead_jobs, and the relay polls open groups (app.close_groups). So an end takes no lock on its
-- group, and a crash cannot leave a wrong count.
--
-- Callbacks and the later steps of a chain are in the ledger from the start, held: due at infinity. A job that is no
-- longer held has been called, so no job is called twice.

create table app.job_groups (
    id uuid primary key,
    kind text not null check (kind in ('batch', 'chain')),
    state text not null default 'open' check (state in ('open', 'calling', 'finished')),
    outcome text check (outcome in ('done', 'dead', 'cancelled')),
    parent_id uuid,                                -- the group of which this group is one child
    started_by uuid,                               -- the job that started the group
    then_id uuid,                                  -- called when all children are over
    on_success_id uuid,                            -- called when all children are done
    brand_id uuid,
    user_id uuid,
    cancel_requested_at timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint job_groups_outcome_when_finished check ((state = 'finished') = (outcome is not null))
);
create index job_groups_active on app.job_groups (id) where state <> 'finished';
create index job_groups_parent on app.job_groups (parent_id) where parent_id is not null;
create index job_groups_started_by on app.job_groups (started_by) where started_by is not null;
create index job_groups_then on app.job_groups (then_id) where then_id is not null;
create index job_groups_on_success on app.job_groups (on_success_id) where on_success_id is not null;
call app.secure_jobs('app.job_groups', p_system => 'select,delete');

-- Jobs without a group are in none of these indexes.
create index jobs_group on app.jobs (group_id, due_at, id) where group_id is not null;
create index job_history_group on app.job_history (group_id, state) where group_id is not null;
create index dead_jobs_group on app.dead_jobs (group_id) where group_id is not null;

-- Refuse to add children to groups that this call does not start: only a child may add to its group (p_within).
create function app.check_membership(p_groups jsonb, p_jobs jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from (
            select g.parent_id from jsonb_to_recordset(p_groups) as g (parent_id uuid)
            union
            select j.group_id from jsonb_to_recordset(p_jobs) as j (group_id uuid)
        ) as named (id)
        where named.id is not null
            and named.id not in (select g.id from jsonb_to_recordset(p_groups) as g (id uuid)))
    then
        perform app.refuse(409, 'no_such_group', 'Only a child of the group can add jobs to it.');
    end if;
end
$$;
call app.grant_definer('app.check_membership(jsonb,jsonb)', '{}');

-- Lock the group of a running job and return it. The group cannot become idle before this transaction ends: its child
-- is live until then, and if the child was reclaimed meanwhile, the lock keeps app.close_groups out.
create function app.group_of_running_job(p_job_id uuid) returns app.job_groups
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
begin
    select s.* into g from app.job_groups s
    where s.id = (select j.group_id from app.jobs j where j.id = p_job_id and j.state = 'running')
    for key share;
    if not found then
        perform app.refuse(409, 'not_in_a_group', 'Only a running child of a group can add jobs to it.');
    elsif g.state <> 'open' or g.cancel_requested_at is not null then
        perform app.refuse(409, 'group_is_over', g.id::text);
    end if;
    return g;
end
$$;
call app.grant_definer('app.group_of_running_job(uuid)', '{}');

-- Start groups and insert their jobs, all in one statement each.
--   p_groups  [{id, kind, parent_id, then_id, on_success_id}]: with p_within, a group without a parent becomes a child
--             of the calling job's group
--   p_jobs    [{id, group_id, actor, args, version, priority, delay (seconds), held, joins, subject_type, subject_id,
--             brand_id, user_id}]: a job that joins becomes a child of the calling job's group
create function app.add_groups(
    p_groups jsonb, p_jobs jsonb, p_within boolean, p_brand_id uuid, p_user_id uuid,
    p_request_id text, p_correlation_id text, p_traceparent text
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    calling_job uuid := (app.claims() ->> 'job_id')::uuid;
    within app.job_groups;
    refusal text;
begin
    -- Check the owners of the groups and of each job, and the group of each job.
    select max(app.job_owner_refusal(app.claims(), current_setting('role'), o.brand_id, o.user_id)) into refusal
    from (
        select p_brand_id, p_user_id
        union
        select j.brand_id, j.user_id from jsonb_to_recordset(p_jobs) as j (brand_id uuid, user_id uuid)
    ) as o (brand_id, user_id);
    if refusal is not null then
        perform app.refuse(403, 'forbidden', refusal);
    end if;
    perform app.check_membership(p_groups, p_jobs);
    if p_within then
        within := app.group_of_running_job(calling_job);
    end if;
    -- Insert the groups.
    insert into app.job_groups (id, kind, parent_id, started_by, then_id, on_success_id, brand_id, user_id)
    select g.id, g.kind, coalesce(g.parent_id, within.id), calling_job, g.then_id, g.on_success_id, p_brand_id,
        p_user_id
    from jsonb_to_recordset(p_groups) as g (id uuid, kind text, parent_id uuid, then_id uuid, on_success_id uuid);
    -- Insert the jobs: the callbacks and the steps of chains are held.
    insert into app.jobs (id, actor, args, version, priority, due_at, subject_type, subject_id, brand_id, user_id,
        parent_id, group_id, request_id, correlation_id, traceparent)
    select j.id, j.actor, j.args, j.version, j.priority,
        case when j.held or (j.joins and within.kind = 'chain') then 'infinity'
            else now() + make_interval(secs => j.delay) end,
        j.subject_type, j.subject_id, j.brand_id, j.user_id,
        calling_job, case when j.joins then within.id else j.group_id end,
        p_request_id, p_correlation_id, p_traceparent
    from jsonb_to_recordset(p_jobs) as j (id uuid, group_id uuid, actor text, args jsonb, version int, priority int,
        delay float8, held boolean, joins boolean, subject_type text, subject_id text, brand_id uuid, user_id uuid);
end
$$;
call app.grant_definer('app.add_groups(jsonb,jsonb,boolean,uuid,uuid,text,text,text)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);

-- Return whether a group has nothing left to wait for: an open one no live children, a calling one no live callbacks.
create function app.group_is_idle(p_id uuid, p_state text, p_then_id uuid, p_on_success_id uuid) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_state = 'open' then
        return not exists (select from app.jobs j where j.group_id = p_id and j.due_at < 'infinity')
            and not exists (select from app.job_groups s where s.parent_id = p_id and s.state <> 'finished');
    end if;
    return not exists (select from app.jobs j where j.id = p_then_id)
        and not exists (select from app.jobs j where j.id = p_on_success_id and j.due_at < 'infinity');
end
$$;
call app.grant_definer('app.group_is_idle(uuid,text,uuid,uuid)', '{}');

-- Return a group's outcome: dead if a child or callback is a dead letter, else cancelled if one is cancelled, else
-- done.
create function app.group_outcome(p_group app.job_groups) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if exists (select from app.dead_jobs d where d.group_id = p_group.id)
        or exists (select from app.dead_jobs d where d.id in (p_group.then_id, p_group.on_success_id))
        or exists (select from app.job_groups s where s.parent_id = p_group.id and s.outcome = 'dead')
    then
        return 'dead';
    elsif exists (select from app.job_history h where h.group_id = p_group.id and h.state = 'cancelled'
            and h.finished_at >= p_group.created_at)
        or exists (select from app.job_groups s where s.parent_id = p_group.id and s.outcome = 'cancelled')
    then
        return 'cancelled';
    end if;
    return 'done';
end
$$;
call app.grant_definer('app.group_outcome(app.job_groups)', '{}');

-- Advance an idle group by one step. The caller holds its row lock and has checked that it is idle since.
create function app.advance_group(p_group app.job_groups) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups := p_group;
    group_result constant text := app.group_outcome(g);
begin
    -- After the callbacks the group is finished.
    if g.state = 'calling' then
        update app.job_groups s set state = 'finished', outcome = group_result, finished_at = now()
        where s.id = g.id;
        return;
    end if;
    -- A chain continues with its next held step.
    if group_result = 'done' and g.kind = 'chain' then
        update app.jobs j set due_at = now() where j.id = (
            select h.id from app.jobs h where h.group_id = g.id and h.due_at = 'infinity' order by h.id limit 1);
        if found then
            return;
        end if;
    end if;
    -- Jobs that wait for success cannot run after a cancellation. Behind a dead letter they stay held: it may be
    -- replayed.
    if group_result = 'cancelled' then
        perform app.close_job(j.id, j.fence, 'cancelled') from app.jobs j
        where (j.group_id = g.id or j.id = g.on_success_id) and j.due_at = 'infinity';
    end if;
    -- Call back.
    update app.jobs j set due_at = now()
    where j.due_at = 'infinity' and (j.id = g.then_id or (j.id = g.on_success_id and group_result = 'done'));
    update app.job_groups s set state = 'calling' where s.id = g.id;
end
$$;
call app.grant_definer('app.advance_group(app.job_groups)', '{}');

-- Call back for groups whose children are over, and continue chains. Return the number of steps. Several relays may
-- call it. It checks, locks and checks again: the second check sees what was committed in between.
create function app.close_groups() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    idle uuid[];
    g app.job_groups;
    steps int := 0;
    before int;
begin
    -- Cancel children that running children of a cancelled group have added.
    perform app.cancel_children(s.id) from app.job_groups s
    where s.state <> 'finished' and s.cancel_requested_at is not null
        and exists (select from app.jobs j where j.group_id = s.id and j.state <> 'running');
    loop
        before := steps;
        idle := array(
            select s.id from app.job_groups s
            where s.state <> 'finished' and app.group_is_idle(s.id, s.state, s.then_id, s.on_success_id)
            limit 200 for update skip locked);
        for g in select s.* from app.job_groups s where s.id = any (idle) and s.state <> 'finished' loop
            if app.group_is_idle(g.id, g.state, g.then_id, g.on_success_id) then
                perform app.advance_group(g);
                steps := steps + 1;
            end if;
        end loop;
        exit when steps = before;  -- a group that has just finished may have been the last child of its parent
    end loop;
    return steps;
end
$$;
call app.grant_definer('app.close_groups()', array['app_worker']);

-- Reopen a group and its parents after a dead letter was replayed or deleted: the former is a live child again, the
-- latter no child any more. Callbacks that were called are not called again.
create function app.reopen_group(p_id uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
begin
    -- Lock an open group, too: a relay may be about to close it without seeing what this transaction does.
    select s.* into g from app.job_groups s where s.id = p_id for update;
    if g.state <> 'open' then
        update app.job_groups s set state = 'open', outcome = null, finished_at = null where s.id = p_id;
        perform app.reopen_group(g.parent_id);
    end if;
end
$$;
call app.grant_definer('app.reopen_group(uuid)', '{}');

create function app.reopen_groups_of_dead_job() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.reopen_group(g.id) from app.job_groups g where g.id = old.group_id;
    perform app.reopen_group(g.id) from app.job_groups g where g.then_id = old.id;
    perform app.reopen_group(g.id) from app.job_groups g where g.on_success_id = old.id;
    return null;
end
$$;
call app.grant_definer('app.reopen_groups_of_dead_job()', '{}');
create trigger reopen_group after delete on app.dead_jobs
    for each row execute function app.reopen_groups_of_dead_job();

-- Cancel the live children of a group and of the groups within it, and return their number. For running
-- children, the cancellation is requested. The relay cancels children that they add meanwhile. Then the group calls
-- back as usual.
create function app.cancel_group(p_id uuid) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    cancelled int := 0;
    group_id uuid;
begin
    if current_setting('role') = 'app_job' and not exists (
        select from app.job_groups g
        where g.id = p_id and g.brand_id = (app.claims() #>> '{app_metadata,brand_id}')::uuid)
    then
        perform app.refuse(404, 'not_found');
    end if;
    for group_id in
        with recursive tree as (
            select g.id from app.job_groups g where g.id = p_id
            union all
            select g.id from app.job_groups g join tree t on g.parent_id = t.id
        )
        select t.id from tree t
    loop
        update app.job_groups g set cancel_requested_at = now() where g.id = group_id and g.state <> 'finished';
        cancelled := cancelled + app.cancel_children(group_id);
    end loop;
    return cancelled;
end
$$;
call app.grant_definer('app.cancel_group(uuid)', array['app_admin', 'app_job', 'app_system']);

create function app.cancel_children(p_group_id uuid) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    cancelled int;
begin
    perform app.cancel_job(l.id) from (
        select j.id from app.jobs j where j.group_id = p_group_id and j.cancel_requested_at is null
        order by j.id for update
    ) as l;
    get diagnostics cancelled = row_count;
    return cancelled;
end
$$;
call app.grant_definer('app.cancel_children(uuid)', '{}');

-- Count the children of the groups that call a job back, or else of those that the job has started. Return no row if
-- there are none. The caller's own row policies apply.
create function app.children_of(p_job_id uuid)
returns table (total bigint, done bigint, dead bigint, cancelled bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    groups uuid[];
    since timestamptz;
begin
    -- Groups that call the job back, else groups that it started and that are not within another of its groups.
    select array_agg(g.id), min(g.created_at) into groups, since from app.job_groups g
    where g.then_id = p_job_id or g.on_success_id = p_job_id;
    if groups is null then
        select array_agg(g.id), min(g.created_at) into groups, since from app.job_groups g
        left join app.job_groups p on p.id = g.parent_id
        where g.started_by = p_job_id and p.started_by is distinct from p_job_id;
    end if;
    if groups is null then
        return;
    end if;
    return query
    with children (state, jobs) as (
        select h.state, count(*) from app.job_history h
        where h.group_id = any (groups) and h.finished_at >= since group by 1
        union all
        select 'dead', count(*) from app.dead_jobs d where d.group_id = any (groups)
        union all
        select 'live', count(*) from app.jobs j where j.group_id = any (groups)
        union all
        select coalesce(g.outcome, 'live'), count(*) from app.job_groups g where g.parent_id = any (groups) group by 1
    )
    select coalesce(sum(c.jobs), 0)::bigint, coalesce(sum(c.jobs) filter (where c.state = 'done'), 0)::bigint,
        coalesce(sum(c.jobs) filter (where c.state = 'dead'), 0)::bigint,
        coalesce(sum(c.jobs) filter (where c.state = 'cancelled'), 0)::bigint
    from children c;
end
$$;
revoke all on function app.children_of(uuid) from public;
grant execute on function app.children_of(uuid) to authenticated, app_fan, app_admin, app_job, app_system;

-- Delete groups that finished p_keep ago, and cancel the jobs that are still held behind their dead letters. Return the
-- number of groups. The history of their children is dropped at the same age. A group whose parent is not finished
-- stays: the parent's outcome depends on it.
create function app.prune_groups(p_keep interval) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
    pruned int := 0;
begin
    for g in
        select s.* from app.job_groups s
        where s.state = 'finished' and s.finished_at < now() - p_keep
            and not exists (select from app.job_groups p where p.id = s.parent_id and p.state <> 'finished')
        for update skip locked
    loop
        perform app.close_job(j.id, j.fence, 'cancelled') from app.jobs j
        where (j.group_id = g.id or j.id = g.on_success_id) and j.due_at = 'infinity';
        delete from app.job_groups s where s.id = g.id;
        pruned := pruned + 1;
    end loop;
    return pruned;
end
$$;
call app.grant_definer('app.prune_groups(interval)', array['app_system']);
