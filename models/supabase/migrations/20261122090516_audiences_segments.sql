-- Segments (DNA Query Builder): definitions with their versions, and the audiences of campaigns.

-- Saved segments. `preview` holds the counts of the last preview, with their time.
create table public.audience_segments (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    name text not null check (length(name) between 1 and 200),
    description text check (length(description) between 1 and 2000),
    version int not null default 1 check (version > 0),
    preview jsonb,
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    archived_at timestamptz,
    unique (brand_id, id)
);
create unique index audience_segments_name on public.audience_segments (brand_id, name) where archived_at is null;
create index audience_segments_created on public.audience_segments (brand_id, created_at desc, id desc);
create index audience_segments_created_by on public.audience_segments (created_by);

-- Versions of definitions: a row for each version of a segment that changed it. The newest is in effect.
create table public.segment_queries (
    brand_id uuid not null,
    segment_id uuid not null,
    version int not null check (version > 0),
    dsl_version int not null,
    definition jsonb not null,
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    primary key (brand_id, segment_id, version),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index segment_queries_created_by on public.segment_queries (created_by);

-- The segments that the newest definition of a segment refers to.
create table public.segment_dependencies (
    brand_id uuid not null,
    segment_id uuid not null,
    depends_on uuid not null,
    primary key (brand_id, segment_id, depends_on),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id),
    foreign key (brand_id, depends_on) references public.audience_segments (brand_id, id)
);
create index segment_dependencies_depends_on on public.segment_dependencies (brand_id, depends_on);

-- Segments that a campaign addresses.
create table public.campaign_audience (
    brand_id uuid not null,
    campaign_id uuid not null,
    segment_id uuid not null,
    primary key (campaign_id, segment_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index campaign_audience_segment on public.campaign_audience (brand_id, segment_id);

-- Contacts that were in the segments of a campaign when it was launched.
create table public.campaign_members (
    brand_id uuid not null,
    campaign_id uuid not null,
    contact_id uuid not null,
    added_at timestamptz not null default now(),
    primary key (brand_id, campaign_id, contact_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, contact_id) references public.contacts (brand_id, id) on delete cascade
);
create index campaign_members_contact on public.campaign_members (brand_id, contact_id);

call app.secure('public.audience_segments', p_job => 'select,update',
    p_member => '{"select": "audiences:read", "insert": "audiences:write", "update": "audiences:write"}');
call app.secure('public.segment_queries', p_job => 'select',
    p_member => '{"select": "audiences:read", "insert": "audiences:write"}');
call app.secure('public.segment_dependencies', p_job => 'select',
    p_member => '{"select": "audiences:read", "insert": "audiences:write", "delete": "audiences:write"}');
call app.secure('public.campaign_audience', p_job => 'select', p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "delete": "campaigns:write"}');
call app.secure('public.campaign_members', p_job => 'select,insert,delete',
    p_member => '{"select": "audiences:read"}');

-- Return the state of a consent for each contact of the caller's brand whose person gave it once: granted, withdrawn or
-- expired, and since when. The persons of merged contacts count for the contact that they were merged into. p_contacts
-- restricts the result to contacts, p_buckets to the contacts of the first buckets; null for all.
create function app.find_consent_states(p_brand_id uuid, p_tier text, p_contacts uuid[], p_buckets smallint)
returns table (contact_id uuid, state text, since timestamptz)
-- A generic plan, made after five calls, would read all contacts whatever the restriction is.
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
begin
    if p_brand_id is distinct from (case
        when current_setting('role') = 'app_job' then app.job_brand() else app.brand_for('audiences:read')
    end) then
        perform app.refuse(403, 'forbidden');
    end if;
    return query
    with people as (
        select c.id as contact_id, c.user_id from public.contacts c
        where c.brand_id = p_brand_id and c.merged_into is null and c.user_id is not null
            and (p_contacts is null or c.id = any (p_contacts)) and (p_buckets is null or c.bucket < p_buckets)
        union all
        select k.id, c.user_id from public.contacts c
        join public.contacts k on k.brand_id = c.brand_id and k.id = c.merged_into
        where c.brand_id = p_brand_id and c.merged_into is not null and c.user_id is not null
            and (p_contacts is null or k.id = any (p_contacts)) and (p_buckets is null or k.bucket < p_buckets)
    ), times as (
        -- An expired consent is closed at its expiry.
        select p.contact_id,
            min(k.granted_at) filter (where app.consent_is_in_force(k.revoked_at, k.expires_at)) as granted,
            max(k.revoked_at) filter (where k.revoked_at < k.expires_at) as withdrawn,
            max(k.expires_at) filter (where k.revoked_at is null or k.revoked_at >= k.expires_at) as expired
        from people p join public.consents k on k.user_id = p.user_id
        where k.consent_tier = p_tier and (k.brand_id is null or k.brand_id = p_brand_id)
        group by p.contact_id
    )
    -- Without a consent in force, the one that ended last decides.
    select t.contact_id, case
        when t.granted is not null then 'granted'
        when t.withdrawn >= coalesce(t.expired, '-infinity') then 'withdrawn'
        else 'expired'
    end, coalesce(t.granted, greatest(t.withdrawn, t.expired))
    from times t;
end
$$;
call app.grant_definer('app.find_consent_states(uuid,text,uuid[],smallint)', array['authenticated', 'app_job']);

-- Return the segments that refer to a segment of the caller's brand, and the campaigns that address it and are neither
-- completed nor archived. The caller may not see all of them.
create function app.find_segment_uses(p_segment_id uuid) returns table (kind text, id uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand constant uuid := app.brand_for('audiences:write');
begin
    return query
    select 'segment', d.segment_id from public.segment_dependencies d
    where d.brand_id = brand and d.depends_on = p_segment_id
    union all
    select 'campaign', a.campaign_id from public.campaign_audience a
    join public.campaigns c on c.brand_id = a.brand_id and c.id = a.campaign_id
    where a.brand_id = brand and a.segment_id = p_segment_id and c.status <> 'Completed' and c.archived_at is null;
end
$$;
call app.grant_definer('app.find_segment_uses(uuid)', array['authenticated']);

-- Store the counts of a preview at a segment of the caller's brand, if it still has the version. Members who may only
-- read segments may preview them.
create function app.keep_segment_preview(p_segment_id uuid, p_version int, p_preview jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update public.audience_segments s set preview = p_preview
    where s.id = p_segment_id and s.brand_id = app.brand_for('audiences:read') and s.version = p_version;
end
$$;
call app.grant_definer('app.keep_segment_preview(uuid,int,jsonb)', array['authenticated']);

-- Counts that members of a brand have seen within a day, with the signatures of their contacts: a count that differs
-- from one of them by a few contacts is withheld.
create table app.segment_preview_counts (
    brand_id uuid not null references public.brands (id),
    slot bytea not null,
    n bigint not null,
    parts bytea not null,
    shown_at timestamptz not null default now(),
    primary key (brand_id, slot)
);
call app.secure('app.segment_preview_counts', p_member => '{"select": "audiences:read", "insert": "audiences:read",
    "update": "audiences:read", "delete": "audiences:read"}');

-- Serialise the members of the caller's brand for one purpose until the transaction ends.
create function app.lock_segments(p_purpose text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_purpose <> all (array['definitions', 'previews']) or app.brand_for('audiences:read') is null then
        perform app.refuse(403, 'forbidden');
    end if;
    perform pg_advisory_xact_lock(
        hashtextextended(concat_ws(':', 'segments', p_purpose, app.brand_for('audiences:read')), 0));
end
$$;
call app.grant_definer('app.lock_segments(text)', array['authenticated']);

-- Begin a preview of the caller's brand: hold its key, by which it can be cancelled, and one of the brand's places.
-- Return false if all p_places are taken. The locks last until the transaction ends.
create function app.begin_preview(p_key text, p_places int) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand constant uuid := app.brand_for('audiences:read');
begin
    if brand is null then
        perform app.refuse(403, 'forbidden');
    end if;
    perform pg_advisory_xact_lock_shared(hashtextextended(concat_ws(':', 'preview', brand, p_key), 0));
    for place in 1 .. p_places loop
        if pg_try_advisory_xact_lock(hashtextextended(concat_ws(':', 'preview', brand, 'place', place), 0)) then
            return true;
        end if;
    end loop;
    return false;
end
$$;
call app.grant_definer('app.begin_preview(text,int)', array['authenticated']);
