-- Locker: inventories of rewards and their reservations. Only the local implementation of the service uses these tables
-- (models/passport/locker.py); it locks the row of the campaign first, so its operations on a campaign are serial.

create table public.locker_campaigns (
    brand_id uuid not null references public.brands (id),
    campaign_id uuid not null,
    version int not null,                  -- version of the stored inventory: an older one never replaces it
    primary key (campaign_id),
    unique (brand_id, campaign_id)
);

create table public.locker_rewards (
    brand_id uuid not null,
    campaign_id uuid not null,
    key text not null,
    name text not null,
    position int not null,
    quantity int not null,
    per_user int not null check (per_user >= 1),
    taken int not null default 0,          -- reservations that hold a unit: all that are not released
    primary key (campaign_id, key),
    foreign key (brand_id, campaign_id) references public.locker_campaigns (brand_id, campaign_id),
    constraint locker_rewards_never_more_than_inventory check (taken between 0 and quantity)
);
create index locker_rewards_brand on public.locker_rewards (brand_id, campaign_id);

create table public.locker_reservations (
    id uuid not null,                      -- chosen by the caller; unique in the campaign
    brand_id uuid not null,
    campaign_id uuid not null,
    reward_key text not null,
    subject uuid not null,
    state text not null check (state in ('reserved', 'granted', 'claimed', 'redeemed', 'suspended', 'released')),
    expires_at timestamptz,                -- end of a reservation that is neither extended nor granted
    claimed_at timestamptz,                -- a reinstated reservation is claimed again if it was claimed
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (campaign_id, id),
    foreign key (brand_id, campaign_id) references public.locker_campaigns (brand_id, campaign_id),
    constraint locker_reservations_expiry check ((state = 'reserved') = (expires_at is not null))
);
create index locker_reservations_subject on public.locker_reservations (campaign_id, subject);
create index locker_reservations_brand on public.locker_reservations (brand_id, campaign_id, id);
create index locker_reservations_expiring on public.locker_reservations (expires_at, campaign_id)
    where state = 'reserved';

call app.secure('public.locker_campaigns', p_job => 'select,insert,update', p_system => 'select,update');
call app.secure('public.locker_rewards', p_job => 'select,insert,update', p_system => 'select,update');
call app.secure('public.locker_reservations', p_job => 'select,insert,update', p_system => 'select,update');
