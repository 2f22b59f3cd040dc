-- Membership of segments: who is a member now, who was one and when, and the state of each segment's computation.

-- Memberships and their history. A contact is a member while `left_at` is null. Times are those as of which the
-- membership was computed.
create table public.segment_members (
    brand_id uuid not null,
    segment_id uuid not null,
    contact_id uuid not null,
    entered_at timestamptz not null,
    left_at timestamptz,
    primary key (brand_id, segment_id, contact_id, entered_at),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id) on delete cascade,
    foreign key (brand_id, contact_id) references public.contacts (brand_id, id) on delete cascade,
    constraint segment_members_times check (left_at >= entered_at)
);
create unique index segment_members_now on public.segment_members (brand_id, segment_id, contact_id)
    where left_at is null;
create index segment_members_contact on public.segment_members (brand_id, contact_id, segment_id);
create index segment_members_entered on public.segment_members (brand_id, segment_id, entered_at);
create index segment_members_left on public.segment_members (brand_id, segment_id, left_at) where left_at is not null;
create index segment_members_ended on public.segment_members (left_at) where left_at is not null;

-- The computation of a segment's members. `computing`: all contacts are evaluated for a new definition, and the members
-- are those so far. `broken`: the definition can't be evaluated; the members stay as they were.
create table public.segment_states (
    brand_id uuid not null,
    segment_id uuid not null,
    state text not null default 'computing' check (state in ('computing', 'current', 'broken')),
    problem text,                           -- why it is broken
    revision int not null default 1,        -- counts the definitions, also of segments that it refers to
    kinds text[] not null default '{}',     -- kinds of change that can alter the members
    tried_at timestamptz,                   -- time of the last computation of all members
    computed_as_of timestamptz,             -- time as of which all members were last computed
    primary key (brand_id, segment_id),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id) on delete cascade,
    constraint segment_states_problem_if_broken check ((state = 'broken') = (problem is not null))
);

-- Numbers of contacts that entered and left a segment, until Coliseum has them.
create table app.segment_outbox (
    brand_id uuid not null,
    event_id uuid not null,
    segment_id uuid not null,
    at timestamptz not null,
    entered int not null,
    gone int not null,
    recorded_at timestamptz not null default now(),
    primary key (brand_id, event_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

call app.secure('app.segment_outbox', p_job => 'select,insert,delete', p_system => 'select');
call app.secure('public.segment_members', p_job => 'select,insert,update', p_system => 'select,delete',
    p_member => '{"select": "audiences:read"}');
call app.secure('public.segment_states', p_job => 'select,insert,update', p_system => 'select',
    p_member => '{"select": "audiences:read"}');

-- Enqueue the computation of all members of segments. Waiting computations of one segment run as one.
create function app.add_segment_recomputes(p_brand_id uuid, p_segments uuid[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_job(gen_random_uuid(), 'segment.recompute', jsonb_build_array(s.id),
        p_coalesce_key => 'segment.recompute:' || s.id, p_subject_type => 'segment', p_subject_id => s.id::text,
        p_brand_id => p_brand_id)
    from unnest(p_segments) s (id);
end
$$;
call app.grant_definer('app.add_segment_recomputes(uuid,uuid[])', '{}');

-- A segment has a new definition: compute its members, and those of the segments that refer to it.
create function app.recompute_new_definition() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_segments uuid[];
begin
    with recursive affected as (
        select new.segment_id as id
        union
        select d.segment_id from affected a
        join public.segment_dependencies d on d.brand_id = new.brand_id and d.depends_on = a.id
    )
    select array_agg(a.id order by a.id) into v_segments from affected a;
    insert into public.segment_states as k (brand_id, segment_id)
    select new.brand_id, s.id from unnest(v_segments) s (id)
    on conflict (brand_id, segment_id) do update
    set state = 'computing', problem = null, revision = k.revision + 1;
    perform app.add_segment_recomputes(new.brand_id, v_segments);
    return null;
end
$$;
call app.grant_definer('app.recompute_new_definition()', '{}');
create trigger segment_queries_recompute after insert on public.segment_queries
    for each row execute function app.recompute_new_definition();

-- A segment was archived or restored: its members leave, or enter again.
create function app.recompute_archived() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_segment_recomputes(new.brand_id, array[new.id]);
    return null;
end
$$;
call app.grant_definer('app.recompute_archived()', '{}');
create trigger segments_recompute_archived after update of archived_at on public.audience_segments
    for each row when (old.archived_at is distinct from new.archived_at) execute function app.recompute_archived();

-- A property of contacts was declared, changed or archived: segments that use it may break, and broken ones may work.
create function app.recompute_property() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_segment_recomputes(new.brand_id, array_agg(s.segment_id order by s.segment_id))
    from public.segment_states s
    where s.brand_id = new.brand_id and (s.state = 'broken' or 'properties' = any (s.kinds));
    return null;
end
$$;
call app.grant_definer('app.recompute_property()', '{}');
create trigger contact_properties_recompute after insert or update of type, archived_at on public.contact_properties
    for each row execute function app.recompute_property();

-- The audience of a campaign was frozen.
create function app.mark_campaign_members() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.segment_changes (brand_id, contact_id, kinds)
    select c.brand_id, c.contact_id, array['campaign'] from changed c;
    perform app.add_segment_jobs(array(select distinct c.brand_id from changed c));
    return null;
end
$$;
call app.grant_definer('app.mark_campaign_members()', '{}');
create trigger campaign_members_mark_added after insert on public.campaign_members
    referencing new table as changed for each statement execute function app.mark_campaign_members();
create trigger campaign_members_mark_deleted after delete on public.campaign_members
    referencing old table as changed for each statement execute function app.mark_campaign_members();

-- Enqueue the computations of segments that are due, and return their number: those that depend on the time, and broken
-- ones, after each full hour and each midnight of their brand; those without a job that should have computed them.
create function app.add_due_segments(p_at timestamptz) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_added int;
begin
    perform app.add_segment_recomputes(s.brand_id, array[s.segment_id])
    from public.segment_states s
    join public.audience_segments a on a.brand_id = s.brand_id and a.id = s.segment_id and a.archived_at is null
    join public.brands b on b.id = s.brand_id and b.archived_at is null
    where case
        when s.state = 'computing' then not exists (
            select from app.jobs j where j.actor = 'segment.recompute' and j.subject_id = s.segment_id::text)
        when s.state = 'broken' or 'time' = any (s.kinds) then coalesce(s.tried_at, '-infinity') < greatest(
            date_trunc('hour', p_at, 'UTC'),
            date_trunc('day', p_at, coalesce(b.settings ->> 'timezone', 'UTC')))
    end;
    get diagnostics v_added = row_count;
    return v_added;
end
$$;
call app.grant_definer('app.add_due_segments(timestamptz)', array['app_system']);
