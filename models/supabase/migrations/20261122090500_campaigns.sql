-- Campaigns, their printed codes, and the assignments of Creators to them.

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
    launch_job_id uuid,                    -- the running launch job; null: none
    launched_at timestamptz,
    completed_at timestamptz,
    fingerprint_key_version int,           -- set at launch: hashes of another key version would not match
    created_by uuid references public.users (id) on delete set null,
    unique (brand_id, id),
    constraint campaigns_completed_at check ((status = 'Completed') = (completed_at is not null))
);
create index campaigns_brand on public.campaigns (brand_id, created_at desc, id desc);

-- Printed codes. A phone reads the id with a signature, which is not stored (models/campaigns/codes.py).
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

-- The campaigns that a Creator may see. Members with other roles see all campaigns of their brand.
create table public.campaign_assignments (
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null,
    assigned_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    primary key (campaign_id, user_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    -- Only members of the brand are assigned; app.set_role deletes the assignments of a member who leaves.
    foreign key (brand_id, user_id) references public.users (brand_id, id) on delete cascade
);
create index campaign_assignments_user on public.campaign_assignments (brand_id, user_id);
create index campaign_assignments_assigner on public.campaign_assignments (assigned_by);

create index campaigns_creator on public.campaigns (created_by);

call app.secure('public.campaigns', p_admin => 'select', p_job => 'select,update', p_system => 'select',
    p_campaign_column => 'id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "update": "campaigns:write"}');
call app.secure('public.campaign_assignments', p_member => '{"select": "campaigns:assign"}');
call app.secure('public.qr_codes', p_admin => 'select', p_job => 'select,insert', p_system => 'select',
    p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write", "update": "campaigns:write"}');
