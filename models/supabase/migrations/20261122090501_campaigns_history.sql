-- The configurations that a campaign has had. Rows are added only; the job campaigns.prune_versions deletes old ones.

create table public.campaign_versions (
    brand_id uuid not null,
    campaign_id uuid not null,
    version int not null,                  -- version of the campaign that this change made
    type text not null check (type in ('Locker', 'Event', 'QR')),
    name text not null,
    config jsonb not null,
    changed text[] not null,               -- paths of the fields that differ from the version before
    reverted_to int,                       -- the version whose contents were restored; null: no revert
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null,
    primary key (brand_id, campaign_id, version),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index campaign_versions_author on public.campaign_versions (created_by);

call app.secure('public.campaign_versions', p_admin => 'select', p_job => 'select', p_system => 'select,delete',
    p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read", "insert": "campaigns:write"}');
