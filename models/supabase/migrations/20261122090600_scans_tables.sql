-- Tables of scans. A scan's row holds the decision with its reasons, and is its own audit record.

create table public.device_fingerprints (
    id uuid primary key default gen_random_uuid(),
    fingerprint_hash text unique not null,  -- keyed per brand: brands can't link a device
    first_seen timestamptz not null default now(),
    last_seen timestamptz,                  -- the last scan that counts; null: seen in test mode only
    brand_id uuid not null references public.brands (id),
    key_version int not null,
    unique (brand_id, id)
);

create table public.qr_scans (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    code_id uuid not null,
    user_id uuid not null references public.users (id),
    device_fp_id uuid not null,
    client_scan_id uuid not null,
    request_digest bytea not null,          -- distinguishes a replay from another scan with the same id
    location extensions.geography (point, 4326),
    accuracy_m real check (accuracy_m >= 0),
    captured_at timestamptz,                -- time of the phone's position
    scan_time timestamptz not null,         -- time of the scan by the phone's clock
    received_at timestamptz not null default now(),
    late boolean not null default false,    -- see app.is_late
    new_device boolean not null default false, -- the brand's first scan of this device
    is_test boolean not null default false, -- received while the campaign was in test mode: read app.real_scans
    distance_m real,                        -- metres: from the centre of a circle, or from the border of a polygon
    geofence_status text not null check (geofence_status in ('none', 'inside', 'outside', 'uncertain', 'unknown')),
    decision text not null check (decision in ('accepted', 'rejected')),
    reason text,                            -- stable code of the rejection
    details jsonb not null default '{}',
    address text,
    user_agent text,
    -- The part of the address that one customer, or a few customers, of a provider share: IPv4 /24, IPv6 /64.
    network cidr generated always as (case
        when address ~ '^[0-9]+([.][0-9]+){3}$' then network(set_masklen(address::inet, 24))
        when address ~ '^[0-9a-f:.]*:[0-9a-f:.]*$' then network(set_masklen(address::inet, 64))
    end) stored,
    request_id text,
    flagged boolean not null default false,
    score real check (score between 0 and 1),
    band text check (band in ('accept', 'review', 'reject')),
    evidence jsonb,
    scored_at timestamptz,
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, code_id) references public.qr_codes (brand_id, id),
    foreign key (brand_id, device_fp_id) references public.device_fingerprints (brand_id, id),
    unique (brand_id, id),
    constraint qr_scans_reason_if_rejected check ((decision = 'rejected') = (reason is not null))
);
-- A replay comes from the same person, or from the same device after another person has signed in on it.
create unique index qr_scans_client on public.qr_scans (client_scan_id, campaign_id, user_id);
create unique index qr_scans_client_device on public.qr_scans (client_scan_id, campaign_id, device_fp_id);
create index qr_scans_campaign on public.qr_scans (campaign_id, scan_time);
create index qr_scans_device on public.qr_scans (brand_id, device_fp_id, scan_time, id);
create index qr_scans_user on public.qr_scans (user_id, brand_id, scan_time, id);
create index qr_scans_new_devices on public.qr_scans (code_id, network, received_at, id) where new_device;
create index qr_scans_tests on public.qr_scans (brand_id, campaign_id, received_at) where is_test;

-- Accepted scans counted by limit, subject and window.
create table app.limit_counters (
    campaign_id uuid not null,
    brand_id uuid not null,
    scope text not null check (scope in ('campaign', 'user', 'device')),
    subject uuid not null,                  -- campaign, user or device
    bucket text not null,                   -- key of the window (see app.limit_window)
    used bigint not null default 0,
    primary key (campaign_id, scope, subject, bucket),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);

-- Counts of scans that are not stored: without a required account, consent or location, and (without a campaign) with
-- unsigned or unknown codes. Batches only insert, so they don't wait for each other. A job merges the rows of an hour.
create table app.scan_refusals (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid,
    campaign_id uuid,
    hour timestamptz not null,              -- of receipt, in UTC
    reason text not null,
    n bigint not null check (n > 0),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index scan_refusals_campaign on app.scan_refusals (brand_id, campaign_id, hour);
create index scan_refusals_hour on app.scan_refusals (hour);

-- Counts of a campaign's scans by hour. An hour is always recomputed from the scans, so corrections reach it.
create table public.scan_rollups (
    brand_id uuid not null,
    campaign_id uuid not null,
    hour timestamptz not null,
    kind text not null check (kind in ('decision', 'reason', 'rule', 'band')),
    key text not null,
    count bigint not null,
    as_of timestamptz not null default now(),
    primary key (campaign_id, hour, kind, key),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);

call app.secure('public.device_fingerprints', p_job => 'select', p_member => '{"select": "scans:read"}');
call app.secure('public.qr_scans', p_fan => 'select', p_job => 'select,update', p_admin => 'select',
    p_campaign_column => 'campaign_id', p_member => '{"select": "scans:read"}');
call app.secure('app.limit_counters', p_job => 'select,update', p_system => 'select,delete',
    p_campaign_column => 'campaign_id', p_member => '{"select": "scans:read"}');
call app.secure('app.scan_refusals', p_admin => 'select', p_system => 'select,insert,delete',
    p_campaign_column => 'campaign_id', p_member => '{"select": "analytics:read"}');
call app.secure('public.scan_rollups', p_job => 'select,insert,update,delete',
    p_campaign_column => 'campaign_id', p_member => '{"select": "analytics:read"}');

-- Scans that count: all but those of a test mode. Queries read this view, not the table. A test lists the exceptions.
create view app.real_scans with (security_invoker = true) as
    select s.* from public.qr_scans s where not s.is_test;
grant select, update on app.real_scans to app_job;
grant select on app.real_scans to app_definer;

-- Return whether scans of a band count towards reach. The bands and their scores are defined in models/scans/fraud.py.
create function app.is_counted_band(p_band text) returns boolean language sql immutable
    return p_band in ('accept', 'review');
call app.grant_definer('app.is_counted_band(text)', array['app_job']);

-- A fan may read the decision on a scan, but not its fraud score.
revoke select on public.qr_scans from app_fan;
grant select (id, campaign_id, code_id, user_id, client_scan_id, location, accuracy_m, captured_at, scan_time,
    received_at, late, is_test, geofence_status, decision, reason) on public.qr_scans to app_fan;
