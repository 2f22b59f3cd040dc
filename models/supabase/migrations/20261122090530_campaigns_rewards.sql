-- Rewards of fans, and the last known stock of each reward. Locker owns the inventory; a job changes these rows after
-- its answers.

insert into public.permissions (name, meaning, for_machines) values
    ('rewards:redeem', 'read and redeem the rewards of fans', true);
insert into public.role_permissions (role, permission)
select role, 'rewards:redeem' from unnest(array['Brand Admin', 'Campaign Manager', 'Creator']) as role;

-- A reward that a scan has earned. Its id is the id of the scan, and of the reservation at Locker.
create table public.rewards (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null references public.users (id),
    reward_key text not null,
    name text not null,
    campaign_name text not null,
    state text not null
        check (state in ('reserved', 'granted', 'claimed', 'redeemed', 'suspended', 'released', 'lost')),
    revision int not null default 1,       -- a change names the revision that it was decided on
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    expires_at timestamptz,                -- end of a reservation, unless it is extended
    suspended_at timestamptz,
    granted_at timestamptz,                -- first times: they stay if the state is left
    claimed_at timestamptz,
    redeemed_at timestamptz,
    code_hash bytea,                       -- the newest one-time code (models/campaigns/reward_codes.py)
    code_expires_at timestamptz,
    redemption_job_id uuid,                -- the job that redeems the reward
    redeemed_by uuid,                      -- the member or API key that asked for it
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    unique (brand_id, id)
);
create index rewards_campaign on public.rewards (brand_id, campaign_id, id desc);
create index rewards_user on public.rewards (user_id, id desc);
create unique index rewards_code on public.rewards (brand_id, code_hash);
create index rewards_reserved on public.rewards (campaign_id, expires_at) where state = 'reserved';

-- The stock of a reward as Locker last reported it.
create table public.reward_stocks (
    brand_id uuid not null,
    campaign_id uuid not null,
    reward_key text not null,
    name text not null,
    position int not null,
    quantity int not null,
    per_user int not null,
    reserved int not null,
    granted int not null,
    claimed int not null,
    redeemed int not null,
    suspended int not null,
    is_low boolean not null default false, -- whether the members have been notified
    sold_out_until timestamptz,            -- time until which no unit is expected to return; null: a unit may be free
    as_of timestamptz not null,
    primary key (campaign_id, reward_key),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index reward_stocks_brand on public.reward_stocks (brand_id, campaign_id);

call app.secure('public.rewards', p_job => 'select,insert,update', p_campaign_column => 'campaign_id',
    p_member => '{"select": "rewards:redeem", "update": "rewards:redeem"}');
call app.secure('public.reward_stocks', p_job => 'select,insert,update,delete', p_campaign_column => 'campaign_id',
    p_member => '{"select": "campaigns:read"}');

-- Members may change the columns of a redemption only.
revoke update on public.rewards from authenticated;
grant update (redemption_job_id, redeemed_by) on public.rewards to authenticated;

-- Return up to p_limit rewards of the caller, newest first, that follow the reward p_after; with p_id this one only.
-- A person of any role may have rewards, also of other brands, so no row policy shows them.
create function app.own_rewards(p_id uuid, p_limit int, p_after uuid) returns table (
    id uuid, campaign_id uuid, campaign_name text, reward_key text, name text, state text, created_at timestamptz,
    updated_at timestamptz, expires_at timestamptz, granted_at timestamptz, claimed_at timestamptz,
    redeemed_at timestamptz
) language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select r.id, r.campaign_id, r.campaign_name, r.reward_key, r.name, r.state, r.created_at, r.updated_at,
        r.expires_at, r.granted_at, r.claimed_at, r.redeemed_at
    from public.rewards r
    where r.user_id = (app.claims() ->> 'sub')::uuid and (p_id is null or r.id = p_id)
        and (p_after is null or r.id < p_after)
    order by r.id desc limit p_limit;
end
$$;
call app.grant_definer('app.own_rewards(uuid,int,uuid)', array['app_fan', 'authenticated', 'app_admin']);

-- Give a person's reward a new one-time code, which replaces the code before it. Return the state of the reward; null
-- if the person has none with this id. Only a granted or claimed reward gets a code. A job claims it at Locker.
create function app.issue_reward_code(p_reward_id uuid, p_code_hash bytea, p_lifetime interval, p_request jsonb)
returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    reward public.rewards;
begin
    select r.* into reward from public.rewards r
    where r.id = p_reward_id and r.user_id = (app.claims() ->> 'sub')::uuid for no key update;
    if reward.state in ('granted', 'claimed') then
        update public.rewards r set code_hash = p_code_hash, code_expires_at = now() + p_lifetime
        where r.id = p_reward_id;
    end if;
    if reward.state = 'granted' then
        perform app.add_job(gen_random_uuid(), 'reward.settle', jsonb_build_array(p_reward_id),
            p_coalesce_key => reward.brand_id || ':reward.settle:["' || p_reward_id || '"]',
            p_subject_type => 'reward', p_subject_id => p_reward_id::text, p_brand_id => reward.brand_id,
            p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
    end if;
    return reward.state;
end
$$;
call app.grant_definer('app.issue_reward_code(uuid,bytea,interval,jsonb)',
    array['app_fan', 'authenticated', 'app_admin']);
