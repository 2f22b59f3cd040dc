-- Publish due jobs: limits, fair share and the relay's choice.

-- A brand's weight in fair scheduling and its limit of concurrent jobs. A brand without a row has weight 1 and no
-- limit.
create table app.brand_shares (
    brand_id uuid primary key references public.brands (id),
    weight int not null default 1 check (weight between 1 and 100),
    max_running int check (max_running >= 0)
);
call app.secure('app.brand_shares', p_admin => 'select,insert,update,delete');

-- Actors whose jobs are not published until an admin resumes them.
create table app.paused_actors (
    actor text primary key,
    paused_by uuid,
    reason text,
    paused_at timestamptz not null default now()
);
call app.secure('app.paused_actors', p_admin => 'select');

-- Locked as a whole by app.publish_due, so that one relay publishes at a time. It holds no rows. A table lock writes
-- nothing, and no login can take it. Advisory locks are open to every login where their functions cannot be revoked.
create table app.relay_lock (id uuid primary key);
call app.secure('app.relay_lock', p_definer_only => true);

-- Rate limits: the time at which an actor would have used up its published jobs (theoretical arrival time of GCRA).
create table app.actor_rates (
    actor text primary key,
    arrival timestamptz not null
);
call app.secure('app.actor_rates', p_admin => 'select');

-- Return the number of jobs that an actor's rate allows to start now (Generic Cell Rate Algorithm: p_burst at once,
-- then p_rate per second).
create function app.rate_allowance(p_actor text, p_rate float8, p_burst int) returns int
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    ahead float8;  -- seconds from now to the arrival time
begin
    select greatest(0, extract(epoch from a.arrival - clock_timestamp())) into ahead
    from app.actor_rates a where a.actor = p_actor;
    return floor((p_burst / p_rate - coalesce(ahead, 0)) * p_rate + 0.000001);
end
$$;
call app.grant_definer('app.rate_allowance(text,float8,int)', '{}');

-- Charge p_count published jobs to an actor's rate.
create function app.charge_rate(p_actor text, p_rate float8, p_count int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.actor_rates as a (actor, arrival)
    values (p_actor, clock_timestamp() + make_interval(secs => p_count / p_rate))
    on conflict (actor) do update
        set arrival = greatest(a.arrival, clock_timestamp()) + make_interval(secs => p_count / p_rate);
end
$$;
call app.grant_definer('app.charge_rate(text,float8,int)', '{}');

-- The limits of one actor. A null is no limit.
create type app.actor_limits as (actor text, max_running int, max_per_brand int, rate float8, burst int);

-- Visit the tenants of an actor that have waiting jobs, in the order of the index jobs_due: from p_after on, then from
-- the first tenant up to p_after. Return at most p_limit of them. Each step is one index probe, however many jobs wait.
-- Inlined into its caller, like the next two functions: a search path of its own would prevent that.
create function app.waiting_tenants(p_actor text, p_after uuid, p_limit int)
returns table (tenant_key uuid, place int) language sql stable begin atomic
    with recursive walk (tenant_key, place, has_wrapped) as (
        select p_after, 0, false
        union all
        select coalesce(up.tenant_key, first.tenant_key), w.place + 1, w.has_wrapped or up.tenant_key is null
        from walk w
        -- The next tenant; after the wrap up to p_after only.
        left join lateral (
            select j.tenant_key from app.jobs j
            where j.published_at is null and j.actor = p_actor and j.tenant_key > w.tenant_key
                and j.tenant_key <= case when w.has_wrapped then p_after else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end
            order by j.tenant_key limit 1
        ) as up on true
        -- At the end of the index: wrap to the first tenant.
        left join lateral (
            select j.tenant_key from app.jobs j
            where up.tenant_key is null and not w.has_wrapped
                and j.published_at is null and j.actor = p_actor and j.tenant_key <= p_after
            order by j.tenant_key limit 1
        ) as first on true
        where w.place < p_limit and coalesce(up.tenant_key, first.tenant_key) is not null
    )
    select w.tenant_key, w.place from walk w where w.place > 0;
end;
call app.grant_definer('app.waiting_tenants(text,uuid,int)', '{}');

-- Return up to p_limit due jobs of one actor and tenant, the most urgent first, then the oldest. A priority is read
-- only while the higher ones have not yielded enough jobs.
create function app.due_jobs(p_actor text, p_tenant_key uuid, p_limit bigint)
returns table (id uuid, priority smallint, due_at timestamptz) language sql stable begin atomic
    select j.id, j.priority, j.due_at
    from generate_series(0, 3) as p (priority)
    cross join lateral (
        select j.id, j.priority, j.due_at from app.jobs j
        where j.published_at is null and j.actor = p_actor and j.tenant_key = p_tenant_key and j.priority = p.priority
            and j.due_at <= now()
        order by j.due_at limit p_limit
    ) as j;
end;
call app.grant_definer('app.due_jobs(text,uuid,bigint)', '{}');

-- Return the tenants to take jobs from, for each actor in p_waiting, with their limits and recent dispatches.
--   actor_number     position of the actor in p_waiting
--   place            position of the tenant in the actor's walk
--   *_capacity       jobs that may still start of the actor, of the tenant, or of both together; null: no limit
--   dispatched       dispatches that count for fair share: published and running jobs, or p_dispatched if that is more
--   most             jobs to read: p_min_jobs, or twice the tenant's share of the capacity, times its weight
create function app.candidate_tenants(
    p_actors text[], p_waiting text[], p_capacity int, p_limits app.actor_limits[], p_after uuid, p_tenant_keys uuid[],
    p_dispatched float8[], p_max_tenants int, p_min_jobs int
) returns table (
    actor_number bigint, actor text, tenant_key uuid, place int, weight int, actor_capacity bigint,
    both_capacity bigint, tenant_capacity bigint, dispatched float8, last_published_at timestamptz, most bigint
) language sql stable begin atomic
    -- Count published and running jobs. Limits read these counts, so a crash cannot leak a slot.
    with busy as materialized (
        select j.actor, j.tenant_key, count(*) as jobs, max(j.published_at) as last_at
        from app.jobs j where j.published_at is not null group by 1, 2
    ),
    busy_actors as materialized (select b.actor, sum(b.jobs) as jobs from busy b group by b.actor),
    busy_tenants as materialized (
        select b.tenant_key, sum(b.jobs) as jobs, sum(b.jobs) filter (where b.actor = any (p_actors)) as dispatched,
            max(b.last_at) filter (where b.actor = any (p_actors)) as last_at
        from busy b group by b.tenant_key
    ),
    -- Leave out paused actors, and compute the capacity of the others.
    actors as materialized (
        select a.number, a.actor, l.max_per_brand,
            least(l.max_running - coalesce(b.jobs, 0),
                case when l.rate is not null then app.rate_allowance(a.actor, l.rate, l.burst) end)::bigint as capacity
        from unnest(p_waiting) with ordinality as a (actor, number)
        left join unnest(p_limits) as l on l.actor = a.actor
        left join busy_actors b on b.actor = a.actor
        where not exists (select from app.paused_actors p where p.actor = a.actor)
    )
    select a.number, a.actor, w.tenant_key, w.place, coalesce(s.weight, 1), a.capacity,
        (a.max_per_brand - coalesce(b.jobs, 0))::bigint, (s.max_running - coalesce(t.jobs, 0))::bigint,
        greatest(t.dispatched::float8, r.dispatched, 0), t.last_at,
        (greatest(p_min_jobs, ceil(2.0 * p_capacity / count(*) over ())) * coalesce(s.weight, 1))::bigint
    from actors a
    cross join lateral app.waiting_tenants(a.actor, p_after, p_max_tenants) as w
    left join busy_tenants t on t.tenant_key = w.tenant_key
    left join unnest(p_tenant_keys, p_dispatched) as r (tenant_key, dispatched) on r.tenant_key = w.tenant_key
    left join busy b on b.actor = a.actor and b.tenant_key = w.tenant_key
    left join app.brand_shares s on s.brand_id = w.tenant_key
    where a.capacity is null or a.capacity > 0;
end;
call app.grant_definer(
    'app.candidate_tenants(text[],text[],int,app.actor_limits[],uuid,uuid[],float8[],int,int)', '{}');

-- Choose up to p_capacity due jobs in fair order. Also return the last tenant that was visited, if some were not.
--
-- Fair order: the n-th job of each tenant (n-th `weight` jobs) goes before the (n+1)-th of any. Recent dispatches count
-- as jobs already chosen. Without them each poll, which may have capacity for one or two jobs, would begin with the
-- tenant that has waited longest, which is always the tenant with the most jobs.
create function app.choose_jobs(
    p_actors text[], p_waiting text[], p_capacity int, p_limits app.actor_limits[], p_after uuid, p_tenant_keys uuid[],
    p_dispatched float8[], p_max_tenants int, p_min_jobs int, out ids uuid[], out last_tenant uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    with tenants as materialized (
        select * from app.candidate_tenants(
            p_actors, p_waiting, p_capacity, p_limits, p_after, p_tenant_keys, p_dispatched, p_max_tenants, p_min_jobs)
    ),
    -- Read no more jobs of a tenant than its limits allow.
    candidates as (
        select j.*, t.weight, t.actor_number, t.tenant_key, t.dispatched, t.last_published_at, t.actor_capacity,
            t.tenant_capacity
        from tenants t
        cross join lateral (
            select * from app.due_jobs(t.actor, t.tenant_key, t.most)
            limit greatest(0, least(t.most, t.both_capacity, t.tenant_capacity, t.actor_capacity))
        ) as j
    ),
    -- Number the rounds of each tenant, beginning after its recent dispatches.
    rounds as (
        select c.*, ceil((c.dispatched
            + row_number() over (partition by c.tenant_key order by c.priority, c.due_at, c.id))::float8 / c.weight)
            as round
        from candidates c
    ),
    -- Apply the limits of actors and tenants across what was read of each.
    ranked as (
        select r.id, r.round, r.priority, r.last_published_at, r.due_at, r.actor_capacity, r.tenant_capacity,
            row_number() over (partition by r.actor_number
                order by r.round, r.priority, r.last_published_at nulls first, r.due_at) as actor_rank,
            row_number() over (partition by r.tenant_key order by r.round, r.priority, r.due_at) as tenant_rank
        from rounds r
    ),
    -- Within a round: the more urgent, then the tenant that was served longest ago, then the older.
    chosen as (
        select r.id from ranked r
        where (r.actor_capacity is null or r.actor_rank <= r.actor_capacity)
            and (r.tenant_capacity is null or r.tenant_rank <= r.tenant_capacity)
        order by r.round, r.priority, r.last_published_at nulls first, r.due_at
        limit p_capacity
    )
    select (select array_agg(c.id) from chosen c), (
        -- Of the walks that ended at their limit, the one that ended nearest to p_after.
        select t.tenant_key from tenants t where t.place = p_max_tenants
        order by t.tenant_key <= p_after, t.tenant_key limit 1
    ) into ids, last_tenant;
end
$$;
call app.grant_definer('app.choose_jobs(text[],text[],int,app.actor_limits[],uuid,uuid[],float8[],int,int)', '{}');

-- Choose the due jobs to publish, at most p_capacity. Also return the last tenant that was visited, if some were not.
create function app.choose_due_jobs(
    p_actors text[], p_capacity int, p_limits app.actor_limits[], p_after uuid, p_tenant_keys uuid[],
    p_dispatched float8[], out ids uuid[], out last_tenant uuid
) language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    max_pairs constant int := 32;  -- pairs of actor and tenant that one poll visits, about
    min_jobs constant int := 4;    -- jobs to read of each pair
    max_tenants int;
    waiting text[] := array(
        -- One index probe for each actor: most polls find most actors without waiting jobs.
        select a.actor from unnest(p_actors) as a (actor)
        cross join lateral (
            select from app.jobs j where j.published_at is null and j.actor = a.actor order by j.tenant_key limit 1
        ) as first
    );
begin
    if waiting = '{}' then
        return;
    end if;
    max_tenants := greatest(4, max_pairs / cardinality(waiting));
    select c.ids, c.last_tenant into choose_due_jobs.ids, choose_due_jobs.last_tenant
    from app.choose_jobs(p_actors, waiting, p_capacity, p_limits, p_after, p_tenant_keys, p_dispatched,
        max_tenants, min_jobs) as c;
    -- min_jobs is enough where many tenants have some jobs. Where few tenants have many, read more of each.
    if cardinality(ids) between min_jobs and p_capacity - 1 then
        select c.ids into choose_due_jobs.ids
        from app.choose_jobs(p_actors, waiting, p_capacity, p_limits, p_after, p_tenant_keys, p_dispatched,
            max_tenants, p_capacity) as c;
    end if;
end
$$;
call app.grant_definer('app.choose_due_jobs(text[],int,app.actor_limits[],uuid,uuid[],float8[])', '{}');

-- Publish up to p_capacity due jobs of these actors. Return their ids and tenants.
--
-- One poll visits some of many tenants, beginning after p_after. A row without an id names the tenant after which the
-- next poll continues. p_dispatched are the recent dispatches of p_tenant_keys, as recorded by the relay.
--
-- Of the waiting jobs with one coalesce_key one is published and the others are deleted. All of them have committed, so
-- the published one sees the data of each.
create function app.publish_due(
    p_actors text[], p_capacity int, p_limits app.actor_limits[], p_after uuid,
    p_tenant_keys uuid[] default '{}', p_dispatched float8[] default '{}'
) returns table (id uuid, tenant_key uuid) language plpgsql security definer
-- Planning would take longer than the poll, which runs every few milliseconds. The cached plan may have been made while
-- the table was empty and must still be fast when it is full.
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
    chosen uuid[];
    last_tenant uuid;
begin
    lock table app.relay_lock in exclusive mode;
    select c.ids, c.last_tenant into chosen, last_tenant
    from app.choose_due_jobs(p_actors, p_capacity, p_limits, p_after, p_tenant_keys, p_dispatched) as c;
    if last_tenant is not null then
        return query select null::uuid, last_tenant;
    end if;
    if chosen is not null then
        return query select * from app.publish_chosen(chosen, p_limits);
    end if;
end
$$;

-- Publish chosen jobs, coalesce them, and charge the rates of their actors. Return the published ids and their tenants.
create function app.publish_chosen(p_chosen uuid[], p_limits app.actor_limits[])
returns table (id uuid, tenant_key uuid) language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    return query
    -- A plan for an empty table prefers other indexes and joins: 32 rows seem as cheap to find as none. So no condition
    -- here fits any index but the primary key's, and nothing is joined.
    with locked as materialized (
        select j.id, j.coalesce_key, j.due_at from app.jobs j
        where j.id = any (p_chosen) and j.state = 'waiting'
        for update skip locked
    ),
    ranked as (
        select l.id, l.coalesce_key is not null
            and row_number() over (partition by l.coalesce_key order by l.due_at, l.id) > 1 as is_duplicate
        from locked l
    ),
    coalesced as (
        delete from app.jobs j where j.id = any (array(select r.id from ranked r where r.is_duplicate))
    ),
    published as (
        update app.jobs j set state = 'published', published_at = now()
        where j.id = any (array(select r.id from ranked r where not r.is_duplicate))
        returning j.id, j.tenant_key, j.actor
    ),
    charged as (
        select app.charge_rate(l.actor, l.rate, count(*)::int)
        from published p join unnest(p_limits) l on l.actor = p.actor
        where l.rate is not null group by l.actor, l.rate
    )
    -- The count makes PostgreSQL run `charged`.
    select p.id, p.tenant_key from published p where (select count(*) from charged) >= 0;
end
$$;
call app.grant_definer('app.publish_chosen(uuid[],app.actor_limits[])', '{}');
call app.grant_definer('app.publish_due(text[],int,app.actor_limits[],uuid,uuid[],float8[])', array['app_worker']);

-- Return the published jobs of these actors, the newest first. For a broker that reports only the number of ids in a
-- queue: ids leave a queue in their order, so the remaining ones are the newest. There are never many.
create function app.newest_published(p_actors text[]) returns table (id uuid, published_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select j.id, j.published_at from app.jobs j
    where j.published_at is not null and j.state = 'published' and j.actor = any (p_actors)
    order by j.published_at desc;
end
$$;
call app.grant_definer('app.newest_published(text[])', array['app_worker']);
