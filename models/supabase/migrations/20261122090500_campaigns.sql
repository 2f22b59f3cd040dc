-- Campaigns, their codes and audiences, and the people whom a brand knows.

create table public.campaigns (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    type text not null check (type in ('Locker', 'Event', 'QR')),
    name text not null check (length(name) between 1 and 200),
    status text not null default 'Draft' check (status in ('Draft', 'Active', 'Paused', 'Completed')),
    config jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    version int not null default 1,
    launch_job_id uuid,                    -- the launch that is under way
    launched_at timestamptz,
    completed_at timestamptz,
    fingerprint_key_version int,           -- pinned at launch, so that a device stays the same device
    created_by uuid references public.users (id) on delete set null,
    unique (brand_id, id),
    constraint campaigns_completed_at check ((status = 'Completed') = (completed_at is not null))
);
create index campaigns_brand on public.campaigns (brand_id, created_at desc, id desc);

-- A printed code. What the phone reads is its id with a signature (see models/codes.py); the signature is not stored.
create table public.qr_codes (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    label text not null check (length(label) between 1 and 200),
    key_version int not null,
    created_at timestamptz not null default now(),
    disabled_at timestamptz,
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    unique (brand_id, campaign_id, label),
    unique (brand_id, id)
);

create table public.audience_segments (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    name text not null check (length(name) between 1 and 200),
    preview jsonb,
    created_at timestamptz not null default now(),
    unique (brand_id, id),
    unique (brand_id, name)
);

create table public.segment_queries (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null,
    segment_id uuid not null,
    query_definition jsonb not null,
    created_at timestamptz not null default now(),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index segment_queries_segment on public.segment_queries (brand_id, segment_id);

create table public.campaign_audience (
    brand_id uuid not null,
    campaign_id uuid not null,
    segment_id uuid not null,
    primary key (campaign_id, segment_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index campaign_audience_segment on public.campaign_audience (brand_id, segment_id);

create table public.contacts (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    user_id uuid references public.users (id),
    properties jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    unique (brand_id, user_id),
    unique (brand_id, id)
);

-- A fan's part in a campaign: one row each, so that reach is a count of rows.
create table public.engagements (
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null references public.users (id),
    accepted_scans int not null default 0,
    first_scan_at timestamptz not null,
    last_scan_at timestamptz not null,
    primary key (campaign_id, user_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index engagements_brand on public.engagements (brand_id, user_id);
create index engagements_user on public.engagements (user_id);

-- Who of those that don't see all campaigns of their brand sees this one.
create table public.campaign_assignments (
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null,
    assigned_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    primary key (campaign_id, user_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    -- Nobody is assigned who doesn't work for the brand: leaving it takes the assignments away first.
    foreign key (brand_id, user_id) references public.users (brand_id, id) on delete cascade
);
create index campaign_assignments_user on public.campaign_assignments (brand_id, user_id);
create index campaign_assignments_assigner on public.campaign_assignments (assigned_by);

create index campaigns_creator on public.campaigns (created_by);
create index contacts_user on public.contacts (user_id);

call app.secure('public.campaigns', p_admin => 'select', p_job => 'select,update', p_system => 'select',
    p_campaign_column => 'id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "update": "campaigns:write"}');
call app.secure('public.campaign_assignments', p_member => '{"select": "campaigns:assign"}');
call app.secure('public.qr_codes', p_admin => 'select', p_job => 'select,insert', p_system => 'select',
    p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "update": "campaigns:write"}');
call app.secure('public.audience_segments', p_job => 'select,update',
    p_member => '{"select": "audiences:read", "insert": "audiences:write", "update": "audiences:write"}');
call app.secure('public.segment_queries', p_job => 'select',
    p_member => '{"select": "audiences:read", "insert": "audiences:write"}');
call app.secure('public.campaign_audience', p_job => 'select', p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "delete": "campaigns:write"}');
call app.secure('public.contacts', p_job => 'select,insert,update', p_member => '{"select": "contacts:read"}');
call app.secure('public.engagements', p_job => 'select,insert,update', p_fan => 'select',
    p_campaign_column => 'campaign_id', p_member => '{"select": "analytics:read"}');

-- Whether somebody works for a brand, has taken part in its campaigns, or is among its contacts.
create function app.is_known_to(p_brand_id uuid, p_user_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from public.users u where u.id = p_user_id and u.brand_id = p_brand_id)
        or exists (select from public.contacts c where c.user_id = p_user_id and c.brand_id = p_brand_id)
        or exists (select from public.engagements e where e.user_id = p_user_id and e.brand_id = p_brand_id);
end
$$;
call app.grant_definer('app.is_known_to(uuid,uuid)', '{}');
