-- Audiences: segments, contacts and engagements.

-- Saved segments; `preview` holds the counts of the last preview.
create table public.audience_segments (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    name text not null check (length(name) between 1 and 200),
    preview jsonb,
    created_at timestamptz not null default now(),
    unique (brand_id, id),
    unique (brand_id, name)
);

-- Definitions of segments, one row for each version; the newest is in effect.
create table public.segment_queries (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null,
    segment_id uuid not null,
    query_definition jsonb not null,
    created_at timestamptz not null default now(),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index segment_queries_segment on public.segment_queries (brand_id, segment_id);

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

-- People whom a brand knows: those with an accepted scan, and contacts without an account (user_id null).
create table public.contacts (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    user_id uuid references public.users (id),
    properties jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    merged_into uuid,                       -- the contact that this one was merged into
    unique (brand_id, user_id),
    unique (brand_id, id)
);
create index contacts_user on public.contacts (user_id);

-- A fan's part in a campaign, folded from public.engagement_events by app.recount_engagements: events in force by kind,
-- and the times of the first and the last.
create table public.engagements (
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null references public.users (id),
    first_at timestamptz not null,
    last_at timestamptz not null,
    scans int not null default 0,
    surveys int not null default 0,
    rewards_granted int not null default 0,
    rewards_claimed int not null default 0,
    rewards_redeemed int not null default 0,
    check_ins int not null default 0,
    conversions int not null default 0,
    primary key (campaign_id, user_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index engagements_brand on public.engagements (brand_id, user_id);
create index engagements_user on public.engagements (user_id);

call app.secure('public.audience_segments', p_job => 'select,update',
    p_member => '{"select": "audiences:read", "insert": "audiences:write", "update": "audiences:write"}');
call app.secure('public.segment_queries', p_job => 'select',
    p_member => '{"select": "audiences:read", "insert": "audiences:write"}');
call app.secure('public.campaign_audience', p_job => 'select', p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "delete": "campaigns:write"}');
call app.secure('public.contacts', p_job => 'select,insert,update', p_member => '{"select": "contacts:read"}');
call app.secure('public.engagements', p_job => 'select,insert,update,delete', p_fan => 'select', p_admin => 'select',
    p_campaign_column => 'campaign_id', p_member => '{"select": "analytics:read"}');

-- Report whether a user is a member of a brand, has taken part in its campaigns, or is among its contacts.
create function app.is_known_to(p_brand_id uuid, p_user_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from public.users u where u.id = p_user_id and u.brand_id = p_brand_id)
        or exists (select from public.contacts c where c.user_id = p_user_id and c.brand_id = p_brand_id)
        or exists (
            select from public.engagement_events e where e.user_id = p_user_id and e.brand_id = p_brand_id);
end
$$;
call app.grant_definer('app.is_known_to(uuid,uuid)', '{}');
