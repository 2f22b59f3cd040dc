-- Groups of jobs. A batch runs its children side by side, a chain one after the other; when they are over, it calls back.
--
-- open --no child is live--> calling --its callbacks are over--> over
--   ^                           |                                |
--   +--a dead letter is replayed or thrown away------------------+
--
-- Nothing counts, and a child's end writes nothing for its group: what is live is in app.jobs, what is over in
-- app.job_history and app.dead_jobs, and the relay asks about open groups (app.close_groups). So ends cost a group
-- nothing and wait for nobody, and what a kill undoes was never counted.
--
-- Callbacks, and what of a chain is still to come, lie in the ledger from the start, held: due at infinity. What is no
-- longer held has been called, so nothing is called twice.

create table app.job_groups (
    id uuid primary key,
    kind text not null check (kind in ('batch', 'chain')),
    state text not null default 'open' check (state in ('open', 'calling', 'over')),
    outcome text check (outcome in ('done', 'dead', 'cancelled')),
    parent_id uuid,                                -- the group that it is a child of, and counts as one in
    started_by uuid,                               -- the job that asked for it
    then_id uuid,                                  -- called when the children are over
    on_success_id uuid,                            -- called when all of them are done
    brand_id uuid,
    user_id uuid,
    cancel_requested_at timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint job_groups_outcome_when_over check ((state = 'over') = (outcome is not null))
);
create index job_groups_active on app.job_groups (id) where state <> 'over';
create index job_groups_parent on app.job_groups (parent_id) where parent_id is not null;
create index job_groups_started_by on app.job_groups (started_by) where started_by is not null;
create index job_groups_then on app.job_groups (then_id) where then_id is not null;
create index job_groups_on_success on app.job_groups (on_success_id) where on_success_id is not null;
call app.secure('app.job_groups', p_fan => 'select', p_admin => 'select', p_job => 'select',
    p_system => 'select,delete', p_member => '{"select": "jobs:read"}');

-- Jobs of no group are in none of these.
create index jobs_group on app.jobs (group_id, due_at, id) where group_id is not null;
create index job_history_group on app.job_history (group_id, state) where group_id is not null;
create index dead_jobs_group on app.dead_jobs (group_id) where group_id is not null;

-- Starts groups and their jobs, all in one statement each.
--   p_groups  [{id, kind, parent_id, then_id, on_success_id}]: one without a parent is nobody's child, or with p_within
--             a child of the group of the job that asks
--   p_jobs    [{id, group_id, actor, args, version, priority, delay (seconds), held, joins, subject_type, subject_id,
--             brand_id, user_id}]: one that joins becomes a child of the group of the job that asks
create function app.add_groups(
    p_groups jsonb, p_jobs jsonb, p_within boolean, p_brand_id uuid, p_user_id uuid,
    p_request_id text, p_correlation_id text, p_traceparent text
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    asking_job uuid := (app.claims() ->> 'job_id')::uuid;
    within app.job_groups;
begin
    perform app.check_owners(p_jobs || jsonb_build_array(jsonb_build_object('brand_id', p_brand_id, 'user_id', p_user_id)));
    perform app.check_membership(p_groups, p_jobs);
    if p_within then
        within := app.group_of_running_job(asking_job);
    end if;
    insert into app.job_groups (id, kind, parent_id, started_by, then_id, on_success_id, brand_id, user_id)
    select g.id, g.kind, coalesce(g.parent_id, within.id), asking_job, g.then_id, g.on_success_id, p_brand_id, p_user_id
    from jsonb_to_recordset(p_groups) as g (id uuid, kind text, parent_id uuid, then_id uuid, on_success_id uuid);
    insert into app.jobs (id, actor, args, version, priority, due_at, subject_type, subject_id, brand_id, lane, user_id,
        parent_id, group_id, request_id, correlation_id, traceparent)
    select j.id, j.actor, j.args, j.version, j.priority,
        case when j.held or (j.joins and within.kind = 'chain') then 'infinity'
            else now() + make_interval(secs => j.delay) end,
        j.subject_type, j.subject_id, j.brand_id, coalesce(j.brand_id, '00000000-0000-0000-0000-000000000000'), j.user_id,
        asking_job, case when j.joins then within.id else j.group_id end,
        p_request_id, p_correlation_id, p_traceparent
    from jsonb_to_recordset(p_jobs) as j (id uuid, group_id uuid, actor text, args jsonb, version int, priority int,
        delay float8, held boolean, joins boolean, subject_type text, subject_id text, brand_id uuid, user_id uuid);
end
$$;

-- A member's jobs are the brand's, a fan's jobs the fan's: as in app.enqueue, for many.
create function app.check_owners(p_owned jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := app.claims();
    asking text := current_setting('role');
begin
    if asking in ('authenticated', 'app_job') and exists (
        select from jsonb_to_recordset(p_owned) as o (brand_id uuid)
        where o.brand_id is distinct from (claims #>> '{app_metadata,brand_id}')::uuid)
    then
        perform app.refuse(403, 'forbidden', 'A job belongs to the brand that asks for it.');
    elsif asking in ('authenticated', 'app_job') and exists (
        select from (
            select distinct o.user_id from jsonb_to_recordset(p_owned) as o (user_id uuid) where o.user_id is not null
        ) as named
        where not app.is_known_to((claims #>> '{app_metadata,brand_id}')::uuid, named.user_id))
    then
        perform app.refuse(403, 'forbidden', 'A job is about a person whom the brand knows.');
    elsif asking = 'app_fan' and exists (
        select from jsonb_to_recordset(p_owned) as o (brand_id uuid, user_id uuid)
        where o.user_id is distinct from (claims ->> 'sub')::uuid or o.brand_id is not null)
    then
        perform app.refuse(403, 'forbidden', 'A job belongs to the fan who asks for it.');
    end if;
end
$$;
call app.grant_definer('app.check_owners(jsonb)', '{}');

-- Nobody makes children for somebody else's group: what is named here has to be started here.
create function app.check_membership(p_groups jsonb, p_jobs jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select o.of from (
            select g.parent_id from jsonb_to_recordset(p_groups) as g (parent_id uuid)
            union all
            select distinct j.group_id from jsonb_to_recordset(p_jobs) as j (group_id uuid)
        ) as o (of)
        where o.of is not null and o.of not in (select g.id from jsonb_to_recordset(p_groups) as g (id uuid)))
    then
        perform app.refuse(409, 'no_such_group', 'A group gets its children when it is started, or from one of them.');
    end if;
end
$$;
call app.grant_definer('app.check_membership(jsonb,jsonb)', '{}');

-- The group of a job that runs now. It can't become idle until this transaction is over: its child is live till then,
-- and where that child has been taken away meanwhile, the lock keeps app.close_groups out.
create function app.group_of_running_job(p_job_id uuid) returns app.job_groups
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
begin
    select s.* into g from app.job_groups s
    where s.id = (select j.group_id from app.jobs j where j.id = p_job_id and j.state = 'running')
    for key share;
    if not found then
        perform app.refuse(409, 'not_in_a_group', 'Only a child that runs may add others to its group.');
    elsif g.state <> 'open' or g.cancel_requested_at is not null then
        perform app.refuse(409, 'group_is_over', g.id::text);
    end if;
    return g;
end
$$;
call app.grant_definer('app.group_of_running_job(uuid)', '{}');
call app.grant_definer('app.add_groups(jsonb,jsonb,boolean,uuid,uuid,text,text,text)',
    array['authenticated', 'app_fan', 'app_admin', 'app_job', 'app_system']);

-- Whether nothing is left that a group waits for in its present state.
create function app.group_is_idle(p_id uuid, p_state text, p_then_id uuid, p_on_success_id uuid) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_state = 'open' then
        return not exists (select from app.jobs j where j.group_id = p_id and j.due_at < 'infinity')
            and not exists (select from app.job_groups s where s.parent_id = p_id and s.state <> 'over');
    end if;
    return not exists (select from app.jobs j where j.id = p_then_id)
        and not exists (select from app.jobs j where j.id = p_on_success_id and j.due_at < 'infinity');
end
$$;
call app.grant_definer('app.group_is_idle(uuid,text,uuid,uuid)', '{}');

-- How a group went: dead if anything in it is a dead letter, else cancelled if anything is, else done.
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

-- Moves one idle group on. The caller holds its lock, and has looked since.
create function app.advance_group(p_group app.job_groups) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups := p_group;
    how text := app.group_outcome(g);
begin
    if g.state = 'calling' then
        update app.job_groups s set state = 'over', outcome = how, finished_at = now() where s.id = g.id;
        return;
    end if;
    if how = 'done' and g.kind = 'chain' then
        update app.jobs j set due_at = now() where j.id = (
            select h.id from app.jobs h where h.group_id = g.id and h.due_at = 'infinity' order by h.id limit 1);
        if found then
            return;
        end if;
    end if;
    if how = 'cancelled' then
        -- What waited for all to be done waits in vain. Behind a dead letter it waits: somebody may replay that.
        perform app.close_job(j.id, j.fence, 'cancelled') from app.jobs j
        where (j.group_id = g.id or j.id = g.on_success_id) and j.due_at = 'infinity';
    end if;
    update app.jobs j set due_at = now()
    where j.due_at = 'infinity' and (j.id = g.then_id or (j.id = g.on_success_id and how = 'done'));
    update app.job_groups s set state = 'calling' where s.id = g.id;
end
$$;
call app.grant_definer('app.advance_group(app.job_groups)', '{}');

-- Calls back for the groups whose children are over, and lets chains go on; how many steps that were. Any number of
-- relays may call it. First it looks, then it locks, then it looks again: what came in between is seen the second time.
create function app.close_groups() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
    idle uuid[];
    g app.job_groups;
    steps int := 0;
    before int;
begin
    perform app.cancel_children(s.id) from app.job_groups s
    where s.state <> 'over' and s.cancel_requested_at is not null
        and exists (select from app.jobs j where j.group_id = s.id and j.state <> 'running');
    loop
        before := steps;
        idle := array(
            select s.id from app.job_groups s
            where s.state <> 'over' and app.group_is_idle(s.id, s.state, s.then_id, s.on_success_id)
            limit 200 for update skip locked);
        for g in select s.* from app.job_groups s where s.id = any (idle) and s.state <> 'over' loop
            if app.group_is_idle(g.id, g.state, g.then_id, g.on_success_id) then
                perform app.advance_group(g);
                steps := steps + 1;
            end if;
        end loop;
        exit when steps = before;  -- what became over may have been what its parent waited for
    end loop;
    return steps;
end
$$;
call app.grant_definer('app.close_groups()', array['app_worker']);

-- A dead letter that is replayed is a live child again, and one that is thrown away is none to wait for: either way its
-- group, and what that is a child of, has something to look at. Callbacks that were called stay called.
create function app.reopen_group(p_id uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
begin
    -- Even where it is open: it may be on its way to close, without having seen what this transaction does.
    select s.* into g from app.job_groups s where s.id = p_id for update;
    if g.state <> 'open' then
        update app.job_groups s set state = 'open', outcome = null, finished_at = null where s.id = p_id;
        perform app.reopen_group(g.parent_id);
    end if;
end
$$;
call app.grant_definer('app.reopen_group(uuid)', '{}');

create function app.reopen_group_of_letter() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.reopen_group(g.id) from app.job_groups g where g.id = old.group_id;
    perform app.reopen_group(g.id) from app.job_groups g where g.then_id = old.id;
    perform app.reopen_group(g.id) from app.job_groups g where g.on_success_id = old.id;
    return null;
end
$$;
call app.grant_definer('app.reopen_group_of_letter()', '{}');
create trigger reopen_group after delete on app.dead_jobs
    for each row execute function app.reopen_group_of_letter();

-- Cancels what a group and those within it have live: at once what does not run, and what runs where its body looks.
-- What a running child adds meanwhile is cancelled by the relay. Then the group calls back, as always.
create function app.cancel_group(p_id uuid) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    cancelled int := 0;
    one uuid;
begin
    if current_setting('role') = 'app_job' and not exists (
        select from app.job_groups g where g.id = p_id and g.brand_id = (app.claims() #>> '{app_metadata,brand_id}')::uuid)
    then
        perform app.refuse(404, 'not_found');
    end if;
    for one in
        with recursive tree as (
            select g.id from app.job_groups g where g.id = p_id
            union all
            select g.id from app.job_groups g join tree t on g.parent_id = t.id
        )
        select t.id from tree t
    loop
        update app.job_groups g set cancel_requested_at = now() where g.id = one and g.state <> 'over';
        cancelled := cancelled + app.cancel_children(one);
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

-- How far the groups are that a job is the callback of, or else that it has started itself; no row if there are none.
-- The caller's own row policies apply.
create function app.children_of(p_job_id uuid)
returns table (total bigint, done bigint, dead bigint, cancelled bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    groups uuid[];
    since timestamptz;
begin
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

-- Forgets groups that were over p_keep ago, and with them what is still held behind their dead letters; how many. Their
-- children's history goes at the same age.
create function app.prune_groups(p_keep interval) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    g app.job_groups;
    pruned int := 0;
begin
    for g in
        select s.* from app.job_groups s
        where s.state = 'over' and s.finished_at < now() - p_keep
            and not exists (select from app.job_groups p where p.id = s.parent_id and p.state <> 'over')
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
